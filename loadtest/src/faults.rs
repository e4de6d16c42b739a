//! The fault matrix of the consumer: real processes on real Kafka and PostgreSQL, and everything that may
//! happen to them. Afterwards the books balance: one effect per identity, order per key, no position ahead
//! of the effects or going back by itself, and parked is what the database refuses and nothing else.
//!
//! Each case has topics and a database of its own, and ends with what the checker found. The checker can
//! fail: one case runs a consumer whose fence is taken out, and has to find what that breaks.
//! docs/FAULTS.md has the matrix as a table.

mod command;
mod copies;
mod deaths;
mod feed;
mod kills;
mod neighbours;
mod outages;
mod repeats;
mod scene;
mod storms;
mod zombies;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::ValueEnum;

pub use self::command::FaultsOptions;
use crate::services::Services;
use crate::verify::Findings;

/// What is done to the consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// SIGKILL before and after each step of a batch, a claim, a try, a mark, a bucket, a move.
    Kills,
    /// A record that kills whoever applies it.
    Deaths,
    /// SIGSTOP at a step for longer than a session, then SIGCONT.
    Zombies,
    /// A member joins or leaves all the time.
    Storms,
    /// Kafka is killed and started again.
    Broker,
    /// PostgreSQL is killed, and its sessions are ended, in the middle of a commit.
    Postgres,
    /// The database is replaced by an older copy of itself.
    Copies,
    /// Repeats over a bucket's edge, after hours of lag, and in another partition.
    Repeats,
    /// One partition hangs, or halts in a storm of poison.
    Neighbours,
    /// An older copy and no fence: the checker has to find what is lost.
    UnfencedCopies,
}

/// How much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Events of one load.
    pub events: u64,
    /// How often the steps are gone through.
    pub rounds: u32,
    /// Between two changes of a storm.
    pub storm_every: Duration,
    /// How many of them.
    pub storm_changes: u32,
    /// How old a restored copy is at least.
    pub copy_age: Duration,
    /// For so long sessions are ended over and over.
    pub ended_for: Duration,
}

impl Scale {
    /// For each change of the code: all cases in some minutes.
    pub const SHORT: Self = Self {
        events: 200,
        rounds: 1,
        storm_every: Duration::from_secs(1),
        storm_changes: 10,
        copy_age: Duration::from_secs(1),
        ended_for: Duration::from_secs(3),
    };

    /// Before a release.
    pub const LONG: Self = Self {
        events: 2_000,
        rounds: 3,
        storm_every: Duration::from_secs(2),
        storm_changes: 30,
        copy_age: Duration::from_secs(10),
        ended_for: Duration::from_secs(30),
    };
}

/// Where a case runs.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Logs and ledgers go below it.
    pub dir: &'a Path,
    /// Kafka and PostgreSQL.
    pub services: &'a Services,
    /// How much.
    pub scale: Scale,
}

impl Case {
    /// Runs it in a fresh directory below the place's; an error that lists the faults, if there are any.
    pub async fn run(self, place: Place<'_>) -> anyhow::Result<Findings> {
        let name = self.to_possible_value().context("it has a name")?.get_name().to_owned();
        let dir = place.dir.join(&name);
        std::fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
        let place = Place { dir: &dir, ..place };
        let findings = match self {
            Self::Kills => kills::run(place).await,
            Self::Deaths => deaths::run(place).await,
            Self::Zombies => zombies::run(place).await,
            Self::Storms => storms::run(place).await,
            Self::Broker => outages::broker(place).await,
            Self::Postgres => outages::postgres(place).await,
            Self::Copies => copies::run(place, copies::Fence::Held).await.and_then(Findings::clean),
            Self::Repeats => repeats::run(place).await,
            Self::Neighbours => neighbours::run(place).await,
            Self::UnfencedCopies => {
                let found = copies::run(place, copies::Fence::Removed).await;
                found.and_then(|found| named(found, "answered 202, no effect"))
            }
        };
        findings.with_context(|| format!("case {name}; logs: {}", dir.display()))
    }
}

/// The checker found what it had to find.
fn named(findings: Findings, fault: &str) -> anyhow::Result<Findings> {
    let found = findings.faults.iter().any(|one| one.to_string().contains(fault));
    ensure!(found, "without its fence, and the checker does not say {fault:?}: {findings}");
    Ok(findings)
}
