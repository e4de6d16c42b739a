//! Small batches made comparable with full ones: what the batches of a lightly loaded writer say of its
//! capacity, and when they say nothing.
//!
//! A batch of n records takes about a + b·n. Where little is offered n is small, and n over the time is
//! close to the arrival rate: taken for a capacity it would hold back the next burst. So a batch that was
//! not full is charged what its records would have cost in a full one, once the fixed part is known; a
//! batch that cannot tell is not counted at all.

use crate::number::amount;
use crate::time::{Nanos, SECOND_NS};

/// The cheapest batch is remembered for one to two of these: long enough to meet a small one, short
/// enough that a database that has become slower is not measured by its better days.
const WINDOW_NS: u64 = 2 * SECOND_NS;
/// A batch tells the fixed part from the rest where it has so many times the records of the cheapest
/// one. Of two batches of nearly the same size, noise would tell.
const SIZE_SPREAD: u64 = 4;
/// And took so many times as long: otherwise what is charged is a small difference of two times.
const TIME_SPREAD: u64 = 2;
/// Batches that say nothing by themselves are summed up to so long, and looked at together: noise of a
/// single one must not pass for speed.
const TOGETHER_NS: u64 = SECOND_NS / 4;

/// One batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchTime {
    /// Its records.
    pub records: u64,
    /// How long the writer was busy with it, ns.
    pub busy_ns: u64,
    /// No more would have fitted: it counts as it is.
    pub full: bool,
}

/// What to report for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Records.
    pub records: u64,
    /// The time they would take in full batches, ns.
    pub busy_ns: u64,
}

/// The state of one writer.
#[derive(Clone, Debug)]
pub struct Amortiser {
    records_max: u64,
    window: [Option<Cheapest>; 2],
    since: Nanos,
    together: Charge,
}

#[derive(Clone, Copy, Debug)]
struct Cheapest {
    records: u64,
    busy_ns: u64,
}

impl Amortiser {
    /// For batches of at most `records_max`.
    pub fn new(records_max: u64) -> Self {
        Self {
            records_max: records_max.max(1),
            window: [None; 2],
            since: Nanos(0),
            together: Charge { records: 0, busy_ns: 0 },
        }
    }

    /// What to report for a batch to an estimate that stands at `capacity_per_s`; `None`: nothing.
    pub fn charge(&mut self, batch: &BatchTime, capacity_per_s: f64, now: Nanos) -> Option<Charge> {
        if batch.records == 0 || batch.busy_ns == 0 {
            return None;
        }
        let cheapest = self.cheapest(batch, now);
        if batch.full || batch.records >= self.records_max {
            self.together = Charge { records: 0, busy_ns: 0 };
            return Some(Charge { records: batch.records, busy_ns: batch.busy_ns });
        }
        let tells = batch.records >= cheapest.records.saturating_mul(SIZE_SPREAD)
            && batch.busy_ns >= cheapest.busy_ns.saturating_mul(TIME_SPREAD);
        if tells {
            Some(self.as_if_full(batch, cheapest))
        } else {
            self.beyond(batch, capacity_per_s)
        }
    }

    /// The line through the cheapest batch and this one, read at a full batch.
    fn as_if_full(&self, batch: &BatchTime, cheapest: Cheapest) -> Charge {
        let more_ns = (batch.busy_ns - cheapest.busy_ns) as f64;
        let per_record_ns = more_ns / (batch.records - cheapest.records) as f64;
        let fixed_ns = cheapest.busy_ns as f64 - per_record_ns * cheapest.records as f64;
        let part = batch.records as f64 / self.records_max as f64;
        let busy_ns = batch.busy_ns as f64 - amount(fixed_ns, 0.0) * (1.0 - part);
        Charge { records: batch.records, busy_ns: (busy_ns as u64).max(1) }
    }

    /// Records over time never grow with smaller batches: a batch that was faster than the estimate
    /// proves it too low, whatever its size. Without this an estimate that was once too low would hold
    /// the load so low that no batch could ever correct it.
    fn beyond(&mut self, batch: &BatchTime, capacity_per_s: f64) -> Option<Charge> {
        self.together.records = self.together.records.saturating_add(batch.records);
        self.together.busy_ns = self.together.busy_ns.saturating_add(batch.busy_ns);
        if self.together.busy_ns < TOGETHER_NS {
            return None;
        }
        let together = std::mem::replace(&mut self.together, Charge { records: 0, busy_ns: 0 });
        let per_s = together.records as f64 / (together.busy_ns as f64 / 1e9);
        (per_s > capacity_per_s).then_some(together)
    }

    fn cheapest(&mut self, batch: &BatchTime, now: Nanos) -> Cheapest {
        if now.since(self.since) >= WINDOW_NS || now < self.since {
            self.window = [None, self.window[0]];
            self.since = now;
        }
        let this = Cheapest { records: batch.records, busy_ns: batch.busy_ns };
        let cheaper = |one: Option<Cheapest>| match one {
            Some(one) if one.busy_ns <= this.busy_ns => one,
            Some(_) | None => this,
        };
        self.window[0] = Some(cheaper(self.window[0]));
        let [newer, older] = self.window.map(cheaper);
        if older.busy_ns < newer.busy_ns { older } else { newer }
    }
}

#[cfg(test)]
mod tests;
