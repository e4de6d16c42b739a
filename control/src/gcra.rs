//! Our bucket: the generic cell rate algorithm (ITU-T I.371) on one atomic, for rates that move.
//!
//! The state is the theoretical arrival time (TAT): how far ahead of the clock the admitted events
//! reach. It is in time, not in tokens, so a new rate is one store: nothing is refilled, nothing
//! forgotten, and no event is let in twice. A caller brings its level's tolerance; an event passes
//! while `TAT < now + tolerance`, and then `TAT = max(TAT, now) + cost`.
//!
//! `governor` keeps the limits that are the same for all: its quota cannot change in place.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering};

use crate::level::Level;
use crate::time::{Nanos, nanos};

/// TAT counts sixteenths of a nanosecond: a million events/s are met to 0.01 %, and it lasts 36 years.
const FRACTION_BITS: u32 = 4;
/// The cost that admits nothing.
const CLOSED: u64 = u64::MAX;
/// One batch is charged with at most so much time, ns: a larger one is admitted in part.
pub const BATCH_NS_MAX: u64 = 2_000_000_000;
/// In a depth an event counts at most so long, ns: 14 of them 0.56 s. (Simulated, 0.5 s of depth cost 0.15 s
/// of lag.)
const EVENT_NS_MAX: u64 = 40_000_000;
/// A slower rate admits nothing.
const SLOWEST_PER_S: f64 = 1e-4;
/// TAT is never further ahead than this, ns, or two events of a slow bucket: a clock that was set back cannot
/// close it for long.
const AHEAD_NS_MAX: u64 = 3_000_000_000;

/// A bucket. 16 bytes; shared by reference, no lock.
#[derive(Debug)]
pub struct Bucket {
    /// Theoretical arrival time, in 1/16 ns.
    tat: AtomicU64,
    /// Time per event, in 1/16 ns; 0 admits everything.
    cost: AtomicU64,
}

/// How far ahead of the clock the admitted events may be: the bucket's depth, in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tolerance {
    /// Always passes, and is charged.
    Always,
    /// Nanoseconds.
    Nanos(u64),
    /// Nanoseconds, or the time of so many events where that is more; of a slow bucket's, 40 ms each.
    AtLeast {
        /// Nanoseconds.
        nanos: u64,
        /// Events.
        events: u32,
    },
}

/// What was let in. Goes back with [`Bucket::give_back`] where a later step refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Permit {
    /// So many events from the front.
    pub events: u32,
    /// What each was charged, in 1/16 ns.
    cost: u64,
}

/// What was not let in, and when it pays to ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Nanoseconds until the bucket would admit one; `None`: not before the rate changes.
    pub wait_ns: Option<u64>,
}

impl Tolerance {
    /// How far ahead the bucket may be, in 1/16 ns, at a cost; `None`: however far.
    fn ahead(self, cost: u64) -> Option<u64> {
        let (nanos, events) = match self {
            Self::Always => return None,
            Self::Nanos(nanos) => (nanos, 0),
            Self::AtLeast { nanos, events } => (nanos, events),
        };
        let least = cost.min(EVENT_NS_MAX << FRACTION_BITS).saturating_mul(u64::from(events));
        Some(nanos.saturating_mul(1 << FRACTION_BITS).max(least))
    }

    /// Burst in seconds; what is not a positive number is none.
    pub fn seconds(seconds: f64) -> Self {
        Self::Nanos(nanos(seconds))
    }

    /// A level's.
    pub fn of(level: Level) -> Self {
        match level.tolerance_s() {
            None => Self::Always,
            Some(seconds) => {
                Self::AtLeast { nanos: nanos(seconds), events: level.tolerance_events() }
            }
        }
    }
}

impl Bucket {
    /// A full bucket; `None`: no limit.
    pub fn new(per_s: Option<f64>) -> Self {
        Self { tat: AtomicU64::new(0), cost: AtomicU64::new(cost_of(per_s)) }
    }

    /// Changes the rate for the next event on. What was admitted stays charged as it was.
    pub fn set_rate(&self, per_s: Option<f64>) {
        self.cost.store(cost_of(per_s), Ordering::Relaxed);
    }

    /// The rate, events/s; `None`: no limit.
    pub fn rate_per_s(&self) -> Option<f64> {
        match self.cost.load(Ordering::Relaxed) {
            0 => None,
            CLOSED => Some(0.0),
            cost => Some(f64::from(1_u32 << FRACTION_BITS) * 1e9 / cost as f64),
        }
    }

    /// Takes up to `events` at once, or nothing. A batch goes into debt: it passes while there is room
    /// for its first event, and is charged whole; beyond [`BATCH_NS_MAX`] only its front passes.
    ///
    /// # Errors
    /// Nothing was taken, and when it pays to ask again.
    pub fn admit(&self, events: u32, tolerance: Tolerance, now: Nanos) -> Result<Permit, Refused> {
        let cost = self.cost.load(Ordering::Relaxed);
        if events == 0 || cost == 0 {
            return Ok(Permit { events, cost: 0 });
        }
        if cost == CLOSED {
            // What always passes needs no room and leaves no debt.
            return match tolerance {
                Tolerance::Always => Ok(Permit { events, cost: 0 }),
                Tolerance::Nanos(_) | Tolerance::AtLeast { .. } => Err(Refused { wait_ns: None }),
            };
        }
        let now = now.0.saturating_mul(1 << FRACTION_BITS);
        let ahead = tolerance.ahead(cost);
        let events = if ahead.is_some() { events.min(batch_max(cost)) } else { events };
        let charge = cost.saturating_mul(u64::from(events));
        let mut seen = self.tat.load(Ordering::Relaxed);
        loop {
            let from = believed(seen, now, cost);
            if let Some(ahead) = ahead {
                let room_until = now.saturating_add(ahead);
                if from >= room_until {
                    let wait = (from - room_until) >> FRACTION_BITS;
                    return Err(Refused { wait_ns: Some(wait + 1) });
                }
            }
            let next = from.saturating_add(charge);
            // The TAT is the whole state: nothing else is published with it, so the order is relaxed.
            match self.tat.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(Permit { events, cost }),
                Err(moved) => seen = moved,
            }
        }
    }

    /// Gives back the last `events` of a permit, at what they were charged.
    pub fn give_back(&self, permit: Permit, events: u32) {
        let back = permit.cost.saturating_mul(u64::from(events.min(permit.events)));
        let mut seen = self.tat.load(Ordering::Relaxed);
        loop {
            let next = seen.saturating_sub(back);
            match self.tat.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(moved) => seen = moved,
            }
        }
    }

    /// How far the admitted events reach ahead of the clock, ns; 0 where the bucket is full.
    pub fn ahead_ns(&self, now: Nanos) -> u64 {
        let now = now.0.saturating_mul(1 << FRACTION_BITS);
        let cost = self.cost.load(Ordering::Relaxed);
        (believed(self.tat.load(Ordering::Relaxed), now, cost) - now) >> FRACTION_BITS
    }
}

/// The TAT as far as it can be believed: not in the past, and not further ahead than any debt.
fn believed(tat: u64, now: u64, cost: u64) -> u64 {
    let slow = if cost == CLOSED { 0 } else { cost.saturating_mul(2) };
    tat.clamp(now, now.saturating_add(slow.max(AHEAD_NS_MAX << FRACTION_BITS)))
}

/// The most events of one batch; at least one, or a slow bucket would never admit any.
fn batch_max(cost: u64) -> u32 {
    u32::try_from(((BATCH_NS_MAX << FRACTION_BITS) / cost).max(1)).unwrap_or(u32::MAX)
}

/// The time per event. A rate that is no positive number admits nothing: a limit that cannot be read
/// is no reason to open the gate.
fn cost_of(per_s: Option<f64>) -> u64 {
    let Some(per_s) = per_s else { return 0 };
    if per_s.is_nan() || per_s < SLOWEST_PER_S {
        return CLOSED;
    }
    let cost = (f64::from(1_u32 << FRACTION_BITS) * 1e9 / per_s + 0.5) as u64;
    cost.max(1)
}

#[cfg(all(test, not(loom)))]
mod tests;
