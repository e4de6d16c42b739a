//! The consumer's figures: how many records a second go from real Kafka into PostgreSQL, beside the
//! bare statement and the paper's listing on the same server in the same rounds; what that costs; how
//! soon a successor takes over; what a process holds in RAM with full queues; how far a fault of one
//! partition is felt by its neighbour.
//!
//! Records come from this process, straight into the topics; the ingress has no part in it.

mod balances;
mod blast;
mod feed;
mod filter;
mod reference;
mod scene;
mod stand;
mod takeover;
mod throughput;

use std::path::Path;

use anyhow::Context;
use clap::ValueEnum;

use super::report::Report;
use crate::services::Services;

/// A part of the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// One partition beside the bare statement and the paper's listing; CPU; duplicates.
    One,
    /// Four partitions beside one.
    Four,
    /// The balances projection, beside the same transfers without it.
    Balances,
    /// The filter of the ids of the day before: its reading beside consumption, and what it spares.
    Filter,
    /// From the end of an owner to its successor's first effect.
    Takeover,
    /// Memory with full queues, at 96 partitions and at 501.
    Memory,
    /// The rate and the lag of a partition while its neighbour in the process halts, hangs, or is poisoned.
    Blast,
}

/// Measures the parts asked for.
pub async fn run(
    dir: &Path,
    services: &Services,
    parts: &[Part],
    rounds: u32,
) -> anyhow::Result<Report> {
    let mut report = Report::new("consumer");
    let mut one_per_s = None;
    if parts.contains(&Part::One) {
        let measured = throughput::one(dir, services, rounds, &mut report).await;
        one_per_s = Some(measured.context("one partition")?);
    }
    if parts.contains(&Part::Four) {
        let measured = throughput::four(dir, services, rounds, one_per_s, &mut report).await;
        measured.context("four partitions")?;
    }
    if parts.contains(&Part::Balances) {
        balances::measure(dir, services, rounds, &mut report).await.context("balances")?;
    }
    if parts.contains(&Part::Filter) {
        filter::measure(dir, services, rounds, &mut report).await.context("the filter")?;
    }
    if parts.contains(&Part::Takeover) {
        takeover::measure(dir, services, rounds, &mut report).await.context("takeover")?;
    }
    if parts.contains(&Part::Memory) {
        stand::memory(dir, services, &mut report).await.context("memory")?;
    }
    if parts.contains(&Part::Blast) {
        blast::radius(dir, services, rounds, &mut report).await.context("blast radius")?;
    }
    Ok(report)
}
