//! Ids are forgotten when nothing unread can repeat them, and not before.

use std::time::Duration;

use consumer::Store;
use consumer::bucket::Bucket;
use consumer::store::CaughtUp;
use shared::clock::Millis;
use shared::position::{Epoch, Offset, Partition, PartitionId};

use super::base::Base;
use super::{Bench, FIRST, NOON, SECOND};

const HOUR: i64 = 3_600_000;
/// The bucket that begins at noon; a window is an hour.
const FIRST_BUCKET: i64 = NOON.0 / HOUR;
const EVENTS: &str = "select count(*) from pipeline.events";
const WAIT: Duration = Duration::from_millis(200);

/// Forgets until nothing more is due; the buckets, in order.
async fn forget(store: &Store, now: Millis) -> Vec<i64> {
    let mut all = Vec::new();
    loop {
        let step = store.forget_ids(WAIT, now).await.expect("forgets");
        all.extend(step.buckets.iter().map(|bucket| bucket.0));
        if !step.more {
            return all;
        }
    }
}

fn at(ms: i64) -> Millis {
    Millis(NOON.0 + ms)
}

pub async fn ids_are_forgotten_when_every_position_is_past_them(base: Base) {
    let bench = Bench::new(base).await;
    let store = bench.base.store().await;
    bench.clock.advance(3 * HOUR);
    bench.events(FIRST, "a", 20);
    bench.event(SECOND, NOON, "b", 1);
    bench.drain().await.stop().await;
    let now = bench.clock.now();
    assert_eq!(forget(&store, now).await, [] as [i64; 0], "the records just read are at noon");
    bench.event(FIRST, at(3 * HOUR), "c", 1);
    bench.event(SECOND, at(3 * HOUR - 1), "d", 1);
    bench.drain().await.stop().await;
    assert_eq!(forget(&store, now).await, [] as [i64; 0], "one partition is a moment behind");
    assert_eq!(store.forgotten_before().await.expect("answers"), None);
    let there = store.id_buckets(now).await.expect("answers");
    assert_eq!((there.oldest, there.behind), (Some(Bucket(FIRST_BUCKET)), Some(SECOND)));

    bench.event(SECOND, at(3 * HOUR), "e", 1);
    bench.drain().await.stop().await;
    assert_eq!(forget(&store, now).await, [FIRST_BUCKET]);
    assert_eq!(store.forgotten_before().await.expect("answers"), Some(at(HOUR)));
    let oldest = bench.count("select min(bucket) from pipeline.processed_ids").await;
    assert_eq!(oldest, FIRST_BUCKET + 2);
    assert_eq!(forget(&store, now).await, [] as [i64; 0], "the others are not due");

    // What comes anew is new; what is read again from before that time is known by its event.
    bench.event(FIRST, NOON, "a-0", 1);
    bench.drain().await.stop().await;
    assert_eq!(bench.count(EVENTS).await, 25);
    bench.base.sql("update pipeline.progress set next_offset = 0").await;
    let known = "select count(record_timestamp) from pipeline.progress";
    assert_eq!(bench.count(known).await, 0, "a position that moved back has passed nothing");
    let running = bench.drain().await;
    assert_eq!(bench.count(EVENTS).await, 25);
    assert_eq!(bench.count("select count(*) from pipeline.parked").await, 0);
    assert_eq!(running.metric("shock_consumer_bisections_total"), 0);
    running.stop().await;
}

pub async fn one_clock_that_is_ahead_forgets_nothing(base: Base) {
    let bench = Bench::new(base).await;
    let store = bench.base.store().await;
    bench.event(FIRST, NOON, "a", 1);
    bench.event(FIRST, at(20 * HOUR), "b", 1);
    bench.drain().await.stop().await;
    bench.event(FIRST, Millis(i64::MAX), "c", 1);
    bench.drain().await.stop().await;
    // The other has read all there is; as far as it goes, everything is due.
    let claim = store.claim(SECOND, "idle", 0).await.expect("answers").expect("has a row").stored;
    let idle = CaughtUp { id: SECOND, epoch: claim.epoch, next: claim.next, at: at(1_000 * HOUR) };
    store.caught_up(&[idle]).await.expect("keeps it");
    assert_eq!(forget(&store, at(1_000 * HOUR)).await, [] as [i64; 0]);
    let there = store.id_buckets(at(1_000 * HOUR)).await.expect("answers");
    assert_eq!(there.behind, Some(FIRST));
}

pub async fn an_idle_partition_blocks_nothing_and_one_with_unread_records_does(base: Base) {
    let mut bench = Bench::new(base).await;
    // The narrowest window: it is looked for every second or so.
    bench.config.dedupe_window = Duration::from_secs(60);
    bench.events(FIRST, "a", 20);
    let orphan = "insert into pipeline.progress \
        (class, partition, epoch, next_offset, owner, updated_at) values (1, 7, 1, 5, 'nobody', ";
    let now = match bench.base {
        Base::Sqlite { .. } => "0)",
        Base::Postgres { .. } => "now())",
    };
    bench.base.sql(&format!("{orphan}{now}")).await;
    let running = bench.drain().await;
    bench.clock.advance(10 * 60_000);
    let told = "select count(caught_up_at) from pipeline.progress";
    bench.until("both idle ones have said so", async || bench.count(told).await == 2).await;
    let store = bench.base.store().await;
    assert_eq!(forget(&store, bench.clock.now()).await, [] as [i64; 0]);
    let seventh = PartitionId { class: FIRST.class, partition: Partition(7) };
    let there = store.id_buckets(bench.clock.now()).await.expect("answers");
    assert_eq!(there.behind, Some(seventh), "nobody knows what it has not read");

    bench.base.sql("delete from pipeline.progress where partition = 7").await;
    let dropped = "shock_consumer_id_buckets_dropped_total";
    bench.until("the bucket is dropped", async || running.metric(dropped) == 1).await;
    assert_eq!(bench.count("select count(*) from pipeline.processed_ids").await, 0);
    assert_eq!(running.metric("shock_consumer_id_expiry_failing"), 0);
    // What comes for a bucket that is gone finds it made again.
    bench.event(FIRST, NOON, "late", 1);
    bench.event(FIRST, NOON, "late", 1);
    bench.until_drained().await;
    assert_eq!(bench.count(EVENTS).await, 21);
    running.stop().await;
}

pub async fn an_idle_word_counts_only_under_its_claim(base: Base) {
    let bench = Bench::new(base).await;
    bench.event(FIRST, NOON, "a", 1);
    bench.drain().await.stop().await;
    let store = bench.base.store().await;
    let claim = store.claim(FIRST, "owner", 0).await.expect("answers").expect("has a row").stored;
    let word = |epoch, next| CaughtUp { id: FIRST, epoch, next, at: at(HOUR) };
    let told = "select coalesce(max(caught_up_at), 0) from pipeline.progress";
    let of_before = word(Epoch(claim.epoch.0 - 1), claim.next);
    store.caught_up(&[of_before]).await.expect("answers");
    let of_later = word(claim.epoch, Offset(claim.next.0 + 1));
    store.caught_up(&[of_later]).await.expect("answers");
    assert_eq!(bench.count(told).await, 0);
    store.caught_up(&[word(claim.epoch, claim.next)]).await.expect("answers");
    assert_eq!(bench.count(told).await, at(HOUR).0);
}

/// The events table is the user's to prune: what has had its effect is known by its id.
pub async fn an_identity_stands_without_its_events_row(base: Base) {
    let bench = Bench::new(base).await;
    bench.events(FIRST, "a", 5);
    bench.drain().await.stop().await;
    bench.base.sql("delete from pipeline.events where log_offset < 3").await;
    bench.base.sql("update pipeline.progress set next_offset = 0").await;
    bench.events(FIRST, "b", 1);
    bench.drain().await.stop().await;
    let rows = bench.base.texts("select id from pipeline.events order by log_offset").await;
    assert_eq!(rows, ["a-3", "a-4", "b-0"]);
}
