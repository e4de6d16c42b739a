//! A Prometheus histogram as another process exports it, read before and after a load: what lies
//! between is the load's.

use std::net::SocketAddr;

use anyhow::{Context, ensure};

use crate::admin;

/// Cumulative counts by upper bound, as the text format has them; the last bound is infinite.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram(Vec<(f64, f64)>);

impl Histogram {
    /// Asks an admin port for the histogram `name`, summed over its labels.
    pub async fn scrape(admin: SocketAddr, name: &str) -> anyhow::Result<Self> {
        let (status, text) = admin::get(admin, "/metrics").await?;
        ensure!(status == 200, "GET /metrics: {status} {text}");
        Self::read(&text, name, "").with_context(|| format!("{name} in /metrics"))
    }

    /// What the text of `/metrics` has of the histogram `name` where its labels hold `with`, such as
    /// `class="telemetry"`; summed over the other labels.
    pub fn read(text: &str, name: &str, with: &str) -> anyhow::Result<Self> {
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for line in text.lines() {
            let Some(rest) = line.strip_prefix(name).and_then(|r| r.strip_prefix("_bucket{"))
            else {
                continue;
            };
            let (labels, count) = rest.rsplit_once('}').context("a bucket has a count")?;
            if !labels.contains(with) {
                continue;
            }
            let bound = labels.split("le=\"").nth(1).and_then(|rest| rest.split('"').next());
            let bound: f64 = bound.context("a bucket has a bound")?.parse().context("a bound")?;
            let count: f64 = count.trim().parse().context("a count")?;
            match buckets.iter_mut().find(|(known, _)| *known == bound) {
                Some((_, sum)) => *sum += count,
                None => buckets.push((bound, count)),
            }
        }
        ensure!(!buckets.is_empty(), "is not exported");
        Ok(Self(buckets))
    }

    /// What came since `before`, of the same histogram.
    pub fn since(&self, before: &Self) -> Self {
        let counts = self.0.iter().zip(&before.0);
        Self(counts.map(|(&(bound, now), &(_, then))| (bound, now - then)).collect())
    }

    /// This and another one of the same bounds together.
    pub fn plus(&self, other: &Self) -> Self {
        let counts = self.0.iter().zip(&other.0);
        Self(counts.map(|(&(bound, one), &(_, two))| (bound, one + two)).collect())
    }

    /// How many values.
    pub fn count(&self) -> f64 {
        self.0.last().map_or(0.0, |&(_, count)| count)
    }

    /// The value below which this share of all lies: linear between a bucket's bounds, as Prometheus
    /// computes it. Infinite where it lies beyond the last finite bound.
    pub fn quantile(&self, share: f64) -> f64 {
        let rank = share * self.count();
        let (mut lower, mut below) = (0.0, 0.0);
        for &(bound, count) in &self.0 {
            if count >= rank && count > below {
                return lower + (bound - lower) * (rank - below) / (count - below);
            }
            (lower, below) = (bound, count);
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "h_bucket{le=\"1\"} 5\nh_bucket{le=\"2\"} 5\nh_bucket{le=\"+Inf\"} 5\n";
    const AFTER: &str = "# HELP h x\nh_bucket{a=\"b\",le=\"1\"} 54\nh_bucket{a=\"b\",le=\"2\"} 104\n\
                         h_bucket{a=\"b\",le=\"+Inf\"} 104\nh_bucket{a=\"c\",le=\"1\"} 1\n\
                         h_bucket{a=\"c\",le=\"2\"} 1\nh_bucket{a=\"c\",le=\"+Inf\"} 1\nh_sum 3\n";

    #[test]
    fn quantiles_are_of_what_came_between() {
        let read = |text| Histogram::read(text, "h", "").expect("a histogram");
        let load = read(AFTER).since(&read(BEFORE));
        assert_eq!(load.count(), 100.0);
        assert_eq!((load.quantile(0.5), load.quantile(0.75)), (1.0, 1.5));
        assert_eq!(Histogram(vec![(1.0, 0.0), (f64::INFINITY, 3.0)]).quantile(0.5), f64::INFINITY);
        assert!(Histogram::read("other_bucket{le=\"1\"} 1", "h", "").is_err());
        let one = Histogram::read(AFTER, "h", "a=\"c\"").expect("a histogram");
        assert_eq!((one.count(), one.plus(&one).count()), (1.0, 2.0));
    }
}
