//! Admission of events, after routing: ceiling, colour, fair part, level, the partition's limit.
//!
//! Decided once per (class, partition) and tenant of a request. Nothing waits: what does not pass is
//! refused at once, with the time after which it pays to come back. The figures that it decides by are
//! [`steer`]'s, which nobody here waits for: they are atomics.
//!
//! Per event in the usual case: one look-up in the thread's own table, three counters, one bucket.

mod decision;
mod fairness;
mod flows;
mod gate;
mod latencies;
mod metrics;
mod modes;
mod parties;
mod seat;
mod stance;
mod steer;
mod wanted;
mod webhook;

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use control::mode::Mode;
use control::time::Nanos;
use http::HeaderValue;
use parking_lot::Mutex;
use shared::config::{ControlConfig, Enforcement};
use shared::position::PartitionId;
use shared::route::Router;
use shared::tenant::TenantId;
use tokio::sync::watch;

use self::decision::{Asked, Decision};
pub(crate) use self::flows::FlowCache;
use self::flows::{Flow, Flows};
use self::gate::{Gate, Gates};
pub(crate) use self::metrics::Metrics;
pub(crate) use self::parties::Parties;
use self::stance::Stance;
pub(crate) use self::steer::steer;
use self::webhook::Changed;
pub(crate) use self::webhook::tell;
use crate::desk::Desk;
use crate::grant::Grant;
use crate::reject::Reject;

/// What decides, shared by all threads.
#[derive(Debug)]
pub(crate) struct Admission {
    /// One per (class, partition).
    gates: Gates,
    /// Tenants, and what each asks of each partition.
    flows: Flows,
    /// How it is decided at the moment.
    stance: ArcSwap<Stance>,
    /// Held by whoever replaces the stance: a reload and a change of the mode must not undo each other.
    changing: Mutex<()>,
    /// The configuration in effect.
    config: ArcSwap<ControlConfig>,
    metrics: Metrics,
    /// The last change of the mode.
    changed: watch::Sender<Option<Changed>>,
    /// Where the buckets' time begins.
    origin: Instant,
}

impl Admission {
    /// Everything is open until somebody says a limit.
    pub fn new(router: &Router, config: &ControlConfig, metrics: Metrics) -> Self {
        Self {
            gates: Gates::new(router),
            flows: Flows::new(config),
            stance: ArcSwap::from_pointee(Stance::new(config, Mode::Normal)),
            changing: Mutex::default(),
            config: ArcSwap::from_pointee(config.clone()),
            metrics,
            changed: watch::Sender::new(None),
            origin: Instant::now(),
        }
    }

    /// Takes another configuration; buckets keep what they have admitted.
    pub fn reload(&self, config: &ControlConfig) {
        self.config.store(Arc::new(config.clone()));
        self.replace_stance(None);
        self.flows.reload(config);
    }

    /// Puts the configuration in effect, and this mode where one is given; the mode before.
    fn replace_stance(&self, mode: Option<Mode>) -> Mode {
        let _alone = self.changing.lock();
        let before = self.stance.load().mode;
        let config = self.config.load();
        self.stance.store(Arc::new(Stance::new(&config, mode.unwrap_or(before))));
        before
    }

    /// What an answer says of the mode; nothing in the normal one.
    pub fn mode_field(&self) -> Option<HeaderValue> {
        let mode = self.stance.load().mode;
        (mode != Mode::Normal).then(|| HeaderValue::from_static(mode.name()))
    }

    /// The mode and what it admits, as JSON.
    pub fn describe_mode(&self) -> String {
        self.stance.load().describe()
    }

    /// Whether the mode keeps an event only where it is essential, and it is not.
    pub fn closes(&self, event_type: &str, tenant: &TenantId) -> bool {
        let stance = self.stance.load();
        stance.effect.essential_only
            && stance.enforcement == Enforcement::Enforce
            && !stance.is_essential(event_type, tenant)
    }

    /// Before the body: whether the mode closes everything that this sender may write.
    pub fn check_sender(&self, grant: &Grant, router: &Router) -> Result<(), Reject> {
        let stance = self.stance.load();
        let closed = stance.effect.essential_only
            && stance.enforcement == Enforcement::Enforce
            && stance.nothing_essential_in(grant, router);
        if !closed {
            return Ok(());
        }
        self.metrics.closed_unread();
        Err(stance.closed())
    }

    /// Decides on a request's events and writes down the fate of each.
    pub fn decide(&self, cache: &FlowCache, desk: &mut Desk, at: Instant) {
        let Desk { checks, fates, parties, .. } = desk;
        let stance = self.stance.load();
        fates.extend(checks.events.iter().map(|entry| parties.enter(entry, &stance)));
        let now = self.nanos(at);
        for party in parties.iter_mut() {
            let class = party.id.class.into();
            let asked = Asked { class, events: party.asked, now };
            let gate = self.gates.of(party.id);
            gate.offered.add(party.asked + party.closed);
            if party.closed > 0 {
                self.metrics.closed(class, stance.shed_order, party.closed);
            }
            let decided = cache.with(&self.flows, party.id, party.tenant, |flow| {
                flow.offered.add(party.asked + party.closed);
                self.decide_one(&stance, gate, flow, asked)
            });
            gate.admitted.add(decided.events);
            party.settle(decided);
        }
        if parties.refused() {
            parties.distribute(fates);
        }
    }

    fn decide_one(&self, stance: &Stance, gate: &Gate, flow: &Flow, asked: Asked) -> Decision {
        if asked.events == 0 || stance.enforcement == Enforcement::Off {
            return Decision::open(asked.events);
        }
        let decision = decision::decide(stance, gate, flow, asked);
        let shadow = stance.enforcement == Enforcement::Shadow;
        self.metrics.decided(&decision, asked.events, shadow);
        if shadow { Decision::open(asked.events) } else { decision }
    }

    /// Gives back what was taken for events that the log refused at once.
    pub fn give_back(&self, cache: &FlowCache, parties: &Parties) {
        for party in parties.iter() {
            let (permits, events) = party.unused();
            if events > 0 {
                let gate = self.gates.of(party.id);
                cache.with(&self.flows, party.id, party.tenant, |flow| {
                    permits.give_back(gate, flow, events);
                });
                gate.admitted.take(events);
            }
        }
    }

    /// Sets what this replica may let into a partition, events/s.
    pub fn set_rate(&self, id: PartitionId, per_s: Option<f64>) {
        self.gates.of(id).bucket.set_rate(per_s);
    }

    fn nanos(&self, at: Instant) -> Nanos {
        let since = at.saturating_duration_since(self.origin);
        Nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }
}
