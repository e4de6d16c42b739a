//! The paper's own rules, and scaling by processor use, which it compares itself with. Options and
//! references: an operator can see beside the loop what they do.

use crate::number::amount;
use crate::time::Nanos;

/// `p = (load - capacity) / load`, on above 15 s of lag, off below 10 s.
///
/// It lets in exactly what capacity serves, so that the lag stays where it was.
#[derive(Clone, Copy, Debug)]
pub struct ProbabilisticShed {
    /// Starts above, s.
    pub on_above_s: f64,
    /// Stops below, s.
    pub off_below_s: f64,
    active: bool,
}

impl Default for ProbabilisticShed {
    fn default() -> Self {
        Self { on_above_s: 15.0, off_below_s: 10.0, active: false }
    }
}

impl ProbabilisticShed {
    /// The share to drop.
    pub fn step(&mut self, lag_s: f64, load_per_s: f64, capacity_per_s: f64) -> f64 {
        let lag_s = amount(lag_s, 0.0);
        self.active = lag_s > self.on_above_s || (self.active && lag_s >= self.off_below_s);
        let load_per_s = amount(load_per_s, 0.0);
        if !self.active || load_per_s <= 0.0 {
            return 0.0;
        }
        ((load_per_s - amount(capacity_per_s, 0.0)) / load_per_s).max(0.0)
    }

    /// Is it on?
    pub const fn is_active(&self) -> bool {
        self.active
    }
}

/// Twice as many consumers when the lag is above 30 s, asked every 15 s, one order at a time.
#[derive(Clone, Copy, Debug)]
pub struct LagScale {
    /// Scales above, s.
    pub above_s: f64,
    /// Asked so often, s.
    pub period_s: f64,
    asked_at: Option<Nanos>,
}

impl Default for LagScale {
    fn default() -> Self {
        Self { above_s: 30.0, period_s: 15.0, asked_at: None }
    }
}

impl LagScale {
    /// How many there should be.
    pub fn step(&mut self, lag_s: f64, ready: u32, ordered: u32, now: Nanos) -> u32 {
        let due = self.asked_at.is_none_or(|at| now.seconds_since(at) >= self.period_s);
        if !due {
            return ordered;
        }
        self.asked_at = Some(now);
        let fires = amount(lag_s, 0.0) > self.above_s && ready >= ordered;
        if fires { ready.saturating_mul(2) } else { ordered }
    }
}

/// Scaling by processor use as it is usually set up: a target of 70 %, metrics that are a minute old,
/// asked every 15 s; a step is made when the last one has arrived.
#[derive(Clone, Copy, Debug)]
pub struct CpuScale {
    /// Wanted use.
    pub target_share: f64,
    /// Metrics are smoothed over so long, s.
    pub smoothing_s: f64,
    /// Asked so often, s.
    pub period_s: f64,
    used_share: f64,
    seen_at: Option<Nanos>,
    asked_at: Option<Nanos>,
}

impl Default for CpuScale {
    fn default() -> Self {
        Self {
            target_share: 0.7,
            smoothing_s: 60.0,
            period_s: 15.0,
            used_share: 0.0,
            seen_at: None,
            asked_at: None,
        }
    }
}

impl CpuScale {
    /// How many there should be; `used_share` is that of the consumers that are there.
    pub fn step(&mut self, used_share: f64, ready: u32, ordered: u32, now: Nanos) -> u32 {
        let dt_s = self.seen_at.map_or(0.0, |at| now.seconds_since(at));
        self.seen_at = Some(now);
        let weight = crate::number::weight(dt_s, self.smoothing_s);
        self.used_share += weight * (amount(used_share, 0.0).min(1.0) - self.used_share);
        let due = self.asked_at.is_none_or(|at| now.seconds_since(at) >= self.period_s);
        if !due || ready < ordered {
            return ordered;
        }
        self.asked_at = Some(now);
        // Within a tenth of the target nothing is done.
        let ratio = self.used_share / self.target_share;
        if ratio <= 1.1 {
            return ordered;
        }
        let mut wanted = ready;
        while f64::from(wanted) < f64::from(ready) * ratio {
            wanted += 1;
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Nanos {
        Nanos::from_millis(seconds * 1000)
    }

    #[test]
    fn probabilistic_shedding_has_its_hysteresis_and_its_formula() {
        let mut shed = ProbabilisticShed::default();
        let mut check = |lag_s: f64, expected: f64| {
            let share = shed.step(lag_s, 100.0, 40.0);
            assert!((share - expected).abs() < 1e-9, "{lag_s}: {share}");
        };
        check(14.0, 0.0);
        check(16.0, 0.6);
        check(11.0, 0.6);
        check(9.0, 0.0);
        check(11.0, 0.0);
        check(f64::NAN, 0.0);
        check(20.0, 0.6);
        assert!(shed.step(20.0, 30.0, 40.0).abs() < 1e-9);
    }

    #[test]
    fn lag_scaling_doubles_and_waits_for_what_it_ordered() {
        let mut scale = LagScale::default();
        assert_eq!(scale.step(31.0, 2, 2, at(0)), 4);
        assert_eq!(scale.step(90.0, 2, 4, at(14)), 4);
        assert_eq!(scale.step(90.0, 2, 4, at(15)), 4);
        assert_eq!(scale.step(90.0, 4, 4, at(30)), 8);
        assert_eq!(scale.step(29.0, 8, 8, at(45)), 8);
    }

    #[test]
    fn processor_scaling_is_slow_because_its_signal_saturates() {
        // Six times the load looks like full use, so each step is 1/0.7 of what is there; a new
        // consumer takes 30 s.
        let mut scale = CpuScale::default();
        let (mut ready, mut ordered, mut coming) = (1, 1, None);
        let mut reached = None;
        for second in 0..900 {
            if coming.is_some_and(|at| at <= second) {
                (ready, coming) = (ordered, None);
            }
            ordered = scale.step(1.0, ready, ordered, at(second)).min(6);
            if ordered > ready && coming.is_none() {
                coming = Some(second + 30);
            }
            if ready == 6 && reached.is_none() {
                reached = Some(second);
            }
        }
        assert!(reached.is_some_and(|second| (200..400).contains(&second)), "{reached:?}");
    }
}
