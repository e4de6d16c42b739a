//! The step against a plant of its own: bursts, outages, hand-overs and bad inputs.

use proptest::prelude::*;

use super::*;
use crate::level::Class;
use crate::profile::Profile;

const CAPACITY_PER_S: f64 = 10_000.0;

/// A writer with a backlog, and producers in front of its limit. A limit works one step after it was
/// computed.
struct Plant {
    tick: PartitionLoop,
    backlog: f64,
    limit: Option<f64>,
    admitted_per_s: f64,
    steps: u64,
    offered: f64,
    shed: f64,
}

impl Plant {
    fn new(policy: Policy) -> Self {
        Self {
            tick: PartitionLoop::new(policy, CAPACITY_PER_S),
            backlog: 0.0,
            limit: None,
            admitted_per_s: 0.0,
            steps: 0,
            offered: 0.0,
            shed: 0.0,
        }
    }

    fn run(&mut self, seconds: u64, offered_per_s: f64, flow: Flow) -> Output {
        let mut last = None;
        for _ in 0..seconds * 2 {
            let admitted = self.limit.map_or(offered_per_s, |limit| offered_per_s.min(limit));
            let served = if flow == Flow::Running { CAPACITY_PER_S } else { 0.0 };
            self.backlog = (self.backlog + (admitted - served) * PERIOD_S).max(0.0);
            self.offered += offered_per_s * PERIOD_S;
            self.shed += (offered_per_s - admitted) * PERIOD_S;
            self.admitted_per_s = admitted;
            let output = self.tick.step(&self.inputs(offered_per_s, flow), self.now());
            self.limit = output.limit_per_s;
            self.steps += 1;
            last = Some(output);
        }
        last.expect("at least one step")
    }

    fn inputs(&self, offered_per_s: f64, flow: Flow) -> Inputs {
        Inputs {
            flow,
            measured: Measured {
                backlog: self.backlog,
                capacity_per_s: CAPACITY_PER_S,
                ..Measured::default()
            },
            offered_per_s,
            admitted_per_s: self.admitted_per_s,
            room: None,
        }
    }

    fn now(&self) -> Nanos {
        Nanos::from_millis(self.steps * 500)
    }
}

#[test]
fn absorb_limits_only_where_the_budget_ends() {
    let mut plant = Plant::new(Profile::Absorb.policy(Class::Transactional));
    plant.run(10, 8_000.0, Flow::Running);
    let burst = plant.run(20, 16_000.0, Flow::Running);
    assert_eq!((burst.limit_per_s, burst.reason), (None, Reason::Absorbing));
    assert!(plant.shed.abs() < 1e-9);
    let long = plant.run(120, 16_000.0, Flow::Running);
    assert_eq!(long.reason, Reason::Limiting);
    assert!((long.drain_s - 15.0).abs() < 0.1, "{}", long.drain_s);
    assert!((long.limit_per_s.expect("limited") - CAPACITY_PER_S).abs() < 50.0);
    let calm = plant.run(120, 5_000.0, Flow::Running);
    assert_eq!((calm.limit_per_s, calm.reason), (None, Reason::Open));
}

#[test]
fn an_outage_of_a_minute_sheds_nothing_under_absorb() {
    for flow in [Flow::StoreGone, Flow::OwnerGone] {
        let mut plant = Plant::new(Profile::Absorb.policy(Class::Transactional));
        plant.run(60, 8_000.0, Flow::Running);
        assert_eq!(plant.run(60, 8_000.0, flow).reason, Reason::Outage);
        // Outage times load over spare capacity, and 30 s.
        let after = plant.run(60 * 8 / 2 + 30, 8_000.0, Flow::Running);
        assert!(after.drain_s < 1.0, "{flow:?}: {}", after.drain_s);
        assert!(plant.shed.abs() < 1e-9, "{flow:?}: {} shed", plant.shed);
    }
}

#[test]
fn an_overload_after_an_outage_is_not_excused_for_ever() {
    let mut plant = Plant::new(Profile::Absorb.policy(Class::Transactional));
    plant.run(60, 8_000.0, Flow::Running);
    plant.run(60, 8_000.0, Flow::StoreGone);
    let left = plant.backlog / CAPACITY_PER_S;
    let over = plant.run(600, 20_000.0, Flow::Running);
    assert_eq!(over.reason, Reason::Limiting);
    assert!(over.drain_s <= left + 15.5, "{} after {left}", over.drain_s);
}

/// After two minutes without capacity, other classes squeeze this one for as long: its oldest record is
/// old for the outage's sake, and its drain time long for theirs.
#[test]
fn what_an_outage_left_is_not_shed_while_others_go_first() {
    let mut tick = PartitionLoop::new(Profile::Absorb.policy(Class::Telemetry), 100.0);
    let check = |tick: &mut PartitionLoop, at_s: u64, flow, capacity_per_s, backlog, age_s| {
        let measured = Measured { backlog, capacity_per_s, age_s, ..Measured::default() };
        let rates = (25.0, 25.0);
        let inputs =
            Inputs { flow, measured, offered_per_s: rates.0, admitted_per_s: rates.1, room: None };
        tick.step(&inputs, Nanos(at_s * 1_000_000_000)).limit_per_s
    };
    check(&mut tick, 0, Flow::Running, 100.0, 0.0, 0.0);
    for second in 1..=120 {
        check(&mut tick, second, Flow::StoreGone, 100.0, 0.0, 0.0);
    }
    for second in 0..=40 {
        let squeezed = if second == 0 { 100.0 } else { 10.0 };
        let waits = 3_000.0 + 15.0 * second as f64;
        let age_s = 120.0 + 0.6 * second as f64;
        let limit = check(&mut tick, 121 + second, Flow::Running, squeezed, waits, age_s);
        assert_eq!(limit, None, "{second} s after it ended");
    }
}

/// The owner that saw the outage is gone with it.
#[test]
fn a_new_owner_excuses_what_waits_for_it() {
    for (excused, expected) in [(false, Reason::Limiting), (true, Reason::Absorbing)] {
        let mut tick = PartitionLoop::new(Profile::Absorb.policy(Class::Transactional), 100.0);
        if excused {
            tick.outage_ends();
        }
        let measured = Measured { backlog: 3_000.0, capacity_per_s: 100.0, ..Measured::default() };
        let inputs = Inputs { measured, offered_per_s: 50.0, ..Inputs::default() };
        assert_eq!(tick.step(&inputs, Nanos(0)).reason, expected);
    }
}

#[test]
fn an_outage_beyond_its_budget_gets_what_is_left() {
    let policy = Policy { outage_budget_s: 100.0, ..Profile::Absorb.policy(Class::Transactional) };
    let mut plant = Plant::new(policy);
    plant.run(60, 8_000.0, Flow::Running);
    plant.run(99, 8_000.0, Flow::StoreGone);
    assert!(plant.shed.abs() < 1e-9);
    let inputs = Inputs { room: Some(50_000.0), ..plant.inputs(8_000.0, Flow::StoreGone) };
    plant.run(1, 8_000.0, Flow::StoreGone);
    let spent = plant.tick.step(&inputs, plant.now());
    assert_eq!((spent.reason, spent.limit_per_s), (Reason::OutageSpent, Some(500.0)));
}

#[test]
fn bounded_lag_holds_its_setpoint_and_keeps_a_floor_in_an_outage() {
    let mut plant = Plant::new(Profile::BoundedLag.policy(Class::Transactional));
    plant.run(10, 8_000.0, Flow::Running);
    let over = plant.run(60, 40_000.0, Flow::Running);
    assert!((over.drain_s - 0.4).abs() < 0.02, "{}", over.drain_s);
    let gone = plant.run(2, 40_000.0, Flow::OwnerGone);
    assert_eq!((gone.reason, gone.limit_per_s), (Reason::Floor, Some(0.05 * CAPACITY_PER_S)));
}

#[test]
fn control_is_never_limited() {
    for profile in [Profile::Absorb, Profile::BoundedLag] {
        let mut plant = Plant::new(profile.policy(Class::Control));
        for flow in [Flow::Running, Flow::StoreGone, Flow::OwnerGone, Flow::Running] {
            assert_eq!(plant.run(60, 30_000.0, flow).limit_per_s, None);
        }
    }
}

#[test]
fn a_log_that_would_be_full_first_ends_the_budget_sooner() {
    let mut plant = Plant::new(Profile::Absorb.policy(Class::Telemetry));
    plant.run(10, 8_000.0, Flow::Running);
    plant.backlog = 40_000.0;
    let mut inputs = Inputs { room: Some(0.0), ..plant.inputs(16_000.0, Flow::Running) };
    inputs.measured.age_s = 5.0;
    assert_eq!(plant.tick.step(&inputs, plant.now()).reason, Reason::Limiting);
}

#[test]
fn a_squeezed_class_is_limited_when_it_has_waited_as_long_as_it_will() {
    let mut plant = Plant::new(Profile::Absorb.policy(Class::Telemetry));
    plant.backlog = 1_000_000.0;
    let mut inputs = plant.inputs(16_000.0, Flow::Running);
    inputs.measured.age_s = 20.0;
    assert_eq!(plant.tick.step(&inputs, plant.now()).reason, Reason::Absorbing);
    inputs.measured.age_s = 60.0;
    assert_eq!(plant.tick.step(&inputs, plant.now()).reason, Reason::Limiting);
}

#[test]
fn a_new_owner_does_not_make_the_limit_jump() {
    for limit in [1_000.0, 6_000.0, 10_500.0] {
        let mut plant = Plant::new(Profile::BoundedLag.policy(Class::Transactional));
        plant.backlog = 9_000.0;
        plant.tick.take_over(limit);
        let first = plant.tick.step(&plant.inputs(40_000.0, Flow::Running), Nanos(0));
        let got = first.limit_per_s.expect("limited");
        assert!((got - limit).abs() < 0.01 * limit, "{limit}: {got}");
    }
}

#[test]
fn other_gains_do_not_make_the_limit_jump() {
    let policy = Profile::BoundedLag.policy(Class::Transactional);
    let mut plant = Plant::new(policy);
    let before = plant.run(60, 40_000.0, Flow::Running).limit_per_s.expect("limited");
    plant.tick.reload(policy, Gains::from_dead_time(2.0));
    let after = plant.run(1, 40_000.0, Flow::Running).limit_per_s.expect("limited");
    assert!((before - after).abs() < 0.01 * before, "{before} {after}");
}

#[test]
fn a_reload_before_the_first_step_and_of_everything_at_once_is_smooth() {
    let slow = |mut policy: Policy| {
        policy.pid.u_max = 1.2;
        policy
    };
    let policy = Profile::BoundedLag.policy(Class::Transactional);
    let mut fresh = Plant::new(policy);
    fresh.tick.reload(slow(policy), Gains::from_dead_time(2.0));
    let first = fresh.run(1, 5_000.0, Flow::Running).limit_per_s.expect("limited");
    assert!(first >= CAPACITY_PER_S, "{first}");
    let mut plant = Plant::new(policy);
    let before = plant.run(60, 40_000.0, Flow::Running).limit_per_s.expect("limited");
    plant.tick.reload(slow(policy), Gains::from_dead_time(2.0));
    let after = plant.run(1, 40_000.0, Flow::Running).limit_per_s.expect("limited");
    assert!((before - after).abs() < 0.01 * before, "{before} {after}");
}

#[test]
fn after_a_restart_the_limit_doubles_in_ten_seconds_at_most() {
    let mut plant = Plant::new(Profile::BoundedLag.policy(Class::Transactional));
    plant.tick.slew_from(1_000.0);
    let first = plant.run(10, 40_000.0, Flow::Running);
    let limit = first.limit_per_s.expect("limited");
    assert!(first.slewing && limit < 5_100.0, "{limit}");
    let later = plant.run(60, 40_000.0, Flow::Running);
    assert!(!later.slewing);
}

#[test]
fn equation_five_is_a_setting() {
    let mut tick = PartitionLoop::new(Policy::equation_five(0.5), CAPACITY_PER_S);
    let mut limit = CAPACITY_PER_S;
    for step in 0..600 {
        let measured = Measured {
            downstream_p99_s: limit / 16_000.0,
            capacity_per_s: 1.0,
            ..Measured::default()
        };
        let inputs = Inputs { measured, offered_per_s: 40_000.0, ..Inputs::default() };
        limit = tick.step(&inputs, Nanos::from_millis(step * 500)).limit_per_s.expect("limited");
    }
    assert!((limit - 8_000.0).abs() < 100.0, "{limit}");
}

fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), 0.0..1e6_f64, Just(f64::NAN), Just(f64::INFINITY), Just(-1.0)]
}

fn any_flow() -> impl Strategy<Value = Flow> {
    prop_oneof![Just(Flow::Running), Just(Flow::StoreGone), Just(Flow::OwnerGone)]
}

proptest! {
    /// Lost, late, absurd reports and a clock that jumps: the limit stays a rate, and the loop works
    /// again afterwards.
    #[test]
    fn whatever_comes_the_limit_is_a_rate(
        steps in proptest::collection::vec(
            (any_flow(), [any_number(), any_number(), any_number(), any_number()], any::<u64>()),
            1..40,
        ),
        bounded in any::<bool>(),
    ) {
        let profile = if bounded { Profile::BoundedLag } else { Profile::Absorb };
        let mut plant = Plant::new(profile.policy(Class::Transactional));
        for (flow, [backlog, capacity_per_s, offered_per_s, admitted_per_s], now) in steps {
            let measured = Measured { backlog, capacity_per_s, age_s: backlog, ..Measured::default() };
            let inputs = Inputs { flow, measured, offered_per_s, admitted_per_s, room: Some(backlog) };
            let output = plant.tick.step(&inputs, Nanos(now));
            let limit = output.limit_per_s.unwrap_or(0.0);
            prop_assert!(limit.is_finite() && limit >= 0.0, "{limit}");
            prop_assert!(output.terms.u.is_finite());
        }
        plant.run(600, 5_000.0, Flow::Running);
        plant.run(120, 20_000.0, Flow::Running);
        let drain_s = plant.backlog / CAPACITY_PER_S;
        let setpoint_s = if bounded { 0.4 } else { 15.0 };
        prop_assert!((drain_s - setpoint_s).abs() < 0.1 * setpoint_s, "{drain_s}");
    }

    /// Partitions do not know each other: the same inputs in another order of partitions give the same
    /// outputs.
    #[test]
    fn a_loop_depends_on_its_own_inputs_only(
        loads in proptest::collection::vec(0.0..50_000.0_f64, 2..6),
    ) {
        let run = |loads: &[f64]| -> Vec<u64> {
            let each = loads.iter().map(|load| {
                let mut plant = Plant::new(Policy::shared_topic());
                plant.run(20, *load, Flow::Running).limit_per_s.unwrap_or(0.0).to_bits()
            });
            each.collect()
        };
        let mut reversed = loads.clone();
        reversed.reverse();
        let mut outputs = run(&reversed);
        outputs.reverse();
        prop_assert_eq!(run(&loads), outputs);
    }
}

#[test]
fn other_rules_know_lag_and_load_only() {
    let limit = |rule, age_s, offered_per_s| {
        let mut tick = PartitionLoop::new(Policy { rule, ..Policy::default() }, 1_000.0);
        let measured = Measured { capacity_per_s: 1_000.0, age_s, ..Measured::default() };
        let inputs = Inputs { measured, offered_per_s, ..Inputs::default() };
        tick.step(&inputs, Nanos::from_millis(500)).limit_per_s
    };
    assert_eq!(limit(Rule::Paper, 14.0, 9_000.0), None);
    let held = limit(Rule::Paper, 16.0, 9_000.0).expect("a limit");
    assert!((held - 1_000.0).abs() < 1e-6, "capacity, whatever waits: {held}");
    assert_eq!(limit(Rule::Aimd, 0.0, 9_000.0), Some(1_050.0));
    assert_eq!(limit(Rule::Aimd, 2.0, 9_000.0), Some(700.0));
    assert_eq!(limit(Rule::Loop, 16.0, 9_000.0), None, "nothing waits");
}
