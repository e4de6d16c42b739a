//! `loadtest verify`: the checker alone, on a ledger and what a deployment has left.

use std::path::PathBuf;

use clap::Args;

use super::{Findings, History, LogRecord, reconcile, reconcile_tables};
use crate::effects::Effects;
use crate::ledger::Ledger;
use crate::records::Topics;

/// Its options.
#[derive(Args, Clone, Debug)]
pub struct VerifyOptions {
    /// The ledger of the run.
    #[arg(long, value_name = "FILE")]
    ledger: PathBuf,
    /// The database of the effects, `postgres://…`.
    #[arg(long, value_name = "URL", env = "SHOCK_POSTGRES_URL", hide_env_values = true)]
    postgres: String,
    /// `bootstrap.servers` of the log; with it the records are read, and positions and parked rows
    /// compared with them.
    #[arg(long, value_name = "HOST:PORT", requires = "prefix")]
    brokers: Option<String>,
    /// The topics' prefix.
    #[arg(long, value_name = "PREFIX", requires = "brokers")]
    prefix: Option<String>,
    /// What ids of events begin with that have to be parked; none has to be without it.
    #[arg(long, value_name = "TEXT")]
    poison: Option<String>,
}

impl VerifyOptions {
    /// What is wrong.
    pub async fn run(&self) -> anyhow::Result<Findings> {
        let history = History::of(&Ledger::read(&self.ledger)?)?;
        let database = Effects::Postgres(self.postgres.clone());
        let effects = database.read().await?;
        let (Some(brokers), Some(prefix)) = (self.brokers.clone(), self.prefix.clone()) else {
            return Ok(reconcile(&history, None, &effects));
        };
        let topics = Topics { brokers, prefix };
        let records = tokio::task::spawn_blocking(move || topics.read()).await??;
        let tables = database.tables().await?;
        let poisoned = |record: &LogRecord| {
            let refused = |id: &str| self.poison.as_ref().is_some_and(|text| id.starts_with(text));
            record.identity.as_ref().is_none_or(|identity| refused(&identity.id))
        };
        Ok(reconcile_tables(&history, &records, &effects, &tables, poisoned))
    }
}
