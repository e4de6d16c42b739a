//! What a worker counts: once per batch, never per event.

use std::pin::pin;
use std::time::{Duration, Instant};

use shared::log::Record;
use shared::position::Offset;
use tracing::{info, warn};

use super::Worker;
use crate::batch::Batch;
use crate::store::Applied;

/// How often the lag is shown anew while a statement lasts.
const SHOW_INTERVAL: Duration = Duration::from_secs(1);

impl Worker {
    /// After a poll: the first record is the one at the stored position, so its age is the exact lag.
    pub(super) fn polled(
        &mut self,
        started: Instant,
        records: &[Record],
        next: Offset,
        end: Offset,
    ) {
        let metrics = &self.shared.metrics;
        if let Some(first) = records.first() {
            let seconds = started.elapsed().as_secs_f64();
            metrics.stage_seconds.with_label_values(&["poll"]).observe(seconds);
            self.oldest = Some(first.timestamp);
        } else if next >= end {
            self.oldest = None;
        }
        self.gauge.stands(next, self.oldest);
        self.lag_records(end.0 - next.0);
        self.show_lag();
    }

    /// After decoding, which took so long.
    pub(super) fn decoded(&mut self, took: Duration, batch: &Batch<'_>) {
        let metrics = &self.shared.metrics;
        let seconds = took.as_secs_f64();
        metrics.stage_seconds.with_label_values(&["decode"]).observe(seconds);
        let (misrouted, first) = batch.misrouted;
        metrics.misrouted.with_label_values(&[self.id.class.name()]).inc_by(misrouted);
        if let Some(position) = first.filter(|_| !self.misrouted_seen) {
            self.misrouted_seen = true;
            // Applied here all the same: no route can change while the number of partitions is
            // fixed, so nobody else's order depends on it, and its identity guards it everywhere.
            warn!(%position, count = misrouted, "a record stands in another partition than its key");
        }
    }

    /// After a commit.
    pub(super) fn committed(
        &self,
        started: Instant,
        batch: &Batch<'_>,
        applied: Option<Applied>,
        end: Offset,
    ) {
        let metrics = &self.shared.metrics;
        let class = &[self.id.class.name()];
        metrics
            .stage_seconds
            .with_label_values(&["apply"])
            .observe(started.elapsed().as_secs_f64());
        metrics.batch_records.observe(batch.records() as f64);
        metrics.replayed.with_label_values(class).inc_by(batch.replayed);

        let now = self.shared.clock.now().0;
        let effect = metrics.effect_seconds.with_label_values(class).local();
        for row in &batch.rows {
            effect.observe(now.saturating_sub(row.record.timestamp.0).max(0) as f64 / 1_000.0);
        }
        effect.flush();

        for row in &batch.parked {
            metrics.parked.with_label_values(&[class[0], row.poison.reason()]).inc();
        }
        if let Some((row, kept_back)) =
            batch.parked.first().and_then(|row| Some((row, self.shared.log_limits.parked.admit()?)))
        {
            info!(position = %row.record.position, reason = row.poison.reason(),
                sqlstate = row.poison.sqlstate(), records = batch.parked.len(), kept_back,
                "records parked, this one first");
        }
        let mut conflicts = batch.conflicts;
        if let Some(applied) = applied {
            let taken = (batch.rows.len() + batch.parked.len()) as u64;
            let duplicates = batch.repeated + taken.saturating_sub(applied.fresh + applied.parked);
            metrics.applied.with_label_values(class).inc_by(applied.fresh);
            metrics.duplicates.with_label_values(class).inc_by(duplicates);
            conflicts += applied.conflicts;
            metrics.filter.add(batch.rows.len(), &applied.filtered);
        }
        metrics.id_conflicts.with_label_values(class).inc_by(conflicts);
        if conflicts > 0
            && let Some(kept_back) = self.shared.log_limits.conflict.admit()
        {
            warn!(partition = %self.id, conflicts, from = batch.expected.0, to = batch.target.0,
                kept_back, "ids came again with another payload, the first one stands");
        }
        self.lag_records(end.0 - batch.target.0);
    }

    /// After a commit: `next` is the record that is to be applied next, where it is at hand.
    pub(super) fn advanced(&mut self, next: Option<&Record>, position: Offset, end: Offset) {
        if let Some(next) = next {
            self.oldest = Some(next.timestamp);
        } else if position >= end {
            self.oldest = None;
        }
        self.gauge.stands(position, self.oldest);
        self.show_lag();
    }

    /// Records that were delivered below the stored position, and nothing else.
    pub(super) fn replayed(&self, records: usize) {
        let counter = &self.shared.metrics.replayed;
        counter.with_label_values(&[self.id.class.name()]).inc_by(records as u64);
    }

    /// The age of the record at the stored position, now: also called while a statement is retried,
    /// for an outage of the database is what the lag is watched for.
    pub(super) fn show_lag(&self) {
        let number = self.id.partition.0.to_string();
        let labels = &[self.id.class.name(), number.as_str()];
        let now = self.shared.clock.now().0;
        // A foreign writer's timestamp may be any number.
        let age_ms = self.oldest.map_or(0, |oldest| now.saturating_sub(oldest.0).max(0));
        let gauge = self.shared.metrics.lag_seconds.with_label_values(labels);
        gauge.set(age_ms as f64 / 1_000.0);
    }

    /// Runs a statement; while it lasts, the lag goes on growing.
    pub(super) async fn watched<T>(&self, statement: impl Future<Output = T>) -> T {
        let mut statement = pin!(statement);
        loop {
            match tokio::time::timeout(SHOW_INTERVAL, &mut statement).await {
                Ok(answer) => return answer,
                Err(_) => self.show_lag(),
            }
        }
    }

    fn lag_records(&self, records: i64) {
        let number = self.id.partition.0.to_string();
        let labels = &[self.id.class.name(), number.as_str()];
        self.shared.metrics.lag_records.with_label_values(labels).set(records.max(0));
    }
}

impl Drop for Worker {
    /// The partition is somebody else's now, whether this worker ended or was dropped: a gauge that
    /// stands would lie.
    fn drop(&mut self) {
        let number = self.id.partition.0.to_string();
        let labels = &[self.id.class.name(), number.as_str()];
        // They were never set where no poll came back.
        let _ = self.shared.metrics.lag_records.remove_label_values(labels);
        let _ = self.shared.metrics.lag_seconds.remove_label_values(labels);
        if std::thread::panicking() {
            // The supervisor halts the partition for it.
            self.gauge.halt();
        }
        self.shared.load.gauges.close(&self.gauge);
        self.shared.due.close(self.id, &self.due);
        self.shared.strayed.close(self.id, &self.strayed);
    }
}
