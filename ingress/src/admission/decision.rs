//! One decision: so many events of one tenant to one (class, partition).
//!
//! Ceiling → colour → fair part → level → mode → bucket. Whoever is refused by a later step gets back
//! what the earlier ones took.

use control::gcra::{Permit, Tolerance};
use control::level::{Class, Colour, Level};
use control::retry;
use control::time::Nanos;

use super::flows::{Flow, Tenant};
use super::gate::Gate;
use super::stance::{Stance, passes_always};
use crate::reject::Reject;

/// A contract and a ceiling are depths of a second: bursts shorter than that are in contract.
const DEPTH_S: f64 = 1.0;

/// The answer spreads `Retry-After` itself.
const NO_JITTER: f64 = 0.0;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// Of which class.
    pub class: Class,
    /// How many.
    pub events: u32,
    /// When.
    pub now: Nanos,
}

/// Which step said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The tenant's ceiling.
    Ceiling,
    /// The tenant's part of what is not in contract.
    FairShare,
    /// The mode.
    Mode,
    /// The partition's limit.
    Limit,
    /// An operator's pin on the partition.
    Pin,
    /// The writer's breaker, where it refuses everything.
    Breaker,
}

impl Step {
    /// All of them; the position is the index.
    pub const ALL: [Self; 6] =
        [Self::Ceiling, Self::FairShare, Self::Mode, Self::Limit, Self::Pin, Self::Breaker];

    /// The metric label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ceiling => "ceiling",
            Self::FairShare => "fair_share",
            Self::Mode => "mode",
            Self::Limit => "limit",
            Self::Pin => "pin",
            Self::Breaker => "breaker",
        }
    }
}

/// What was decided.
#[derive(Clone, Debug)]
pub(super) struct Decision {
    /// So many from the front pass.
    pub events: u32,
    /// As what.
    pub level: Level,
    /// Why the rest does not.
    pub refused: Option<(Step, Reject)>,
    /// What was taken for those that pass.
    pub permits: Permits,
}

/// What a decision has taken.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Permits {
    ceiling: Option<Permit>,
    colour: Option<(Purse, Permit)>,
    limit: Option<Permit>,
}

/// Which of a tenant's buckets has paid for the colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purse {
    Contract,
    Control,
}

impl Purse {
    fn of(self, tenant: &Tenant) -> &control::gcra::Bucket {
        match self {
            Self::Contract => &tenant.contract,
            Self::Control => &tenant.control,
        }
    }
}

impl Permits {
    /// Gives back what `events` of them took.
    pub(super) fn give_back(&self, gate: &Gate, flow: &Flow, events: u32) {
        if let Some(permit) = self.ceiling {
            flow.tenant.ceiling.give_back(permit, events);
        }
        if let Some((purse, permit)) = self.colour {
            purse.of(&flow.tenant).give_back(permit, events);
        }
        if let Some(permit) = self.limit {
            gate.bucket.give_back(permit, events);
        }
    }
}

impl Decision {
    /// All pass, and nothing was taken.
    pub fn open(events: u32) -> Self {
        let (level, permits) = (Level::ALL[0], Permits::default());
        Self { events, level, refused: None, permits }
    }
}

/// Decides.
pub(super) fn decide(stance: &Stance, gate: &Gate, flow: &Flow, asked: Asked) -> Decision {
    let tenant = &*flow.tenant;
    let depth = Tolerance::seconds(DEPTH_S);
    let mut permits = Permits::default();
    let mut events = asked.events;
    let mut refused = None;
    match tenant.ceiling.admit(events, depth, asked.now) {
        Ok(permit) => {
            if permit.events < events {
                refused = Some((Step::Ceiling, over_ceiling(tenant, 0.0)));
            }
            events = permit.events;
            permits.ceiling = Some(permit);
        }
        Err(wait) => {
            let reject = over_ceiling(tenant, seconds(wait.wait_ns));
            let level = Level::of(asked.class, Colour::Excess, stance.shed_order);
            return Decision { events: 0, level, refused: Some((Step::Ceiling, reject)), permits };
        }
    }
    let (colour, fair) = colour(flow, asked.class, events, asked.now, &mut permits);
    let level = Level::of(asked.class, colour, stance.shed_order);
    let no = |step, reject, permits: Permits| {
        permits.give_back(gate, flow, asked.events);
        let permits = Permits::default();
        Decision { events: 0, level, refused: Some((step, reject)), permits }
    };
    if !fair {
        return no(gate.step(Step::FairShare), over_contract(gate, 0.0), permits);
    }
    if !passes_always(asked.class) && is_closed(stance, level) {
        return no(Step::Mode, stance.closed(), permits);
    }
    match gate.bucket.admit(events, Tolerance::of(level), asked.now) {
        Ok(permit) => {
            let rest = events - permit.events;
            if rest > 0 {
                permits.give_back(gate, flow, rest);
                refused = Some((gate.step(Step::Limit), no_room(gate, tenant, colour, 0.0)));
            }
            permits.limit = Some(permit);
            Decision { events: permit.events, level, refused, permits }
        }
        Err(wait) => {
            let wait_s = seconds(wait.wait_ns);
            no(gate.step(Step::Limit), no_room(gate, tenant, colour, wait_s), permits)
        }
    }
}

/// In contract or not, and whether what is not may go on to the bucket. Without a contract, a tenant is
/// in contract as far as its fair part goes, and the rest gets what nobody else takes.
fn colour(
    flow: &Flow,
    class: Class,
    events: u32,
    now: Nanos,
    permits: &mut Permits,
) -> (Colour, bool) {
    let tenant = &*flow.tenant;
    if !tenant.has_contract() {
        let fair = class == Class::Control || flow.keeps();
        return (if fair { Colour::InContract } else { Colour::Excess }, true);
    }
    let purse = if class == Class::Control { Purse::Control } else { Purse::Contract };
    // All or nothing: a batch has one colour, and may go into debt for it.
    match purse.of(tenant).admit(events, Tolerance::seconds(DEPTH_S), now) {
        Ok(permit) if permit.events == events => {
            permits.colour = Some((purse, permit));
            (Colour::InContract, true)
        }
        Ok(permit) => {
            purse.of(tenant).give_back(permit, permit.events);
            (Colour::Excess, flow.keeps())
        }
        Err(_) => (Colour::Excess, flow.keeps()),
    }
}

/// Whether the mode closes the level, or samples it and leaves this one out.
fn is_closed(stance: &Stance, level: Level) -> bool {
    let effect = &stance.effect;
    if effect.closed_from.is_some_and(|closed| level >= closed) {
        return true;
    }
    let last = effect.closed_from.map_or(Level::COUNT, Level::index).saturating_sub(1);
    level.index() == last
        && effect.last_level_share < 1.0
        && rand::random::<f64>() >= effect.last_level_share
}

fn over_ceiling(tenant: &Tenant, wait_s: f64) -> Reject {
    let after_s = retry::after_s(wait_s, NO_JITTER);
    Reject::OverCeiling { ceiling_per_1000_s: tenant.ceiling_per_1000_s(), after_s }
}

fn over_contract(gate: &Gate, wait_s: f64) -> Reject {
    Reject::OverContract { after_s: retry::after_s(wait_s.max(gate.behind_s()), NO_JITTER) }
}

fn no_room(gate: &Gate, tenant: &Tenant, colour: Colour, wait_s: f64) -> Reject {
    if tenant.has_contract() && colour == Colour::Excess {
        return over_contract(gate, wait_s);
    }
    Reject::NoCapacity { after_s: retry::after_s(wait_s.max(gate.behind_s()), NO_JITTER) }
}

fn seconds(wait_ns: Option<u64>) -> f64 {
    wait_ns.map_or(0.0, |ns| ns as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use control::gcra::Bucket;
    use control::mode::Mode;
    use shared::config::{Contract, ControlConfig};
    use shared::position::{self, Partition, PartitionId};
    use shared::tenant::TenantId;

    use super::*;
    use crate::admission::gate::Gates;

    const PLACE: PartitionId =
        PartitionId { class: position::Class::Transactional, partition: Partition(0) };

    /// One tenant at one gate.
    struct Scene {
        stance: Stance,
        gates: Gates,
        flow: Flow,
    }

    impl Scene {
        fn new(contract: Contract, limit_per_s: Option<f64>, mode: Mode) -> Self {
            let config = ControlConfig::default();
            let gates = Gates::new(&shared::route::Router::new([1; 3], Vec::new()));
            let name = TenantId::parse("acme").expect("a valid name");
            let flow = Flow::of(PLACE, name, Arc::new(Tenant::new(contract, 1.0)));
            let scene = Self { stance: Stance::new(&config, mode), gates, flow };
            scene.gate().bucket.set_rate(limit_per_s);
            scene
        }

        fn gate(&self) -> &Gate {
            self.gates.of(PLACE)
        }

        /// The levels of one event after the other at one moment, or the code of its refusal.
        fn play(&self, class: Class, events: usize) -> Vec<Result<usize, &'static str>> {
            let asked = Asked { class, events: 1, now: Nanos(1 << 40) };
            let one = || decide(&self.stance, self.gate(), &self.flow, asked);
            let told = |decision: Decision| match decision.refused {
                None => Ok(decision.level.index()),
                Some((_, reject)) => Err(reject.row().code),
            };
            (0..events).map(|_| told(one())).collect()
        }
    }

    fn contract(contract_per_s: Option<f64>, ceiling_per_s: Option<f64>) -> Contract {
        Contract { contract_per_s, ceiling_per_s }
    }

    #[test]
    fn colour_then_level_then_bucket() {
        let check = |terms, limit, class, expected: &[Result<usize, &'static str>]| {
            let scene = Scene::new(terms, limit, Mode::Normal);
            assert_eq!(
                scene.play(class, expected.len()),
                expected,
                "{terms:?} {limit:?} {class:?}"
            );
        };
        let none = contract(None, None);
        let (over, full) = (Err("over_contract"), Err("no_capacity"));
        check(none, None, Class::Transactional, &[Ok(1); 4]);
        check(none, None, Class::Telemetry, &[Ok(2)]);
        check(none, Some(0.0), Class::Control, &[Ok(0)]);
        check(none, Some(0.0), Class::Transactional, &[full]);
        // A contract of two a second: two are in it at one moment. The bucket of four a second has room
        // for 0.56 s of what is in contract, and for 0.4 s of what is not.
        check(contract(Some(2.0), None), None, Class::Transactional, &[Ok(1), Ok(1), Ok(3), Ok(3)]);
        check(contract(Some(2.0), None), Some(4.0), Class::Transactional, &[Ok(1), Ok(1), over]);
        check(contract(Some(0.0), None), Some(4.0), Class::Transactional, &[Ok(3), Ok(3), over]);
        check(
            contract(None, Some(2.0)),
            None,
            Class::Telemetry,
            &[Ok(2), Ok(2), Err("over_ceiling")],
        );
        // Control is excess beyond a twentieth of the contract.
        check(contract(Some(20.0), None), None, Class::Control, &[Ok(0), Ok(3)]);
    }

    #[test]
    fn a_mode_closes_levels() {
        let check = |mode, terms, class, expected| {
            let scene = Scene::new(terms, None, mode);
            assert_eq!(scene.play(class, 1), [expected], "{mode:?} {class:?}");
        };
        let (promised, none) = (contract(Some(9.0), None), contract(Some(0.0), None));
        check(Mode::Survival, promised, Class::Transactional, Ok(1));
        check(Mode::Survival, promised, Class::Telemetry, Ok(2));
        check(Mode::Survival, none, Class::Transactional, Err("mode_closed"));
        check(Mode::Survival, none, Class::Control, Ok(3));
    }

    #[test]
    fn whoever_is_refused_later_gets_back_what_was_taken() {
        let scene = Scene::new(contract(Some(2.0), Some(2.0)), Some(0.0), Mode::Normal);
        assert_eq!(scene.play(Class::Transactional, 9), [Err("no_capacity"); 9]);
        scene.gate().bucket.set_rate(None);
        assert_eq!(scene.play(Class::Transactional, 3), [Ok(1), Ok(1), Err("over_ceiling")]);
    }

    #[test]
    fn a_batch_is_charged_for_what_passes() {
        let scene = Scene::new(contract(None, Some(10.0)), Some(5.0), Mode::Normal);
        let now = Nanos(1 << 40);
        let asked = Asked { class: Class::Transactional, events: 15, now };
        let decision = decide(&scene.stance, scene.gate(), &scene.flow, asked);
        assert_eq!(decision.events, 10, "two seconds of the limit");
        assert_eq!(decision.refused.map(|(step, _)| step), Some(Step::Limit));
        let ahead = |bucket: &Bucket| bucket.ahead_ns(now).div_ceil(1_000_000);
        assert_eq!(ahead(&scene.gate().bucket), 2_000);
        assert_eq!(ahead(&scene.flow.tenant.ceiling), 1_000);
    }
}
