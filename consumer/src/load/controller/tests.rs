//! What an owner says, apart from the loop's own tests: shares, inputs, words.

use control::pid::Terms;
use control::profile::Profile;
use shared::position::Partition;

use super::*;

fn reading(class: Class, flow: Flow) -> Reading {
    Reading {
        id: PartitionId { class, partition: Partition(0) },
        epoch: 1,
        flow,
        backlog: 0,
        age_s: 0.0,
        capacity_per_s: 100.0,
        arrived_per_s: 7.0,
        applied_per_s: 7.0,
        downstream_p99_s: 0.0,
        measured_ago_s: 0.0,
        begun: true,
    }
}

fn output(drain_s: f64) -> Output {
    Output {
        limit_per_s: None,
        reason: Reason::Open,
        terms: Terms::default(),
        drain_s,
        excused_s: 0.0,
        capacity_per_s: 100.0,
        inputs_replaced: 0,
        slewing: false,
    }
}

#[test]
fn lower_classes_give_way_where_the_objective_is_missed_clearly() {
    let check = |class, profile: Profile, drain_s: f64, share: f64| {
        let policy = profile.policy(control::level::Class::ALL[class as usize]);
        let reading = reading(class, Flow::Running);
        let got = lower_classes_share(&reading, &output(drain_s), &policy);
        assert!((got - share).abs() < 1e-9, "{class} {profile:?} {drain_s}: {got}");
        let gone = Reading { flow: Flow::StoreGone, ..reading };
        let got = lower_classes_share(&gone, &output(drain_s), &policy);
        assert!((got - 1.0).abs() < 1e-9, "nobody gives way to what cannot go on");
    };
    check(Class::Control, Profile::Absorb, 0.3, 1.0);
    check(Class::Control, Profile::Absorb, 0.4, 0.5);
    check(Class::Control, Profile::BoundedLag, 9.0, 0.1);
    check(Class::Transactional, Profile::Absorb, 0.375, 1.0);
    check(Class::Transactional, Profile::Absorb, 0.5, 0.5);
    check(Class::Transactional, Profile::BoundedLag, 0.8, 0.5);
    check(Class::Transactional, Profile::BoundedLag, f64::NAN, 1.0);
    check(Class::Telemetry, Profile::BoundedLag, 99.0, 1.0);
}

#[test]
fn without_a_replica_what_arrives_is_what_is_offered() {
    let alone = inputs(&reading(Class::Telemetry, Flow::Running), None, 0.0);
    assert!((alone.offered_per_s - 7.0).abs() < 1e-9 && (alone.admitted_per_s - 7.0).abs() < 1e-9);
    let asked = Asked { offered_per_s: 90.0, admitted_per_s: 60.0 };
    let heard = inputs(&reading(Class::Telemetry, Flow::Running), Some(asked), 0.0);
    assert!((heard.offered_per_s - 90.0).abs() < 1e-9);
    assert!((heard.admitted_per_s - 60.0).abs() < 1e-9);
}

#[test]
fn words_hold_numbers_only() {
    let terms = Terms { p: f64::NAN, i: f64::INFINITY, ..Terms::default() };
    let limit_per_s = Some(f64::NAN);
    let odd = Output { limit_per_s, reason: Reason::Limiting, terms, ..output(f64::NAN) };
    let reading = reading(Class::Transactional, Flow::Running);
    let policy = Profile::Absorb.policy(control::level::Class::Transactional);
    let said = words(&reading, &Measured::default(), &odd, &policy, 3);
    let numbers = [said.p, said.i, said.drain_s, said.lower_classes_share];
    assert!(numbers.into_iter().chain(said.limit_per_s).all(f64::is_finite), "{said:?}");
}

#[test]
fn a_word_tells_what_is_excused() {
    let reading = reading(Class::Transactional, Flow::Running);
    let policy = Profile::Absorb.policy(control::level::Class::Transactional);
    let excusing = Output { excused_s: 40.0, ..output(30.0) };
    let said = words(&reading, &Measured::default(), &excusing, &policy, 3);
    assert!((said.setpoint_s - 55.0).abs() < 1e-9, "{said:?}");
}
