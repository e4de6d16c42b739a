//! Waits between tries: doubling, with full jitter, so that many workers that lost one database do
//! not come back at the same instant.

use std::time::Duration;

use rand::Rng;

/// The waits of one run of failures.
#[derive(Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Waits from up to `min` to up to `max`.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    /// The next wait: anything from nothing to the current bound, which then doubles.
    pub fn next_wait(&mut self) -> Duration {
        let bound = self.next.min(self.max);
        self.next = bound.saturating_mul(2).min(self.max);
        bound.mul_f64(rand::rng().random_range(0.0..=1.0))
    }

    /// It worked: the next failure begins at the shortest wait.
    pub fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_double_up_to_the_longest_and_start_again() {
        let (min, max) = (Duration::from_millis(10), Duration::from_millis(35));
        let mut backoff = Backoff::new(min, max);
        for bound_ms in [10, 20, 35, 35] {
            assert!(backoff.next_wait() <= Duration::from_millis(bound_ms));
        }
        backoff.reset();
        assert!(backoff.next_wait() <= min);
    }
}
