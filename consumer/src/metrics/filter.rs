//! What is exported about the filters of closed buckets. The share of events for which there was one is
//! asked / (asked + unasked).

use prometheus::{Histogram, IntCounter, IntGauge};
use shared::metrics::{Registry, SECONDS_BUCKETS};

use crate::store::Filtered;

/// The families of the filters.
#[derive(Clone, Debug)]
pub struct FilterMetrics {
    asked: IntCounter,
    unasked: IntCounter,
    negatives: IntCounter,
    spared: IntCounter,
    false_positives: IntCounter,
    /// Ids that are known.
    pub ids: IntGauge,
    /// What they take.
    pub bytes: IntGauge,
    /// Whether there are too many ids.
    pub too_many: IntGauge,
    /// How long a bucket's ids took to read.
    pub read_seconds: Histogram,
    /// Readings that failed.
    pub errors: IntCounter,
}

impl FilterMetrics {
    /// Registers the families.
    pub fn new(registry: &Registry) -> Self {
        Self {
            asked: registry.counter(
                "shock_consumer_filter_asked_total",
                "Events for whose bucket before there was a filter. Events without one are in \
                 filter_unasked_total.",
            ),
            unasked: registry.counter(
                "shock_consumer_filter_unasked_total",
                "Events for whose bucket before there was no filter: it has not been read yet, ids are \
                 still added to it, or it has too many.",
            ),
            negatives: registry.counter(
                "shock_consumer_filter_negatives_total",
                "Events that the filter says are surely not in the bucket before.",
            ),
            spared: registry.counter(
                "shock_consumer_filter_spared_total",
                "Look-ups in the bucket before that were spared: negatives that the database believed, \
                 because nothing has been added to the bucket since it was read.",
            ),
            false_positives: registry.counter(
                "shock_consumer_filter_false_positives_total",
                "Events that the filter did not clear and that the database had in no neighbouring bucket \
                 either. About one in a thousand of those asked.",
            ),
            ids: registry.gauge(
                "shock_consumer_filter_ids",
                "Ids in the filter of the bucket before.",
            ),
            bytes: registry.gauge(
                "shock_consumer_filter_bytes",
                "Memory of the filter. Twice as much while a new one is read.",
            ),
            too_many: registry.gauge(
                "shock_consumer_filter_too_many_ids",
                "1 while the bucket before has more ids than a filter of consumer.filter_bytes_max is of \
                 use for.",
            ),
            read_seconds: registry.histogram(
                "shock_consumer_filter_read_seconds",
                "Seconds for reading all ids of a bucket into a filter, beside consumption.",
                SECONDS_BUCKETS,
            ),
            errors: registry.counter(
                "shock_consumer_filter_errors_total",
                "Readings of a bucket's ids that failed; the log has the reason. The bucket is asked \
                 instead.",
            ),
        }
    }

    /// What they did for a batch of so many events to apply.
    pub fn add(&self, events: usize, filtered: &Filtered) {
        self.asked.inc_by(filtered.asked);
        self.unasked.inc_by((events as u64).saturating_sub(filtered.asked));
        self.negatives.inc_by(filtered.asked - filtered.positive);
        self.spared.inc_by(filtered.spared);
        self.false_positives.inc_by(filtered.false_positive);
    }
}
