//! `shock problems reference`: every refusal a producer can see, from the ingress's table.

use crate::cli::ProblemsCommand;
use crate::output;

/// Runs the command.
pub fn run(command: &ProblemsCommand) -> anyhow::Result<()> {
    match command {
        ProblemsCommand::Reference => Ok(output::text(&::ingress::problems_markdown())?),
    }
}
