//! The metrics: one registry per process, and the list of everything it can export.
//!
//! Each crate has a `metrics.rs` with a struct of its families, built once from a [`Registry`]; the
//! help text given there is the documentation (docs/METRICS.md is generated from it). Labels come
//! from closed sets: a tenant, an id or a path is never a label.

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::{
    CounterVec, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, TextEncoder,
};

/// Seconds: from 0.1 ms to 100 s, three steps a decade.
pub const SECONDS_BUCKETS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 25.0, 50.0, 100.0,
];

/// Seconds of pure computing: from 1 µs to 0.1 s, three steps a decade.
pub const COMPUTE_SECONDS_BUCKETS: &[f64] = &[
    0.000_001,
    0.000_002_5,
    0.000_005,
    0.000_01,
    0.000_025,
    0.000_05,
    0.000_1,
    0.000_25,
    0.000_5,
    0.001,
    0.002_5,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
];

/// Counts: powers of two up to 4,096.
pub const COUNT_BUCKETS: &[f64] =
    &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0];

/// What one family is, for the reference page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// `shock_…`, unit last.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Meaning and unit.
    pub help: String,
    /// Label names.
    pub labels: Vec<String>,
}

/// A process's metrics.
#[derive(Debug, Default)]
pub struct Registry {
    inner: prometheus::Registry,
    families: Mutex<Vec<Description>>,
}

/// A family that cannot be built is a mistake in the source: every test that builds the metrics
/// finds it.
const WELL_FORMED: &str = "metric names and labels are literals and registered once";

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// A counter.
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add("counter", IntCounter::new(name, help).expect(WELL_FORMED))
    }

    /// Counters by label.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add("counter", IntCounterVec::new(Opts::new(name, help), labels).expect(WELL_FORMED))
    }

    /// Counters by label that count fractions: seconds.
    pub fn counters_float(&self, name: &str, help: &str, labels: &[&str]) -> CounterVec {
        self.add("counter", CounterVec::new(Opts::new(name, help), labels).expect(WELL_FORMED))
    }

    /// A gauge.
    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add("gauge", IntGauge::new(name, help).expect(WELL_FORMED))
    }

    /// Gauges by label.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.add("gauge", IntGaugeVec::new(Opts::new(name, help), labels).expect(WELL_FORMED))
    }

    /// Gauges by label that hold fractions: seconds, shares.
    pub fn gauges_float(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.add("gauge", GaugeVec::new(Opts::new(name, help), labels).expect(WELL_FORMED))
    }

    /// A histogram.
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.add("histogram", Histogram::with_opts(opts).expect(WELL_FORMED))
    }

    /// Histograms by label.
    pub fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> HistogramVec {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.add("histogram", HistogramVec::new(opts, labels).expect(WELL_FORMED))
    }

    /// The text exposition of everything registered.
    pub fn text(&self) -> String {
        TextEncoder::new().encode_to_string(&self.inner.gather()).unwrap_or_default()
    }

    /// Every family there is, sorted by name.
    pub fn describe(&self) -> Vec<Description> {
        let mut families = self.families.lock().clone();
        families.sort_by(|a, b| a.name.cmp(&b.name));
        families
    }

    fn add<C: Collector + Clone + 'static>(&self, kind: &'static str, family: C) -> C {
        let describe = |desc: &&Desc| Description {
            name: desc.fq_name.clone(),
            kind,
            help: desc.help.clone(),
            labels: desc.variable_labels.clone(),
        };
        self.families.lock().extend(family.desc().iter().map(describe));
        self.inner.register(Box::new(family.clone())).expect(WELL_FORMED);
        family
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_exported_and_described() {
        let registry = Registry::new();
        registry
            .counters("shock_things_total", "Things seen.", &["kind"])
            .with_label_values(&["a"])
            .inc();
        assert!(registry.text().contains("shock_things_total{kind=\"a\"} 1"));
        let families = registry.describe();
        assert_eq!(
            (families[0].name.as_str(), families[0].kind),
            ("shock_things_total", "counter")
        );
        assert_eq!(families[0].labels, ["kind"]);
    }
}
