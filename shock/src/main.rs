//! `shock`: the one binary. Logging, configuration, runtime, serve; then the exit code.

mod admin_client;
mod cli;
mod config_command;
mod consumer;
mod ctl;
mod dev;
mod exit;
mod ingress;
mod logging;
mod metrics;
mod output;
mod port;
mod problems;
mod process;
mod reload;
mod runtime;
mod schema_command;
mod secret;
mod settings;
mod signal;
mod simulate_command;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

/// For librdkafka and SQLite as well: the crate's `override` puts it in the place of C's `malloc`.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::start(cli.log_format);
    let result = match cli.command {
        Command::Dev(options) => dev::run(&options),
        Command::Ingress(options) => ingress::run(&options),
        Command::Consumer(options) => consumer::run(&options),
        Command::Config(command) => config_command::run(command),
        Command::Schema(command) => schema_command::run(command),
        Command::Metrics(command) => metrics::run(&command),
        Command::Problems(command) => problems::run(&command),
        Command::Ctl(command) => ctl::run(command),
        Command::Simulate(options) => simulate_command::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}
