//! What one writer measures of itself, for others to read while it works.
//!
//! The worker writes once per batch, whoever reports reads a few times a second: one small lock. Busy is a
//! writer that has records in hand, from their poll (from its begin where a backlog was known) to their
//! commit, and the waits that a higher class or its own rate impose on it. What failed, and the wait after
//! it, is no work but an outage. A writer that only waits for records is idle: its arrival rate is not its
//! capacity.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::amortise::{Amortiser, BatchTime};
use control::capacity::{Capacity, CapacityConfig};
use control::number::weight;
use control::outage::Flow;
use control::time::Nanos;
use parking_lot::Mutex;
use shared::clock::Millis;
use shared::config::ConsumerConfig;
use shared::log::LogEnd;
use shared::position::{Epoch, Offset, PartitionId};
use tokio::sync::Notify;

use super::answers::Answers;
use super::{batch_records_max, unit_per_s};

/// A store that has failed for so long is gone. A deadlock, a failover's first refused connection or a
/// restarted pooler are over sooner, and must not make the limits flap; the limits themselves are
/// computed twice a second and count for three.
const GONE_AFTER_S: f64 = 1.0;
/// A store that has not answered for so long is gone, too, s, and for so many full batches at the speed
/// it had: a hanging statement fails only at its time-out, and until then it would pass for a writer that
/// has become slow, whose load must be shed.
const SILENT_AFTER_S: f64 = 2.0;
const SILENT_AFTER_BATCHES: f64 = 4.0;
/// Rates are smoothed over so long, s.
const RATE_SMOOTHING_S: f64 = 1.0;
/// What was in the log before delivery began did not arrive just now; it is all seen after so long, s.
const SETTLED_AFTER_S: f64 = 3.0;
/// A capacity that has moved by this share is told at once.
const MOVED_SHARE: f64 = 0.2;

/// The gauges of all partitions that are ours.
#[derive(Debug)]
pub struct Gauges {
    origin: Instant,
    config: CapacityConfig,
    records_max: usize,
    all: Mutex<BTreeMap<PartitionId, Arc<Gauge>>>,
    moved: Arc<Notify>,
}

impl Gauges {
    /// None yet.
    pub fn new(config: &ConsumerConfig) -> Self {
        Self {
            origin: Instant::now(),
            config: CapacityConfig { unit_per_s: unit_per_s(config), ..CapacityConfig::default() },
            records_max: batch_records_max(config),
            all: Mutex::default(),
            moved: Arc::default(),
        }
    }

    /// The gauge of a writer that begins; it takes the place of its predecessor's.
    pub fn open(&self, id: PartitionId) -> Arc<Gauge> {
        let state = State {
            epoch: None,
            end: None,
            position: Offset(0),
            oldest: None,
            processed: 0,
            capacity: Capacity::new(self.config),
            amortiser: Amortiser::new(self.records_max as u64),
            told_per_s: self.config.unit_per_s,
            under_way: None,
            worked_at: None,
            failing_since: None,
            halted: false,
            answers: Answers::default(),
            settled_at: None,
            arrived: Rate::default(),
            applied: Rate::default(),
            said: Said::default(),
        };
        let gauge = Arc::new(Gauge {
            id,
            origin: self.origin,
            records_max: self.records_max as f64,
            moved: Arc::clone(&self.moved),
            state: Mutex::new(state),
        });
        self.all.lock().insert(id, Arc::clone(&gauge));
        gauge
    }

    /// The writer of this gauge has ended. One that has halted leaves its gauge: its partition stands
    /// still, and that is told until the partition is given up.
    pub fn close(&self, gauge: &Arc<Gauge>) {
        let mut all = self.all.lock();
        let is_current = all.get(&gauge.id).is_some_and(|one| Arc::ptr_eq(one, gauge));
        if is_current && !gauge.state.lock().halted {
            all.remove(&gauge.id);
        }
    }

    /// The partition is not ours any more.
    pub fn forget(&self, id: PartitionId) {
        self.all.lock().remove(&id);
    }

    /// Under which epoch the writer of a partition has claimed it; `None` before.
    pub fn epoch(&self, id: PartitionId) -> Option<Epoch> {
        self.all.lock().get(&id)?.state.lock().epoch
    }

    /// Those of all partitions that are ours.
    pub fn all(&self) -> Vec<Arc<Gauge>> {
        self.all.lock().values().cloned().collect()
    }

    /// The time on the scale of the gauges.
    pub fn now(&self) -> Nanos {
        nanos(self.origin.elapsed())
    }

    /// Returns when a capacity has moved by a fifth since it was told.
    pub async fn moved(&self) {
        self.moved.notified().await;
    }
}

/// One writer's.
#[derive(Debug)]
pub struct Gauge {
    id: PartitionId,
    origin: Instant,
    records_max: f64,
    moved: Arc<Notify>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None` before the claim: the partition is not ours yet.
    epoch: Option<Epoch>,
    end: Option<Arc<LogEnd>>,
    position: Offset,
    oldest: Option<Millis>,
    processed: u64,
    capacity: Capacity,
    amortiser: Amortiser,
    /// The capacity that was told last.
    told_per_s: f64,
    /// Since when there are records in hand that nobody has refused.
    under_way: Option<Nanos>,
    worked_at: Option<Nanos>,
    failing_since: Option<Nanos>,
    halted: bool,
    answers: Answers,
    /// When what was in the log before counts as seen.
    settled_at: Option<Nanos>,
    arrived: Rate,
    applied: Rate,
    said: Said,
}

/// What was said about the partition's limit, kept here so that a controller that begins anew goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Said {
    /// How many times.
    pub seq: u64,
    /// The last limit; `Some(None)`: there was none.
    pub limit_per_s: Option<Option<f64>>,
}

/// A batch that was committed.
#[derive(Clone, Copy, Debug)]
pub struct Worked {
    /// Its records.
    pub records: usize,
    /// How long the writer was busy with it.
    pub busy: Duration,
    /// How long it then gave way to higher classes.
    pub gave_way: Duration,
    /// No more records would have fitted, or more than a batch waits behind it.
    pub full: bool,
}

/// What a gauge says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Whose.
    pub id: PartitionId,
    /// The writer's fencing epoch.
    pub epoch: u64,
    /// Whether there is a capacity.
    pub flow: Flow,
    /// Records that wait.
    pub backlog: u64,
    /// Age of the oldest of them, s.
    pub age_s: f64,
    /// Capacity, events/s.
    pub capacity_per_s: f64,
    /// What comes in, events/s.
    pub arrived_per_s: f64,
    /// What is applied, events/s.
    pub applied_per_s: f64,
    /// p99 of the database's answers, s.
    pub downstream_p99_s: f64,
    /// How old the measurement is, s; 0 for a writer that has nothing to do.
    pub measured_ago_s: f64,
    /// It has worked under this epoch: what waits is known.
    pub begun: bool,
}

impl Gauge {
    /// Which partition's.
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// The partition is ours, from `next` on.
    pub fn claimed(&self, epoch: Epoch, next: Offset) {
        let mut state = self.state.lock();
        state.epoch = Some(epoch);
        (state.position, state.oldest, state.failing_since) = (next, None, None);
    }

    /// Delivery has begun.
    pub fn started(&self, end: LogEnd) {
        let mut state = self.state.lock();
        state.end = Some(Arc::new(end));
        state.settled_at = Some(self.now().plus_seconds(SETTLED_AFTER_S));
    }

    /// Where the writer stands: its position, and the timestamp of the record there, where it is known.
    pub fn stands(&self, position: Offset, oldest: Option<Millis>) {
        let mut state = self.state.lock();
        (state.position, state.oldest) = (position, oldest);
    }

    /// Records are in hand since then.
    pub fn begins(&self, since: Instant) {
        let since = nanos(since.saturating_duration_since(self.origin));
        self.state.lock().under_way = Some(since);
    }

    /// The store failed at what was begun at that time.
    pub fn failed(&self, since: Instant) {
        let since = nanos(since.saturating_duration_since(self.origin));
        let mut state = self.state.lock();
        state.under_way = None;
        state.failing_since.get_or_insert(since);
    }

    /// The store has answered a batch after so long: it is there.
    pub fn answered(&self, after: Duration) {
        let now = self.now();
        let mut state = self.state.lock();
        state.failing_since = None;
        // A batch that is refused is sent again in parts: each answer breaks the silence.
        state.under_way = state.under_way.map(|_| now);
        state.answers.add(after.as_secs_f64(), now);
    }

    /// Records were committed; the writer waits before it goes on.
    pub fn committed(&self, records: usize) {
        let mut state = self.state.lock();
        state.processed = state.processed.saturating_add(records as u64);
        state.under_way = None;
    }

    /// And this is what they took.
    pub fn worked(&self, worked: &Worked) {
        let now = self.now();
        let mut state = self.state.lock();
        state.worked_at = Some(now);
        let busy_ns = nanos(worked.busy).0.max(1);
        let batch = BatchTime { records: worked.records as u64, busy_ns, full: worked.full };
        // Giving way makes every batch longer in proportion, its fixed part, too.
        let longer = 1.0 + worked.gave_way.as_secs_f64() / worked.busy.as_secs_f64().max(1e-9);
        let alone_per_s = state.capacity.per_s() * longer;
        if let Some(charge) = state.amortiser.charge(&batch, alone_per_s, now) {
            let charged_ns = (charge.busy_ns as f64 * longer) as u64;
            state.capacity.report(charge.records, charged_ns, now);
        }
        if (state.capacity.per_s() - state.told_per_s).abs() > MOVED_SHARE * state.told_per_s {
            self.moved.notify_one();
        }
    }

    /// Where the writer stands, and the log's end, where nothing is left to read as far as is known.
    pub fn idle(&self) -> Option<(PartitionId, Epoch, Offset, Arc<LogEnd>)> {
        // The log's own lock is not taken under ours.
        let (epoch, position, end) = {
            let state = self.state.lock();
            (state.epoch?, state.position, state.end.clone()?)
        };
        (end.get() <= position).then_some((self.id, epoch, position, end))
    }

    /// The partition stands still until somebody acts.
    pub fn halt(&self) {
        self.state.lock().halted = true;
    }

    /// What was said of its limit.
    pub fn said(&self) -> Said {
        self.state.lock().said
    }

    /// Says a limit; its number among them.
    pub fn say(&self, limit_per_s: Option<f64>) -> u64 {
        let said = &mut self.state.lock().said;
        *said = Said { seq: said.seq + 1, limit_per_s: Some(limit_per_s) };
        said.seq
    }

    /// This capacity was told.
    pub fn told(&self, capacity_per_s: f64) {
        self.state.lock().told_per_s = capacity_per_s;
    }

    /// What it says now; `None` before the claim.
    pub fn read(&self, now: Nanos, time: Millis) -> Option<Reading> {
        // The log's own lock is not taken under ours.
        let end = self.state.lock().end.clone();
        let end = end.map_or(Offset(0), |end| end.get());
        let mut state = self.state.lock();
        let epoch = state.epoch?;
        let flow = self.flow(&state, now);
        let end = u64::try_from(end.max(state.position).0).unwrap_or_default();
        let processed = state.processed;
        let applied_per_s = state.applied.update(processed, now);
        if state.settled_at.is_none_or(|at| now < at) {
            state.arrived.start(end, now);
        }
        let arrived_per_s = state.arrived.update(end, now);
        let position = u64::try_from(state.position.0).unwrap_or_default();
        let age_ms = state.oldest.map_or(0, |oldest| time.0.saturating_sub(oldest.0).max(0));
        Some(Reading {
            id: self.id,
            epoch: u64::try_from(epoch.0).unwrap_or_default(),
            flow,
            backlog: end.saturating_sub(position),
            age_s: age_ms as f64 / 1e3,
            capacity_per_s: state.capacity.per_s(),
            arrived_per_s,
            applied_per_s,
            downstream_p99_s: state.answers.p99_s(now),
            measured_ago_s: match (state.under_way, state.worked_at) {
                (Some(_), Some(at)) => now.seconds_since(at),
                _ => 0.0,
            },
            begun: state.worked_at.is_some(),
        })
    }

    fn flow(&self, state: &State, now: Nanos) -> Flow {
        let since = |at: Option<Nanos>| at.map_or(0.0, |at| now.seconds_since(at));
        let batches_s = SILENT_AFTER_BATCHES * self.records_max / state.capacity.per_s();
        let fails = since(state.failing_since) >= GONE_AFTER_S;
        let is_silent = since(state.under_way) >= SILENT_AFTER_S.max(batches_s);
        if state.halted || fails || is_silent { Flow::StoreGone } else { Flow::Running }
    }

    fn now(&self) -> Nanos {
        nanos(self.origin.elapsed())
    }
}

/// How fast a count grows, smoothed.
#[derive(Debug, Default)]
struct Rate {
    last: Option<(u64, Nanos)>,
    per_s: f64,
}

impl Rate {
    /// Counts from here on.
    fn start(&mut self, count: u64, now: Nanos) {
        self.last = Some((count, now));
    }

    fn update(&mut self, count: u64, now: Nanos) -> f64 {
        let (before, at) = self.last.replace((count, now)).unwrap_or((count, now));
        let seconds = now.seconds_since(at);
        if seconds > 0.0 {
            let per_s = count.saturating_sub(before) as f64 / seconds;
            self.per_s += weight(seconds, RATE_SMOOTHING_S) * (per_s - self.per_s);
        }
        self.per_s
    }
}

fn nanos(duration: Duration) -> Nanos {
    Nanos(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
