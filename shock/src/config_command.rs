//! `shock config …`: check, explain, document.

use shared::config::{Purpose, explain, reference_markdown};

use crate::cli::ConfigCommand;
use crate::exit::End;
use crate::settings;

/// Runs the command.
#[expect(clippy::print_stdout, reason = "the answer is what the command is for")]
pub fn run(command: ConfigCommand) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Check(options) => {
            let config = settings::load(&settings::sources(&options), Purpose::Check)?;
            print!("{}", config.summary());
        }
        ConfigCommand::Explain { key, settings: options } => {
            let explanation = explain(&settings::sources(&options), &key)
                .map_err(|error| End::Config(error.to_string()))?;
            println!("{explanation}");
        }
        ConfigCommand::Reference => print!("{}", reference_markdown()),
    }
    Ok(())
}
