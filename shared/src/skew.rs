//! How far this process's clock is from one that it has to agree with: a broker's, the database's.
//!
//! A record carries the time at which the ingress received it; deduplication, lag and retention go by
//! that. A clock that is asked over a network answers some time between the question and the answer, so
//! half of that time is what is not known (F. Cristian, "Probabilistic clock synchronization", 1989).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus::GaugeVec;

use crate::clock::Millis;
use crate::health::Health;
use crate::metrics::Registry;

/// How often a clock is asked.
pub const INTERVAL: Duration = Duration::from_secs(30);
/// How often in a row; the quickest answer counts.
pub const TRIES: usize = 3;

/// The condition of readiness.
const CONDITION: &str = "clock";

/// Registers the metric; once per process.
pub fn family(registry: &Registry) -> GaugeVec {
    registry.gauges_float(
        "shock_clock_skew_seconds",
        "Seconds that this process's clock is ahead of Kafka's (ingress) or the database's \
         (consumer), asked every 30 s; exact to half of a round trip. Beyond \
         `clock.skew_ms_max` the ingress is not ready and the consumer applies nothing.",
        &["against"],
    )
}

/// One answer of another clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Ours minus the other's, in milliseconds.
    pub ahead_ms: i64,
    /// It may be so much more or less.
    pub uncertain_ms: i64,
}

impl Reading {
    /// What the other clock said between two readings of ours. None: ours was set back meanwhile.
    pub fn of(asked: Millis, theirs: Millis, answered: Millis) -> Option<Self> {
        let took = answered.0.checked_sub(asked.0).filter(|took| *took >= 0)?;
        let ahead_ms = (asked.0 + took / 2).saturating_sub(theirs.0);
        // Each of the three readings is cut to a millisecond.
        Some(Self { ahead_ms, uncertain_ms: took / 2 + 1 })
    }

    /// The one that is known better.
    pub fn better(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if other.uncertain_ms < self.uncertain_ms => other,
            _ => self,
        }
    }

    /// How far the clocks are apart at least.
    fn apart_ms(self) -> i64 {
        self.ahead_ms.saturating_abs().saturating_sub(self.uncertain_ms).max(0)
    }
}

/// The clock that ours is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// The broker that leads the clock topic.
    Kafka,
    /// The database.
    Database,
}

impl Other {
    const fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Database => "database",
        }
    }
}

/// What is known of one other clock: exported, bounded, and a condition of readiness. Before the
/// first reading the clocks are taken to agree. All clones are one.
#[derive(Clone, Debug)]
pub struct Skew(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    other: Other,
    bound_ms: i64,
    beyond: AtomicBool,
    /// Without a sample until there is a reading.
    seconds: GaugeVec,
    health: Health,
}

impl Skew {
    /// Nothing is known yet. Registers the metric.
    pub fn new(other: Other, bound: Duration, registry: &Registry, health: &Health) -> Self {
        Self(Arc::new(Inner {
            other,
            bound_ms: i64::try_from(bound.as_millis()).unwrap_or(i64::MAX),
            beyond: AtomicBool::new(false),
            seconds: family(registry),
            health: health.clone(),
        }))
    }

    /// Takes a reading in.
    pub fn read(&self, reading: Reading) {
        let Inner { other, bound_ms, beyond, seconds, health } = &*self.0;
        let is_beyond = reading.apart_ms() > *bound_ms;
        let was_beyond = beyond.swap(is_beyond, Ordering::Relaxed);
        let against = other.name();
        seconds.with_label_values(&[against]).set(reading.ahead_ms as f64 / 1_000.0);
        let state = if is_beyond {
            Err(format!(
                "this clock is {} ms off the {against}'s ({}), more than clock.skew_ms_max = {bound_ms}",
                reading.ahead_ms.saturating_abs(),
                if reading.ahead_ms > 0 { "ahead" } else { "behind" },
            ))
        } else {
            Ok(())
        };
        match &state {
            Err(why) if !was_beyond => tracing::error!("{why}"),
            Ok(()) if was_beyond => tracing::info!(against, "the clocks agree again"),
            Err(_) | Ok(()) => {}
        }
        health.set(CONDITION, state);
    }

    /// Whether the clocks are within the bound of one another, as far as is known.
    pub fn agrees(&self) -> bool {
        !self.0.beyond.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn half_of_the_round_trip_is_not_known() {
        let reading = |asked, theirs, answered| {
            Reading::of(Millis(asked), Millis(theirs), Millis(answered))
                .map(|it| (it.ahead_ms, it.uncertain_ms))
        };
        assert_eq!(reading(1_000, 1_005, 1_010), Some((0, 6)));
        assert_eq!(reading(1_000, 905, 1_010), Some((100, 6)));
        assert_eq!(reading(1_000, 2_000, 1_000), Some((-1_000, 1)));
        assert_eq!(reading(1_000, 1_000, 999), None, "set back meanwhile");
        assert_eq!(reading(0, i64::MIN, 0), Some((i64::MAX, 1)));
    }

    #[test]
    fn the_quickest_answer_counts() {
        let reading = |ahead_ms, uncertain_ms| Reading { ahead_ms, uncertain_ms };
        assert_eq!(reading(5, 10).better(Some(reading(1, 2))), reading(1, 2));
        assert_eq!(reading(1, 2).better(Some(reading(5, 10))), reading(1, 2));
        assert_eq!(reading(1, 2).better(None), reading(1, 2));
    }

    #[test]
    fn beyond_the_bound_is_said_and_taken_back() {
        let health = Health::new(Clock::manual(Millis(0)));
        let bound = Duration::from_secs(5);
        let skew = Skew::new(Other::Database, bound, &Registry::new(), &health);
        assert!(skew.agrees());
        assert_eq!(health.ready(), Ok(()));
        skew.read(Reading { ahead_ms: -7_000, uncertain_ms: 2_000 });
        assert!(skew.agrees(), "5 s are possible");
        skew.read(Reading { ahead_ms: -7_000, uncertain_ms: 1_999 });
        assert!(!skew.agrees());
        let why = health.ready().expect_err("not ready");
        assert_eq!(
            why,
            "clock: this clock is 7000 ms off the database's (behind), more than \
             clock.skew_ms_max = 5000"
        );
        skew.read(Reading { ahead_ms: 3, uncertain_ms: 1 });
        assert!(skew.agrees());
        assert_eq!(health.ready(), Ok(()));
    }
}
