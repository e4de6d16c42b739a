//! Filters of closed buckets spare look-ups, and no id gets past one that was added after it was read.

use consumer::bucket::{Bucket, Width};
use consumer::store::Reading;
use consumer::{Consumer, Store};
use shared::clock::Millis;
use shared::{Process, Shutdown};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::suite::base::Base;
use super::suite::{Bench, FIRST, NOON, Running, SECOND, WINDOW};
use super::{connection, run, until_blocked};

const EVENTS: &str = "select count(*) from pipeline.events";
const SEALS: &str = "select count(*) from pipeline.sealed_buckets";
const SPARED: &str = "shock_consumer_filter_spared_total";
const BYTES: usize = 1 << 20;
/// In the bucket before, and so long after its end that it is over.
const BEFORE: Millis = Millis(NOON.0 - 60_000);
const AFTER: Millis = Millis(NOON.0 + 200_000);

fn width() -> Width {
    Width::of_window(WINDOW)
}

fn before() -> Bucket {
    width().bucket(BEFORE, NOON).expect("plausible")
}

/// A bench with fifty ids in the bucket before, which every position has passed.
async fn passed() -> (Bench, Store) {
    let mut bench = Bench::new(Base::postgres().await).await;
    // The oldest record of the last batch counts.
    bench.config.batch_records_max = 1;
    for n in 0..50 {
        bench.event(FIRST, BEFORE, &format!("old-{n}"), n);
    }
    bench.event(FIRST, AFTER, "first", 0);
    let store = bench.base.store().await;
    bench.drain().await.stop().await;
    assert_eq!(read(&store).await, Reading::NotYet, "one partition has not passed it");
    bench.event(SECOND, AFTER, "second", 0);
    bench.drain().await.stop().await;
    bench.config.batch_records_max = 16;
    (bench, store)
}

async fn read(store: &Store) -> Reading {
    store.read_ids(before(), width(), BYTES).await.expect("reads")
}

fn ids(reading: Reading) -> u64 {
    match reading {
        Reading::Read { ids, .. } => ids,
        other => panic!("{other:?}"),
    }
}

/// A consumer with the filters of this handle.
fn start(bench: &Bench, store: &Store) -> Running {
    let process = Process::alone(bench.clock.clone());
    let consumer: Consumer = bench.consumer(store.clone(), &process);
    Running::of(consumer, process, Shutdown::new())
}

#[tokio::test]
async fn look_ups_are_spared_and_no_repeat_gets_through() {
    let (bench, store) = passed().await;
    assert_eq!(ids(read(&store).await), 50);
    assert_eq!(read(&store).await, Reading::Known);
    assert_eq!(store.known().ids, 50);
    let running = start(&bench, &store);
    for n in 0..100 {
        bench.event(FIRST, AFTER, &format!("new-{n}"), n);
        bench.event(FIRST, AFTER, &format!("old-{}", n % 50), n);
    }
    bench.until_drained().await;
    assert_eq!(bench.count(EVENTS).await, 152);
    bench.until("it is counted", async || asked(&running) == 200).await;
    // One in a thousand of those that are not there passes for one that may be.
    assert!(running.metric(SPARED) >= 95, "{}", running.metric(SPARED));

    // A late record of another partition: the same identity here is a repetition all the same.
    bench.event(SECOND, BEFORE, "late", 1);
    bench.until_drained().await;
    assert_eq!((bench.count(EVENTS).await, bench.count(SEALS).await), (153, 0));
    let spared = running.metric(SPARED);
    bench.event(FIRST, AFTER, "late", 1);
    bench.event(FIRST, AFTER, "newer", 1);
    bench.until_drained().await;
    assert_eq!(bench.count(EVENTS).await, 154);
    bench.until("it is counted", async || asked(&running) == 202).await;
    assert_eq!(running.metric(SPARED), spared, "what is not sealed is asked");

    assert_eq!(read(&store).await, Reading::NotYet, "its last record was one of that bucket");
    bench.event(SECOND, AFTER, "in time", 1);
    bench.until_drained().await;
    assert_eq!(ids(read(&store).await), 51);
    bench.event(FIRST, AFTER, "late", 1);
    bench.event(FIRST, AFTER, "newest", 1);
    bench.until_drained().await;
    assert_eq!(bench.count(EVENTS).await, 156);
    bench.until("it is spared", async || running.metric(SPARED) > spared).await;
    running.stop().await;
}

fn asked(running: &Running) -> i64 {
    running.metric("shock_consumer_filter_asked_total")
}

async fn add(connection: &mut PgConnection, id: &str) -> Result<(), sqlx::Error> {
    let insert = format!(
        "insert into \"shock_suite\".processed_ids values ({}, 'acme', sha256('{id}'), 1, 0, 1, 1)",
        before().0
    );
    sqlx::raw_sql(AssertSqlSafe(insert)).execute(connection).await.map(drop)
}

#[tokio::test]
async fn a_seal_waits_for_ids_that_are_just_added() {
    let (bench, store) = passed().await;
    let mut writer = connection(&bench.base).await;
    run(&mut writer, "begin").await;
    add(&mut writer, "under way").await.expect("adds");
    let reading = tokio::spawn(async move { read(&store).await });
    until_blocked(&bench).await;
    run(&mut writer, "commit").await;
    assert_eq!(ids(reading.await.expect("does not panic")), 51);
    assert_eq!(bench.count(SEALS).await, 1);
}

#[tokio::test]
async fn whoever_adds_an_id_takes_the_seal_away() {
    let (bench, store) = passed().await;
    assert_eq!(ids(read(&store).await), 50);
    let mut writer = connection(&bench.base).await;
    // Not under a snapshot that may be older than the seal.
    run(&mut writer, "begin isolation level repeatable read; select 1 from pipeline.progress")
        .await;
    let refused = add(&mut writer, "blind").await.expect_err("refused");
    let code = refused.as_database_error().and_then(|error| error.code());
    assert_eq!(code.as_deref(), Some("40001"));
    run(&mut writer, "rollback").await;
    assert_eq!(bench.count(SEALS).await, 1);

    // Nor with triggers off, as where a replication writes.
    run(&mut writer, "begin; set local session_replication_role = replica").await;
    add(&mut writer, "replicated").await.expect("adds");
    assert_eq!(bench.count(SEALS).await, 1, "until it is committed");
    run(&mut writer, "commit").await;
    assert_eq!(bench.count(SEALS).await, 0);

    // What was given up takes none with it.
    assert_eq!(ids(read(&store).await), 51);
    run(&mut writer, "begin").await;
    add(&mut writer, "given up").await.expect("adds");
    run(&mut writer, "rollback").await;
    assert_eq!((bench.count(SEALS).await, read(&store).await), (1, Reading::Known));

    // A table that is made anew under the same number is another bucket.
    let name = format!("pipeline.processed_ids_{}", before().0);
    bench.base.sql(&format!("drop table {name}")).await;
    store.ensure_buckets(&[before()]).await.expect("made");
    assert_eq!(bench.count(SEALS).await, 0);
    writer.close().await.expect("closes");
}

#[tokio::test]
async fn a_filter_that_would_be_too_big_is_none() {
    let (_bench, store) = passed().await;
    let reading = store.read_ids(before(), width(), 16).await.expect("asks");
    assert!(matches!(reading, Reading::TooMany(_)), "{reading:?}");
    assert_eq!(store.known().ids, 0);
}
