//! A running Shock Absorber: on the embedded backend, or on Kafka and PostgreSQL.
//!
//! Both are configured like a user's: config/sources/github.toml as it is, one more file for keys and
//! addresses, and ports that the system chooses. A deployment has its own directory, topics and
//! database, so several runs share the services without seeing each other.

mod address;
mod cluster;
mod embedded;
mod settings;

use std::net::SocketAddr;

use anyhow::Context;

pub use self::cluster::{Cluster, PARTITIONS, Start};
pub use self::embedded::Embedded;
pub use self::settings::{GITHUB_SECRET, GITHUB_SOURCE, Settings, producers};
use crate::admin;
use crate::client::Target;
use crate::effects::Effects;
use crate::ledger::Ledger;
use crate::verify::{Findings, History, LogRecord, reconcile};

/// One of the two.
#[derive(Debug)]
pub enum Deployment {
    /// `shock dev`.
    Embedded(Box<Embedded>),
    /// `shock ingress` and `shock consumer`.
    Cluster(Box<Cluster>),
}

impl Deployment {
    /// Where producers post; follows restarts.
    pub fn target(&self) -> Target {
        match self {
            Self::Embedded(embedded) => embedded.target(),
            Self::Cluster(cluster) => cluster.target(),
        }
    }

    /// The admin port that knows what became of events.
    pub fn admin(&self) -> anyhow::Result<SocketAddr> {
        match self {
            Self::Embedded(embedded) => Ok(embedded.admin()),
            Self::Cluster(cluster) => cluster.consumer_admin(0),
        }
    }

    /// Where the effects are.
    pub fn effects(&self) -> &Effects {
        match self {
            Self::Embedded(embedded) => embedded.effects(),
            Self::Cluster(cluster) => cluster.effects(),
        }
    }

    /// All records, where the log can be read from outside.
    pub async fn records(&self) -> anyhow::Result<Option<Vec<LogRecord>>> {
        match self {
            Self::Embedded(_) => Ok(None),
            Self::Cluster(cluster) => cluster.records().await.map(Some),
        }
    }

    /// Reconciles the ledger with what is there now.
    pub async fn reconcile(&self, ledger: &Ledger) -> anyhow::Result<Findings> {
        let history = History::of(&Ledger::read(ledger.path())?)?;
        let records = self.records().await?;
        let effects = self.effects().read().await?;
        let mut findings = reconcile(&history, records.as_deref(), &effects);
        if let Self::Embedded(embedded) = self {
            let appended = admin::appended(embedded.admin()).await?;
            findings.note_appended(usize::try_from(appended).context("a number of records")?);
        }
        Ok(findings)
    }

    /// Stops everything by `SIGTERM`, each process has to end by itself with code 0, and removes
    /// topics and database.
    pub async fn stop(self) -> anyhow::Result<()> {
        match self {
            Self::Embedded(embedded) => embedded.stop().await,
            Self::Cluster(cluster) => cluster.stop().await,
        }
    }
}
