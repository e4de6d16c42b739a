//! Buckets of identities: which time bucket a record's id belongs to.
//!
//! A bucket is as wide as the deduplication window and is decided by the record's own timestamp, so
//! a replay and a retry after hours of lag fall where they would have fallen at once. An identity is
//! unique in its bucket, and the neighbours on both sides are asked: whatever two records of one
//! identity are at most one window apart, the second is a duplicate (up to two windows apart it may
//! be). Known limit: two *different* partitions that take the same identity in the same instant on
//! both sides of a bucket's edge do not see each other; one producer's retry never does that, because
//! the same event routes to the same partition.

use std::time::Duration;

use shared::clock::Millis;

/// How far in the past a record's timestamp may lie. Far more than any retention in use, so that a
/// new pipeline can replay old history; a bound, so that a foreign writer's zero cannot make tables.
pub const PAST_MS_MAX: i64 = 366 * 24 * 3_600_000;

/// How far in the future a record's timestamp may lie: more than clocks differ, less than matters.
pub const FUTURE_MS_MAX: i64 = 24 * 3_600_000;

/// The narrowest bucket: with [`PAST_MS_MAX`] it bounds the number of tables that can exist.
pub const WIDTH_MS_MIN: i64 = 60_000;

/// The width of this pipeline's buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Width(i64);

/// The number of a bucket: `floor(timestamp / width)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(pub i64);

impl Width {
    /// The width of a deduplication window, at least [`WIDTH_MS_MIN`].
    pub fn of_window(window: Duration) -> Self {
        Self(i64::try_from(window.as_millis()).unwrap_or(i64::MAX).max(WIDTH_MS_MIN))
    }

    /// In milliseconds.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The bucket of a record, or `None` where its timestamp is implausible at `now`: such a record
    /// is parked (`timestamp_out_of_range`), because any bucket chosen for it would depend on when
    /// it is looked at, and a replay would choose another.
    pub fn bucket(self, timestamp: Millis, now: Millis) -> Option<Bucket> {
        let plausible = now.0.saturating_sub(PAST_MS_MAX)..=now.0.saturating_add(FUTURE_MS_MAX);
        plausible.contains(&timestamp.0).then(|| Bucket(timestamp.0.div_euclid(self.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    #[test]
    fn floor_on_both_sides_of_edges_and_of_the_epoch() {
        let width = Width::of_window(Duration::from_secs(3_600));
        let check = |timestamp, expected| {
            assert_eq!(width.bucket(Millis(timestamp), Millis(0)), expected, "{timestamp}");
        };
        check(0, Some(Bucket(0)));
        check(HOUR - 1, Some(Bucket(0)));
        check(HOUR, Some(Bucket(1)));
        check(-1, Some(Bucket(-1)));
        check(-HOUR, Some(Bucket(-1)));
        check(-HOUR - 1, Some(Bucket(-2)));
        check(FUTURE_MS_MAX, Some(Bucket(24)));
        check(FUTURE_MS_MAX + 1, None);
        check(-PAST_MS_MAX, Some(Bucket(-366 * 24)));
        check(-PAST_MS_MAX - 1, None);
        check(i64::MAX, None);
        check(i64::MIN, None);
    }

    #[test]
    fn records_at_most_a_window_apart_are_in_neighbouring_buckets() {
        let width = Width::of_window(Duration::from_secs(3_600));
        let now = Millis(10 * HOUR);
        for start in (0..2 * HOUR).step_by(7_919) {
            let first = width.bucket(Millis(start), now).expect("plausible");
            let last = width.bucket(Millis(start + HOUR), now).expect("plausible");
            assert!(last.0 - first.0 <= 1, "{start}");
        }
    }

    #[test]
    fn a_tiny_window_still_has_a_bounded_number_of_buckets() {
        assert_eq!(Width::of_window(Duration::from_millis(5)).as_millis(), WIDTH_MS_MIN);
    }
}
