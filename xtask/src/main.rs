//! All automation of this repository: `cargo xtask --help`. Reads the command line and maps
//! failures to exit codes; each command lives in a module of its own.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool answers on its standard streams"
)]

mod bench;
mod build;
mod ci;
mod command;
mod conformance;
mod docs;
mod faults;
mod fuzz;
mod metadata;
mod npm;
mod real_input;
mod schema_suite;
mod services;
mod stages;
mod system;
mod test;
mod tidy;
mod tools;
mod unavailable;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use stages::Stages;
use unavailable::Unavailable;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "All automation")]
enum Xtask {
    /// Build, bring up what is needed, and run every test
    Test,
    /// The one gate: all tests, then fmt, clippy, docs, licences and tidy
    Ci {
        /// Everything but the tests
        #[arg(long)]
        no_test: bool,
        /// Only print the last run's table of minutes
        #[arg(long, conflicts_with = "no_test")]
        minutes: bool,
    },
    /// A real Kafka and a real PostgreSQL for tests and development
    #[command(subcommand)]
    Services(services::Command),
    /// Play GitHub's real webhooks against a real Shock Absorber
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    RealInput(RealInput),
    /// Only fetch what others test such a server with: test suites, testers, proxies
    Conformance,
    /// Run a benchmark of the release binaries on real services
    Bench {
        /// Which one
        name: String,
        /// Passed on to it
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Break a consumer of the debug build in every way of the fault matrix, on real services
    Faults {
        /// Passed on to the load generator: `--long`, `--case NAME`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Fuzz what reads bytes from outside
    Fuzz {
        /// How long each target
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Only these
        #[arg(long)]
        target: Vec<fuzz::Target>,
        /// Play one input instead
        #[arg(long, value_name = "FILE", requires = "target")]
        input: Option<PathBuf>,
    },
    /// Write the reference pages that the binary prints of itself
    Docs {
        /// Fail where a page is not current instead
        #[arg(long)]
        check: bool,
    },
    /// Check what no compiler checks, and report sizes
    Tidy,
    /// Check the dependencies against the advisory database (needs the network)
    Advisories,
}

#[derive(Debug, clap::Args)]
struct RealInput {
    #[command(subcommand)]
    command: Option<RealInputCommand>,
    /// The log and the store
    #[arg(long, required = true)]
    backend: Option<real_input::Backend>,
    /// Passed on to the load generator
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum RealInputCommand {
    /// Only fetch the webhooks and their schema
    Fetch,
}

fn main() -> ExitCode {
    match run(Xtask::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            match error.downcast_ref::<Unavailable>() {
                Some(_) => ExitCode::from(unavailable::EXIT_CODE),
                None => ExitCode::FAILURE,
            }
        }
    }
}

fn run(xtask: Xtask) -> Result<()> {
    match xtask {
        Xtask::Test => {
            let mut stages = Stages::new();
            test::run(&mut stages)?;
            stages.finish()
        }
        Xtask::Ci { minutes: true, .. } => stages::print_last(),
        Xtask::Ci { no_test, .. } => ci::run(no_test),
        Xtask::Services(command) => services::run(&command),
        Xtask::RealInput(RealInput { backend: Some(backend), args, .. }) => {
            real_input::play(backend, &args)
        }
        Xtask::RealInput(_) => real_input::fetch().map(drop),
        Xtask::Conformance => conformance::fetch(),
        Xtask::Bench { name, args } => bench::run(&name, &args),
        Xtask::Faults { args } => faults::run(&args),
        Xtask::Fuzz { seconds, target, input } => {
            fuzz::run(seconds, &target, input.as_ref(), fuzz::Seed::Fresh)
        }
        Xtask::Docs { check: true } => docs::run(docs::Mode::Check),
        Xtask::Docs { check: false } => docs::run(docs::Mode::Write),
        Xtask::Tidy => tidy::run(),
        Xtask::Advisories => tools::advisories(),
    }
}
