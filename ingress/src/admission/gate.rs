//! One (class, partition) at the gate: its bucket, and what is asked of it.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use control::gcra::Bucket;
use shared::position::{Class, PartitionId};
use shared::route::Router;

use super::decision::Step;

/// A counter that one thread reads and all add to.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    /// Adds.
    pub fn add(&self, events: u32) {
        self.0.fetch_add(u64::from(events), Ordering::Relaxed);
    }

    /// Takes back.
    pub fn take(&self, events: u32) {
        self.0.fetch_sub(u64::from(events), Ordering::Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A partition's. On cache lines of its own: cores that serve other partitions do not meet here.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Gate {
    /// The limit, as far as it is this replica's.
    pub bucket: Bucket,
    /// Asked for, events.
    pub offered: Count,
    /// Let in, events.
    pub admitted: Count,
    /// How long what waits beyond the setpoint will take, ms.
    behind_ms: AtomicU32,
    /// What closes it where it is not the loop: 0 nothing, 1 an operator, 2 the breaker.
    cause: AtomicU8,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Gates([Vec<Gate>; 3]);

impl Gate {
    fn open() -> Self {
        Self {
            bucket: Bucket::new(None),
            offered: Count::default(),
            admitted: Count::default(),
            behind_ms: AtomicU32::new(0),
            cause: AtomicU8::new(0),
        }
    }

    /// Sets what its limit is made by: an operator, the breaker, or the loop.
    pub fn set_cause(&self, cause: Option<Step>) {
        let cause = match cause {
            Some(Step::Pin) => 1,
            Some(Step::Breaker) => 2,
            _ => 0,
        };
        self.cause.store(cause, Ordering::Relaxed);
    }

    /// The step that refuses: an operator's pin is no want of capacity.
    pub fn step(&self, by_loop: Step) -> Step {
        match self.cause.load(Ordering::Relaxed) {
            1 => Step::Pin,
            2 => Step::Breaker,
            _ => by_loop,
        }
    }

    /// Sets how long whoever is refused should stay away at least, s.
    pub fn set_behind_s(&self, seconds: f64) {
        // Saturates, and what is no number is 0.
        self.behind_ms.store((seconds * 1e3) as u32, Ordering::Relaxed);
    }

    /// How long whoever is refused should stay away at least, s.
    pub fn behind_s(&self) -> f64 {
        f64::from(self.behind_ms.load(Ordering::Relaxed)) / 1e3
    }
}

impl Gates {
    /// Open ones.
    pub fn new(router: &Router) -> Self {
        Self(Class::ALL.map(|class| (0..router.partitions(class)).map(|_| Gate::open()).collect()))
    }

    /// A partition's.
    pub fn of(&self, id: PartitionId) -> &Gate {
        &self.0[id.class.index()][id.partition.0 as usize]
    }
}
