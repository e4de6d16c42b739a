//! Health: whether the process is alive, and whether it wants traffic.
//!
//! Liveness is the loops' own heartbeats and never depends on Kafka or a database: a restart cures a
//! stuck loop, not somebody else's outage. Readiness is a list of named conditions, all of which must
//! hold, and no drain.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Clock;

/// What a process reports of itself. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Health(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    draining: AtomicBool,
    conditions: Mutex<BTreeMap<&'static str, Result<(), String>>>,
    loops: Mutex<Vec<Arc<Loop>>>,
}

#[derive(Debug)]
struct Loop {
    name: String,
    deadline_ms: i64,
    last_ms: AtomicI64,
    ended: AtomicBool,
}

/// A loop's heartbeat. Dropping it says that the loop has ended, as intended.
#[derive(Debug)]
pub struct Heartbeat {
    clock: Clock,
    own: Arc<Loop>,
}

impl Health {
    /// Nothing is known yet: alive, and ready as soon as every condition set so far holds.
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Shared {
            clock,
            draining: AtomicBool::new(false),
            conditions: Mutex::default(),
            loops: Mutex::default(),
        }))
    }

    /// Registers a loop that promises to beat at least every `deadline`.
    pub fn heartbeat(&self, name: impl Into<String>, deadline: Duration) -> Heartbeat {
        let own = Arc::new(Loop {
            name: name.into(),
            deadline_ms: i64::try_from(deadline.as_millis()).unwrap_or(i64::MAX),
            last_ms: AtomicI64::new(self.0.clock.now().0),
            ended: AtomicBool::new(false),
        });
        let mut loops = self.0.loops.lock();
        loops.retain(|one| !one.ended.load(Ordering::Relaxed));
        loops.push(Arc::clone(&own));
        Heartbeat { clock: self.0.clock.clone(), own }
    }

    /// Sets a condition of readiness; the text says why it does not hold.
    pub fn set(&self, condition: &'static str, state: Result<(), String>) {
        self.0.conditions.lock().insert(condition, state);
    }

    /// The process is going down: not ready from now on.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Whether no loop is overdue; the text names those that are.
    pub fn live(&self) -> Result<(), String> {
        let now = self.0.clock.now().0;
        let overdue: Vec<String> = self
            .0
            .loops
            .lock()
            .iter()
            .filter(|one| !one.ended.load(Ordering::Relaxed))
            .filter_map(|one| {
                let silent_ms = now - one.last_ms.load(Ordering::Relaxed);
                (silent_ms > one.deadline_ms)
                    .then(|| format!("{} has been silent for {silent_ms} ms", one.name))
            })
            .collect();
        if overdue.is_empty() { Ok(()) } else { Err(overdue.join("; ")) }
    }

    /// Whether traffic is wanted; the text says why not.
    pub fn ready(&self) -> Result<(), String> {
        if self.0.draining.load(Ordering::Relaxed) {
            return Err("draining".to_owned());
        }
        let conditions = self.0.conditions.lock();
        let missing: Vec<String> = conditions
            .iter()
            .filter_map(|(name, state)| state.as_ref().err().map(|why| format!("{name}: {why}")))
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(missing.join("; ")) }
    }
}

impl Heartbeat {
    /// The loop has come round.
    pub fn beat(&self) {
        self.own.last_ms.store(self.clock.now().0, Ordering::Relaxed);
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        // A panic ends the loop without intent: it stays registered and becomes overdue.
        if !std::thread::panicking() {
            self.own.ended.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Millis;

    #[test]
    fn a_silent_loop_is_noticed_and_an_ended_one_is_not() {
        let clock = Clock::manual(Millis(0));
        let health = Health::new(clock.clone());
        let beat = health.heartbeat("worker", Duration::from_secs(1));
        clock.advance(1_001);
        assert_eq!(health.live(), Err("worker has been silent for 1001 ms".to_owned()));
        beat.beat();
        assert_eq!(health.live(), Ok(()));
        clock.advance(5_000);
        drop(beat);
        assert_eq!(health.live(), Ok(()));
    }

    #[test]
    fn ready_when_all_conditions_hold_and_no_drain() {
        let health = Health::new(Clock::manual(Millis(0)));
        health.set("log", Err("not reached yet".to_owned()));
        assert_eq!(health.ready(), Err("log: not reached yet".to_owned()));
        health.set("log", Ok(()));
        assert_eq!(health.ready(), Ok(()));
        health.drain();
        assert_eq!(health.ready(), Err("draining".to_owned()));
    }
}
