//! The measured dead time: from a change to its effect. Gains follow it, so it moves slowly and an odd
//! sample moves nothing.

use crate::gains::DEAD_TIME_S_BOUNDS;
use crate::number::amount;

/// Weight of a new sample: some thirty acknowledgements to a new value.
const WEIGHT: f64 = 0.1;
/// A sample counts at most this many times the estimate: a paused process is no dead time.
const STEP_MAX: f64 = 4.0;

/// Estimates θ = report's age + half a period + the time from a limit's publication to its use.
#[derive(Clone, Copy, Debug)]
pub struct DeadTime {
    period_s: f64,
    report_age_s: f64,
    applied_after_s: f64,
}

impl DeadTime {
    /// Starts at `dead_time_s`, with a tick every `period_s`.
    pub fn new(dead_time_s: f64, period_s: f64) -> Self {
        let period_s = amount(period_s, 0.5);
        let rest = (amount(dead_time_s, 1.0) - period_s / 2.0).max(0.0);
        Self { period_s, report_age_s: rest / 2.0, applied_after_s: rest / 2.0 }
    }

    /// How old a report was when it was used, s.
    pub fn report_used(&mut self, age_s: f64) {
        self.report_age_s = moved(self.report_age_s, age_s);
    }

    /// How long after its publication a replica applied a limit, s: the slowest replica's word, so that
    /// the estimate is an upper one.
    pub fn limit_applied(&mut self, after_s: f64) {
        self.applied_after_s = moved(self.applied_after_s, after_s);
    }

    /// θ, s.
    pub fn seconds(&self) -> f64 {
        let (shortest, longest) = DEAD_TIME_S_BOUNDS;
        (self.report_age_s + self.period_s / 2.0 + self.applied_after_s).clamp(shortest, longest)
    }
}

fn moved(estimate: f64, sample: f64) -> f64 {
    let most = (estimate * STEP_MAX).max(DEAD_TIME_S_BOUNDS.0);
    estimate + WEIGHT * (amount(sample, estimate).min(most) - estimate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_converges_and_one_pause_does_not_move_it_far() {
        let mut dead_time = DeadTime::new(1.0, 0.5);
        for _ in 0..200 {
            dead_time.report_used(0.25);
            dead_time.limit_applied(0.5);
        }
        assert!((dead_time.seconds() - 1.0).abs() < 1e-6);
        dead_time.limit_applied(3600.0);
        assert!(dead_time.seconds() < 1.2, "{}", dead_time.seconds());
        for odd in [f64::NAN, f64::NEG_INFINITY, -1.0] {
            let before = dead_time.seconds();
            dead_time.report_used(odd);
            assert_eq!(dead_time.seconds().to_bits(), before.to_bits());
        }
    }
}
