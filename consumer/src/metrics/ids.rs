//! What is exported about the ids that are kept.

use prometheus::{IntCounter, IntGauge};
use shared::metrics::Registry;

/// The families of the forgetting of ids.
#[derive(Clone, Debug)]
pub struct IdMetrics {
    /// Buckets there are.
    pub buckets: IntGauge,
    /// How old the oldest is.
    pub oldest_age_seconds: IntGauge,
    /// Buckets dropped.
    pub dropped: IntCounter,
    /// Looks that failed.
    pub errors: IntCounter,
    /// Whether the last look failed.
    pub failing: IntGauge,
}

impl IdMetrics {
    /// Registers the families.
    pub fn new(registry: &Registry) -> Self {
        Self {
            buckets: registry.gauge(
                "shock_consumer_id_buckets",
                "Buckets of ids in the store, each as wide as the deduplication window. Usually four.",
            ),
            oldest_age_seconds: registry.gauge(
                "shock_consumer_id_oldest_age_seconds",
                "Since when ids are kept: the age of the oldest bucket's beginning. It grows beyond some \
                 three windows while a partition has unread records that old, or nobody has it.",
            ),
            dropped: registry.counter(
                "shock_consumer_id_buckets_dropped_total",
                "Buckets of ids that were dropped because every position had passed them by a window.",
            ),
            errors: registry.counter(
                "shock_consumer_id_expiry_errors_total",
                "Times that this process looked for ids to forget and the store failed; the log has the \
                 reason. Ids are then kept for longer.",
            ),
            failing: registry.gauge(
                "shock_consumer_id_expiry_failing",
                "1 while the last look for ids to forget has failed.",
            ),
        }
    }
}
