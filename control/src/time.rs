//! Time as it is handed in: an instant on the caller's monotonic scale. Never read here.

/// Nanoseconds since an origin of the caller's choice; one loop uses one origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

/// Nanoseconds in a second.
pub const SECOND_NS: u64 = 1_000_000_000;

impl Nanos {
    /// So many milliseconds after the origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since `earlier`; 0 where the clock went backwards.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Seconds since `earlier`; 0 where the clock went backwards.
    pub fn seconds_since(self, earlier: Self) -> f64 {
        self.since(earlier) as f64 / 1e9
    }

    /// So many seconds later; what is not a finite positive number adds nothing.
    pub fn plus_seconds(self, seconds: f64) -> Self {
        Self(self.0.saturating_add(nanos(seconds)))
    }
}

/// Seconds as whole nanoseconds: 0 for what is negative or no number, `u64::MAX` for what is too long.
pub fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_goes_backwards_or_jumps_is_harmless() {
        assert_eq!(Nanos(5).since(Nanos(9)), 0);
        assert!(Nanos(5).seconds_since(Nanos(9)).abs() < f64::EPSILON);
        assert_eq!(Nanos(u64::MAX).plus_seconds(1.0), Nanos(u64::MAX));
        assert_eq!(Nanos(7).plus_seconds(f64::NAN), Nanos(7));
        assert_eq!(Nanos(7).plus_seconds(-1.0), Nanos(7));
        assert_eq!(nanos(f64::INFINITY), u64::MAX);
        assert_eq!(nanos(1.5), 1_500_000_000);
    }
}
