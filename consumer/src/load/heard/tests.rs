//! What of the words of others counts, and for how long.

use control::tick::Reason;
use shared::plane::message::{Applied, PartitionDemand};
use shared::position::Partition;

use super::*;

const ID: PartitionId = PartitionId { class: Class::Transactional, partition: Partition(1) };
const CONTROL: PartitionId = PartitionId { class: Class::Control, partition: Partition(0) };

fn word(from: &str, at: Instant, live: Live) -> plane::Heard {
    plane::Heard { from: Arc::from(from), at, age: Duration::ZERO, live }
}

fn demand(offered_per_s: f64, admitted_per_s: f64) -> Demand {
    let partition = PartitionDemand { place: ID.into(), offered_per_s, admitted_per_s };
    Demand { partitions: vec![partition], p99_s: offered_per_s / 1e3, ..Demand::default() }
}

fn limit(id: PartitionId, epoch: u64, seq: u64, share: f64) -> Live {
    let limit = PartitionLimit {
        place: id.into(),
        epoch,
        seq,
        limit_per_s: Some(epoch as f64),
        reason: Reason::Limiting,
        signal_s: 0.0,
        setpoint_s: 0.0,
        drain_s: 0.0,
        capacity_per_s: 0.0,
        p: 0.0,
        i: 0.0,
        d: 0.0,
        u: 0.0,
        lower_classes_share: share,
    };
    Live::Limits(Limits { partitions: vec![limit] })
}

#[test]
fn demands_of_the_replicas_that_are_heard_add_up() {
    let (mut heard, now) = (Heard::default(), Instant::now());
    assert_eq!(heard.asked(ID), None);
    heard.hear(&word("a", now, Live::Demand(demand(100.0, 80.0))), "us");
    heard.hear(&word("b", now + Duration::from_secs(2), Live::Demand(demand(30.0, 30.0))), "us");
    heard.hear(&word("b", now + Duration::from_secs(2), Live::Demand(demand(50.0, 40.0))), "us");
    heard
        .hear(&word("c", now + Duration::from_secs(2), Live::Demand(demand(f64::NAN, -1.0))), "us");
    assert_eq!(heard.asked(ID), Some(Asked { offered_per_s: 150.0, admitted_per_s: 120.0 }));
    assert_eq!(heard.asked(CONTROL), Some(Asked::default()));
    assert!((heard.ingress_p99_s() - 0.1).abs() < 1e-9);
    heard.forget(now + Duration::from_secs(4));
    assert_eq!(heard.asked(ID), Some(Asked { offered_per_s: 50.0, admitted_per_s: 40.0 }));
    heard.forget(now + Duration::from_secs(60));
    assert_eq!(heard.asked(ID), None, "then arrivals are all that is known");
}

#[test]
fn our_limits_way_is_the_slowest_replicas() {
    let (mut heard, now) = (Heard::default(), Instant::now());
    let way = |owner: &str, after_s| Applied { owner: owner.to_owned(), after_s };
    let applied = vec![way("us", 0.2), way("them", 9.0), way("us", 0.4)];
    heard.hear(&word("a", now, Live::Demand(Demand { applied, ..Demand::default() })), "us");
    assert_eq!((heard.applied_after_s(), heard.applied_after_s()), (Some(0.4), None));
}

#[test]
fn the_last_owners_last_word_counts_and_ours_does_not() {
    let (mut heard, now) = (Heard::default(), Instant::now());
    heard.hear(&word("them", now, limit(ID, 4, 9, 1.0)), "us");
    heard.hear(&word("them", now, limit(ID, 3, 12, 1.0)), "us");
    let later = now + Duration::from_secs(2);
    let before = heard.before(ID, 5, later).expect("one was heard");
    assert_eq!((before.limit_per_s, before.ago), (Some(4.0), Duration::from_secs(2)));
    assert_eq!(heard.before(ID, 4, later), None);
    assert_eq!(heard.before(CONTROL, 5, later), None);
    heard.forget(now + Duration::from_secs(61));
    assert_eq!(heard.before(ID, 5, later), None);
}

/// A word that somebody made up, or a bug's: it blocks the owner for seconds, not for a minute.
#[test]
fn an_epoch_that_nobody_has_is_not_the_last_word() {
    let (mut heard, now) = (Heard::default(), Instant::now());
    heard.hear(&word("x", now, limit(ID, u64::MAX, u64::MAX, 0.1)), "us");
    heard.hear(&word("them", now + Duration::from_secs(2), limit(ID, 4, 8, 1.0)), "us");
    assert_eq!(heard.before(ID, u64::MAX, now), None);
    heard.hear(&word("them", now + Duration::from_secs(4), limit(ID, 4, 9, 1.0)), "us");
    let before = heard.before(ID, 5, now).expect("the owner's");
    assert_eq!(before.limit_per_s, Some(4.0));
}

#[test]
fn the_smallest_share_counts_for_all_below_and_runs_out() {
    let (mut heard, now) = (Heard::default(), Instant::now());
    heard.hear(&word("them", now, limit(ID, 1, 1, 0.4)), "us");
    heard.hear(&word("us", now, limit(CONTROL, 1, 1, 0.7)), "us");
    assert_eq!(heard.shares(now), [1.0, 0.7, 0.4]);
    heard.hear(&word("them", now, limit(ID, 1, 2, f64::NAN)), "us");
    assert_eq!(heard.shares(now), [1.0, 0.7, 0.7]);
    assert_eq!(heard.shares(now + Duration::from_secs(4)), [1.0; 3]);
}
