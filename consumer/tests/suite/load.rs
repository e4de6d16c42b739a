//! The cases about the control loop's owner side: what is measured, told and obeyed. Figures come from
//! words and counts; nothing is judged by how long it took.

use std::num::NonZeroU32;
use std::sync::Arc;

use control::outage::Flow;
use control::profile::Profile;
use control::tick::Reason;
use shared::Process;
use shared::log::memory::MemoryLog;
use shared::plane::message::{
    Demand, Limits, Live, PartitionDemand, PartitionLimit, PartitionReport,
};
use shared::plane::{Heard, Plane};
use shared::position::{Class, Partition, PartitionId};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

use super::base::Base;
use super::{Bench, FIRST, SECOND};

const TELEMETRY: PartitionId = PartitionId { class: Class::Telemetry, partition: Partition(0) };

/// What is said on a plane, from the beginning.
struct Ear {
    words: Receiver<Arc<Heard>>,
    reports: Vec<Vec<PartitionReport>>,
    limits: Vec<Vec<PartitionLimit>>,
}

impl Ear {
    fn on(plane: &Plane) -> Self {
        Self { words: plane.listen(), reports: Vec::new(), limits: Vec::new() }
    }

    fn listen(&mut self) {
        loop {
            match self.words.try_recv() {
                Ok(word) => match &word.live {
                    Live::Report(report) => self.reports.push(report.partitions.clone()),
                    Live::Limits(limits) => self.limits.push(limits.partitions.clone()),
                    Live::Demand(_) => {}
                },
                Err(TryRecvError::Empty) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The newest report of a partition.
    fn report(&mut self, id: PartitionId) -> Option<PartitionReport> {
        self.listen();
        let newest = self.reports.last()?;
        newest.iter().find(|one| PartitionId::from(one.place) == id).copied()
    }

    /// All limits of a partition, oldest first.
    fn limits(&mut self, id: PartitionId) -> Vec<PartitionLimit> {
        self.listen();
        let all = self.limits.iter().flatten();
        all.filter(|one| PartitionId::from(one.place) == id).copied().collect()
    }

    /// The newest limit of a partition.
    fn limit(&mut self, id: PartitionId) -> Option<PartitionLimit> {
        self.limits(id).last().copied()
    }
}

/// A bench whose writers apply so many records a second, and a process with a plane.
async fn capped(base: Base, rate_per_s: u32, profile: Profile) -> (Bench, Process, Ear) {
    let mut bench = Bench::new(base).await;
    bench.config.rate_per_s_max = NonZeroU32::new(rate_per_s);
    bench.config.control.policies = control::level::Class::ALL.map(|class| profile.policy(class));
    let process = Process::alone(bench.clock.clone());
    let ear = Ear::on(&process.plane);
    (bench, process, ear)
}

pub async fn what_is_measured_is_told(base: Base) {
    let (bench, process, mut ear) = capped(base, 40, Profile::Absorb).await;
    bench.events(FIRST, "a", 400);
    let running = bench.start_in(process).await;
    bench.clock.advance(7_000);
    bench
        .until("a backlog and a capacity are told", async || {
            ear.report(FIRST).is_some_and(|report| {
                report.backlog > 0
                    && report.backlog < 400
                    && report.age_s == 7.0
                    && (20.0..=41.0).contains(&report.capacity_per_s)
                    && (1.0..=60.0).contains(&report.applied_per_s)
                    && report.downstream_p99_s > 0.0
                    && report.arrived_per_s == 0.0
                    && report.flow == Flow::Running
                    && report.epoch == 1
            })
        })
        .await;
    let idle = ear.report(SECOND).expect("it is ours, too");
    assert_eq!((idle.backlog, idle.age_s), (0, 0.0));
    assert!(running.metric("shock_consumer_control_published_total{kind=\"report\"}") > 0);
    // What is kept small reports soon and stops soon: a quarter of a second at the most.
    let small = r#"shock_consumer_batch_records_bucket{le="16"}"#;
    let count = running.metric("shock_consumer_batch_records_count");
    assert!(count > 0 && running.metric(small) == count);
    running.stop().await;
}

pub async fn a_backlog_is_limited_under_bounded_lag_and_absorbed_under_absorb(base: Base) {
    let (bench, process, mut ear) = capped(base, 40, Profile::BoundedLag).await;
    bench.events(FIRST, "a", 400);
    let running = bench.start_in(process).await;
    bench
        .until("the limit falls below what can be done", async || {
            let limits = ear.limits(FIRST);
            let rates: Vec<f64> = limits.iter().filter_map(|one| one.limit_per_s).collect();
            let falls = rates.first() > rates.last();
            falls
                && limits.last().is_some_and(|one| {
                    one.reason == Reason::Limiting
                        && one.limit_per_s < Some(0.5 * one.capacity_per_s)
                        && one.p < 0.0
                        && one.setpoint_s == 0.4
                })
        })
        .await;
    let limits = ear.limits(FIRST);
    assert!(limits.windows(2).all(|two| two[0].seq < two[1].seq && two[0].epoch == two[1].epoch));
    let line =
        r#"shock_consumer_limit_reason{class="transactional",partition="0",reason="limiting"}"#;
    assert_eq!(running.metric(line), 1);
    running.stop().await;

    // 10 s of wait are inside the budget.
    let process = Process::alone(bench.clock.clone());
    let mut ear = Ear::on(&process.plane);
    let mut bench = bench;
    bench.config.control.policies =
        control::level::Class::ALL.map(|class| Profile::Absorb.policy(class));
    bench.events(SECOND, "b", 400);
    let running = bench.start_in(process).await;
    bench
        .until("it is absorbed", async || {
            ear.limits(SECOND).iter().filter(|one| one.reason == Reason::Absorbing).count() >= 3
        })
        .await;
    assert!(ear.limits(SECOND).iter().all(|one| one.limit_per_s.is_none()));
    running.stop().await;
}

pub async fn beyond_its_budget_absorb_limits_too(base: Base) {
    let (bench, process, mut ear) = capped(base, 40, Profile::Absorb).await;
    bench.events(FIRST, "a", 5);
    let running = bench.start_in(process).await;
    bench.until_drained().await;
    // What waits when it is looked at for the first time is excused.
    let seen = ear.limit(FIRST).map_or(0, |one| one.seq);
    bench
        .until("its controller has looked at it", async || {
            ear.limit(FIRST).is_some_and(|one| one.seq > seen + 1)
        })
        .await;
    bench.events(FIRST, "b", 2_000);
    bench
        .until("50 s of wait are limited", async || {
            ear.limit(FIRST).is_some_and(|one| {
                one.reason == Reason::Limiting && one.limit_per_s < Some(one.capacity_per_s)
            })
        })
        .await;
    running.stop().await;
}

/// Nobody had the partition before: that is an outage, and its producers are not to pay for it.
pub async fn what_waits_for_a_first_owner_is_excused(base: Base) {
    let (bench, process, mut ear) = capped(base, 40, Profile::Absorb).await;
    bench.events(FIRST, "a", 2_000);
    let running = bench.start_in(process).await;
    bench
        .until("some of it is done", async || {
            ear.report(FIRST).is_some_and(|report| report.applied_per_s > 0.0)
        })
        .await;
    bench
        .until("50 s of wait are held against nobody", async || {
            ear.limit(FIRST).is_some_and(|one| {
                assert_ne!(one.reason, Reason::Limiting, "{one:?}");
                one.reason == Reason::Absorbing && one.setpoint_s > 15.0 + 30.0
            })
        })
        .await;
    running.stop().await;
}

pub async fn a_store_that_is_gone_is_an_outage_and_no_overload(base: Base) {
    let (bench, process, mut ear) = capped(base, 1_000, Profile::Absorb).await;
    bench.events(FIRST, "a", 5);
    let running = bench.start_in(process).await;
    bench.until_drained().await;
    let held = bench.base.hold().await;
    bench.events(FIRST, "b", 500);
    bench
        .until("the store is said to be gone", async || {
            ear.report(FIRST).is_some_and(|report| report.flow == Flow::StoreGone)
        })
        .await;
    bench
        .until("and its limit to be an outage's", async || {
            ear.limit(FIRST).is_some_and(|one| one.reason == Reason::Outage)
        })
        .await;
    let limit = ear.limit(FIRST).expect("said");
    assert!(limit.limit_per_s >= Some(500.0), "what could be served is let in: {limit:?}");
    assert_eq!(limit.lower_classes_share, 1.0, "nobody gives way to what cannot go on");
    held.release().await;
    bench
        .until("it is back", async || {
            ear.report(FIRST).is_some_and(|report| report.flow == Flow::Running)
        })
        .await;
    bench.until_drained().await;
    running.stop().await;
}

pub async fn a_waiting_class_slows_the_one_below_elsewhere_and_not_to_nothing(base: Base) {
    const SHARE: &str = r#"shock_consumer_share{class="telemetry"}"#;
    let (bench, process, _ear) = capped(base, 40, Profile::Absorb).await;
    bench.events(FIRST, "a", 200);
    let plane = process.plane.clone();
    let owner = bench.start_in(process).await;

    // Another consumer, of other partitions, on the same plane and the same database.
    let mut other = Bench::new(Base::sqlite().await).await;
    other.log = MemoryLog::new([TELEMETRY]);
    let process = Process { plane, ..Process::alone(other.clock.clone()) };
    let below = other.start_in(process).await;
    let text = |share: &str| format!("{SHARE} {share}");
    bench.until("it goes by a tenth", async || below.registry.text().contains(&text("0.1"))).await;
    other.events(TELEMETRY, "t", 300);
    bench
        .until("it gives way", async || {
            let text = below.registry.text();
            let line = r#"shock_consumer_gave_way_seconds_total{class="telemetry"} "#;
            let seconds = text.lines().find_map(|one| one.strip_prefix(line));
            seconds.is_some_and(|seconds| seconds.parse::<f64>().expect("a number") > 0.0)
        })
        .await;
    let applied = r#"shock_consumer_applied_total{class="telemetry"}"#;
    bench.until("and goes on", async || below.metric(applied) > 0).await;
    bench.until("all of it is applied", async || below.metric(applied) == 300).await;
    bench.until_drained().await;
    bench
        .until("it has everything again", async || below.registry.text().contains(&text("1")))
        .await;
    owner.stop().await;
    below.stop().await;
}

pub async fn what_is_given_up_is_limited_no_more(base: Base) {
    const LINE: &str = r#"shock_consumer_capacity_per_s{class="transactional",partition="0"}"#;
    let (bench, process, mut ear) = capped(base, 40, Profile::BoundedLag).await;
    bench.events(FIRST, "a", 400);
    let running = bench.start_in(process).await;
    bench.until("it is limited", async || ear.limit(FIRST).is_some()).await;
    bench.until("it is shown", async || running.registry.text().contains(LINE)).await;
    let drained = bench.log.revoke(vec![FIRST]);
    bench.until("the writer has stopped", async || drained.try_recv().is_ok()).await;
    bench.until("it is shown no more", async || !running.registry.text().contains(LINE)).await;
    ear.listen();
    let (reports, limits) = (ear.reports.len(), ear.limits.len());
    bench
        .until("the others are told on", async || {
            ear.listen();
            ear.reports.len() > reports + 2 && ear.limits.len() > limits + 2
        })
        .await;
    let is_first = |place| PartitionId::from(place) == FIRST;
    // The first of each may have been under way.
    assert!(!ear.reports[reports + 1..].iter().flatten().any(|one| is_first(one.place)));
    assert!(!ear.limits[limits + 1..].iter().flatten().any(|one| is_first(one.place)));
    running.stop().await;
}

pub async fn a_new_owner_goes_on_at_the_limit_in_effect(base: Base) {
    let (bench, process, mut ear) = capped(base, 40, Profile::BoundedLag).await;
    bench.events(FIRST, "a", 10);
    bench.drain().await.stop().await;
    bench.events(FIRST, "b", 400);
    let said = PartitionLimit {
        place: FIRST.into(),
        epoch: 1,
        seq: 77,
        limit_per_s: Some(31.0),
        reason: Reason::Limiting,
        signal_s: 0.0,
        setpoint_s: 0.4,
        drain_s: 0.0,
        capacity_per_s: 40.0,
        p: 0.0,
        i: 0.0,
        d: 0.0,
        u: 0.8,
        lower_classes_share: 1.0,
    };
    // The new owner hears it before it owns anything: its claim waits for the store.
    let held = bench.base.hold().await;
    let plane = process.plane.clone();
    let running = bench.start_in(process).await;
    bench
        .until("it is heard", async || {
            plane.publish(Live::Limits(Limits { partitions: vec![said] }));
            ear.listen();
            ear.limits.len() > 20
        })
        .await;
    held.release().await;
    bench
        .until("it says its first", async || ear.limits(FIRST).iter().any(|one| one.epoch == 2))
        .await;
    let first = ear.limits(FIRST).into_iter().find(|one| one.epoch == 2).expect("said");
    let limit = first.limit_per_s.expect("bounded");
    assert!((limit / 31.0 - 1.0).abs() < 0.02, "the limit does not jump: {first:?}");
    running.stop().await;
}

pub async fn odd_demands_do_no_harm(base: Base) {
    let (bench, process, mut ear) = capped(base, 40, Profile::BoundedLag).await;
    bench.events(FIRST, "a", 200);
    let plane = process.plane.clone();
    let running = bench.start_in(process).await;
    let odd = |value: f64| PartitionDemand {
        place: FIRST.into(),
        offered_per_s: value,
        admitted_per_s: value,
    };
    bench
        .until("limits go on", async || {
            let partitions = [f64::NAN, f64::INFINITY, -1.0, f64::MAX, 5.0].map(odd).to_vec();
            plane.publish(Live::Demand(Demand {
                partitions,
                p99_s: f64::NAN,
                ..Demand::default()
            }));
            ear.limits(FIRST).iter().filter(|one| one.reason == Reason::Limiting).count() > 3
        })
        .await;
    for one in ear.limits(FIRST) {
        let numbers = [one.signal_s, one.drain_s, one.capacity_per_s, one.p, one.i, one.d, one.u];
        assert!(numbers.into_iter().chain(one.limit_per_s).all(f64::is_finite), "{one:?}");
    }
    assert_eq!(running.metric("shock_consumer_control_restarts_total{task=\"controller\"}"), 0);
    running.stop().await;
}
