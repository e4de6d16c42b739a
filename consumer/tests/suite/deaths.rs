//! The cases about owners that die: whose death counts against which record, and what goes alone then.

use std::time::Duration;

use consumer::batch::{Batch, Context, Refusals};
use consumer::bucket::Width;
use consumer::store::Unfinished;
use shared::log::memory::MemoryLog;
use shared::position::{Epoch, Offset, Partition, PartitionId};
use shared::{Process, Shutdown};

use super::base::Base;
use super::failures::{bad, refusing};
use super::{Bench, FIRST, NOON, SECOND, WINDOW};

const EVENTS: &str = "select count(*) from pipeline.events";
const PARKED: &str = "select count(*) from pipeline.parked";
const ROW: &str = "select state || ' ' || reason || ' ' || attempts || ' ' || tries_left \
    from pipeline.parked order by log_offset";
const SUSPECTED: &str = "shock_consumer_suspected_records_total";

/// What a process that dies leaves, seen by the next owner.
pub async fn owners_that_end_without_a_word_are_counted(base: Base) {
    let bench = Bench::new(base).await;
    let store = bench.base.store().await;
    let seeded = store.seed(FIRST, "a", Offset(5)).await.expect("seeds");
    let claim = async |floor| {
        let claimed = store.claim(FIRST, "b", floor).await.expect("claims").expect("a row");
        let Unfinished { times, marked } = claimed.unfinished;
        (claimed.stored.epoch, times, marked.map(|offset| offset.0))
    };
    let moved = async |to: i64| {
        bench.base.sql(&format!("update pipeline.progress set next_offset = {to}")).await;
    };
    let found = async |floor| {
        let (_, times, marked) = claim(floor).await;
        (times, marked)
    };
    assert_eq!(found(0).await, (1, None), "the one that seeded");
    assert_eq!(found(0).await, (2, None));
    let (epoch, ..) = claim(0).await;
    store.release(FIRST, seeded.epoch).await.expect("asks");
    assert!(store.claim(FIRST, "c", epoch.0 - 1).await.expect("asks").is_none(), "not its own");
    let (epoch, times, marked) = claim(0).await;
    assert_eq!((times, marked), (4, None), "a zombie's clean end says nothing");
    assert_eq!(found(epoch.0).await, (0, None), "our own process lives");
    moved(9).await;
    assert_eq!(found(0).await, (0, None), "progress ends all counts");
    let (epoch, ..) = claim(0).await;
    store.release(FIRST, epoch).await.expect("releases");
    let (epoch, times, _) = claim(0).await;
    assert_eq!(times, 0, "a clean end is no death");

    store.mark(FIRST, epoch, Offset(9), Offset(12)).await.expect("marks");
    let (epoch, times, marked) = claim(0).await;
    assert_eq!((times, marked), (1, Some(11)));
    store.mark(FIRST, epoch, Offset(9), Offset(12)).await.expect("marks");
    assert_eq!(found(0).await, (2, Some(11)), "the same mark goes on counting");
    let (epoch, ..) = claim(0).await;
    store.mark(FIRST, epoch, Offset(9), Offset(10)).await.expect("marks");
    store.mark(FIRST, Epoch(epoch.0 - 1), Offset(9), Offset(99)).await.expect("asks");
    store.mark(FIRST, epoch, Offset(8), Offset(99)).await.expect("asks");
    assert_eq!(found(0).await, (1, Some(9)), "another mark, another count");
    moved(10).await;
    assert_eq!(found(0).await, (0, None));
}

pub async fn a_record_that_owners_died_of_is_parked_and_no_other(base: Base) {
    let bench = Bench::new(base).await;
    bench.events(FIRST, "a", 30);
    let running = bench.start().await;
    bench.until_drained().await;
    running.stop().await;
    // Two owners died under the mark of the fourth of the next records.
    bench.events(FIRST, "b", 30);
    let died = "update pipeline.progress set attempt_from = next_offset, attempt_epoch = epoch, \
         attempts = 1, attempt_to = ";
    bench.base.sql(&format!("{died}31")).await;
    let running = bench.drain().await;
    assert_eq!(bench.base.texts(ROW).await, ["parked crash 2 3"]);
    assert_eq!(bench.count("select log_offset from pipeline.parked").await, 30);
    assert_eq!(bench.count(EVENTS).await, 59);
    // As many as a batch has went alone; the rest in batches again.
    assert_eq!(running.metric("shock_consumer_suspected_records_total"), 16);
    running.stop().await;

    // A third died while it was parked: it is parked unread, and so it cannot heal.
    bench.events(FIRST, "c", 3);
    bench.base.sql(&format!("{died}61, attempts = 2").replace("attempts = 1, ", "")).await;
    bench.drain().await.stop().await;
    let state = "select state || ' ' || reason from pipeline.parked where log_offset = 60";
    assert_eq!(bench.base.texts(state).await, ["dead crash"]);
    assert_eq!(bench.count(EVENTS).await, 61);
    let marks = "select count(*) from pipeline.progress where attempts > 0";
    assert_eq!(bench.count(marks).await, 0);
}

/// A process that is killed from outside while its records go alone: nothing is parked for it.
pub async fn one_death_parks_nothing(base: Base) {
    let bench = Bench::new(base).await;
    bench.events(FIRST, "a", 5);
    bench.drain().await.stop().await;
    bench.events(FIRST, "b", 40);
    bench
        .base
        .sql(
            "update pipeline.progress set attempt_from = next_offset, \
         attempt_epoch = epoch, attempt_to = 6",
        )
        .await;
    let running = bench.drain().await;
    assert_eq!((bench.count(EVENTS).await, bench.count(PARKED).await), (45, 0));
    assert_eq!(running.metric("shock_consumer_suspected_records_total"), 16);
    running.stop().await;
}

/// One owner dies under a mark, the next ones are killed while they start: the record did nothing.
pub async fn an_end_before_the_first_mark_counts_for_no_record(base: Base) {
    let bench = Bench::new(base).await;
    bench.events(FIRST, "a", 5);
    bench.drain().await.stop().await;
    bench.events(FIRST, "b", 30);
    let store = bench.base.store().await;
    let claim = async || {
        let claimed = store.claim(FIRST, "b", 0).await.expect("claims").expect("a row");
        let Unfinished { times, marked } = claimed.unfinished;
        (claimed.stored.epoch, times, marked.map(|offset| offset.0))
    };
    let (epoch, times, _) = claim().await;
    assert_eq!(times, 0);
    store.mark(FIRST, epoch, Offset(5), Offset(6)).await.expect("marks");
    for _ in 0..3 {
        let (_, times, marked) = claim().await;
        assert_eq!((times, marked), (1, Some(5)), "only the first one had it in hand");
    }
    let running = bench.drain().await;
    assert_eq!((bench.count(EVENTS).await, bench.count(PARKED).await), (35, 0));
    running.stop().await;

    bench.events(FIRST, "c", 1);
    let (epoch, ..) = claim().await;
    store.mark(FIRST, epoch, Offset(35), Offset(36)).await.expect("marks");
    let (epoch, ..) = claim().await;
    store.mark(FIRST, epoch, Offset(35), Offset(36)).await.expect("marks");
    let (_, times, marked) = claim().await;
    assert_eq!((times, marked), (2, Some(35)), "two that marked it themselves");
}

/// Drops a consumer, with all that it has in hand, when it has claimed everything.
async fn die_idle(bench: &Bench, partitions: usize) {
    let claimed = "select cast(coalesce(sum(epoch), 0) as bigint) from pipeline.progress";
    let before = bench.count(claimed).await;
    let process = Process::alone(bench.clock.clone());
    let consumer = bench.consumer(bench.base.store().await, &process);
    tokio::select! {
        ended = consumer.run(Shutdown::new()) => panic!("ended by itself: {ended:?}"),
        () = bench.until("all are claimed", async || {
            bench.count(claimed).await >= before + partitions as i64
        }) => {}
    }
}

/// A node dies with many idle partitions and one that has a record in hand: only that one is suspected.
pub async fn what_came_after_a_death_is_no_suspect(base: Base) {
    const PARTITIONS: u32 = 24;
    let mut bench = Bench::new(base).await;
    let id = |number| PartitionId { class: FIRST.class, partition: Partition(number) };
    bench.log = MemoryLog::new((0..PARTITIONS).map(id));
    for number in 0..PARTITIONS {
        bench.events(id(number), &format!("{number}"), 2);
    }
    let running = bench.start().await;
    bench.until("all are applied", async || bench.count(EVENTS).await == 48).await;
    running.stop().await;
    for _ in 0..2 {
        die_idle(&bench, PARTITIONS as usize).await;
    }
    // One had three records when its owner died without a word.
    let died = "update pipeline.progress set attempt_from = next_offset, attempts = 1 \
        where partition = 0";
    bench.base.sql(died).await;
    bench.events(FIRST, "suspect", 3);
    let running = bench.start().await;
    bench.until("these are applied", async || bench.count(EVENTS).await == 51).await;
    for number in 1..PARTITIONS {
        bench.events(id(number), &format!("later-{number}"), 20);
    }
    bench.until("all are applied", async || bench.count(EVENTS).await == 51 + 23 * 20).await;
    assert_eq!(running.metric(SUSPECTED), 3);
    running.stop().await;
}

/// A record that goes alone and is refused waits before it is tried again: the suspects of other
/// partitions do not wait with it.
pub async fn a_mark_is_not_held_over_a_wait(base: Base) {
    let mut bench = refusing(base).await;
    bench.config.retries_max = 3;
    bench.config.retry_backoff_min = Duration::from_secs(25);
    bench.config.retry_backoff_max = Duration::from_secs(25);
    bench.events(FIRST, "a", 1);
    bench.events(SECOND, "b", 1);
    bench.drain().await.stop().await;
    bad(&bench, NOON, "bad");
    bench.events(SECOND, "c", 14);
    bench.base.sql("update pipeline.progress set attempt_from = next_offset").await;
    let running = bench.start().await;
    let second = "select count(*) from pipeline.events where partition = 1";
    bench.until("the other is applied", async || bench.count(second).await == 15).await;
    assert_eq!(bench.count(PARKED).await, 0, "the refused one waits yet");
    assert_eq!(running.metric(SUSPECTED), 14);
    running.stop().await;
}

/// A statement that is only tried runs as a whole, and leaves nothing.
pub async fn a_trial_leaves_nothing(base: Base) {
    let bench = refusing(base).await;
    bench.events(FIRST, "a", 3);
    bench.drain().await.stop().await;
    bench.events(FIRST, "b", 3);
    bad(&bench, NOON, "bad");
    bench.append(FIRST, NOON, "acme", "no event");
    let store = bench.base.store().await;
    let stored = store.stored(FIRST).await.expect("asks").expect("a row");
    let records = bench.log.records();
    let passes = async |records: &[shared::log::Record], epoch| {
        let context = Context {
            id: FIRST,
            epoch,
            expected: stored.next,
            width: Width::of_window(WINDOW),
            now: NOON,
            router: &Bench::router(),
            refused: &Refusals::default(),
        };
        store.passes(&Batch::decode(records, &context).expect("a batch"), NOON).await
    };
    assert!(passes(&records[3..6], stored.epoch).await.expect("passes"));
    assert!(!passes(&records[3..6], Epoch(stored.epoch.0 - 1)).await.expect("answers"), "fenced");
    passes(&records[3..7], stored.epoch).await.expect_err("one of them is refused");
    assert!(passes(&records[7..8], stored.epoch).await.expect("it would be parked"));
    assert_eq!(store.stored(FIRST).await.expect("asks"), Some(stored));
    assert_eq!((bench.count(EVENTS).await, bench.count(PARKED).await), (3, 0));
    bench.base.allow_type("refuse.me").await;
    bench.drain().await.stop().await;
    assert_eq!((bench.count(EVENTS).await, bench.count(PARKED).await), (7, 1));
}
