//! The relay of one sink: reads what waits, sends it, keeps what became of it.
//!
//! It sends the rows of the partitions that this process has claimed, and finds none under another
//! claim: of the fleet one process works on a slice, and after a rebalance or a crash the next owner goes
//! on with what is still there. What was sent and not yet noted is sent again, with the same id. Where
//! order is kept, a row is sent only after the receiver has acknowledged, or for good refused, the one
//! before it of its entity: so first deliveries are in order, whoever sends.
//!
//! It holds no lock and no transaction while it waits for a receiver.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use shared::clock::Millis;
use shared::position::{Epoch, PartitionId};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use super::Sink;
use super::lane::Answer;
use super::pace::{Meaning, Pace};
use crate::backoff::Backoff;
use crate::failure::StoreError;
use crate::log_limit::LogLimit;
use crate::store::outbox::{Ask, Due, Fate, Settled, Slice};
use crate::worker::Shared;

/// How often the outbox is read while nothing tells that something is in it: what a retry of a parked
/// record wrote, what another process left, what failed and is due again.
const INTERVAL: Duration = Duration::from_millis(500);
/// How often what waits is counted, at most; and the share of the time that counting may take.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);
const COUNT_SHARE: u32 = 50;
/// Every so many counts begin at the first row, not at the last known one: an operator may have put a
/// dead one back.
const COUNTS_WHOLE: u32 = 30;
/// What waits in a partition is counted up to here.
const WAITING_MAX: u32 = 10_000;
/// Values that are read at once, in bytes.
const PAGE_BYTES_MAX: u32 = 16 * 1024 * 1024;
/// The waits after a failure of the store.
const STORE_BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Sends for as long as the process lives.
pub(crate) async fn run(shared: Arc<Shared>, sink: Arc<Sink>) -> Infallible {
    let mut relay = Relay::new(shared, sink);
    loop {
        relay.turn().await;
    }
}

struct Relay {
    shared: Arc<Shared>,
    sink: Arc<Sink>,
    pace: Pace,
    lanes: JoinSet<Vec<Answer>>,
    /// Rows that are being sent, or whose outcome is not noted yet.
    under_way: BTreeSet<i64>,
    /// Their entities, where order is kept.
    busy: BTreeSet<String>,
    settled: Vec<Settled>,
    /// What is free when `settled` is noted.
    to_free: Vec<Due>,
    floors: BTreeMap<PartitionId, (Epoch, i64)>,
    counts: u32,
    count_at: Instant,
    store_backoff: Backoff,
    complaints: LogLimit,
}

impl Relay {
    fn new(shared: Arc<Shared>, sink: Arc<Sink>) -> Self {
        shared.metrics.sinks.begin(sink.name());
        let config = sink.config();
        Self {
            pace: Pace::new(config.retry_backoff_min, config.retry_backoff_max),
            shared,
            sink,
            lanes: JoinSet::new(),
            under_way: BTreeSet::new(),
            busy: BTreeSet::new(),
            settled: Vec::new(),
            to_free: Vec::new(),
            floors: BTreeMap::new(),
            counts: 0,
            count_at: Instant::now(),
            store_backoff: Backoff::new(STORE_BACKOFF.0, STORE_BACKOFF.1),
            complaints: LogLimit::default(),
        }
    }

    async fn turn(&mut self) {
        let worked = async {
            self.settle().await?;
            let counted = self.count().await;
            // A table that takes too long to count gets no shorter by waiting.
            self.start().await?;
            counted
        };
        match worked.await {
            Ok(()) => self.store_backoff.reset(),
            Err(error) => {
                let sink = self.sink.name();
                self.shared.metrics.sinks.store_failed.with_label_values(&[sink]).inc();
                if let Some(kept_back) = self.complaints.admit() {
                    warn!(sink, %error, kept_back, "the outbox cannot be read or written");
                }
                tokio::time::sleep(self.store_backoff.next_wait()).await;
            }
        }
        if self.sink.is_stopping() && self.lanes.is_empty() && self.settled.is_empty() {
            self.sink.finished.notify_one();
            std::future::pending::<()>().await;
        }
        self.wait().await;
    }

    /// Reads what may be sent, and begins to.
    async fn start(&mut self) -> Result<(), StoreError> {
        let now = self.shared.load.gauges.now();
        let share = if self.sink.is_stopping() { 0.0 } else { self.pace.share(now) };
        let level = self.pace.level();
        self.shared.metrics.sinks.breaker.with_label_values(&[self.sink.name()]).set(level);
        let target = self.sink.target();
        let free = target.lanes(share).saturating_sub(self.lanes.len());
        let slices = self.slices();
        if free == 0 || slices.is_empty() {
            return Ok(());
        }
        let ask = Ask {
            sink: self.sink.name(),
            ordered: self.sink.is_ordered(),
            slices: &slices,
            under_way: &self.under_way.iter().copied().collect::<Vec<_>>(),
            busy: &self.busy.iter().cloned().collect::<Vec<_>>(),
            rows_max: target.rows_max(free, self.pace.is_careful()),
            bytes_max: PAGE_BYTES_MAX,
        };
        let rows = self.shared.store.outbox_page(&ask, self.shared.clock.now()).await?;
        for lane in target.deal(rows, free, self.sink.is_ordered()) {
            self.under_way.extend(lane.rows.iter().map(|row| row.seq));
            self.busy.extend(lane.entity.clone());
            let sink = Arc::clone(&self.sink);
            self.lanes.spawn(async move { sink.target().deliver(lane).await });
        }
        Ok(())
    }

    /// Until something has ended, or there may be something to begin.
    async fn wait(&mut self) {
        let ended = tokio::select! {
            Some(ended) = self.lanes.join_next() => Some(ended),
            () = self.sink.woken.notified() => None,
            () = tokio::time::sleep(INTERVAL) => None,
        };
        let mut ended = ended.or_else(|| self.lanes.try_join_next());
        while let Some(lane) = ended {
            match lane {
                Ok(answers) => self.judge(answers),
                // Whoever keeps us starts anew: its rows would stay under way for ever.
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => {}
            }
            ended = self.lanes.try_join_next();
        }
    }

    fn judge(&mut self, answers: Vec<Answer>) {
        let metrics = &self.shared.metrics.sinks;
        let sink = Arc::clone(&self.sink);
        let name = sink.name();
        let (now, time) = (self.shared.load.gauges.now(), self.shared.clock.now());
        let seconds = metrics.seconds.with_label_values(&[name]);
        let mut stumbled = false;
        for Answer { row, outcome, took } in answers {
            if let Some(outcome) = outcome {
                seconds.observe(took.as_secs_f64());
                let fate = match self.pace.judge(&outcome, now) {
                    Meaning::Done => {
                        metrics.sent.with_label_values(&[name]).inc();
                        Some(Fate::Sent)
                    }
                    Meaning::Again(reason, wait) => {
                        metrics.failed.with_label_values(&[name, reason.label()]).inc();
                        if let Some(kept_back) = self.complaints.admit() {
                            warn!(sink = name, position = %row.record.position, %reason,
                                attempts = row.attempts + 1, kept_back,
                                "a sink's receiver did not take an event, trying again");
                        }
                        if sink.target().fails_as_one() {
                            stumbled = true;
                            None
                        } else {
                            Some(self.again(&row, reason.to_string(), wait, time))
                        }
                    }
                    Meaning::Dead(reason) => {
                        metrics.failed.with_label_values(&[name, reason.label()]).inc();
                        Some(Fate::Dead(reason.to_string()))
                    }
                };
                if let Some(Fate::Dead(why)) = &fate {
                    metrics.dead.with_label_values(&[name]).inc();
                    if let Some(kept_back) = self.complaints.admit() {
                        warn!(sink = name, position = %row.record.position, why, kept_back,
                            "an event is dead for a sink");
                    }
                }
                let id = row.record.position.id;
                self.settled.extend(fate.map(|fate| Settled { id, seq: row.seq, fate }));
            }
            self.to_free.push(row);
        }
        if stumbled {
            self.pace.stumble(now);
        }
    }

    /// What becomes of a row that failed.
    fn again(&self, row: &Due, why: String, wait: Option<Duration>, now: Millis) -> Fate {
        let config = self.sink.config();
        let age = u64::try_from(now.0.saturating_sub(row.created_at.0)).unwrap_or_default();
        if config.age_max.is_some_and(|most| Duration::from_millis(age) >= most) {
            return Fate::Dead(format!("too old; last {why}"));
        }
        let bound = backoff_bound(config.retry_backoff_min, config.retry_backoff_max, row.attempts);
        let own = bound.mul_f64(rand::random());
        Fate::Again(own.max(wait.unwrap_or_default()), why)
    }

    /// Notes what became of rows; then they are free.
    async fn settle(&mut self) -> Result<(), StoreError> {
        if !self.settled.is_empty() {
            let (name, now) = (self.sink.name(), self.shared.clock.now());
            self.shared.store.outbox_settle(name, &self.settled, now).await?;
            self.settled.clear();
        }
        for row in self.to_free.drain(..) {
            self.under_way.remove(&row.seq);
            if let Some(entity) = &row.entity {
                self.busy.remove(entity);
            }
        }
        Ok(())
    }

    /// Counts what waits, from time to time.
    async fn count(&mut self) -> Result<(), StoreError> {
        let started = Instant::now();
        if started < self.count_at {
            return Ok(());
        }
        let counted = self.count_all().await;
        self.count_at = Instant::now() + COUNT_INTERVAL.max(started.elapsed() * COUNT_SHARE);
        counted
    }

    async fn count_all(&mut self) -> Result<(), StoreError> {
        if self.counts.is_multiple_of(COUNTS_WHOLE) {
            self.floors.clear();
        }
        let (sink, store) = (Arc::clone(&self.sink), &self.shared.store);
        let slices = self.slices();
        let waiting = store.outbox_waiting(sink.name(), &slices, WAITING_MAX).await?;
        let rows_max = sink.config().rows_max;
        let (rows, dead) = store.outbox_rows(sink.name(), rows_max).await?;
        let metrics = &self.shared.metrics.sinks;
        let label = &[sink.name()];
        let is_full = rows >= rows_max;
        match (sink.set_full(is_full), is_full) {
            (false, true) => {
                warn!(
                    sink = sink.name(),
                    rows_max, "a sink is full, writers wait before its events"
                );
            }
            (true, false) => info!(sink = sink.name(), rows, "a sink has room again"),
            _ => {}
        }
        metrics.full.with_label_values(label).set(i64::from(is_full));
        metrics.dead_rows.with_label_values(label).set(i64::try_from(dead).unwrap_or(i64::MAX));
        let sum: u64 = waiting.iter().map(|one| one.rows).sum();
        metrics.waiting.with_label_values(label).set(i64::try_from(sum).unwrap_or(i64::MAX));
        let now = self.shared.clock.now().0;
        let since = waiting.iter().filter_map(|one| one.since).min();
        let oldest = since.map_or(0, |since| now.saturating_sub(since.0).max(0));
        metrics.oldest_seconds.with_label_values(label).set(oldest as f64 / 1_000.0);
        for one in waiting {
            let slice = slices.iter().find(|slice| slice.id == one.id);
            if let (Some(slice), Some(first)) = (slice, one.first) {
                self.floors.insert(one.id, (slice.epoch, first));
            }
        }
        self.counts = self.counts.wrapping_add(1);
        Ok(())
    }

    /// The partitions that are ours. Under another claim than before, what was known of one is void: the
    /// database may be at an earlier state.
    fn slices(&self) -> Vec<Slice> {
        let gauges = &self.shared.load.gauges;
        let slice = |id: PartitionId| {
            let epoch = gauges.epoch(id)?;
            let known = self.floors.get(&id).filter(|(of, _)| *of == epoch);
            Some(Slice { id, epoch, floor: known.map_or(0, |(_, floor)| *floor) })
        };
        gauges.all().iter().filter_map(|gauge| slice(gauge.id())).collect()
    }
}

/// The longest wait after so many failures: doubles with each.
fn backoff_bound(min: Duration, max: Duration, attempts: i32) -> Duration {
    let doublings = u32::try_from(attempts).unwrap_or_default().min(31);
    min.saturating_mul(1 << doublings).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let bound = |attempts| {
            backoff_bound(Duration::from_secs(1), Duration::from_secs(300), attempts).as_secs()
        };
        let bounds: Vec<_> = [0, 1, 2, 8, 9, 100, i32::MAX].map(bound).into();
        assert_eq!(bounds, [1, 2, 4, 256, 300, 300, 300]);
    }
}
