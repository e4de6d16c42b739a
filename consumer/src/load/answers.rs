//! The database's latest answers to one writer's batches, for their 99th percentile.

use std::collections::VecDeque;

use control::time::Nanos;

/// So many of the latest are kept.
const KEPT_MAX: usize = 256;
/// And count for so long, s.
const COUNT_S: f64 = 10.0;

/// Times of answers, s.
#[derive(Debug, Default)]
pub(super) struct Answers(VecDeque<(Nanos, f64)>);

impl Answers {
    /// One more.
    pub(super) fn add(&mut self, seconds: f64, now: Nanos) {
        if self.0.len() == KEPT_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now, seconds));
    }

    /// The 99th percentile of those that still count; 0 without any.
    pub(super) fn p99_s(&mut self, now: Nanos) -> f64 {
        while self.0.front().is_some_and(|(at, _)| now.seconds_since(*at) > COUNT_S) {
            self.0.pop_front();
        }
        let mut seconds: Vec<f64> = self.0.iter().map(|(_, seconds)| *seconds).collect();
        if seconds.is_empty() {
            return 0.0;
        }
        let at = (seconds.len() * 99 / 100).min(seconds.len() - 1);
        *seconds.select_nth_unstable_by(at, f64::total_cmp).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_slowest_hundredth_of_what_still_counts() {
        let mut answers = Answers::default();
        assert!(answers.p99_s(Nanos(0)).abs() < f64::EPSILON);
        for n in 0..1_000 {
            answers.add(f64::from(n % 200), Nanos::from_millis(1_000));
        }
        assert!((answers.p99_s(Nanos::from_millis(2_000)) - 197.0).abs() < 3.0);
        answers.add(0.5, Nanos::from_millis(11_900));
        assert!((answers.p99_s(Nanos::from_millis(12_000)) - 0.5).abs() < 1e-9);
    }
}
