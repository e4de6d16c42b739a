//! `shock config …`: check, explain, document.

use shared::config::{Purpose, explain, reference_markdown};

use crate::cli::ConfigCommand;
use crate::exit::End;
use crate::{output, port, settings};

/// Runs the command.
pub fn run(command: ConfigCommand) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Check(options) => {
            let config = settings::load(&settings::sources(&options), Purpose::Check)?;
            ingress::check(&config.ingress).map_err(|error| port::ingress(&error))?;
            output::text(&config.summary())?;
        }
        ConfigCommand::Explain { key, settings: options } => {
            let explanation = explain(&settings::sources(&options), &key)
                .map_err(|error| End::Config(error.to_string()))?;
            output::line(&explanation.to_string())?;
        }
        ConfigCommand::Reference => output::text(&reference_markdown())?,
    }
    Ok(())
}
