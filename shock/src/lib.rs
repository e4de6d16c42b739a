//! The one binary, for whoever wants effects in Rust of his own in it: the same commands, with a handler.
//!
//! ```no_run
//! # use consumer::handler::{Effects, Fresh, Handler, Refusal, Session};
//! # use consumer::failure::StoreError;
//! # use shared::position::PartitionId;
//! #[derive(Debug)]
//! struct Mine;
//!
//! impl Handler for Mine {
//!     type State = ();
//!
//!     async fn load(&self, _: PartitionId, _: Session<'_>) -> Result<(), StoreError> {
//!         Ok(())
//!     }
//!
//!     fn handle(&self, _: &mut (), fresh: &[Fresh<'_>]) -> Result<Effects, Refusal> {
//!         # let _ = fresh;
//!         Ok(Effects::default())
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     shock::main_with(Mine)
//! }
//! ```

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

use ::consumer::handler::{Handled, Handler};
use clap::Parser;

use crate::cli::{Cli, Command};

/// `shock`: logging, configuration, runtime, serve; then the exit code.
pub fn main() -> ExitCode {
    run(None)
}

/// The same with a handler, which `shock dev` and `shock consumer` run.
pub fn main_with<H: Handler>(handler: H) -> ExitCode {
    run(Some(&Handled::by(handler)))
}

fn run(handled: Option<&Handled>) -> ExitCode {
    let cli = Cli::parse();
    logging::start(cli.log_format);
    let result = match cli.command {
        Command::Dev(options) => dev::run(&options, handled),
        Command::Ingress(options) => ingress::run(&options),
        Command::Consumer(options) => consumer::run(&options, handled),
        Command::Config(command) => config_command::run(command),
        Command::Schema(command) => schema_command::run(command),
        Command::Metrics(command) => metrics::run(&command),
        Command::Problems(command) => problems::run(&command),
        Command::Ctl(command) => ctl::run(command, handled),
        Command::Simulate(options) => simulate_command::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}
