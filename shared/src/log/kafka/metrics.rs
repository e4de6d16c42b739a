//! The producer's metric families. Set by the polling thread, a few times a second or once per
//! turn; nothing here is touched by an append.

use prometheus::{Histogram, IntCounter, IntGauge};

use crate::metrics::{COUNT_BUCKETS, Registry};

/// The families.
#[derive(Clone, Debug)]
pub struct ProducerMetrics {
    /// Records that were taken and are not settled.
    pub(super) records: IntGauge,
    /// Brokers, and partitions without a known leader, that are refused.
    pub(super) breakers_open: IntGauge,
    /// Reports that came together.
    pub(super) reports: Histogram,
    /// Instances that were given up.
    pub(super) replaced: IntCounter,
}

impl ProducerMetrics {
    /// Registers the families.
    pub fn new(registry: &Registry) -> Self {
        Self {
            records: registry.gauge(
                "shock_kafka_producer_records",
                "Records that wait for Kafka's acknowledgement now, those that were answered 504 and may still land among them.",
            ),
            breakers_open: registry.gauge(
                "shock_kafka_breakers_open",
                "Brokers that do not answer, so that what goes to them is refused at once; a partition that no broker has answered for yet, or that alone is stuck, counts by itself.",
            ),
            reports: registry.histogram(
                "shock_kafka_producer_reports",
                "Delivery reports that came together: how many events share a wake-up.",
                COUNT_BUCKETS,
            ),
            replaced: registry.counter(
                "shock_kafka_producer_replaced_total",
                "Producer instances given up because of a fatal error, or because nothing was acknowledged for 30 s, or a batch for 5 min.",
            ),
        }
    }
}
