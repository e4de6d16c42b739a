//! The ingress's metric families, built once.
//!
//! Labels are closed: routes, the codes of [`crate::reject`], outcomes. Nothing here is touched once
//! per event: a request sums first, then adds.

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};
use shared::config::IngressConfig;
use shared::metrics::{COUNT_BUCKETS, Registry, SECONDS_BUCKETS};

use crate::reject::Outcome;

/// The families.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// Answered requests by route and code.
    pub requests: IntCounterVec,
    /// Events that arrived.
    pub received: IntCounter,
    outcomes: [IntCounter; Outcome::ALL.len()],
    /// Events refused, by code.
    pub reasons: IntCounterVec,
    /// Body bytes as they came over the wire.
    pub body_bytes: IntCounter,
    /// Events of one request.
    pub batch_events: Histogram,
    /// Parse to verdict, all events of a request.
    pub validate_seconds: Histogram,
    /// First append to last acknowledgement of a request.
    pub append_seconds: Histogram,
    /// Bytes of bodies held now.
    pub inflight_bytes: IntGauge,
    /// Requests being served now.
    pub inflight_requests: IntGauge,
    /// Open connections.
    pub connections: IntGauge,
    /// Connections closed at once because too many were open.
    pub connections_refused: IntCounter,
    /// Connections closed because they sent no whole head in time.
    pub connections_silent: IntCounter,
    /// Violations let through by `warn`.
    pub schema_warnings: IntCounter,
}

impl Metrics {
    /// Registers the families.
    pub fn new(registry: &Registry) -> Self {
        let outcomes = registry.counters(
            "shock_ingress_event_outcomes_total",
            "Events by what became of them; their sum is shock_ingress_events_received_total.",
            &["outcome"],
        );
        Self {
            requests: registry.counters(
                "shock_ingress_requests_total",
                "Requests answered, by route and code (accepted, mixed, valid, or a problem's code).",
                &["route", "code"],
            ),
            received: registry.counter(
                "shock_ingress_events_received_total",
                "Events that arrived; a request refused before its events are known counts as one.",
            ),
            outcomes: Outcome::ALL.map(|outcome| outcomes.with_label_values(&[outcome.name()])),
            reasons: registry.counters(
                "shock_ingress_events_refused_total",
                "Events that were not accepted, by problem code.",
                &["code"],
            ),
            body_bytes: registry
                .counter("shock_ingress_body_bytes_total", "Bytes of bodies as they came over the wire."),
            batch_events: registry.histogram(
                "shock_ingress_batch_events",
                "Events of one request.",
                COUNT_BUCKETS,
            ),
            validate_seconds: registry.histogram(
                "shock_ingress_validate_seconds",
                "From a whole body to the verdict on its events, per request.",
                SECONDS_BUCKETS,
            ),
            append_seconds: registry.histogram(
                "shock_ingress_append_seconds",
                "From the first append to the last acknowledgement, per request.",
                SECONDS_BUCKETS,
            ),
            inflight_bytes: registry
                .gauge("shock_ingress_inflight_bytes", "Bytes of bodies held now."),
            inflight_requests: registry
                .gauge("shock_ingress_inflight_requests", "Requests being served now."),
            connections: registry.gauge("shock_ingress_connections", "Open connections."),
            connections_refused: registry.counter(
                "shock_ingress_connections_refused_total",
                "Connections closed at once because connections_max were open.",
            ),
            connections_silent: registry.counter(
                "shock_ingress_connections_silent_total",
                "Connections closed because they sent no whole request head in time.",
            ),
            schema_warnings: registry.counter(
                "shock_ingress_schema_warnings_total",
                "Events accepted although their schema says no (mode warn).",
            ),
        }
    }

    /// The counter of one book.
    pub fn outcome(&self, outcome: Outcome) -> &IntCounter {
        &self.outcomes[outcome as usize]
    }
}

/// What is registered, as of the configuration in effect.
#[derive(Clone, Debug)]
pub(crate) struct Registered {
    keys: IntGauge,
    certificates: IntGauge,
    insecure: IntGauge,
    sources: IntGauge,
    schemas: IntGauge,
}

impl Registered {
    /// Registers the families.
    pub fn new(registry: &Registry) -> Self {
        Self {
            keys: registry.gauge("shock_ingress_keys", "Keys in effect."),
            certificates: registry
                .gauge("shock_ingress_certificates", "Client certificates' names in effect."),
            insecure: registry.gauge(
                "shock_ingress_insecure",
                "1 where anybody may post for any tenant (--insecure), else 0.",
            ),
            sources: registry.gauge("shock_ingress_sources", "Webhook sources in effect."),
            schemas: registry
                .gauge("shock_ingress_schemas", "Schemas of /v1/events in effect (`[[schema]]`)."),
        }
    }

    /// Says what is in effect now.
    pub fn set(&self, config: &IngressConfig) {
        let count = |entries: usize| i64::try_from(entries).unwrap_or(i64::MAX);
        self.keys.set(count(config.keys.len()));
        self.certificates.set(count(config.certificates.len()));
        self.insecure.set(i64::from(config.insecure));
        self.sources.set(count(config.sources.len()));
        self.schemas.set(count(config.schemas.entries.len()));
    }
}
