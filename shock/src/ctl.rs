//! `shock ctl …`: look at a running system and steer it.

mod direct;
mod dlq;
mod events;
mod key;
mod limits;
mod migrate;
mod mode;
mod positions;
mod setting;
mod span;
mod table;
mod topics;

use consumer::handler::Handled;

pub use self::span::seconds;
use crate::cli::CtlCommand;

/// Runs one control command.
pub fn run(command: CtlCommand, handled: Option<&Handled>) -> anyhow::Result<()> {
    match command {
        CtlCommand::Topics(command) => topics::run(&command),
        CtlCommand::Migrate(options) => migrate::run(&options, handled),
        CtlCommand::Events(command) => events::run(command),
        CtlCommand::Dlq(command) => dlq::run(*command),
        CtlCommand::Key(command) => key::run(&command),
        CtlCommand::Limits(command) => limits::run(command),
        CtlCommand::Mode(command) => mode::run(command),
        CtlCommand::Recover(options) => positions::recover(options),
        CtlCommand::Replay(options) => positions::replay(options),
    }
}
