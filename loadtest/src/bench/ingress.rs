//! The ingress's figures: what a request costs, how long it takes, what a process holds. Each cost is
//! a ratio to references measured in the same rounds, over the same number of connections: *bare*
//! ([`crate::bare`]) and *plain* ([`crate::plain`]).

mod cost;
mod latency;
mod memory;
mod servers;

use std::path::Path;

use anyhow::Context;
use clap::ValueEnum;

use self::servers::Servers;
use super::report::Report;
use crate::services::Services;

/// A part of the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// CPU per request and per event, beside bare and plain.
    Cost,
    /// Open loop: latency from the intended send time; append and validation.
    Latency,
    /// Memory idle and under many connections.
    Memory,
}

/// Measures the parts asked for.
pub async fn run(
    dir: &Path,
    services: &Services,
    parts: &[Part],
    rounds: u32,
) -> anyhow::Result<Report> {
    memory::raise_file_limit()?;
    let mut report = Report::new("ingress");
    let servers = Servers::start(dir, services).await?;
    report.note("linger.ms of every producer", servers.linger_ms, "ms");
    // Memory first: the process is fresh.
    if parts.contains(&Part::Memory) {
        memory::measure(&servers, &mut report).await.context("memory")?;
    }
    let mut per_s_max = None;
    if parts.contains(&Part::Cost) {
        per_s_max = Some(cost::measure(&servers, rounds, &mut report).await.context("cost")?);
    }
    if parts.contains(&Part::Latency) {
        latency::measure(&servers, per_s_max, &mut report).await.context("latency")?;
    }
    servers.stop().await?;
    Ok(report)
}

/// The load generator's loop blocks its thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await.context("the load generator")?
}
