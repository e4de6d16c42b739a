//! Additive increase, multiplicative decrease on the age of the oldest record: what most adaptive
//! limiters do. An option and a reference; it saws where the loop holds still.

use crate::number::amount;
use crate::time::Nanos;

/// The rule's settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AimdConfig {
    /// The unit rate, events/s: first limit and scale of the steps.
    pub unit_per_s: f64,
    /// Decreases above this age, s.
    pub age_max_s: f64,
    /// Increase per step, as a share of the unit.
    pub increase: f64,
    /// Factor of a decrease.
    pub decrease: f64,
    /// At most one decrease in so long, s.
    pub hold_s: f64,
}

impl AimdConfig {
    /// The usual figures: +5 % per step, ×0.7 at most once a second.
    pub fn of(unit_per_s: f64) -> Self {
        Self { unit_per_s, age_max_s: 1.0, increase: 0.05, decrease: 0.7, hold_s: 1.0 }
    }
}

/// The rule's state.
#[derive(Clone, Copy, Debug)]
pub struct Aimd {
    config: AimdConfig,
    limit_per_s: f64,
    decreased_at: Option<Nanos>,
}

impl Aimd {
    /// Starts at the unit rate.
    pub fn new(config: AimdConfig) -> Self {
        let unit_per_s = amount(config.unit_per_s, 1.0).max(1.0);
        let config = AimdConfig { unit_per_s, ..config };
        Self { config, limit_per_s: unit_per_s, decreased_at: None }
    }

    /// The limit, events/s. It grows only where at least half of it is used.
    pub fn step(&mut self, age_s: f64, offered_per_s: f64, now: Nanos) -> f64 {
        let unit = self.config.unit_per_s;
        if amount(age_s, 0.0) > self.config.age_max_s {
            let held =
                self.decreased_at.is_some_and(|at| now.seconds_since(at) < self.config.hold_s);
            if !held {
                self.limit_per_s *= self.config.decrease;
                self.decreased_at = Some(now);
            }
        } else if amount(offered_per_s, 0.0) > self.limit_per_s / 2.0 {
            self.limit_per_s += self.config.increase * unit;
        }
        self.limit_per_s = self.limit_per_s.clamp(0.05 * unit, 10.0 * unit);
        self.limit_per_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_saws() {
        let mut aimd = Aimd::new(AimdConfig::of(1000.0));
        let mut check = |millis: u64, age_s: f64, offered: f64, expected: f64| {
            let limit = aimd.step(age_s, offered, Nanos::from_millis(millis));
            assert!((limit - expected).abs() < 1e-6, "{millis}: {limit}");
        };
        check(0, 0.0, 5000.0, 1050.0);
        check(500, 2.0, 5000.0, 735.0);
        check(1000, 2.0, 5000.0, 735.0);
        check(1500, 2.0, 5000.0, 514.5);
        check(2000, 0.0, 100.0, 514.5);
        check(2500, f64::NAN, f64::NAN, 514.5);
    }
}
