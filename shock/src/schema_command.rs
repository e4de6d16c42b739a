//! `shock schema …`: what of the registered schemas is covered by the fast tier of validation.

use std::fmt::Write;

use ingress::Coverage;
use shared::config::Purpose;

use crate::cli::SchemaCommand;
use crate::exit::End;
use crate::{output, settings};

/// Runs the command.
pub fn run(command: SchemaCommand) -> anyhow::Result<()> {
    let SchemaCommand::Explain { event_type, settings: options } = command;
    let config = settings::load(&settings::sources(&options), Purpose::Check)?;
    let all = ingress::coverage(&config.ingress).map_err(|error| End::Config(error.to_string()))?;
    let wanted = |one: &&Coverage| event_type.as_ref().is_none_or(|name| *name == one.event_type);
    let chosen: Vec<&Coverage> = all.iter().filter(wanted).collect();
    if let (Some(event_type), true) = (event_type.as_ref(), chosen.is_empty()) {
        return Err(End::Config(format!("no schema is registered for {event_type}")).into());
    }
    let mut text = String::new();
    for coverage in &chosen {
        write!(text, "{coverage}")?;
    }
    let whole = chosen.iter().filter(|one| one.gaps.is_empty()).count();
    writeln!(text, "{whole} of {} covered whole", chosen.len())?;
    output::text(&text)?;
    Ok(())
}
