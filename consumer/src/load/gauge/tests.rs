//! What a gauge says, at times that are given.

use super::*;
use shared::position::{Class, Partition};

const ID: PartitionId = PartitionId { class: Class::Telemetry, partition: Partition(3) };

fn gauges() -> Gauges {
    Gauges {
        origin: Instant::now(),
        config: CapacityConfig { unit_per_s: 1_000.0, ..CapacityConfig::default() },
        records_max: 100,
        all: Mutex::default(),
        moved: Arc::default(),
    }
}

fn seconds(seconds: f64) -> Nanos {
    Nanos(0).plus_seconds(seconds)
}

fn worked(records: usize, busy_ms: u64, gave_way_ms: u64) -> Worked {
    Worked {
        records,
        busy: Duration::from_millis(busy_ms),
        gave_way: Duration::from_millis(gave_way_ms),
        full: false,
    }
}

#[test]
fn before_the_claim_nothing_is_said() {
    let gauge = gauges().open(ID);
    assert_eq!(gauge.read(seconds(1.0), Millis(0)), None);
    gauge.claimed(Epoch(7), Offset(40));
    let reading = gauge.read(seconds(1.0), Millis(0)).expect("claimed");
    assert_eq!((reading.epoch, reading.backlog, reading.flow), (7, 0, Flow::Running));
    assert!((reading.capacity_per_s - 1_000.0).abs() < 1e-9);
}

#[test]
fn a_foreign_timestamp_is_no_endless_age() {
    let gauge = gauges().open(ID);
    gauge.claimed(Epoch(1), Offset(0));
    for (oldest, age_s) in [(Some(i64::MIN), 9.3e15), (Some(i64::MAX), 0.0), (None, 0.0)] {
        gauge.stands(Offset(0), oldest.map(Millis));
        let reading = gauge.read(seconds(1.0), Millis(5_000)).expect("claimed");
        assert!(reading.age_s.is_finite() && reading.age_s <= age_s, "{oldest:?}");
    }
}

#[test]
fn one_failure_is_no_outage_and_a_silent_store_is_one() {
    let gauges = gauges();
    let gauge = gauges.open(ID);
    gauge.claimed(Epoch(1), Offset(0));
    let flow = |at: f64| gauge.read(seconds(at), Millis(0)).expect("claimed").flow;
    gauge.failed(gauges.origin);
    assert_eq!(flow(0.9), Flow::Running);
    assert_eq!(flow(1.0), Flow::StoreGone);
    // Trying again changes nothing before it works.
    gauge.begins(gauges.origin);
    gauge.failed(gauges.origin + Duration::from_secs(9));
    assert_eq!(flow(1.0), Flow::StoreGone);
    gauge.answered(Duration::from_millis(5));
    assert_eq!(flow(60.0), Flow::Running);
    gauge.begins(gauges.origin);
    assert_eq!(flow(1.9), Flow::Running);
    assert_eq!(flow(2.0), Flow::StoreGone);
    gauge.answered(Duration::from_millis(5));
    assert_eq!(flow(2.0), Flow::Running, "an answer in between breaks the silence");
    gauge.committed(10);
    assert_eq!(flow(60.0), Flow::Running);
}

#[test]
fn a_writer_whose_batches_are_long_is_not_silent() {
    let gauges = gauges();
    let gauge = gauges.open(ID);
    gauge.claimed(Epoch(1), Offset(0));
    // 92/s from now on: four batches are 4.3 s.
    gauge.worked(&worked(100, 60_000, 0));
    gauge.begins(gauges.origin);
    assert_eq!(gauge.read(seconds(4.0), Millis(0)).map(|one| one.flow), Some(Flow::Running));
    assert_eq!(gauge.read(seconds(25.0), Millis(0)).map(|one| one.flow), Some(Flow::StoreGone));
}

#[test]
fn giving_way_is_busy_and_a_move_is_told_at_once() {
    let gauges = gauges();
    let gauge = gauges.open(ID);
    gauge.claimed(Epoch(1), Offset(0));
    let moved = || {
        let mut moved = std::pin::pin!(gauges.moved());
        let waker = std::task::Waker::noop();
        moved.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_ready()
    };
    assert!(!moved());
    // 100 in 100 ms are 1,000/s; with 900 ms for others, 100/s. Each counts by the time it is taken at, and
    // those of this loop are taken at once: a sample weighs by its own time at first.
    gauge.worked(&worked(100, 100, 0));
    assert!(!moved());
    let gauge = gauges.open(ID);
    gauge.claimed(Epoch(1), Offset(0));
    gauge.worked(&worked(100, 100, 900));
    assert!(moved(), "550/s after one second of 100/s");
    let reading = gauge.read(seconds(1.0), Millis(0)).expect("claimed");
    assert!((reading.capacity_per_s - 550.0).abs() < 1.0, "{}", reading.capacity_per_s);
}

#[test]
fn one_that_halted_stays_until_it_is_given_up() {
    let gauges = gauges();
    let gauge = gauges.open(ID);
    gauge.claimed(Epoch(1), Offset(0));
    gauge.halt();
    gauges.close(&gauge);
    let left = gauges.all();
    let flow = left[0].read(seconds(1.0), Millis(0)).map(|one| one.flow);
    assert_eq!((left.len(), flow), (1, Some(Flow::StoreGone)));
    gauges.forget(ID);
    assert!(gauges.all().is_empty());

    let older = gauges.open(ID);
    let newer = gauges.open(ID);
    gauges.close(&older);
    assert_eq!(gauges.all().len(), 1, "the successor's is not the predecessor's to close");
    gauges.close(&newer);
    assert!(gauges.all().is_empty());
}

#[test]
fn what_is_said_is_counted() {
    let gauge = gauges().open(ID);
    assert_eq!(gauge.said(), Said::default());
    assert_eq!((gauge.say(Some(5.0)), gauge.say(None)), (1, 2));
    assert_eq!(gauge.said(), Said { seq: 2, limit_per_s: Some(None) });
}
