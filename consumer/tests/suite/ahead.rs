//! The cases about what is read while a statement is under way: whatever becomes of the statement in
//! front, records keep their order, none is lost, and none has its effect twice.

use shared::clock::Millis;
use shared::log::memory::MemoryLog;

use super::base::Base;
use super::{Bench, FIRST, NOON, Running, SECOND};

const EVENTS: &str = "select count(*) from pipeline.events";
const PARKED: &str = "select count(*) from pipeline.parked";
const NEXT: &str = "select next_offset from pipeline.progress where partition = 0";
const AHEAD: &str = r#"shock_consumer_batches_read_ahead_total{class="transactional"}"#;
const IN_ORDER: &str = "select id from pipeline.events where partition = 0 order by log_offset";

fn names(prefix: &str, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |n| format!("{prefix}-{n}"))
}

fn lag(running: &Running) -> i64 {
    running.metric(r#"shock_consumer_lag_records{class="transactional",partition="0"}"#)
}

pub async fn batches_behind_one_that_is_refused_wait_in_their_order(base: Base) {
    let mut bench = Bench::new(base).await;
    bench.config.retries_max = 1;
    bench.base.refuse_type("refuse.me").await;
    bench.events(FIRST, "a", 41);
    bench.append(FIRST, NOON, "acme", r#"{"id":"bad","type":"refuse.me"}"#);
    bench.append(FIRST, NOON, "acme", "no event");
    bench.events(FIRST, "b", 60);
    // Repeats of what stands in the batch in front.
    bench.events(FIRST, "b", 60);
    let running = bench.drain().await;
    let expected: Vec<_> = names("a", 41).chain(names("b", 60)).collect();
    assert_eq!(bench.base.texts(IN_ORDER).await, expected);
    let parked = "select cast(log_offset as text) from pipeline.parked order by log_offset";
    assert_eq!(bench.base.texts(parked).await, ["41", "42"]);
    // Ten batches and a part of one: all but the first two, and the last, which is no whole one. Behind
    // the one that was halved a batch was ready, and stayed so.
    assert_eq!(running.metric(AHEAD), 8);
    running.stop().await;
}

pub async fn what_was_read_ahead_is_not_applied_to_a_database_that_went_back(base: Base) {
    let bench = Bench::new(base).await;
    bench.events(FIRST, "old", 10);
    let running = bench.drain().await;
    let restore = bench.base.copy_tables().await;
    bench.events(FIRST, "lost", 50);
    bench.until_drained().await;
    // All of these are there when the first of their batches is sent.
    let held = bench.base.hold().await;
    bench.events(FIRST, "new", 64);
    bench.until("a batch is under way", async || lag(&running) > 0).await;
    held.release_after(&bench.base, restore.trim_end_matches(';')).await;
    bench.events(FIRST, "more", 64);
    bench.until_drained().await;
    let expected: Vec<_> = names("old", 10)
        .chain(names("lost", 50))
        .chain(names("new", 64))
        .chain(names("more", 64))
        .collect();
    assert_eq!(bench.base.texts(IN_ORDER).await, expected);
    assert_eq!(running.metric("shock_consumer_database_went_back_total"), 1);
    assert!(running.metric(AHEAD) > 0);
    running.stop().await;
}

pub async fn a_fenced_writer_drops_what_it_read_ahead(base: Base) {
    let bench = Bench::new(base).await;
    bench.events(FIRST, "before", 5);
    let writer = bench.drain().await;
    let held = bench.base.hold().await;
    bench.events(FIRST, "after", 64);
    bench.until("a batch is under way", async || lag(&writer) > 0).await;
    let bumped = "update pipeline.progress set epoch = epoch + 1";
    held.release_after(&bench.base, bumped).await;
    let fenced = "shock_consumer_fenced_total";
    bench.until("it is fenced", async || writer.metric(fenced) == 1).await;
    assert_eq!((bench.count(EVENTS).await, bench.count(NEXT).await), (5, 5));
    writer.stop().await;
    let successor = bench.drain().await;
    let expected: Vec<_> = names("before", 5).chain(names("after", 64)).collect();
    assert_eq!(bench.base.texts(IN_ORDER).await, expected);
    successor.stop().await;
}

/// What stands before a position that is not in the log is applied before the partition halts.
pub async fn a_log_that_ends_behind_what_was_read_ahead_halts_there(base: Base) {
    let mut bench = Bench::new(base).await;
    bench.log = MemoryLog::keeping([FIRST, SECOND], 4_096);
    bench.events(FIRST, "a", 16);
    bench.drain().await.stop().await;
    let running = bench.start().await;
    bench.events(FIRST, "b", 20);
    bench.until_drained().await;
    let held = bench.base.hold().await;
    bench.events(FIRST, "c", 20);
    bench.until("a batch is under way", async || lag(&running) > 0).await;
    // The log forgets what nobody has read.
    for round in 0..200 {
        bench.event(FIRST, Millis(NOON.0 + round), &format!("d-{round}"), round);
    }
    held.release().await;
    let halted = r#"shock_consumer_halted{class="transactional",partition="0",reason="log_gap"}"#;
    bench.until("it halts", async || running.metric(halted) == 1).await;
    let applied = (bench.count(EVENTS).await, bench.count(NEXT).await);
    assert_eq!(
        applied,
        (56, 56),
        "the batch under way, and the four records that were read behind it"
    );
    running.stop().await;
}

pub async fn nothing_is_read_ahead_beside_a_record_under_a_mark(base: Base) {
    let bench = Bench::new(base).await;
    bench.events(FIRST, "a", 5);
    bench.drain().await.stop().await;
    bench.events(FIRST, "b", 80);
    // An owner died here: as many records as a batch has go alone.
    bench.base.sql("update pipeline.progress set attempt_from = next_offset").await;
    let running = bench.drain().await;
    assert_eq!((bench.count(EVENTS).await, bench.count(PARKED).await), (85, 0));
    assert_eq!(running.metric("shock_consumer_suspected_records_total"), 16);
    // Five batches: the first went in parts, and the second was read when that was done.
    assert_eq!(running.metric(AHEAD), 3);
    running.stop().await;
}

/// One record after the other: each is applied before the next one is there.
pub async fn a_trickle_is_not_later_for_reading_ahead(base: Base) {
    let mut bench = Bench::new(base).await;
    bench.config.poll_wait = std::time::Duration::from_secs(60);
    let running = bench.start().await;
    for n in 0..20 {
        bench.event(FIRST, NOON, &format!("e-{n}"), n);
        let applied = async || bench.count(EVENTS).await == n + 1;
        bench.until("it is applied", applied).await;
    }
    assert_eq!(running.metric(AHEAD), 0);
    running.stop().await;
}
