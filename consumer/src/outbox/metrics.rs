//! What the relays export. The label `sink` is a name of the configuration.

use prometheus::{GaugeVec, HistogramVec, IntCounterVec, IntGaugeVec};
use shared::metrics::{Registry, SECONDS_BUCKETS};

use super::target::Reason;

/// The families.
#[derive(Clone, Debug)]
pub struct SinkMetrics {
    /// Events sent.
    pub sent: IntCounterVec,
    /// Tries that failed.
    pub failed: IntCounterVec,
    /// Rows given up.
    pub dead: IntCounterVec,
    /// Looks at the store that failed.
    pub store_failed: IntCounterVec,
    /// Rows that wait.
    pub waiting: IntGaugeVec,
    /// Dead rows.
    pub dead_rows: IntGaugeVec,
    /// The age of the oldest.
    pub oldest_seconds: GaugeVec,
    /// Where the breaker stands.
    pub breaker: IntGaugeVec,
    /// Whether the writers wait.
    pub full: IntGaugeVec,
    /// How long receivers take.
    pub seconds: HistogramVec,
}

impl SinkMetrics {
    /// Registers the families.
    pub fn new(registry: &Registry) -> Self {
        let sink = &["sink"];
        Self {
            sent: registry.counters(
                "shock_sink_sent_total",
                "Events that the sink's receiver has acknowledged.",
                sink,
            ),
            failed: registry.counters(
                "shock_sink_failed_total",
                "Tries that the receiver did not take, by reason: connection, timeout, throttled (408, \
                 425, 429), gone (410), redirected (3xx), status_4xx, status_5xx, unavailable (Kafka), too_large, \
                 undecodable.",
                &["sink", "reason"],
            ),
            dead: registry.counters(
                "shock_sink_dead_total",
                "Rows given up: refused for good, or older than `sink[].age_s_max`. They stay in the \
                 outbox until an operator decides.",
                sink,
            ),
            store_failed: registry.counters(
                "shock_sink_store_failed_total",
                "Looks at the outbox, or notes in it, that the database did not answer; tried again.",
                sink,
            ),
            waiting: registry.gauges(
                "shock_sink_waiting_records",
                "Rows that wait for the sink in partitions of this process; each counted up to 10,000.",
                sink,
            ),
            dead_rows: registry.gauges(
                "shock_sink_dead_records",
                "Dead rows of the sink in the store; counted up to `sink[].rows_max`.",
                sink,
            ),
            oldest_seconds: registry.gauges_float(
                "shock_sink_oldest_seconds",
                "For how long the oldest row waits in partitions of this process; 0 where none does.",
                sink,
            ),
            breaker: registry.gauges(
                "shock_sink_breaker",
                "The sink's breaker: 0 closed, 1 coming back in steps, 2 open.",
                sink,
            ),
            full: registry.gauges(
                "shock_sink_full",
                "1 while the sink has `sink[].rows_max` rows and writers wait before its events.",
                sink,
            ),
            seconds: registry.histograms(
                "shock_sink_seconds",
                "Seconds until the receiver answered, or was given up: of a webhook for each event, of \
                 a topic for the page it was written in.",
                sink,
                SECONDS_BUCKETS,
            ),
        }
    }

    /// From 0 on: the first failure has to be an increase.
    pub(super) fn begin(&self, sink: &str) {
        for counter in [&self.sent, &self.dead, &self.store_failed] {
            counter.with_label_values(&[sink]);
        }
        for reason in Reason::LABELS {
            self.failed.with_label_values(&[sink, reason]);
        }
        for gauge in [&self.waiting, &self.dead_rows, &self.breaker, &self.full] {
            gauge.with_label_values(&[sink]).set(0);
        }
        self.oldest_seconds.with_label_values(&[sink]).set(0.0);
    }
}
