//! The embedded log on a real disk, in one process: order, visibility, bounds, retention, recovery.
//! Crashes of the process are in `tests/embedded_kill.rs`.

use tempfile::TempDir;

use super::*;
use crate::clock::Millis;
use crate::log::{Acks, Change, Outcome, ReadBounds};
use crate::position::{Class, Partition};

const A: PartitionId = PartitionId { class: Class::Transactional, partition: Partition(0) };
const B: PartitionId = PartitionId { class: Class::Telemetry, partition: Partition(3) };
const BOUNDS: ReadBounds =
    ReadBounds { records_max: 1000, bytes_max: 1 << 20, wait: Duration::from_millis(20) };
const LONG: Duration = Duration::from_secs(20);

fn config(dir: &TempDir) -> EmbeddedConfig {
    EmbeddedConfig {
        data_dir: dir.path().join("data"),
        retention_bytes: 1 << 30,
        retention_ms: 1 << 40,
        commit_records_max: 16,
        queue_bytes_max: 1 << 20,
    }
}

fn open_at(config: &EmbeddedConfig, positions: &[(PartitionId, i64)]) -> EmbeddedLog {
    let positions = positions.iter().map(|(id, next)| (*id, Offset(*next))).collect();
    let directory = DataDirectory::lock(&config.data_dir).unwrap();
    let clock = Clock::manual(Millis(1_000));
    EmbeddedLog::open(directory, config, vec![A, B], &positions, clock).unwrap()
}

async fn append(log: &EmbeddedLog, id: PartitionId, values: &[&[u8]]) -> Vec<Outcome> {
    let acks = Acks::new(values.len());
    for (n, value) in values.iter().enumerate() {
        let headers: [(&str, &[u8]); 1] = [("ce_id", b"7")];
        let record =
            NewRecord { id, timestamp: Millis(1_000), key: b"acme", value, headers: &headers };
        log.append(&record, acks.ticket(n));
    }
    acks.settled().await;
    (0..values.len()).map(|n| acks.outcome(n)).collect()
}

fn offsets(outcomes: &[Outcome]) -> Vec<i64> {
    outcomes.iter().map(|outcome| outcome.expect("the append works").offset.0).collect()
}

async fn read(log: &EmbeddedLog, id: PartitionId, from: i64) -> Result<Vec<Record>, ReadError> {
    let mut records = Vec::new();
    log.subscribe().start(id, Offset(from))?.read(&BOUNDS, &mut records).await?;
    Ok(records)
}

#[tokio::test]
async fn what_was_acknowledged_is_read_back_equal_also_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_at(&config(&dir), &[]);
    let values: Vec<Vec<u8>> = (0..100).map(|n| vec![b'x'; n * 7]).collect();
    let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    assert_eq!(offsets(&append(&log, A, &values).await), (0..100).collect::<Vec<_>>());
    assert_eq!(offsets(&append(&log, B, &[b"b"]).await), [0]);
    for _ in 0..2 {
        let records = read(&log, A, 0).await.unwrap();
        assert_eq!(records.len(), 100);
        for (n, record) in records.iter().enumerate() {
            assert_eq!(record.position.offset.0, n as i64);
            assert_eq!((&record.key[..], &record.value[..]), (&b"acme"[..], values[n]));
            assert_eq!(
                (record.timestamp, record.header("ce_id")),
                (Millis(1_000), Some(&b"7"[..]))
            );
        }
        assert_eq!(read(&log, B, 0).await.unwrap().len(), 1);
        drop(log);
        log = open_at(&config(&dir), &[]);
    }
}

#[tokio::test]
async fn a_waiting_reader_is_woken_and_bounds_hold() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_at(&config(&dir), &[]);
    let mut reader = log.subscribe().start(A, Offset(0)).unwrap();
    let mut records = Vec::new();
    reader.read(&BOUNDS, &mut records).await.unwrap();
    assert!(records.is_empty(), "nothing came within the wait");

    let writer = log.clone();
    let wrote = tokio::spawn(async move { append(&writer, A, &[b"1", b"2", b"3"]).await });
    let bounds = ReadBounds { records_max: 1, wait: LONG, ..BOUNDS };
    reader.read(&bounds, &mut records).await.unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(offsets(&wrote.await.unwrap()), [0, 1, 2]);
    reader.read(&ReadBounds { bytes_max: 1, ..BOUNDS }, &mut records).await.unwrap();
    reader.read(&BOUNDS, &mut records).await.unwrap();
    let values: Vec<_> = records.iter().map(|record| record.value.to_vec()).collect();
    assert_eq!(values, [b"1", b"2", b"3"]);
    assert_eq!(reader.end(), Offset(3));
}

#[tokio::test]
async fn a_dropped_read_moves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_at(&config(&dir), &[]);
    append(&log, A, &[b"1"]).await;
    let mut reader = log.subscribe().start(A, Offset(0)).unwrap();
    let mut records = Vec::new();
    for _ in 0..50 {
        let now = tokio::time::timeout(Duration::ZERO, reader.read(&BOUNDS, &mut records));
        if now.await.is_ok() {
            break;
        }
    }
    if records.is_empty() {
        reader.read(&BOUNDS, &mut records).await.unwrap();
    }
    assert_eq!(records.len(), 1);
}

#[tokio::test]
async fn positions_outside_the_log_are_gaps() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_at(&config(&dir), &[]);
    append(&log, A, &[b"1"]).await;
    let gap = ReadError::Gap { wanted: Offset(2), low: Offset(0), end: Offset(1) };
    assert_eq!(read(&log, A, 2).await, Err(gap));
}

#[tokio::test]
async fn offsets_below_the_stored_position_are_never_given() {
    let dir = tempfile::tempdir().unwrap();
    append(&open_at(&config(&dir), &[]), A, &[b"1", b"2"]).await;
    let log = open_at(&config(&dir), &[(A, 10)]);
    assert_eq!(log.range(A).unwrap(), (Offset(0), Offset(10)));
    assert_eq!(read(&log, A, 10).await.unwrap(), []);
    let mut early = log.subscribe().start(A, Offset(1)).unwrap();
    assert_eq!(offsets(&append(&log, A, &[b"3"]).await), [10]);
    let mut records = Vec::new();
    early.read(&BOUNDS, &mut records).await.unwrap();
    let found: Vec<_> = records.iter().map(|record| record.position.offset.0).collect();
    assert_eq!(found, [1, 10], "the hole is passed over");
    drop((log, early));
    assert_eq!(open_at(&config(&dir), &[]).range(A).unwrap().1, Offset(11));
}

#[tokio::test]
async fn a_second_instance_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_at(&config(&dir), &[]);
    match DataDirectory::lock(&config(&dir).data_dir).unwrap_err() {
        OpenError::Locked { directory, pid } => {
            assert_eq!((directory, pid), (config(&dir).data_dir, Some(std::process::id())));
        }
        other => panic!("{other}"),
    }
    drop(log);
    open_at(&config(&dir), &[]);
}

#[tokio::test]
async fn unapplied_records_of_a_partition_that_is_gone_refuse_the_start() {
    let dir = tempfile::tempdir().unwrap();
    append(&open_at(&config(&dir), &[]), B, &[b"1", b"2"]).await;
    let open = |next| {
        let positions = BTreeMap::from([(B, Offset(next))]);
        let config = config(&dir);
        let directory = DataDirectory::lock(&config.data_dir)?;
        EmbeddedLog::open(directory, &config, vec![A], &positions, Clock::System)
    };
    assert!(matches!(open(1), Err(OpenError::UnknownPartition { id: B, records: 1 })));
    open(2).unwrap();
}

#[tokio::test]
async fn the_queue_refuses_what_does_not_fit_and_flush_waits_for_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_at(&EmbeddedConfig { queue_bytes_max: 4096, ..config(&dir) }, &[]);
    assert_eq!(append(&log, A, &[&[0; 4096]]).await, [Err(AppendError::TooLarge)]);
    let big = [0; 3000];
    let outcomes = append(&log, A, &[&big[..]; 50]).await;
    assert!(outcomes.contains(&Err(AppendError::Full)), "{outcomes:?}");
    let accepted: Vec<_> = outcomes.iter().flatten().map(|position| position.offset.0).collect();
    assert_eq!(accepted, (0..accepted.len() as i64).collect::<Vec<_>>(), "refused takes no offset");

    let acks = Acks::new(1);
    let next = NewRecord { id: A, timestamp: Millis(0), key: b"", value: b"", headers: &[] };
    log.append(&next, acks.ticket(0));
    log.flush().await;
    assert_eq!(acks.outcome(0).unwrap().offset.0, accepted.len() as i64);
}

#[tokio::test]
async fn a_full_disk_refuses_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_at(&config(&dir), &[]);
    let reserve = log.0.core.disk_reserve_bytes.swap(u64::MAX, Ordering::Relaxed);
    assert_eq!(append(&log, A, &[b"1"]).await, [Err(AppendError::DiskFull)]);
    log.0.core.disk_reserve_bytes.store(reserve, Ordering::Relaxed);
    assert_eq!(offsets(&append(&log, A, &[b"2"]).await), [0]);
}

/// Retention runs on the commit thread: waits until it has done what the test waits for.
async fn until(what: impl Fn() -> bool) {
    let waited = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, waited).await.expect("retention does its work");
}

#[tokio::test]
async fn retention_deletes_only_what_is_applied_and_keeps_the_offsets() {
    let dir = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig { retention_ms: 500, ..config(&dir) };
    let log = open_at(&config, &[(A, 0)]);
    append(&log, A, &[b"1", b"2", b"3"]).await;
    drop(log);
    let clock = Clock::manual(Millis(2_000));
    let open = |next| {
        let positions = BTreeMap::from([(A, Offset(next))]);
        let directory = DataDirectory::lock(&config.data_dir).unwrap();
        EmbeddedLog::open(directory, &config, vec![A, B], &positions, clock.clone()).unwrap()
    };
    let log = open(0);
    let mut assignment = log.subscribe();
    assert!(matches!(assignment.next().await, Some(Change::Assigned(ids)) if ids == [A, B]));
    assert_eq!(assignment.first_position(A), Ok(Offset(0)));
    let reader = assignment.start(A, Offset(0)).unwrap();
    reader.mirror(Offset(2));
    until(|| log.range(A).unwrap().0 == Offset(2)).await;
    let gap = ReadError::Gap { wanted: Offset(1), low: Offset(2), end: Offset(3) };
    assert_eq!(read(&log, A, 1).await, Err(gap));
    assert_eq!(read(&log, A, 2).await.unwrap().len(), 1, "what is not applied stays");
    assert_eq!(assignment.first_position(A), Ok(Offset(2)));
    reader.mirror(Offset(3));
    until(|| log.range(A).unwrap().0 == Offset(3)).await;
    assignment.leave();
    assert!(matches!(assignment.next().await, Some(Change::Revoked(..))));
    assert!(assignment.next().await.is_none());
    drop((assignment, reader, log));

    let log = open(0);
    assert_eq!(log.range(A).unwrap(), (Offset(3), Offset(3)), "an empty partition keeps its place");
    assert_eq!(offsets(&append(&log, A, &[b"4"]).await), [3]);
}

#[tokio::test]
async fn a_backlog_beyond_retention_refuses_until_it_is_applied() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_at(&EmbeddedConfig { retention_bytes: 4096, ..config(&dir) }, &[]);
    let big = [7; 1500];
    let accepted = offsets(&append(&log, A, &[&big[..]; 4]).await).len() as i64;
    until(|| log.0.core.backlog_full.load(Ordering::Relaxed)).await;
    assert_eq!(append(&log, A, &[b"more"]).await, [Err(AppendError::Full)]);
    assert_eq!(log.range(A).unwrap().0, Offset(0), "nothing unapplied was deleted");
    let reader = log.subscribe().start(A, Offset(0)).unwrap();
    reader.mirror(Offset(accepted));
    until(|| !log.0.core.backlog_full.load(Ordering::Relaxed)).await;
    assert_eq!(offsets(&append(&log, A, &[b"more"]).await), [accepted]);
    let (low, _) = log.range(A).unwrap();
    assert!(low > Offset(0) && low < Offset(accepted), "no more than needed was deleted: {low:?}");
}
