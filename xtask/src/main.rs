//! All automation of this repository: `cargo xtask --help`. Reads the command line and maps
//! failures to exit codes; each command lives in a module of its own.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool answers on its standard streams"
)]

mod command;
mod services;
mod system;
mod unavailable;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use unavailable::Unavailable;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "All automation")]
enum Xtask {
    /// A real Kafka and a real PostgreSQL for tests and development
    #[command(subcommand)]
    Services(services::Command),
}

fn main() -> ExitCode {
    match run(&Xtask::parse()) {
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

fn run(xtask: &Xtask) -> Result<()> {
    match xtask {
        Xtask::Services(command) => services::run(command),
    }
}
