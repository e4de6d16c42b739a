//! The ingress's metric families, built once.
//!
//! Labels are closed: routes, the codes of [`crate::reject`], outcomes. Nothing here is touched once
//! per event: a request sums first, then adds.

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};
use shared::config::IngressConfig;
use shared::metrics::{COMPUTE_SECONDS_BUCKETS, COUNT_BUCKETS, Registry, SECONDS_BUCKETS};

use crate::answer;
use crate::head::Route;
use crate::reject::Outcome;
use crate::schema::Tiers;

/// The families.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// Answered requests by route and code.
    requests: IntCounterVec,
    /// The one of them that nearly all are: without the look-up that cores share.
    events_accepted: IntCounter,
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
    /// Those of them that hold no buffers.
    pub connections_resting: IntGauge,
    refused: [IntCounter; Refused::ALL.len()],
    /// Connections closed because they sent no whole head in time.
    pub connections_silent: IntCounter,
    /// Connections closed because nothing was asked on them for long.
    pub connections_idle: IntCounter,
    /// What the process takes, in bytes.
    pub memory_bytes: IntGauge,
    /// Whether bodies are refused for its sake.
    pub memory_shedding: IntGauge,
    /// Changes of the TLS files.
    pub tls_reloads: IntCounterVec,
    by_tape: IntCounter,
    by_library: IntCounter,
    /// Violations let through by `warn`.
    pub schema_warnings: IntCounter,
}

/// Why a connection was closed before a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// So many are open in all.
    Connections,
    /// So many of its address are.
    Address,
    /// No header of the PROXY protocol, or one from somebody who may not send it.
    Proxy,
    /// The TLS handshake failed or took too long.
    Handshake,
}

impl Refused {
    const ALL: [Self; 4] = [Self::Connections, Self::Address, Self::Proxy, Self::Handshake];

    const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Address => "address",
            Self::Proxy => "proxy",
            Self::Handshake => "handshake",
        }
    }
}

impl Metrics {
    /// Registers the families.
    pub fn new(registry: &Registry) -> Self {
        let outcomes = registry.counters(
            "shock_ingress_event_outcomes_total",
            "Events by what became of them; their sum is shock_ingress_events_received_total.",
            &["outcome"],
        );
        let refused = registry.counters(
            "shock_ingress_connections_refused_total",
            "Connections closed before a request: too many open in all, or of one address; no valid PROXY header; no TLS handshake.",
            &["reason"],
        );
        let requests = registry.counters(
            "shock_ingress_requests_total",
            "Requests answered, by route and code (accepted, mixed, valid, or a problem's code).",
            &["route", "code"],
        );
        let schema_checks = registry.counters(
            "shock_ingress_schema_checks_total",
            "Events checked against a schema, by the tier that decided: tape is the compiled program, library the slower one that is asked where the program is not sure.",
            &["tier"],
        );
        Self {
            events_accepted: requests
                .with_label_values(&[Route::Events.name(), answer::CODE_ACCEPTED]),
            requests,
            refused: Refused::ALL.map(|reason| refused.with_label_values(&[reason.name()])),
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
            body_bytes: registry.counter(
                "shock_ingress_body_bytes_total",
                "Bytes of bodies as they came over the wire.",
            ),
            batch_events: registry.histogram(
                "shock_ingress_batch_events",
                "Events of one request.",
                COUNT_BUCKETS,
            ),
            validate_seconds: registry.histogram(
                "shock_ingress_validate_seconds",
                "From a whole body to the verdict on its events, per request.",
                COMPUTE_SECONDS_BUCKETS,
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
            connections_resting: registry.gauge(
                "shock_ingress_connections_resting",
                "Open connections of HTTP/1 on which nothing has been asked for a second: they hold no buffers.",
            ),
            connections_silent: registry.counter(
                "shock_ingress_connections_silent_total",
                "Connections closed because they sent no whole request head in time.",
            ),
            connections_idle: registry.counter(
                "shock_ingress_connections_idle_total",
                "Connections closed because nothing was asked on them for idle_timeout_ms.",
            ),
            memory_bytes: registry.gauge(
                "shock_ingress_memory_bytes",
                "Memory of the process that the system cannot take back.",
            ),
            memory_shedding: registry.gauge(
                "shock_ingress_memory_shedding",
                "1 while requests are refused because memory is short, otherwise 0.",
            ),
            tls_reloads: registry.counters(
                "shock_ingress_tls_reloads_total",
                "Changes of the TLS files that were loaded, or refused and the old ones kept.",
                &["outcome"],
            ),
            by_tape: schema_checks.with_label_values(&["tape"]),
            by_library: schema_checks.with_label_values(&["library"]),
            schema_warnings: registry.counter(
                "shock_ingress_schema_warnings_total",
                "Events accepted although their schema says no (mode warn).",
            ),
        }
    }

    /// A request was answered.
    pub fn answered(&self, route: Route<'_>, code: &str) {
        if route == Route::Events && code == answer::CODE_ACCEPTED {
            self.events_accepted.inc();
        } else {
            self.requests.with_label_values(&[route.name(), code]).inc();
        }
    }

    /// A connection was closed before a request.
    pub fn refused(&self, reason: Refused) {
        self.refused[reason as usize].inc();
    }

    /// Enters who decided on a request's events.
    pub fn checked(&self, tiers: Tiers) {
        for (counter, events) in [(&self.by_tape, tiers.tape), (&self.by_library, tiers.library)] {
            if events > 0 {
                counter.inc_by(events);
            }
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
    schemas_in_part: IntGauge,
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
            schemas_in_part: registry.gauge(
                "shock_ingress_schemas_partly_covered",
                "Schemas in effect, those of sources included, that leave keywords to the library: `shock schema explain` names them.",
            ),
        }
    }

    /// Says what is in effect now.
    pub fn set(&self, config: &IngressConfig, schemas_in_part: usize) {
        let count = |entries: usize| i64::try_from(entries).unwrap_or(i64::MAX);
        self.keys.set(count(config.keys.len()));
        self.certificates.set(count(config.certificates.len()));
        self.insecure.set(i64::from(config.insecure));
        self.sources.set(count(config.sources.len()));
        self.schemas.set(count(config.schemas.entries.len()));
        self.schemas_in_part.set(count(schemas_in_part));
    }
}
