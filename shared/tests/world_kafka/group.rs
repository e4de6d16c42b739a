//! Membership: partitions move one by one, are fetched only when started, and exactly from there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::{Offset as ClientOffset, TopicPartitionList};
use shared::log::kafka::{Group, GroupProtocol, KafkaConfig, PartitionReader};
use shared::log::{Change, ReadError};
use shared::position::{Class, Offset, PartitionId};

use crate::support::{
    BOUNDS, append, assigned, created, id, leave, next, offsets, producer, read, text, until,
    values,
};

fn join(config: &KafkaConfig, instance: &str) -> Group {
    Group::join(config, "main", instance).expect("the configuration is good")
}

async fn started(group: &Group, ids: &[PartitionId], from: i64) -> Readers {
    let mut readers = BTreeMap::new();
    for id in ids {
        readers.insert(*id, group.start(*id, Offset(from)).await.expect("it is ours"));
    }
    readers
}

type Readers = BTreeMap<PartitionId, PartitionReader>;

#[tokio::test]
async fn records_come_after_the_start_and_from_there_on() {
    let config = created(1).await;
    let producer = producer(&config).await;
    append(&producer, id(0), &values(0..100)).await;
    let mut group = join(&config, "a");
    assert_eq!(group.start(id(0), Offset(0)).await.err(), Some(ReadError::Revoked));
    let ids = assigned(&mut group).await;
    assert_eq!(ids.len(), 3, "one partition of each class");
    assert_eq!(group.first_position(id(0)).await, Ok(Offset(0)));

    let mut reader = group.start(id(0), Offset(42)).await.expect("it is ours");
    assert_eq!(text(&read(&mut reader, 58).await), values(42..100));
    assert_eq!(reader.end(), Offset(100));
    // Nothing is there: the read ends with its wait, and what comes later wakes the next one.
    let mut records = Vec::new();
    reader.read(&BOUNDS, &mut records).await.expect("it is ours");
    assert!(records.is_empty());
    append(&producer, id(0), &values(100..103)).await;
    assert_eq!(text(&read(&mut reader, 3).await), values(100..103));

    // Started again elsewhere: the earlier reader ends, the new one begins where it is told.
    let mut again = group.start(id(0), Offset(90)).await.expect("it is ours");
    assert_eq!(text(&read(&mut again, 13).await), values(90..103));
    assert_eq!(reader.read(&BOUNDS, &mut records).await, Err(ReadError::Revoked));
    leave(group).await;
}

#[tokio::test]
async fn bounds_of_a_read_are_kept() {
    let config = created(1).await;
    let producer = producer(&config).await;
    append(&producer, id(0), &values(0..500)).await;
    let mut group = join(&config, "a");
    assigned(&mut group).await;
    let mut reader = group.start(id(0), Offset(0)).await.expect("it is ours");
    let bounds = shared::log::ReadBounds { records_max: 7, ..BOUNDS };
    let mut all = Vec::new();
    while all.len() < 500 {
        let mut some = Vec::new();
        reader.read(&bounds, &mut some).await.expect("it is ours");
        assert!(some.len() <= 7);
        all.append(&mut some);
    }
    assert_eq!(text(&all), values(0..500));
    leave(group).await;
}

#[tokio::test]
async fn a_second_member_takes_its_share_and_goes_on_exactly_there() {
    let config = created(4).await;
    let producer = producer(&config).await;
    for partition in 0..4 {
        append(&producer, id(partition), &values(0..50)).await;
    }
    let mut a = join(&config, "a");
    let all = assigned(&mut a).await;
    assert_eq!(all.len(), 12);
    let mut readers = started(&a, &all, 0).await;
    for partition in 0..4 {
        let reader = readers.get_mut(&id(partition)).expect("started");
        assert_eq!(read(reader, 50).await.len(), 50);
        reader.mirror(Offset(50));
    }

    let mut b = join(&config, "b");
    let (gone, drained) = match next(&mut a).await {
        Change::Revoked(ids, drained) => (ids, drained),
        other => panic!("a revocation was expected, not {other:?}"),
    };
    assert_eq!(gone.len(), 6, "only what moves is revoked");
    // The other partitions are not disturbed while these are drained.
    let kept: Vec<PartitionId> = (0..4).map(id).filter(|id| !gone.contains(id)).collect();
    for id in &kept {
        append(&producer, *id, &values(50..60)).await;
        let records = read(readers.get_mut(id).expect("started"), 10).await;
        assert_eq!(text(&records), values(50..60));
    }
    drop(drained);

    assert_eq!(sorted(assigned(&mut b).await), sorted(gone.clone()));
    for id in &gone {
        let reader = readers.get_mut(id).expect("started");
        assert_eq!(reader.read(&BOUNDS, &mut Vec::new()).await, Err(ReadError::Revoked));
        assert_eq!(a.start(*id, Offset(0)).await.err(), Some(ReadError::Revoked));
        let moved = id.class == Class::Transactional;
        // The position was mirrored before the partition was let go.
        let first = b.first_position(*id).await;
        assert_eq!(first, Ok(Offset(if moved { 50 } else { 0 })));
        let mut reader = b.start(*id, first.expect("just checked")).await.expect("it is ours");
        if moved {
            append(&producer, *id, &values(50..60)).await;
            assert_eq!(text(&read(&mut reader, 10).await), values(50..60));
        }
    }

    // A clean leave gives everything back at once, though the members are static.
    assert!(leave(b).await < Duration::from_secs(2));
    let since = Instant::now();
    let back = assigned(&mut a).await;
    assert_eq!(sorted(back), sorted(gone));
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    assert!(leave(a).await < Duration::from_secs(2));
}

/// KIP-848: what moves is drained and mirrored first, what stays goes on being read, and what a leaving
/// member had comes back. The brokers' heartbeat is 5 s, so it takes so long.
#[tokio::test]
async fn the_brokers_divide_where_they_are_asked_to() {
    let config = KafkaConfig {
        group_protocol: GroupProtocol::Consumer,
        properties: BTreeMap::new(),
        ..created(4).await
    };
    let producer = producer(&config).await;
    let mut a = join(&config, "a");
    let mut all = Vec::new();
    while all.len() < 12 {
        all.extend(assigned(&mut a).await);
    }
    let mut readers = started(&a, &all, 0).await;
    for partition in 0..4 {
        append(&producer, id(partition), &values(0..50)).await;
        let reader = readers.get_mut(&id(partition)).expect("started");
        assert_eq!(read(reader, 50).await.len(), 50);
        reader.mirror(Offset(50));
    }

    let mut b = join(&config, "b");
    let (mut gone, mut moved) = (Vec::new(), Vec::new());
    while moved.len() < 6 {
        tokio::select! {
            change = next(&mut a) => match change {
                Change::Revoked(ids, drained) => {
                    gone.extend(ids);
                    drop(drained);
                }
                other => panic!("a revocation was expected, not {other:?}"),
            },
            ids = assigned(&mut b) => moved.extend(ids),
        }
    }
    assert_eq!(sorted(gone.clone()), sorted(moved.clone()), "only what moves is revoked");
    for id in (0..4).map(id) {
        append(&producer, id, &values(50..60)).await;
        if !gone.contains(&id) {
            let records = read(readers.get_mut(&id).expect("started"), 10).await;
            assert_eq!(text(&records), values(50..60));
            continue;
        }
        let first = b.first_position(id).await.expect("it was mirrored");
        let mut reader = b.start(id, first).await.expect("it is ours");
        assert_eq!(text(&read(&mut reader, 10).await), values(50..60));
    }

    assert!(leave(b).await < Duration::from_secs(2));
    let mut back = Vec::new();
    while back.len() < gone.len() {
        back.extend(assigned(&mut a).await);
    }
    assert_eq!(sorted(back), sorted(gone));
    assert!(leave(a).await < Duration::from_secs(2));
}

fn sorted(mut ids: Vec<PartitionId>) -> Vec<PartitionId> {
    ids.sort();
    ids
}

#[tokio::test]
async fn a_position_outside_the_log_is_a_gap() {
    let config = created(2).await;
    let producer = producer(&config).await;
    append(&producer, id(0), &values(0..20)).await;
    append(&producer, id(1), &values(0..20)).await;
    delete_before(&config, id(1), 5).await;
    let mut group = join(&config, "a");
    assigned(&mut group).await;

    let gap = |wanted, low| {
        Err(ReadError::Gap { wanted: Offset(wanted), low: Offset(low), end: Offset(20) })
    };
    let mut ahead = group.start(id(0), Offset(21)).await.expect("it is ours");
    let mut behind = group.start(id(1), Offset(2)).await.expect("it is ours");
    let patient = shared::log::ReadBounds { wait: Duration::from_secs(10), ..BOUNDS };
    for _ in 0..2 {
        assert_eq!(ahead.read(&patient, &mut Vec::new()).await, gap(21, 0));
        assert_eq!(behind.read(&patient, &mut Vec::new()).await, gap(2, 5));
    }
    // The end itself is a position: the next record will stand there.
    let mut end = group.start(id(0), Offset(20)).await.expect("it is ours");
    append(&producer, id(0), &values(20..21)).await;
    assert_eq!(text(&read(&mut end, 1).await), values(20..21));
    let mut low = group.start(id(1), Offset(5)).await.expect("it is ours");
    assert_eq!(text(&read(&mut low, 15).await), values(5..20));
    leave(group).await;
}

async fn delete_before(config: &KafkaConfig, id: PartitionId, offset: i64) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &config.brokers)
        .create()
        .expect("a plain client");
    let mut list = TopicPartitionList::new();
    let topic = config.topic(id.class);
    list.add_partition_offset(&topic, id.partition.as_i32(), ClientOffset::Offset(offset))
        .expect("an offset");
    admin.delete_records(&list, &AdminOptions::new()).await.expect("kafka deletes");
}

#[tokio::test]
async fn a_mirrored_position_is_where_a_new_member_begins() {
    let config = created(1).await;
    let producer = producer(&config).await;
    append(&producer, id(0), &values(0..30)).await;
    let mut group = join(&config, "a");
    assigned(&mut group).await;
    let mut reader = group.start(id(0), Offset(10)).await.expect("it is ours");
    // The start itself is mirrored, then what is committed.
    until("the start is mirrored", async || group.first_position(id(0)).await == Ok(Offset(10)))
        .await;
    read(&mut reader, 20).await;
    reader.mirror(Offset(25));
    until("it is mirrored", async || group.first_position(id(0)).await == Ok(Offset(25))).await;
    reader.mirror(Offset(30));
    leave(group).await;

    let mut group = join(&config, "b");
    assigned(&mut group).await;
    assert_eq!(group.first_position(id(0)).await, Ok(Offset(30)));
    leave(group).await;
}

#[tokio::test]
async fn a_writer_that_does_not_stop_delays_the_group_only_so_long() {
    let config = created(2).await;
    let mut a = join(&config, "a");
    let all = assigned(&mut a).await;
    let mut readers = started(&a, &all, 0).await;
    let mut b = join(&config, "b");
    let Change::Revoked(gone, drained) = next(&mut a).await else { panic!("a revocation") };
    let since = Instant::now();
    assert_eq!(assigned(&mut b).await.len(), gone.len());
    let waited = since.elapsed();
    assert!((Duration::from_secs(4)..Duration::from_secs(8)).contains(&waited), "{waited:?}");
    let reader = readers.get_mut(&gone[0]).expect("started");
    assert_eq!(reader.read(&BOUNDS, &mut Vec::new()).await, Err(ReadError::Revoked));
    drop(drained);
    leave(b).await;
    leave(a).await;
}

#[tokio::test]
async fn a_group_that_is_dropped_leaves_too() {
    let config = created(1).await;
    let mut a = join(&config, "a");
    assert_eq!(assigned(&mut a).await.len(), 3);
    let mut b = join(&config, "b");
    let gone = match next(&mut a).await {
        Change::Revoked(ids, _) => ids.len(),
        other => panic!("a revocation was expected, not {other:?}"),
    };
    assert_eq!(assigned(&mut b).await.len(), gone);
    let since = Instant::now();
    drop(b);
    assert_eq!(assigned(&mut a).await.len(), gone);
    assert!(since.elapsed() < Duration::from_secs(4), "{:?}", since.elapsed());
    leave(a).await;
}

#[tokio::test]
async fn a_restarted_member_takes_its_own_place() {
    let config = created(2).await;
    let producer = producer(&config).await;
    let mut old = join(&config, "pod-0");
    let all = assigned(&mut old).await;
    let readers = started(&old, &all, 0).await;
    // The same name again, while the old one still lives (it hangs): it is fenced.
    let mut new = join(&config, "pod-0");
    assert_eq!(assigned(&mut new).await.len(), all.len());
    match next(&mut old).await {
        Change::Lost(ids) | Change::Revoked(ids, _) => assert_eq!(ids.len(), all.len()),
        other => panic!("a loss was expected, not {other:?}"),
    }
    let ended = tokio::time::timeout(crate::support::PATIENCE, old.next()).await;
    assert!(ended.expect("it ends").is_none());
    for mut reader in readers.into_values() {
        assert_eq!(reader.read(&BOUNDS, &mut Vec::new()).await, Err(ReadError::Revoked));
    }
    assert_eq!(offsets(&append(&producer, id(0), &values(0..1)).await), [0]);
    let mut reader = new.start(id(0), Offset(0)).await.expect("it is ours");
    assert_eq!(text(&read(&mut reader, 1).await), values(0..1));
    leave(new).await;
}
