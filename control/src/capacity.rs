//! Capacity from busy time: processed / busy, smoothed. An idle writer's arrival rate is not its
//! capacity, so wall time never enters.

use crate::number::{amount, weight};
use crate::time::{Nanos, SECOND_NS};

/// A sample is taken at the latest when the writer was busy for so long, however little it finished:
/// otherwise a stall would show no samples and look like no news.
const BUSY_NS_MAX: u64 = SECOND_NS;
/// What no writer reaches; a sample above it has a broken clock behind it.
const PER_S_MAX: f64 = 1e9;
/// What a writer keeps for telemetry, whatever is above it.
pub const TELEMETRY_SHARE: f64 = 0.1;
/// A gap longer than this weighs like this: the old estimate is worth nothing any more.
const GAP_S_MAX: f64 = 10.0;

/// How capacity is estimated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CapacityConfig {
    /// What one writer is expected to do, events/s: the first estimate, and the unit of the floor.
    pub unit_per_s: f64,
    /// Smoothing time, s.
    pub smoothing_s: f64,
    /// Fewer events than this say nothing and are kept for the next report.
    pub events_min: u64,
    /// The estimate never goes below this share of `unit_per_s`.
    pub floor_share: f64,
}

impl Default for CapacityConfig {
    fn default() -> Self {
        Self { unit_per_s: 20_000.0, smoothing_s: 1.0, events_min: 50, floor_share: 0.02 }
    }
}

/// One writer's capacity, events/s.
#[derive(Clone, Debug)]
pub struct Capacity {
    config: CapacityConfig,
    estimate: f64,
    /// Counted since the last sample.
    processed: u64,
    busy_ns: u64,
    sampled_at: Option<Nanos>,
}

impl Capacity {
    /// Starts at the configured unit rate.
    pub fn new(config: CapacityConfig) -> Self {
        let unit_per_s = amount(config.unit_per_s, 1.0).max(1.0);
        let config = CapacityConfig { unit_per_s, ..config };
        Self { config, estimate: unit_per_s, processed: 0, busy_ns: 0, sampled_at: None }
    }

    /// Counts what the writer finished and how long it was busy with it (commits included) since the
    /// last report. Time spent on what failed is no work: it belongs to the outage, and would make a
    /// capacity that is gone look like a small one. Returns true where that was enough for a sample.
    pub fn report(&mut self, processed: u64, busy_ns: u64, now: Nanos) -> bool {
        self.processed = self.processed.saturating_add(processed);
        self.busy_ns = self.busy_ns.saturating_add(busy_ns);
        let enough = self.processed >= self.config.events_min || self.busy_ns >= BUSY_NS_MAX;
        if !enough || self.busy_ns == 0 {
            return false;
        }
        let sample = self.processed as f64 / (self.busy_ns as f64 / 1e9);
        // The first sample is as old as its own busy time.
        let since = self.sampled_at.map_or(self.busy_ns, |at| now.since(at));
        let since_s = (since as f64 / 1e9).min(GAP_S_MAX);
        self.estimate +=
            weight(since_s, self.config.smoothing_s) * (sample.min(PER_S_MAX) - self.estimate);
        (self.processed, self.busy_ns, self.sampled_at) = (0, 0, Some(now));
        true
    }

    /// The estimate, never below the floor.
    pub fn per_s(&self) -> f64 {
        self.estimate.max(self.config.floor_share * self.config.unit_per_s)
    }
}

/// What one partition of a writer could have if it alone asked for everything: its max-min share,
/// events/s. `demands` are those of all the writer's partitions (offered, plus the backlog over the
/// time in which it should be gone).
///
/// A quiet partition's potential is above its demand, so that it may grow at once; a hot one gets the
/// level at which the quiet ones are left alone. O(n²) for all of a writer's n partitions, twice a
/// second: 10 µs for 96.
pub fn potential(capacity_per_s: f64, demands: &[f64], partition: usize) -> f64 {
    let mut left = amount(capacity_per_s, 0.0);
    let others = || {
        let others = demands.iter().enumerate().filter(|(at, _)| *at != partition);
        others.map(|(_, demand)| amount(*demand, 0.0))
    };
    // Whoever asks for less than the level is served whole, and the level rises for the rest.
    let mut waiting = others().count() + 1;
    let mut level = -1.0;
    loop {
        let next = left / waiting as f64;
        let served = others().filter(|demand| *demand > level && *demand <= next);
        let (count, sum) = served.fold((0, 0.0), |(count, sum), demand| (count + 1, sum + demand));
        if count == 0 {
            return next;
        }
        left -= sum;
        waiting -= count;
        level = next;
    }
}

/// What a class may count on of a writer that serves control, then transactional, then telemetry, and
/// keeps a tenth for telemetry, events/s by [`Class`](crate::level::Class)'s order. `offered` and the
/// transactional limit are events/s.
pub fn by_class(
    capacity_per_s: f64,
    offered: [f64; 3],
    transactional_limit: Option<f64>,
) -> [f64; 3] {
    let capacity = amount(capacity_per_s, 0.0);
    let [control, transactional, _] = offered.map(|rate| amount(rate, 0.0));
    let kept = TELEMETRY_SHARE * capacity;
    let above = (capacity - control).max(0.0);
    let passes = transactional_limit.map_or(transactional, |limit| transactional.min(limit));
    [capacity, (above - kept).max(kept), (above - passes).max(kept)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity() -> Capacity {
        Capacity::new(CapacityConfig { unit_per_s: 1000.0, ..CapacityConfig::default() })
    }

    #[test]
    fn busy_time_counts_and_wall_time_does_not() {
        let mut capacity = capacity();
        for quarter in 1..100 {
            // 100 events in 50 ms of work, in each 250 ms.
            capacity.report(100, 50_000_000, Nanos::from_millis(quarter * 250));
        }
        assert!((capacity.per_s() - 2000.0).abs() < 1.0, "{}", capacity.per_s());
    }

    #[test]
    fn a_few_events_wait_for_more() {
        let mut capacity = capacity();
        assert!(!capacity.report(49, 1_000, Nanos::from_millis(250)));
        assert_eq!(capacity.per_s().to_bits(), 1000.0_f64.to_bits());
        assert!(capacity.report(1, 49_000_000, Nanos::from_millis(500)));
    }

    #[test]
    fn a_stall_is_seen_and_ends_at_the_floor() {
        let mut capacity = capacity();
        for second in 1..60 {
            capacity.report(0, SECOND_NS, Nanos::from_millis(second * 1000));
        }
        assert_eq!(capacity.per_s().to_bits(), 20.0_f64.to_bits());
    }

    #[test]
    fn a_broken_clock_or_count_is_harmless() {
        let mut capacity = capacity();
        assert!(!capacity.report(u64::MAX, 0, Nanos(9)));
        assert!(capacity.report(u64::MAX, 1, Nanos(0)));
        capacity.report(u64::MAX, u64::MAX, Nanos(u64::MAX));
        capacity.report(0, u64::MAX, Nanos(3));
        assert!(capacity.per_s().is_finite() && capacity.per_s() <= PER_S_MAX);
        let none = Capacity::new(CapacityConfig { unit_per_s: f64::NAN, ..Default::default() });
        assert!(none.per_s() >= 1.0);
    }

    #[test]
    fn the_hot_partition_gets_what_the_quiet_ones_leave() {
        let check = |demands: &[f64], expected: &[f64]| {
            let got: Vec<f64> =
                (0..demands.len()).map(|at| potential(100.0, demands, at)).collect();
            for (got, expected) in got.iter().zip(expected) {
                assert!((got - expected).abs() < 1e-9, "{demands:?}: {got} is not {expected}");
            }
        };
        check(&[10.0], &[100.0]);
        check(&[600.0, 10.0, 10.0], &[80.0, 45.0, 45.0]);
        check(&[600.0, 600.0], &[50.0, 50.0]);
        check(&[20.0, 20.0], &[80.0, 80.0]);
        check(&[0.0, 0.0, 0.0], &[100.0, 100.0, 100.0]);
        check(&[30.0, 60.0, 200.0], &[100.0 / 3.0, 35.0, 35.0]);
        check(&[f64::NAN, -4.0, f64::INFINITY], &[100.0, 100.0, 100.0]);
    }

    #[test]
    fn telemetry_has_what_is_left_and_never_less_than_a_tenth() {
        let check = |offered: [f64; 3], limit: Option<f64>, expected: [f64; 3]| {
            let got = by_class(1000.0, offered, limit);
            let same =
                got.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1e-9);
            assert!(same, "{offered:?} {limit:?}: {got:?}");
        };
        check([20.0, 300.0, 500.0], None, [1000.0, 880.0, 680.0]);
        check([20.0, 5000.0, 500.0], None, [1000.0, 880.0, 100.0]);
        check([20.0, 5000.0, 500.0], Some(700.0), [1000.0, 880.0, 280.0]);
        check([5000.0, 0.0, 0.0], Some(f64::NAN), [1000.0, 100.0, 100.0]);
    }
}
