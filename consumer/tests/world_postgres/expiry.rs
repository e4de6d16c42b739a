//! Buckets are dropped under running batches, by whoever may, and only what is due.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use consumer::Store;
use consumer::store::PostgresStore;
use shared::clock::Millis;
use shared::config::PostgresConfig;
use sqlx::{Connection as _, PgConnection};

use super::suite::base::{Base, PIPELINE};
use super::suite::{Bench, FIRST, NOON, SECOND};
use super::{connection, run};

const EVENTS: &str = "select count(*) from pipeline.events";
const HOUR: i64 = 3_600_000;
const FIRST_BUCKET: i64 = NOON.0 / HOUR;
const WAIT: Duration = Duration::from_millis(100);

/// A store in which the buckets of the first two hours are due.
async fn with_two_due() -> Bench {
    let mut bench = Bench::new(Base::postgres().await).await;
    // The oldest record of the last batch counts.
    bench.config.batch_records_max = 1;
    bench.clock.advance(4 * HOUR);
    for id in [FIRST, SECOND] {
        for hour in [0, 1, 4] {
            bench.event(id, Millis(NOON.0 + hour * HOUR), &format!("{id}-{hour}"), hour);
        }
    }
    bench.drain().await.stop().await;
    bench
}

/// Two partitions go through 60 windows, each id coming twice within one, while two others ask for
/// buckets to be dropped as fast as they can.
#[tokio::test]
async fn duplicates_are_caught_while_buckets_are_dropped() {
    const WINDOW_MS: i64 = 60_000;
    const IDS: i64 = 2_000;
    let mut bench = Bench::new(Base::postgres().await).await;
    bench.config.dedupe_window = Duration::from_millis(WINDOW_MS as u64);
    bench.config.batch_records_max = 48;
    bench.clock.advance(61 * WINDOW_MS);
    for (id, name) in [(FIRST, "a"), (SECOND, "b")] {
        let mut records = Vec::new();
        for n in 0..IDS {
            let first = NOON.0 + n * 60 * WINDOW_MS / IDS;
            let later = 1 + (n * 7_919) % WINDOW_MS;
            records.extend([(first, n), (first + later, n)]);
        }
        records.sort_unstable();
        for (at, n) in records {
            bench.event(id, Millis(at), &format!("{name}-{n}"), n);
        }
    }
    let done = AtomicBool::new(false);
    let slowest = "select coalesce(min(record_timestamp), 0) from pipeline.progress";
    let drop_all = async || {
        let store = bench.base.store().await;
        let mut dropped = Vec::new();
        while !done.load(Ordering::SeqCst) {
            match store.forget_ids(WAIT, bench.clock.now()).await {
                Ok(step) => {
                    let passed = bench.count(slowest).await;
                    for bucket in step.buckets {
                        assert!((bucket.0 + 3) * WINDOW_MS <= passed, "{bucket:?} at {passed}");
                        dropped.push(bucket.0);
                    }
                }
                Err(error) => assert!(error.is_busy(), "{error}"),
            }
        }
        dropped
    };
    let consume = async {
        let running = bench.drain().await;
        done.store(true, Ordering::SeqCst);
        running
    };
    let (running, first, second) = tokio::join!(consume, drop_all(), drop_all());
    assert_eq!(bench.count(EVENTS).await, 2 * IDS);
    assert_eq!(bench.count("select count(*) from pipeline.parked").await, 0);
    assert_eq!(running.metric("shock_consumer_retries_total"), 0, "no writer met an error");
    let by_task = running.metric("shock_consumer_id_buckets_dropped_total");
    let dropped = (first.len() + second.len()) as i64 + by_task;
    assert!(dropped >= 50, "{dropped} of some 60 buckets");
    running.stop().await;
}

#[tokio::test]
async fn a_long_statement_is_waited_for_only_so_long() {
    let bench = with_two_due().await;
    let store = bench.base.store().await;
    let mut reader = connection(&bench.base).await;
    run(&mut reader, "begin; select count(*) from pipeline.processed_ids").await;
    let asked = Instant::now();
    let error = store.forget_ids(WAIT, bench.clock.now()).await.expect_err("it is read");
    assert!(error.is_busy(), "{error}");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    run(&mut reader, "commit").await;
    let step = store.forget_ids(WAIT, bench.clock.now()).await.expect("free");
    let buckets: Vec<_> = step.buckets.iter().map(|bucket| bucket.0).collect();
    assert_eq!(buckets, [FIRST_BUCKET, FIRST_BUCKET + 1]);
}

/// A vacuum of an old bucket can take hours; the batches must not wait for it.
#[tokio::test]
async fn a_bucket_under_vacuum_is_passed_over() {
    let bench = with_two_due().await;
    let store = bench.base.store().await;
    let mut vacuum = connection(&bench.base).await;
    let table = format!("pipeline.processed_ids_{FIRST_BUCKET}");
    run(&mut vacuum, &format!("begin; lock table {table} in share update exclusive mode")).await;
    let step = store.forget_ids(WAIT, bench.clock.now()).await.expect("answers");
    let buckets: Vec<_> = step.buckets.iter().map(|bucket| bucket.0).collect();
    assert_eq!(buckets, [FIRST_BUCKET + 1]);
    run(&mut vacuum, "commit").await;
    let step = store.forget_ids(WAIT, bench.clock.now()).await.expect("answers");
    assert_eq!(step.buckets.len(), 1);
}

/// Another pipeline in the same database may be making its buckets for as long as it likes.
#[tokio::test]
async fn other_pipelines_are_not_waited_for() {
    let bench = with_two_due().await;
    let config = PostgresConfig { url: bench.base.url().to_owned(), connections_max: 1 };
    let other = Store::Postgres(PostgresStore::connect(&config, "other").expect("a valid URL"));
    other.migrate().await.expect("migrates");
    let mut making = connection(&bench.base).await;
    run(&mut making, "begin; select \"shock_other\".shock_ensure_buckets(1, 2)").await;
    let step = bench.base.store().await.forget_ids(WAIT, bench.clock.now()).await.expect("answers");
    assert_eq!(step.buckets.len(), 2);
    run(&mut making, "commit").await;
    let mut own = connection(&bench.base).await;
    run(&mut own, "begin; select pipeline.shock_ensure_buckets(1, 2)").await;
    let step = bench.base.store().await.forget_ids(WAIT, bench.clock.now()).await.expect("answers");
    assert_eq!(step.buckets, [], "our own is");
}

#[tokio::test]
async fn the_runtime_role_drops_what_is_due_and_nothing_else() {
    let bench = with_two_due().await;
    let role = format!("forgets_{}", std::process::id());
    bench.base.sql(&format!("create role {role} login")).await;
    match bench.base.store().await {
        Store::Postgres(store) => store.grant(&role).await.expect("grants"),
        Store::Sqlite(_) => unreachable!("this case is PostgreSQL's"),
    }
    let (_, address) = bench.base.url().rsplit_once('@').expect("a URL with a user");
    let config = PostgresConfig { url: format!("postgres://{role}@{address}"), connections_max: 2 };
    let store = Store::Postgres(PostgresStore::connect(&config, PIPELINE).expect("a valid URL"));
    for _ in 0..3 {
        store.forget_ids(WAIT, bench.clock.now()).await.expect("answers");
    }
    let there = store.id_buckets(bench.clock.now()).await.expect("answers");
    let oldest = bench.count("select min(bucket) from pipeline.processed_ids").await;
    assert_eq!((oldest, there.count), (FIRST_BUCKET + 4, 1));
    for wait in [Duration::ZERO, Duration::from_secs(11)] {
        let error = store.forget_ids(wait, bench.clock.now()).await.expect_err("out of bounds");
        assert_eq!(error.code.as_deref(), Some("22023"));
    }
    let mut theirs = PgConnection::connect(&config.url).await.expect("connects");
    let drop = "drop table \"shock_suite\".processed_ids";
    assert!(sqlx::raw_sql(drop).execute(&mut theirs).await.is_err(), "only the function drops");
    theirs.close().await.expect("closes");
    bench.base.sql(&format!("drop owned by {role}; drop role {role}")).await;
}
