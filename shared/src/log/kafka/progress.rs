//! Whether the producer still delivers: a pure count of the time that it had and did not use.

use std::time::{Duration, Instant};

/// The most that one turn of the poll thread counts for: a process that was paused has not been
/// waiting for its reports all that time.
const TURN_MAX: Duration = Duration::from_secs(1);

/// The time since the last report, as far as the poll thread was there to see one.
#[derive(Debug)]
pub(super) struct Progress {
    settled: u64,
    seen: Instant,
    stalled: Duration,
}

impl Progress {
    pub(super) fn new(settled: u64, now: Instant) -> Self {
        Self { settled, seen: now, stalled: Duration::ZERO }
    }

    /// After a poll: how long records have been open without any report.
    pub(super) fn stalled(&mut self, settled: u64, open: usize, now: Instant) -> Duration {
        let turn = now.duration_since(self.seen).min(TURN_MAX);
        self.seen = now;
        if settled == self.settled && open > 0 {
            self.stalled += turn;
        } else {
            self.settled = settled;
            self.stalled = Duration::ZERO;
        }
        self.stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_open_records_without_a_report_count_and_no_pause() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut progress = Progress::new(0, start);
        let mut check = |settled, open, ms, stalled_ms| {
            let stalled = progress.stalled(settled, open, at(ms));
            assert_eq!(stalled, Duration::from_millis(stalled_ms), "at {ms}");
        };
        check(0, 0, 5_000, 0);
        check(0, 3, 5_100, 100);
        check(0, 3, 5_900, 900);
        check(1, 2, 6_000, 0);
        check(1, 2, 6_500, 500);
        // A minute's pause of the process is one turn.
        check(1, 2, 66_500, 1_500);
        check(1, 0, 66_600, 0);
    }
}
