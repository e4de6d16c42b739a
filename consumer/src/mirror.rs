//! The relay of parked rows to the DLQ topic: each is copied there once for every state that it
//! reaches (parked, dead, dropped), with all that is known of it as headers.
//!
//! The row in `parked` is the truth: it was committed with the position. The relay comes after, beside
//! the writers: no writer waits for it, it locks nothing while it waits for Kafka, and where Kafka is
//! away the rows wait in an index of their own. What it has written it notes in the row, so it goes on
//! after a crash; what was written and not yet noted is written again: **at least once**. A row whose
//! event had its effect before the relay came is gone, and not copied. Each process copies the rows of
//! the partitions that are its own.
//!
//! This is the only place in this crate that writes to Kafka, and never to a topic that anything of
//! ours reads.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prometheus::{IntCounterVec, IntGauge};
use shared::log::{Publication, Publisher, Record, Unpublished};
use shared::metrics::Registry;
use shared::position::{Class, PartitionId};
use tracing::warn;

use crate::dlq::Named;
use crate::failure::StoreError;
use crate::log_limit::LogLimit;
use crate::store::dlq::{Parked, ParkedKey, State};
use crate::worker::Shared;

/// How often the store is asked while there is nothing to do: what is parked is copied so soon.
const INTERVAL: Duration = Duration::from_secs(1);
/// Rows that are copied at once; their records may be large.
const ROWS_MAX: u16 = 64;
/// The backlog is counted up to here.
const BACKLOG_MAX: u32 = 10_000;

/// What a copy's headers begin with: nothing of an event's own does.
const PREFIX: &str = "dlq_";

/// What the relay exports.
#[derive(Clone, Debug)]
pub struct MirrorMetrics {
    /// Rows that wait for it.
    pub backlog: IntGauge,
    /// Copies by outcome.
    pub copies: IntCounterVec,
}

impl MirrorMetrics {
    /// Registers the families.
    pub fn new(registry: &Registry) -> Self {
        let metrics = Self {
            backlog: registry.gauge(
                "shock_consumer_mirror_backlog_records",
                "Parked records of this process's partitions whose state the DLQ topic does not know \
                 yet; counted up to 10,000.",
            ),
            copies: registry.counters(
                "shock_consumer_mirror_total",
                "Copies of parked records by outcome: mirrored; failed (tried again); too_large (given \
                 up, the row in the database stays); store_failed (a look at the store, tried again).",
                &["outcome"],
            ),
        };
        // From 0 on: the first failure has to be an increase.
        for outcome in ["mirrored", "failed", "too_large", "store_failed"] {
            metrics.copies.with_label_values(&[outcome]);
        }
        metrics
    }
}

/// Where copies go, and what they say of where they come from.
#[derive(Clone, Debug)]
pub struct Mirror {
    letters: Publisher,
    topics: [String; Class::ALL.len()],
    build: &'static str,
}

impl Mirror {
    /// Copies to `letters`; `topics` are the names of the classes' topics, `build` is this program's
    /// version.
    pub fn new(
        letters: Publisher,
        topics: [String; Class::ALL.len()],
        build: &'static str,
    ) -> Self {
        Self { letters, topics, build }
    }

    fn letter(&self, row: &Parked, record: &Record) -> Publication {
        let mut headers = record.headers.clone();
        let mut say = |name: &str, text: Option<String>| {
            headers.extend(text.map(|text| (format!("{PREFIX}{name}"), Bytes::from(text))));
        };
        let (id, named) = (row.position.id, Named::of(record));
        say("topic", Some(self.topics[id.class.index()].clone()));
        say("partition", Some(id.partition.0.to_string()));
        say("offset", Some(row.position.offset.0.to_string()));
        say("timestamp", Some(row.record_timestamp.0.to_string()));
        say("class", Some(id.class.name().to_owned()));
        say("tenant", Some(row.key.tenant.clone()));
        say("source", named.source);
        say("id", named.id);
        say("type", named.event_type);
        say("reason", Some(row.reason.clone()));
        say("sqlstate", row.sqlstate.clone());
        say("state", Some(row.state.name().to_owned()));
        say("attempt", Some(row.attempts.to_string()));
        say("epoch", row.epoch.map(|epoch| epoch.to_string()));
        say("parked_at", Some(row.at.rfc3339()));
        say("build", Some(self.build.to_owned()));
        Publication { key: record.key.clone(), value: record.value.clone(), headers }
    }
}

/// Copies for as long as the process lives.
pub(crate) async fn run(shared: Arc<Shared>, mirror: Mirror) -> Infallible {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let complaints = LogLimit::default();
    loop {
        interval.tick().await;
        let mut more = true;
        while more {
            more = turn(&shared, &mirror, &complaints).await.unwrap_or_else(|error| {
                shared.metrics.mirror.copies.with_label_values(&["store_failed"]).inc();
                if let Some(kept_back) = complaints.admit() {
                    warn!(%error, kept_back, "the store does not tell what is to be mirrored");
                }
                false
            });
        }
    }
}

/// Copies a page; whether more may wait.
async fn turn(shared: &Shared, mirror: &Mirror, complaints: &LogLimit) -> Result<bool, StoreError> {
    let metrics = &shared.metrics.mirror;
    let owned: Vec<PartitionId> = shared.load.gauges.all().iter().map(|one| one.id()).collect();
    if owned.is_empty() {
        metrics.backlog.set(0);
        return Ok(false);
    }
    let (rows, waiting) = shared.store.unmirrored(&owned, ROWS_MAX, BACKLOG_MAX).await?;
    metrics.backlog.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    if rows.is_empty() {
        return Ok(false);
    }
    let keys: Vec<&ParkedKey> = rows.iter().map(|row| &row.key).collect();
    let records: HashMap<_, _> = shared.store.parked_records(&keys).await?.into_iter().collect();
    // One that had its effect meanwhile has no record any more.
    let there: Vec<(&Parked, &Record)> =
        rows.iter().filter_map(|row| Some((row, records.get(&row.key)?))).collect();
    let letters = there.iter().map(|(row, record)| mirror.letter(row, record)).collect();
    let outcomes = mirror.letters.publish(letters).await;

    let mut settled: Vec<(ParkedKey, State)> = Vec::with_capacity(there.len());
    let mut failed = None;
    for ((row, _), outcome) in there.iter().zip(outcomes) {
        let label = match outcome {
            Ok(()) => "mirrored",
            Err(Unpublished::TooLarge) => {
                warn!(position = %row.position, "a parked record is too large for the DLQ topic");
                "too_large"
            }
            Err(Unpublished::Unavailable(why)) => {
                failed = Some(why);
                "failed"
            }
        };
        metrics.copies.with_label_values(&[label]).inc();
        if label != "failed" {
            settled.push((row.key.clone(), row.state));
        }
    }
    if let Some(why) = &failed
        && let Some(kept_back) = complaints.admit()
    {
        warn!(why, kept_back, "parked records cannot be mirrored to the DLQ topic, trying again");
    }
    if !settled.is_empty() {
        shared.store.mirrored(&settled).await?;
    }
    let full = rows.len() >= usize::from(ROWS_MAX);
    metrics.backlog.sub(i64::try_from(settled.len()).unwrap_or(i64::MAX));
    Ok(full && failed.is_none())
}
