//! `loadtest faults`: the matrix from the command line, at length or in miniature.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::{Case, Place, Scale};
use crate::services::Services;

/// Its options.
#[derive(Args, Clone, Debug)]
pub struct FaultsOptions {
    /// services.json of `cargo xtask services up`.
    #[arg(long, value_name = "FILE")]
    services: PathBuf,
    /// Only these. Without: all that have to pass, which `unfenced-copies` is not.
    #[arg(long = "case", value_enum, value_delimiter = ',')]
    cases: Vec<Case>,
    /// At length: a storm of a minute, a copy ten seconds old, ten times the events, three rounds.
    #[arg(long)]
    long: bool,
}

impl FaultsOptions {
    /// Runs the cases in `dir`, each told through `say`; the first one that fails ends it.
    pub async fn run(&self, dir: &Path, say: impl Fn(&str)) -> anyhow::Result<()> {
        let services = Services::read(&self.services)?;
        let scale = if self.long { Scale::LONG } else { Scale::SHORT };
        let sound = Case::value_variants().iter().filter(|case| **case != Case::UnfencedCopies);
        let cases: Vec<_> =
            if self.cases.is_empty() { sound.collect() } else { self.cases.iter().collect() };
        for case in cases {
            let begun = Instant::now();
            let place = Place { dir, services: &services, scale };
            let findings = case.run(place).await?;
            let value = case.to_possible_value().context("it has a name")?;
            say(&format!("{} ({:.1?}): {findings}", value.get_name(), begun.elapsed()));
        }
        Ok(())
    }
}
