//! One partition's limit, second by second: who is heard, and what is in effect.

use control::level::Class as LoopClass;
use control::profile::Profile;
use shared::position::{Class, Partition};

use super::*;

const ID: PartitionId = PartitionId { class: Class::Transactional, partition: Partition(0) };

/// A partition under a clock that the test turns.
struct Scene {
    seat: Seat,
    begun: Instant,
    ms: u64,
    seq: u64,
    deaf_s: Option<f64>,
}

impl Scene {
    fn new(profile: Profile) -> Self {
        let begun = Instant::now();
        let policy = profile.policy(LoopClass::Transactional);
        let seat = Seat::new(ID, policy, 1_000.0, begun);
        Self { seat, begun, ms: 0, seq: 0, deaf_s: None }
    }

    fn now(&self) -> Instant {
        self.begun + Duration::from_millis(self.ms)
    }

    fn limit(&mut self, limit_per_s: f64) {
        self.limit_of(Some(limit_per_s));
    }

    fn limit_of(&mut self, limit_per_s: Option<f64>) {
        self.say(limit_per_s, (0.4, 0.4));
    }

    fn say(&mut self, limit_per_s: Option<f64>, (signal_s, setpoint_s): (f64, f64)) {
        self.seq += 1;
        let limit = PartitionLimit {
            place: ID.into(),
            epoch: 1,
            seq: self.seq,
            limit_per_s,
            reason: limit_per_s.map_or(Reason::Open, |_| Reason::Limiting),
            signal_s,
            setpoint_s,
            drain_s: signal_s,
            capacity_per_s: 1_000.0,
            p: 0.0,
            i: 0.0,
            d: 0.0,
            u: 1.0,
            lower_classes_share: 1.0,
        };
        self.seat.hear_limit(&limit, self.now()).expect("taken");
    }

    fn report(&mut self, epoch: u64, backlog: u64, flow: Flow) {
        self.report_of(epoch, backlog, flow, 0.0);
    }

    fn report_of(&mut self, epoch: u64, backlog: u64, flow: Flow, age_s: f64) {
        let report = PartitionReport {
            place: ID.into(),
            epoch,
            flow,
            backlog,
            age_s,
            capacity_per_s: 1_000.0,
            arrived_per_s: 0.0,
            applied_per_s: 0.0,
            downstream_p99_s: 0.0,
            room: None,
        };
        self.seat.hear_report(&report, self.now());
    }

    /// Steps of half a second.
    fn pass(&mut self, steps: u64, offered_per_s: f64, mut each: impl FnMut(&mut Self)) {
        for _ in 0..steps {
            self.ms += 500;
            each(self);
            self.deaf_s = self.deaf_s.map(|deaf| deaf + 0.5);
            let (admitted_per_s, deaf_s) = (offered_per_s, self.deaf_s);
            let see = Surroundings { offered_per_s, admitted_per_s, deaf_s };
            let now = self.now();
            self.seat.step(&see, Nanos::from_millis(self.ms), now);
        }
    }

    fn effect(&self) -> (Option<u64>, &'static str) {
        (self.seat.limit_per_s.map(|limit| limit as u64), self.seat.source.name())
    }
}

#[test]
fn nobody_ever_heard_is_no_outage_to_be_limited_by() {
    let mut scene = Scene::new(Profile::Absorb);
    scene.pass(3_000, 50_000.0, |_| {});
    assert_eq!(scene.effect(), (None, "local"));
    // Half an hour is the budget.
    scene.pass(3_000, 50_000.0, |_| {});
    assert!(scene.effect().0.is_some(), "{:?}", scene.effect());
}

#[test]
fn a_silent_owner_is_replaced_by_our_own_loop_without_a_jump() {
    let mut scene = Scene::new(Profile::BoundedLag);
    scene.pass(6, 2_000.0, |scene| {
        scene.limit(800.0);
        scene.report(1, 400, Flow::Running);
    });
    assert_eq!(scene.effect(), (Some(800), "leader"));
    // The controller is dead, the writer is not: the backlog stays near the setpoint.
    scene.pass(7, 2_000.0, |scene| scene.report(1, 320, Flow::Running));
    let (limit, source) = scene.effect();
    assert_eq!(source, "local");
    assert!(limit.is_some_and(|limit| (760..=840).contains(&limit)), "{limit:?}");
    // Then the writer, too.
    scene.pass(8, 2_000.0, |_| {});
    assert_eq!(scene.effect(), (Some(50), "floor"));
    assert!(scene.seat.is_stale(scene.now()));
}

#[test]
fn an_outage_is_absorbed_at_the_rate_that_was() {
    let mut scene = Scene::new(Profile::Absorb);
    scene.pass(20, 700.0, |scene| scene.report(1, 0, Flow::Running));
    assert_eq!(scene.effect(), (None, "local"));
    scene.pass(60, 700.0, |scene| scene.report(1, 20_000, Flow::StoreGone));
    assert_eq!(scene.effect(), (Some(1_000), "local"), "what could be served before");
    assert!(!scene.seat.writer_gone(scene.now()), "it is being absorbed");
}

#[test]
fn deaf_ourselves_we_hold_and_then_go_to_half() {
    let mut scene = Scene::new(Profile::BoundedLag);
    scene.pass(4, 2_000.0, |scene| {
        scene.limit(800.0);
        scene.report(1, 400, Flow::Running);
    });
    scene.deaf_s = Some(3.0);
    scene.pass(10, 2_000.0, |_| {});
    assert_eq!(scene.effect(), (Some(800), "lease"));
    scene.pass(150, 2_000.0, |_| {});
    assert_eq!(scene.effect(), (Some(500), "floor"));
}

#[test]
fn a_former_owner_s_late_report_is_no_news() {
    let mut scene = Scene::new(Profile::BoundedLag);
    scene.report(5, 10, Flow::Running);
    scene.report(4, 9_000, Flow::StoreGone);
    let now = scene.now();
    assert_eq!(scene.seat.report(now).map(|report| report.backlog), Some(10));
    // Its epoch may have been a poison: after three seconds anybody is news.
    scene.ms += 3_001;
    scene.report(4, 9_000, Flow::Running);
    let now = scene.now();
    assert_eq!(scene.seat.report(now).map(|report| report.backlog), Some(9_000));
}

#[test]
fn one_report_out_of_the_blue_enters_no_mode() {
    let mut scene = Scene::new(Profile::Absorb);
    scene.pass(4, 100.0, |scene| {
        scene.limit_of(None);
        scene.report(1, 5, Flow::Running);
    });
    // Its epoch is no owner's.
    scene.report(1 << 40, u64::MAX, Flow::Running);
    let now = scene.now();
    assert_eq!(scene.seat.report(now).map(|report| report.backlog), Some(5));
    // And one that looks like the owner's counts for nothing while the owner itself is heard.
    scene.pass(1, 100.0, |scene| {
        scene.limit_of(None);
        scene.report(1, 1 << 39, Flow::Running);
    });
    assert_eq!(scene.seat.wait_s(), 0.0);
}

#[test]
fn a_squeezed_class_waits_as_long_as_its_oldest_record() {
    let mut scene = Scene::new(Profile::Absorb);
    scene.seat.reload(Profile::Absorb.policy(LoopClass::Telemetry));
    // The owner limits: 4,000 s to drain at the moment, and the oldest is 61 s old.
    scene.pass(2, 100.0, |scene| {
        scene.say(Some(100.0), (4_000.0, 60.0));
        scene.report_of(1, 400_000, Flow::Running, 61.0);
    });
    assert!((0.9..1.1).contains(&scene.seat.wait_s()), "{}", scene.seat.wait_s());
}

#[test]
fn rates_follow_their_counters() {
    let mut rate = Rate::default();
    for second in 1..20 {
        rate.update(second * 50, 0.5);
    }
    assert!((95.0..=100.1).contains(&rate.per_s()), "{}", rate.per_s());
    rate.update(0, 0.5);
    assert!(rate.per_s() < 70.0, "a counter that was set back counts nothing");
}
