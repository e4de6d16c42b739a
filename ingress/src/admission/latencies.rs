//! The 99th percentile of a histogram since the last look.

use prometheus::Histogram;
use prometheus::core::Metric;

/// A histogram, and what it held at the last look.
#[derive(Debug)]
pub(super) struct Latencies {
    histogram: Histogram,
    seen: Vec<u64>,
}

impl Latencies {
    /// Nothing was looked at.
    pub fn of(histogram: &Histogram) -> Self {
        Self { histogram: histogram.clone(), seen: Vec::new() }
    }

    /// Seconds: the upper end of the bucket that it falls into; 0 where nothing was observed.
    pub fn p99_s(&mut self) -> f64 {
        let metric = self.histogram.metric();
        let buckets = metric.get_histogram().get_bucket();
        let counts: Vec<u64> =
            buckets.iter().map(prometheus::proto::Bucket::cumulative_count).collect();
        let total = metric.get_histogram().get_sample_count();
        let before = |index: usize| self.seen.get(index).copied().unwrap_or(0);
        let new = total.saturating_sub(self.seen.last().copied().unwrap_or(0));
        let wanted = new - new / 100;
        let found = counts
            .iter()
            .enumerate()
            .find(|(index, count)| new > 0 && count.saturating_sub(before(*index)) >= wanted);
        let last = buckets.last().map_or(0.0, prometheus::proto::Bucket::upper_bound);
        let p99_s = match found {
            Some((index, _)) => buckets[index].upper_bound(),
            None if new > 0 => last,
            None => 0.0,
        };
        self.seen = counts;
        self.seen.push(total);
        p99_s
    }
}

#[cfg(test)]
mod tests {
    use shared::metrics::Registry;

    use super::*;

    #[test]
    fn only_what_is_new_counts() {
        let histogram = Registry::new().histogram("test_seconds", "Seconds.", &[0.01, 0.1, 1.0]);
        let mut latencies = Latencies::of(&histogram);
        assert_eq!(latencies.p99_s(), 0.0);
        (0..99).for_each(|_| histogram.observe(0.005));
        histogram.observe(0.5);
        assert_eq!(latencies.p99_s(), 0.01);
        (0..98).for_each(|_| histogram.observe(0.005));
        (0..2).for_each(|_| histogram.observe(0.5));
        assert_eq!(latencies.p99_s(), 1.0);
        histogram.observe(30.0);
        assert_eq!(latencies.p99_s(), 1.0, "beyond the last bucket, its end");
        assert_eq!(latencies.p99_s(), 0.0);
    }
}
