//! What admission exports. Counted once for each party of a request, never per event.

use control::level::{Class, Colour, Level, ShedOrder};
use control::mode::Mode;
use prometheus::{GaugeVec, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use shared::metrics::{Registry, SECONDS_BUCKETS};
use shared::position::PartitionId;

use super::decision::{Decision, Step};

/// Where a limit comes from.
const SOURCES: [&str; 6] = ["pin", "breaker", "leader", "local", "lease", "floor"];
/// In the place of a level where nobody has read the events.
const UNREAD: &str = "unread";

/// The families.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    admitted: [IntCounter; Level::COUNT],
    shed: [[IntCounter; Step::ALL.len()]; Level::COUNT],
    unread: IntCounter,
    shadow: [[IntCounter; Step::ALL.len()]; Level::COUNT],
    /// Limits of all replicas together.
    pub limit: GaugeVec,
    /// This replica's part.
    pub share: GaugeVec,
    /// Where each limit comes from.
    pub source: IntGaugeVec,
    /// From a limit's sending to its use.
    pub applied_seconds: Histogram,
    /// Limits that changed nothing.
    pub ignored: IntCounterVec,
    /// Asked for.
    pub offered: GaugeVec,
    /// Ingress replicas.
    pub replicas: IntGauge,
    /// Tenants that are known.
    pub tenants: IntGauge,
    /// The mode.
    pub mode: IntGaugeVec,
    /// Changes of it.
    pub mode_changes: IntCounterVec,
    /// What became of telling the mode's webhook.
    pub webhook: IntCounterVec,
    /// How many consumers there should be.
    pub consumers_wanted: IntGauge,
}

impl Metrics {
    /// Registers the families.
    pub fn new(registry: &Registry) -> Self {
        let partition = &["class", "partition"];
        let by_step = |family: &IntCounterVec| {
            Level::ALL.map(|level| {
                let level = level.index().to_string();
                Step::ALL.map(|step| family.with_label_values(&[level.as_str(), step.name()]))
            })
        };
        let admitted = registry.counters(
            "shock_ingress_admitted_total",
            "Events that admission let in, by level: 0 control, 1 transactional and 2 telemetry in contract, 3 transactional and 4 telemetry beyond it.",
            &["level"],
        );
        let shed = registry.counters(
            "shock_ingress_shed_total",
            "Events that admission refused, by level (`unread`: a whole request before its body) and by the step that refused: ceiling (429), fair_share, mode, limit, pin (an operator's), breaker.",
            &["level", "step"],
        );
        let shadow = registry.counters(
            "shock_ingress_shadow_shed_total",
            "Events that admission would have refused, were `control.enforcement` not `shadow`.",
            &["level", "step"],
        );
        let mode = registry.gauges(
            "shock_ingress_mode",
            "1 for the mode in effect: normal, aggressive, survival, read-only.",
            &["mode"],
        );
        for one in Mode::ALL {
            mode.with_label_values(&[one.name()]).set(i64::from(one == Mode::Normal));
        }
        Self {
            admitted: Level::ALL
                .map(|level| admitted.with_label_values(&[level.index().to_string()])),
            shed: by_step(&shed),
            unread: shed.with_label_values(&[UNREAD, Step::Mode.name()]),
            shadow: by_step(&shadow),
            limit: registry.gauges_float(
                "shock_ingress_limit_per_s",
                "The limit of a partition, events/s of all replicas together; absent while there is none.",
                partition,
            ),
            share: registry.gauges_float(
                "shock_ingress_limit_share_per_s",
                "This replica's part of the limit, events/s; absent while there is none.",
                partition,
            ),
            source: registry.gauges(
                "shock_ingress_limit_source",
                "1 for where the limit comes from: pin (an operator), breaker (open, and `breaker.ingress` is `reject`), leader (the partition's owner), local (this replica's run of the same loop), lease (the last one, running out), floor.",
                &["class", "partition", "source"],
            ),
            applied_seconds: registry.histogram(
                "shock_ingress_limit_applied_seconds",
                "From the sending of a limit by its owner to its use here.",
                SECONDS_BUCKETS,
            ),
            ignored: registry.counters(
                "shock_ingress_limits_ignored_total",
                "Limits heard that changed nothing, by reason: stale, malformed, unconfirmed (a step of more than twentyfold), version.",
                &["reason"],
            ),
            offered: registry.gauges_float(
                "shock_ingress_offered_per_s",
                "Events/s asked of this replica, refused ones included, by class.",
                &["class"],
            ),
            replicas: registry
                .gauge("shock_ingress_replicas", "Ingress replicas heard, this one included."),
            tenants: registry
                .gauge("shock_ingress_tenants", "Tenants that have asked in the last minute."),
            mode,
            mode_changes: registry.counters(
                "shock_ingress_mode_changes_total",
                "Changes of the mode, by the one that was entered.",
                &["mode"],
            ),
            webhook: registry.counters(
                "shock_ingress_mode_webhook_total",
                "Times that `mode.webhook_url` was told of a change of the mode, and that it could not be.",
                &["outcome"],
            ),
            consumers_wanted: registry.gauge(
                "shock_consumers_wanted",
                "Consumers that offered load and backlog of all classes ask for; every replica says the same.",
            ),
        }
    }

    /// Shows a partition's limit; what is not limited is not shown.
    pub(super) fn show_limit(
        &self,
        id: PartitionId,
        limit: Option<f64>,
        share: Option<f64>,
        source: &str,
    ) {
        let number = id.partition.0.to_string();
        let place = [id.class.name(), number.as_str()];
        for (family, rate) in [(&self.limit, limit), (&self.share, share)] {
            match rate {
                Some(rate) => family.with_label_values(&place).set(rate),
                // It was never shown where there never was a limit.
                None => drop(family.remove_label_values(&place)),
            }
        }
        for one in SOURCES {
            let labels = [place[0], place[1], one];
            if limit.is_some() && one == source {
                self.source.with_label_values(&labels).set(1);
            } else {
                drop(self.source.remove_label_values(&labels));
            }
        }
    }

    /// Counts a decision.
    pub(super) fn decided(&self, decision: &Decision, asked: u32, shadow: bool) {
        let level = decision.level.index();
        let rest = asked - decision.events;
        if let Some((step, _)) = &decision.refused {
            let counters = if shadow { &self.shadow } else { &self.shed };
            counters[level][*step as usize].inc_by(u64::from(rest));
        }
        let passed = if shadow { asked } else { decision.events };
        self.admitted[level].inc_by(u64::from(passed));
    }

    /// Counts what a mode that keeps only the essential closes: nobody asks for its colour.
    pub(super) fn closed(&self, class: Class, order: ShedOrder, events: u32) {
        let level = Level::of(class, Colour::Excess, order).index();
        self.shed[level][Step::Mode as usize].inc_by(u64::from(events));
    }

    /// Counts a request that the mode closes before its events are known.
    pub(super) fn closed_unread(&self) {
        self.unread.inc();
    }

    /// Events so far by level: asked for, and refused for want of capacity. A tenant's own ceiling is
    /// no sign of load.
    pub(super) fn load(&self, level: Level) -> (u64, u64) {
        let at = level.index();
        let of = |counters: &[IntCounter; Step::ALL.len()]| {
            counters[Step::FairShare as usize].get() + counters[Step::Limit as usize].get()
        };
        let shed = of(&self.shed[at]);
        (self.admitted[at].get() + shed, shed + of(&self.shadow[at]))
    }

    /// The mode has changed.
    pub(super) fn entered(&self, mode: Mode) {
        for one in Mode::ALL {
            self.mode.with_label_values(&[one.name()]).set(i64::from(one == mode));
        }
        self.mode_changes.with_label_values(&[mode.name()]).inc();
    }
}
