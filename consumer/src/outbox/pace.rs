//! How much of a sink's rows may go now: the breaker, the pauses that its receiver asks for, and what a
//! refusal is taken for.

use std::time::Duration;

use control::breaker::{Breaker, BreakerConfig, State};
use control::time::Nanos;

use super::target::{Outcome, Reason};
use crate::backoff::Backoff;

/// Opens when half of ten requests in ten seconds fail: a receiver has few of them, and one that is
/// gone is asked again after a quarter of a minute.
const BREAKER: BreakerConfig =
    BreakerConfig { failures_share: 0.5, samples_min: 10, cooldown_s: 15.0, step_s: 2.0 };

/// So many refusals with nothing sent between them are no longer about the events: the URL or the secret
/// is wrong. What follows waits, and does not die.
const REFUSALS_MAX: u32 = 20;

/// What an outcome means for its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It is done.
    Done,
    /// It is tried again; not before so long.
    Again(Reason, Option<Duration>),
    /// It is given up.
    Dead(Reason),
}

#[derive(Debug)]
pub(super) struct Pace {
    breaker: Breaker,
    paused_until: Option<Nanos>,
    backoff: Backoff,
    refusals: u32,
    careful: bool,
}

impl Pace {
    /// Of a sink that nothing is known of.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self {
            breaker: Breaker::new(BREAKER),
            paused_until: None,
            backoff: Backoff::new(min, max),
            refusals: 0,
            careful: false,
        }
    }

    /// The share of the load that may go.
    pub fn share(&mut self, now: Nanos) -> f64 {
        match self.paused_until {
            Some(until) if now < until => 0.0,
            Some(_) | None => {
                self.paused_until = None;
                self.breaker.share(now)
            }
        }
    }

    /// Whether the last ones failed.
    pub const fn is_careful(&self) -> bool {
        self.careful
    }

    /// 0 closed, 1 coming back, 2 open.
    pub fn level(&self) -> i64 {
        match self.breaker.state() {
            State::Closed => 0,
            State::Ramp { .. } => 1,
            State::Open { .. } => 2,
        }
    }

    /// Takes an outcome into account.
    pub fn judge(&mut self, outcome: &Outcome, now: Nanos) -> Meaning {
        let jitter = rand::random();
        match *outcome {
            Outcome::Sent => {
                self.breaker.report(1, 0, now, jitter);
                self.refusals = 0;
                self.careful = false;
                self.backoff.reset();
                Meaning::Done
            }
            Outcome::Refused(reason @ Reason::Status(_)) => {
                self.refusals = self.refusals.saturating_add(1);
                let events = self.refusals <= REFUSALS_MAX;
                // A receiver that answers is there.
                self.breaker.report(u32::from(events), u32::from(!events), now, jitter);
                if events { Meaning::Dead(reason) } else { Meaning::Again(reason, None) }
            }
            Outcome::Refused(reason) => Meaning::Dead(reason),
            Outcome::Failed(reason, wait) => {
                self.breaker.report(0, 1, now, jitter);
                self.careful = true;
                if let Some(wait) = wait {
                    self.pause(wait, now);
                }
                Meaning::Again(reason, wait)
            }
        }
    }

    /// The receiver as a whole failed: a wait that grows.
    pub fn stumble(&mut self, now: Nanos) {
        let wait = self.backoff.next_wait();
        self.pause(wait, now);
    }

    fn pause(&mut self, wait: Duration, now: Nanos) {
        let until = now.plus_seconds(wait.as_secs_f64());
        self.paused_until = self.paused_until.max(Some(until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: Outcome = Outcome::Refused(Reason::Status(400));

    fn pace() -> Pace {
        Pace::new(Duration::from_millis(1), Duration::from_millis(1))
    }

    fn at(seconds: u64) -> Nanos {
        Nanos::from_millis(1_000 * (1_000 + seconds))
    }

    #[test]
    fn refusals_without_end_are_the_sinks_fault() {
        let mut pace = pace();
        for _ in 0..REFUSALS_MAX {
            assert_eq!(pace.judge(&REFUSED, at(0)), Meaning::Dead(Reason::Status(400)));
        }
        assert_eq!(pace.judge(&REFUSED, at(0)), Meaning::Again(Reason::Status(400), None));
        assert_eq!(pace.judge(&Outcome::Sent, at(0)), Meaning::Done);
        assert_eq!(pace.judge(&REFUSED, at(0)), Meaning::Dead(Reason::Status(400)));
        // What is wrong with the row itself is no sign of that.
        for _ in 0..2 * REFUSALS_MAX {
            let large = Outcome::Refused(Reason::TooLarge);
            assert_eq!(pace.judge(&large, at(0)), Meaning::Dead(Reason::TooLarge));
        }
    }

    #[test]
    fn failures_open_it_and_it_comes_back() {
        let mut pace = pace();
        let failed = Outcome::Failed(Reason::Timeout, None);
        for _ in 0..10 {
            assert_eq!(pace.judge(&failed, at(0)), Meaning::Again(Reason::Timeout, None));
        }
        assert_eq!((pace.share(at(1)), pace.level()), (0.0, 2));
        assert!(pace.share(at(18)) > 0.0 && pace.share(at(18)) < 1.0);
        assert_eq!(pace.level(), 1);
        let shares: Vec<f64> = (19..40).map(|seconds| pace.share(at(seconds))).collect();
        assert!(shares.is_sorted() && (shares[20] - 1.0).abs() < 1e-9, "{shares:?}");
    }

    #[test]
    fn a_pause_that_is_asked_for_is_kept_and_never_shortened() {
        let mut pace = pace();
        let wait =
            |seconds| Outcome::Failed(Reason::Status(429), Some(Duration::from_secs(seconds)));
        pace.judge(&wait(60), at(0));
        pace.judge(&wait(1), at(0));
        assert_eq!(pace.share(at(59)), 0.0);
        assert!((pace.share(at(60)) - 1.0).abs() < 1e-9);
        assert!(pace.is_careful());
    }
}
