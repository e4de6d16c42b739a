//! The control plane's metric families. Labels are closed sets: topics, kinds, reasons.

use prometheus::{Histogram, IntCounterVec};

use crate::metrics::{Registry, SECONDS_BUCKETS};

/// The families.
#[derive(Clone, Debug)]
pub struct PlaneMetrics {
    /// Words and changes that were heard.
    pub(super) heard: IntCounterVec,
    /// Words that were handed over.
    pub(super) published: IntCounterVec,
    /// Words that did not go out.
    pub(super) dropped: IntCounterVec,
    /// Records that changed nothing.
    pub(super) ignored: IntCounterVec,
    /// How old words are when they are heard.
    pub(super) age: Histogram,
}

impl PlaneMetrics {
    /// Registers the families.
    pub fn new(registry: &Registry) -> Self {
        Self {
            heard: registry.counters(
                "shock_control_heard_total",
                "Words of the control plane that this process heard, its own among them, by kind: report, limits, demand, or state (a change of what operators have set, those read at the start among them).",
                &["kind"],
            ),
            published: registry.counters(
                "shock_control_published_total",
                "Words of the control plane that this process handed over, by kind.",
                &["kind"],
            ),
            dropped: registry.counters(
                "shock_control_dropped_total",
                "Words of the control plane that this process did not get out, by reason: full (more wait than the queue holds), too_long, failed (Kafka did not take it in time). Nothing is lost but the word: the next one says the same.",
                &["reason"],
            ),
            ignored: registry.counters(
                "shock_control_ignored_total",
                "Records of the control topics that changed nothing, by topic (state, live) and reason: malformed, version (written by another one), subject (of the state: nothing that could be set), too_long, full (more entries than are kept).",
                &["topic", "reason"],
            ),
            age: registry.histogram(
                "shock_control_age_seconds",
                "Seconds from the broker's stamp on a word to its hearing, as far as clocks agree; at most 10.",
                SECONDS_BUCKETS,
            ),
        }
    }
}
