//! Gains from the dead time, after SIMC (Skogestad 2003) for an integrating plant.

use crate::number::amount;

/// Below and above these, seconds, a dead time is not believed.
pub const DEAD_TIME_S_BOUNDS: (f64, f64) = (0.1, 10.0);

/// Gains of the loop. The plant is dL/dt = u - 1 whatever the scale, so they have no events in them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gains {
    /// Proportional, 1/s.
    pub kp: f64,
    /// Integral, 1/s².
    pub ki: f64,
    /// Derivative on the measurement, dimensionless. 0 by default: it amplifies the noise of a 500 ms
    /// report and the dead time leaves it nothing to win.
    pub kd: f64,
    /// The derivative is smoothed over `kd / kp / filter_n` seconds.
    pub filter_n: f64,
}

impl Gains {
    /// `kp = 0.5/θ` within [0.2, 0.8], `Ti = 8θ`: half of SIMC's tightest setting. The loop rings from
    /// `kp = π/(2θ)` on.
    pub fn from_dead_time(dead_time_s: f64) -> Self {
        let (shortest, longest) = DEAD_TIME_S_BOUNDS;
        let dead_time_s = amount(dead_time_s, 1.0).clamp(shortest, longest);
        let kp = (0.5 / dead_time_s).clamp(0.2, 0.8);
        Self { kp, ki: kp / (8.0 * dead_time_s), kd: 0.0, filter_n: 5.0 }
    }

    /// The same with whatever is no finite, non-negative number taken from `instead`.
    pub fn sane(self, instead: Self) -> Self {
        Self {
            kp: amount(self.kp, instead.kp),
            ki: amount(self.ki, instead.ki),
            kd: amount(self.kd, instead.kd),
            filter_n: amount(self.filter_n, instead.filter_n).max(1.0),
        }
    }
}

impl Default for Gains {
    fn default() -> Self {
        Self::from_dead_time(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gains_follow_the_dead_time_within_bounds() {
        let check = |dead_time: f64, kp: f64| {
            let gains = Gains::from_dead_time(dead_time);
            assert!((gains.kp - kp).abs() < 1e-12, "{dead_time}: {}", gains.kp);
        };
        check(1.0, 0.5);
        check(0.1, 0.8);
        check(2.0, 0.25);
        check(60.0, 0.2);
        check(f64::NAN, 0.5);
        assert!((Gains::default().ki - 0.0625).abs() < 1e-12);
    }
}
