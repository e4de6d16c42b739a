//! The writer's circuit breaker: opens on a share of failures, waits, and comes back in steps.
//!
//! It acts on the writer, per database. What it means for the ingress is the profile's: under `absorb`
//! the log takes what comes, and only `breaker.ingress = reject` refuses as the paper has it.

use crate::number::amount;
use crate::time::{Nanos, SECOND_NS};

/// Failures are counted over so many seconds.
const WINDOW_S: usize = 10;
/// The shares of load that are tried after the cool-down.
const RAMP: [f64; 4] = [0.10, 0.25, 0.50, 1.0];

/// When it opens and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerConfig {
    /// Opens at this share of failures.
    pub failures_share: f64,
    /// Fewer samples than this in the window decide nothing.
    pub samples_min: u32,
    /// Stays open for so long, s, more or less a fifth.
    pub cooldown_s: f64,
    /// Each step of the ramp takes so long, s.
    pub step_s: f64,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self { failures_share: 0.05, samples_min: 100, cooldown_s: 30.0, step_s: 5.0 }
    }
}

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Everything goes.
    Closed,
    /// Nothing goes.
    Open {
        /// When the first trial is let through.
        until: Nanos,
    },
    /// A part goes; the step says which.
    Ramp {
        /// Place in the ramp.
        step: usize,
        /// When it began.
        since: Nanos,
    },
}

/// A breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    config: BreakerConfig,
    state: State,
    /// Samples and failures of each of the last seconds.
    window: [(u32, u32); WINDOW_S],
    /// The second that was counted last.
    second: u64,
}

impl Breaker {
    /// A closed one.
    pub fn new(config: BreakerConfig) -> Self {
        Self { config, state: State::Closed, window: [(0, 0); WINDOW_S], second: 0 }
    }

    /// Counts results. `jitter` in `[0, 1]` spreads the ends of cool-downs, so that breakers that
    /// opened together do not come back together.
    pub fn report(&mut self, succeeded: u32, failed: u32, now: Nanos, jitter: f64) {
        self.advance(now);
        if matches!(self.state, State::Open { .. }) {
            // What was under way when it opened.
            return;
        }
        let second = usize::try_from(self.second % WINDOW_S as u64).unwrap_or(0);
        let (samples, failures) = &mut self.window[second];
        *samples = samples.saturating_add(succeeded).saturating_add(failed);
        *failures = failures.saturating_add(failed);
        let (samples, failures) = self.window.iter().fold((0_u32, 0_u32), |sum, one| {
            (sum.0.saturating_add(one.0), sum.1.saturating_add(one.1))
        });
        let bad = f64::from(failures) >= self.config.failures_share * f64::from(samples);
        // A trial that fails needs no hundred samples: it was expected to.
        let enough = match self.state {
            State::Ramp { .. } => failures > 0,
            State::Closed | State::Open { .. } => samples >= self.config.samples_min,
        };
        if bad && enough && failures > 0 {
            let around = 0.8 + 0.4 * amount(jitter, 0.5).min(1.0);
            self.state = State::Open { until: now.plus_seconds(self.config.cooldown_s * around) };
            self.window = [(0, 0); WINDOW_S];
        }
    }

    /// What share of the load may go to the writer now.
    pub fn share(&mut self, now: Nanos) -> f64 {
        self.advance(now);
        match self.state {
            State::Closed => 1.0,
            State::Open { .. } => 0.0,
            State::Ramp { step, .. } => RAMP[step],
        }
    }

    /// Where it stood when it was last asked.
    pub const fn state(&self) -> State {
        self.state
    }

    fn advance(&mut self, now: Nanos) {
        let second = now.0 / SECOND_NS;
        // A clock that was set back starts the window again.
        let passed = second.checked_sub(self.second).unwrap_or(WINDOW_S as u64);
        for ago in 0..passed.min(WINDOW_S as u64) {
            let at = usize::try_from(second.wrapping_sub(ago) % WINDOW_S as u64).unwrap_or(0);
            self.window[at] = (0, 0);
        }
        self.second = second;
        match self.state {
            State::Open { until } if now >= until => {
                self.state = State::Ramp { step: 0, since: now };
            }
            State::Ramp { step, since } if now.seconds_since(since) >= self.config.step_s => {
                self.state = match step + 1 {
                    next if next < RAMP.len() => State::Ramp { step: next, since: now },
                    _ => State::Closed,
                };
            }
            State::Closed | State::Open { .. } | State::Ramp { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Nanos {
        Nanos::from_millis(1_000_000 + millis)
    }

    #[test]
    fn a_few_failures_and_a_small_share_keep_it_closed() {
        let mut breaker = Breaker::new(BreakerConfig::default());
        breaker.report(0, 99, at(0), 0.5);
        assert_eq!(breaker.state(), State::Closed);
        let mut breaker = Breaker::new(BreakerConfig::default());
        for second in 0..60 {
            breaker.report(961, 39, at(second * 1000), 0.5);
        }
        assert_eq!(breaker.state(), State::Closed);
    }

    #[test]
    fn it_opens_waits_and_comes_back_in_steps() {
        let mut breaker = Breaker::new(BreakerConfig::default());
        breaker.report(950, 50, at(0), 0.5);
        let shares = [
            (0, 0.0),
            (29_900, 0.0),
            (30_000, 0.1),
            (34_900, 0.1),
            (35_000, 0.25),
            (40_000, 0.5),
            (45_000, 1.0),
            (50_000, 1.0),
        ];
        for (millis, share) in shares {
            assert!((breaker.share(at(millis)) - share).abs() < 1e-9, "at {millis}");
        }
        assert_eq!(breaker.state(), State::Closed);
    }

    #[test]
    fn a_trial_that_fails_opens_it_again() {
        let mut breaker = Breaker::new(BreakerConfig::default());
        breaker.report(0, 100, at(0), 0.0);
        assert!(breaker.share(at(23_900)).abs() < 1e-9);
        assert!((breaker.share(at(24_000)) - 0.1).abs() < 1e-9);
        breaker.report(3, 1, at(24_100), 1.0);
        assert!(breaker.share(at(60_000)).abs() < 1e-9, "30 s and a fifth");
        assert!((breaker.share(at(60_200)) - 0.1).abs() < 1e-9);
    }

    #[test]
    fn old_results_and_clock_jumps_do_not_count() {
        let mut breaker = Breaker::new(BreakerConfig::default());
        breaker.report(0, 60, at(0), 0.5);
        breaker.report(0, 60, at(10_000), 0.5);
        assert_eq!(breaker.state(), State::Closed);
        breaker.report(0, 60, Nanos(5), 0.5);
        assert_eq!(breaker.state(), State::Closed);
        breaker.report(0, u32::MAX, Nanos(u64::MAX), f64::NAN);
        assert!(breaker.share(Nanos(0)).abs() < 1e-9);
    }
}
