//! What the consumer exports. Labels are classes, reasons, stages and partitions: all closed sets.

mod filter;
mod ids;

use prometheus::{GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec};
use shared::metrics::{COUNT_BUCKETS, Registry, SECONDS_BUCKETS};
use shared::position::Class;

pub use self::filter::FilterMetrics;
pub use self::ids::IdMetrics;
use crate::batch::Poison;
use crate::load::metrics::LoadMetrics;
use crate::mirror::MirrorMetrics;
use crate::outbox::metrics::SinkMetrics;

/// The families, built once per process and shared by all workers.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Events that had their effect.
    pub applied: IntCounterVec,
    /// Records whose identity had its effect, or is parked, already.
    pub duplicates: IntCounterVec,
    /// Duplicates with another payload.
    pub id_conflicts: IntCounterVec,
    /// Records parked.
    pub parked: IntCounterVec,
    /// Records the log delivered again below the stored position.
    pub replayed: IntCounterVec,
    /// Records whose route is another partition.
    pub misrouted: IntCounterVec,
    /// Writers that were fenced.
    pub fenced: IntCounter,
    /// Batches whose answer was lost and that turned out to be committed.
    pub unknown_commits: IntCounter,
    /// Databases found at an earlier state.
    pub went_back: IntCounter,
    /// Failed statements that were tried again.
    pub retries: IntCounter,
    /// Batches refused for a record's content.
    pub bisections: IntCounter,
    /// Refused records that were tried again before they are parked.
    pub record_retries: IntCounter,
    /// Records that went alone under a mark.
    pub alone: IntCounter,
    /// Runs of accused records that were acquitted.
    pub acquittals: IntCounter,
    /// Tries of parked records.
    pub parked_tries: IntCounterVec,
    /// Partitions that stand still.
    pub halted: IntGaugeVec,
    /// Batch size.
    pub batch_records: Histogram,
    /// Batches that were ready before they were in hand.
    pub read_ahead: IntCounterVec,
    /// Time per stage of a batch.
    pub stage_seconds: HistogramVec,
    /// Receipt to committed effect.
    pub effect_seconds: HistogramVec,
    /// Lag in records.
    pub lag_records: IntGaugeVec,
    /// Lag in time.
    pub lag_seconds: GaugeVec,
    /// The kept ids'.
    pub ids: IdMetrics,
    /// The filters'.
    pub filter: FilterMetrics,
    /// The control loop's.
    pub load: LoadMetrics,
    /// The relay's to the DLQ topic.
    pub mirror: MirrorMetrics,
    /// What goes to sinks.
    pub sinks: SinkMetrics,
}

impl Metrics {
    /// Registers the families.
    pub fn new(registry: &Registry) -> Self {
        let metrics = Self::families(registry);
        // From 0 on: an increase from nothing to something is none to Prometheus, and no alarm rings.
        for class in Class::ALL.map(Class::name) {
            for reason in Poison::REASONS {
                metrics.parked.with_label_values(&[class, reason]);
            }
            metrics.parked_tries.with_label_values(&[class, "dead"]);
        }
        metrics
    }

    fn families(registry: &Registry) -> Self {
        let class = &["class"];
        let partition = &["class", "partition"];
        Self {
            applied: registry.counters(
                "shock_consumer_applied_total",
                "Events that had their effect, once each. A batch whose answer was lost is counted \
                 in unknown_commits_total instead.",
                class,
            ),
            duplicates: registry.counters(
                "shock_consumer_duplicates_total",
                "Records whose identity has had its effect, or is parked, already.",
                class,
            ),
            id_conflicts: registry.counters(
                "shock_consumer_id_conflict_total",
                "Duplicates whose payload differs from the first one's: a producer reuses ids.",
                class,
            ),
            parked: registry.counters(
                "shock_consumer_parked_total",
                "Records parked instead of applied, by reason.",
                &["class", "reason"],
            ),
            replayed: registry.counters(
                "shock_consumer_replayed_total",
                "Records the log delivered again below the stored position; dropped.",
                class,
            ),
            misrouted: registry.counters(
                "shock_consumer_misrouted_total",
                "Records that stand in another partition than their key routes to.",
                class,
            ),
            fenced: registry.counter(
                "shock_consumer_fenced_total",
                "Writers stopped because another one had claimed their partition.",
            ),
            unknown_commits: registry.counter(
                "shock_consumer_unknown_commits_total",
                "Batches whose answer was lost and that turned out to be committed.",
            ),
            went_back: registry.counter(
                "shock_consumer_database_went_back_total",
                "Times the database was found at an earlier state than this process had committed.",
            ),
            retries: registry.counter(
                "shock_consumer_retries_total",
                "Failed statements of the database that were tried again.",
            ),
            bisections: registry.counter(
                "shock_consumer_bisections_total",
                "Batches the database refused for a record's content, and that were halved.",
            ),
            record_retries: registry.counter(
                "shock_consumer_record_retries_total",
                "Refused records that were tried again, alone, before they are parked.",
            ),
            alone: registry.counter(
                "shock_consumer_suspected_records_total",
                "Records that were tried alone under a mark, because owners or connections had died \
                 at their position.",
            ),
            acquittals: registry.counter(
                "shock_consumer_acquittals_total",
                "Times that statements ended with their connection whatever they carried, so that no \
                 record was to blame.",
            ),
            parked_tries: registry.counters(
                "shock_consumer_parked_tries_total",
                "Tries of parked records: applied, repeated (their identity had its effect), failed \
                 (tried again later) or dead (no try is left).",
                &["class", "outcome"],
            ),
            halted: registry.gauges(
                "shock_consumer_halted",
                "1 while the partition stands still and waits for a human.",
                &["class", "partition", "reason"],
            ),
            batch_records: registry.histogram(
                "shock_consumer_batch_records",
                "Records per committed batch.",
                COUNT_BUCKETS,
            ),
            read_ahead: registry.counters(
                "shock_consumer_batches_read_ahead_total",
                "Batches that were read and decoded while the batch in front of them was applied.",
                class,
            ),
            stage_seconds: registry.histograms(
                "shock_consumer_stage_seconds",
                "Seconds per batch and stage: poll (the wait for records; none where they were read \
                 while the batch in front was applied), decode, apply (retries included).",
                &["stage"],
                SECONDS_BUCKETS,
            ),
            effect_seconds: registry.histograms(
                "shock_consumer_effect_seconds",
                "Seconds from the ingress's receipt of an event to its committed effect.",
                class,
                SECONDS_BUCKETS,
            ),
            lag_records: registry.gauges(
                "shock_consumer_lag_records",
                "Records between the stored position and the end of the log.",
                partition,
            ),
            lag_seconds: registry.gauges_float(
                "shock_consumer_lag_seconds",
                "Age in seconds of the record at the stored position; 0 at the log's end. It grows \
                 while the database is away.",
                partition,
            ),
            ids: IdMetrics::new(registry),
            filter: FilterMetrics::new(registry),
            load: LoadMetrics::new(registry),
            mirror: MirrorMetrics::new(registry),
            sinks: SinkMetrics::new(registry),
        }
    }
}
