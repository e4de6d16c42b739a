//! A log line that hundreds of workers would write at once, or one of them for as long as an outage
//! lasts: one per interval, with the number of those that were kept back. It counts nothing that the
//! metrics do not count too.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Often enough to be seen while one looks, seldom enough to be read.
const INTERVAL: Duration = Duration::from_secs(5);

/// One kind of line.
#[derive(Debug, Default)]
pub struct LogLimit(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    admitted: Option<Instant>,
    kept_back: u64,
}

impl LogLimit {
    /// Whether the line is to be written: `Some` with the number of lines kept back since the last.
    pub fn admit(&self) -> Option<u64> {
        self.admit_at(Instant::now())
    }

    fn admit_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock();
        if state.admitted.is_some_and(|last| now.duration_since(last) < INTERVAL) {
            state.kept_back += 1;
            return None;
        }
        state.admitted = Some(now);
        Some(std::mem::take(&mut state.kept_back))
    }
}

/// The lines of all workers of a process.
#[derive(Debug, Default)]
pub struct LogLimits {
    /// The database failed and is tried again.
    pub retry: LogLimit,
    /// The database refuses us and is tried again.
    pub alarm: LogLimit,
    /// The log cannot be read and is tried again.
    pub unreadable: LogLimit,
    /// A sink has no room.
    pub full: LogLimit,
    /// A batch was refused for its content.
    pub refused: LogLimit,
    /// Records were parked.
    pub parked: LogLimit,
    /// Ids came again with another payload.
    pub conflict: LogLimit,
    /// Ids are kept for longer than usual.
    pub old_ids: LogLimit,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_interval_and_the_others_are_counted() {
        let (limit, start) = (LogLimit::default(), Instant::now());
        assert_eq!(limit.admit_at(start), Some(0));
        for _ in 0..300 {
            assert_eq!(limit.admit_at(start + INTERVAL / 2), None);
        }
        assert_eq!(limit.admit_at(start + INTERVAL), Some(300));
        assert_eq!(limit.admit_at(start + 3 * INTERVAL), Some(0));
    }
}
