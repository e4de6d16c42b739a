//! The cases about records that fail: tried again at once, parked, tried again by themselves, dead,
//! redriven; and one effect whoever tries at the same time.

use std::time::Duration;

use consumer::bucket::Width;
use consumer::retry::{Candidate, Order, Retried, Retry};
use shared::clock::Millis;
use shared::config::OnPoison;
use shared::position::Epoch;

use super::base::Base;
use super::{Bench, FIRST, NOON, SECOND, WINDOW};

const EVENTS: &str = "select count(*) from pipeline.events";
const PARKED: &str = "select count(*) from pipeline.parked";
const ROW: &str = "select state || ' ' || reason || ' ' || attempts || ' ' || tries_left \
    from pipeline.parked order by log_offset";
const BAD: &str = "refuse.me";

/// A bench whose database refuses events of type [`BAD`], and which tries them again soon.
pub(super) async fn refusing(base: Base) -> Bench {
    let mut bench = Bench::new(base).await;
    bench.base.refuse_type(BAD).await;
    bench.config.parked_retry_min = Duration::from_millis(10);
    bench.config.parked_retry_max = Duration::from_millis(20);
    bench
}

pub(super) fn bad(bench: &Bench, at: Millis, id: &str) {
    bench.append(FIRST, at, "acme", &format!(r#"{{"id":"{id}","type":"{BAD}"}}"#));
}

impl Bench {
    /// Waits for a condition while time goes on, on whichever clock the store goes by.
    pub async fn until_later(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        self.until(what, async || {
            self.clock.advance(1_000);
            holds().await
        })
        .await;
    }

    /// What an operator does to have every row tried again that was not given up.
    pub async fn redrive(&self) {
        let now = self.base.long_ago();
        self.base
            .sql(&format!(
                "update pipeline.parked set state = 'parked', tries_left = 1, next_try_at = {now} \
                 where state <> 'dropped'"
            ))
            .await;
    }
}

pub async fn what_heals_at_a_retry_is_never_parked(base: Base) {
    let mut bench = refusing(base).await;
    bench.config.retries_max = 20;
    bench.config.retry_backoff_max = Duration::from_millis(400);
    bench.events(FIRST, "a", 5);
    bad(&bench, NOON, "bad");
    bench.events(FIRST, "b", 5);
    let running = bench.start().await;
    let retries = "shock_consumer_record_retries_total";
    bench.until("it is tried again", async || running.metric(retries) > 1).await;
    bench.base.allow_type(BAD).await;
    bench.until_drained().await;
    assert_eq!((bench.count(EVENTS).await, bench.count(PARKED).await), (11, 0));
    running.stop().await;
    let rows = bench.base.texts("select id from pipeline.events order by log_offset").await;
    assert_eq!(rows[5], "bad", "in its place");
}

pub async fn what_is_parked_is_tried_again_by_itself(base: Base) {
    let bench = refusing(base).await;
    bench.events(FIRST, "a", 3);
    bad(&bench, NOON, "bad");
    let running = bench.drain().await;
    bench.base.allow_type(BAD).await;
    bench.until_later("it has its effect", async || bench.count(EVENTS).await == 4).await;
    assert_eq!(bench.count(PARKED).await, 0, "the row went with the effect");
    assert_eq!(bench.count("select max(next_offset) from pipeline.progress").await, 4);
    let applied = r#"shock_consumer_parked_tries_total{class="transactional",outcome="applied"}"#;
    bench.until("it is counted", async || running.metric(applied) == 1).await;
    bad(&bench, NOON, "bad");
    bench.until_drained().await;
    assert_eq!(bench.count(EVENTS).await, 4, "a producer's retry is a duplicate");
    running.stop().await;
}

pub async fn tries_end_in_dead_and_a_redrive_begins_anew(base: Base) {
    let bench = refusing(base).await;
    bad(&bench, NOON, "bad");
    bench.append(FIRST, NOON, "acme", "{");
    bad(&bench, NOON, "worse");
    let running = bench.drain().await;
    let expected =
        ["dead refused_by_store 6 0", "dead value_not_json 1 0", "dead refused_by_store 6 0"];
    bench.until_later("all are dead", async || bench.base.texts(ROW).await == expected).await;
    let next = "select count(next_try_at) from pipeline.parked";
    assert_eq!(bench.count(next).await, 0, "nobody tries them any more");

    bench.redrive().await;
    let again =
        ["dead refused_by_store 7 0", "dead value_not_json 2 0", "dead refused_by_store 7 0"];
    bench.until("they are tried once", async || bench.base.texts(ROW).await == again).await;

    bench.base.allow_type(BAD).await;
    let begun = std::time::Instant::now();
    bench.redrive().await;
    bench.until("they have their effect", async || bench.count(EVENTS).await == 2).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "promptly");
    let rows = bench.base.texts("select id from pipeline.events order by log_offset").await;
    assert_eq!(rows, ["bad", "worse"]);
    running.stop().await;
}

pub async fn many_are_redriven_while_others_are_refused(base: Base) {
    let mut bench = refusing(base).await;
    bench.config.retries_max = 0;
    bench.base.refuse_type("heals").await;
    for n in 0..150 {
        let kind = if n % 50 == 7 { BAD } else { "heals" };
        bench.append(FIRST, NOON, "acme", &format!(r#"{{"id":"{n}","type":"{kind}"}}"#));
    }
    let running = bench.drain().await;
    assert_eq!(bench.count(PARKED).await, 150);
    bench.base.allow_type("heals").await;
    bench.redrive().await;
    bench.until_later("all but the bad", async || bench.count(EVENTS).await == 147).await;
    bench
        .until_later("the bad are dead", async || {
            bench.count("select count(*) from pipeline.parked where state = 'dead'").await == 3
        })
        .await;
    running.stop().await;
}

pub async fn two_tries_of_one_row_have_one_effect(base: Base) {
    let mut bench = refusing(base).await;
    bench.config.parked_retry_min = WINDOW;
    bench.config.parked_retry_max = WINDOW;
    for id in ["one", "two", "three"] {
        bad(&bench, NOON, id);
    }
    bench.drain().await.stop().await;
    bench.base.allow_type(BAD).await;
    bench.redrive().await;
    let epoch = Epoch(bench.count("select max(epoch) from pipeline.progress").await);
    let (store, other) = (bench.base.store().await, bench.base.store().await);
    let zombie = store.pick(FIRST, Epoch(epoch.0 - 1), 9, Order::Due, NOON).await.expect("asks");
    assert_eq!(zombie, [], "not under an older claim");
    let picked = store.pick(FIRST, epoch, 9, Order::Due, NOON).await.expect("picks");
    assert_eq!(picked.len(), 3);
    let again = other.pick(FIRST, epoch, 9, Order::Due, NOON).await.expect("asks");
    assert_eq!(again, [], "their tries are taken");
    bench.base.sql("update pipeline.parked set state = 'dropped' where log_offset = 2").await;
    bench.redrive().await;

    let width = Width::of_window(WINDOW);
    let candidates: Vec<_> =
        picked.iter().map(|one| Candidate::of(one, width, NOON).expect("an event")).collect();
    let retry = |epoch| Retry { id: FIRST, epoch, candidates: &candidates };
    let fenced = store.retry(&retry(Epoch(epoch.0 - 1)), NOON).await.expect("answers");
    assert_eq!(fenced, Retried::default());
    assert_eq!(bench.count(PARKED).await, 3);
    let retry = retry(epoch);
    let (one, two) = tokio::join!(store.retry(&retry, NOON), other.retry(&retry, NOON));
    let (one, two) = (one.expect("answers"), two.expect("answers"));
    assert_eq!((one.fresh + two.fresh, one.found + two.found), (2, 2));
    assert_eq!((bench.count(EVENTS).await, bench.count(PARKED).await), (2, 1));
    bench.drain().await.stop().await;
    assert_eq!(bench.count(EVENTS).await, 2, "what is dropped stays dropped");
}

/// A record that was parked for longer than the window: the moment its row is gone, its id must be
/// where a producer's retry of this moment looks, and where a replay of the log does.
pub async fn an_old_record_keeps_its_identity_when_it_is_redriven(base: Base) {
    let bench = refusing(base).await;
    let old = Millis(NOON.0 - 9 * WINDOW.as_millis() as i64);
    bench.event(FIRST, old, "neighbour", 1);
    bad(&bench, old, "bad");
    let running = bench.drain().await;
    bench.base.allow_type(BAD).await;
    bench.redrive().await;
    bench.until_later("it has its effect", async || bench.count(EVENTS).await == 2).await;
    bad(&bench, bench.clock.now(), "bad");
    bench.until_drained().await;
    assert_eq!((bench.count(EVENTS).await, bench.count(PARKED).await), (2, 0), "a retry");
    running.stop().await;
    bench.base.sql("update pipeline.progress set next_offset = 0").await;
    bench.drain().await.stop().await;
    assert_eq!((bench.count(EVENTS).await, bench.count(PARKED).await), (2, 0), "a replay");
}

const HALTED: &str = r#"shock_consumer_halted{class="transactional",partition="0",reason="#;

pub async fn on_poison_halt_stops_before_the_record(base: Base) {
    let mut bench = refusing(base).await;
    bench.config.on_poison = OnPoison::Halt;
    bench.events(FIRST, "a", 5);
    bench.append(FIRST, NOON, "acme", "no event");
    bench.events(FIRST, "b", 5);
    bench.events(SECOND, "c", 3);
    bad(&bench, NOON, "bad");
    let running = bench.start().await;
    let halted = format!(r#"{HALTED}"poison"}}"#);
    bench.until("it halts", async || running.metric(&halted) == 1).await;
    bench.until("its neighbour goes on", async || bench.count(EVENTS).await == 8).await;
    let next = "select next_offset from pipeline.progress where partition = 0";
    assert_eq!((bench.count(next).await, bench.count(PARKED).await), (5, 0));
    running.stop().await;
    // Behind it the next one halts again, this time a refused one.
    bench.base.sql("update pipeline.progress set next_offset = 6 where partition = 0").await;
    let running = bench.start().await;
    bench.until("it halts again", async || running.metric(&halted) == 1).await;
    assert_eq!((bench.count(next).await, bench.count(PARKED).await), (11, 0));
    assert_eq!(bench.count(EVENTS).await, 13);
    running.stop().await;
    bench.config.on_poison = OnPoison::Skip;
    bench.drain().await.stop().await;
    assert_eq!((bench.count(EVENTS).await, bench.count(PARKED).await), (13, 1));
}

pub async fn a_storm_halts_its_partition_and_empties_no_topic(base: Base) {
    let mut bench = refusing(base).await;
    bench.config.retries_max = 0;
    bench.config.parked_tries_max = 0;
    (bench.config.storm_records, bench.config.storm_percent) = (40, 50);
    bench.events(FIRST, "a", 100);
    bench.drain().await.stop().await;
    for n in 0..100 {
        bad(&bench, NOON, &format!("bad-{n}"));
        bench.event(SECOND, NOON, &format!("good-{n}"), n);
    }
    let running = bench.start().await;
    let halted = format!(r#"{HALTED}"poison_storm"}}"#);
    bench.until("it halts", async || running.metric(&halted) == 1).await;
    assert_eq!(bench.count(PARKED).await, 19, "one less than half of forty");
    assert_eq!(
        bench.count("select next_offset from pipeline.progress where partition = 0").await,
        119,
        "what is not parked is still in the log"
    );
    bench.until("its neighbour goes on", async || bench.count(EVENTS).await == 200).await;
    running.stop().await;
    bench.base.allow_type(BAD).await;
    bench.drain().await.stop().await;
    assert_eq!((bench.count(EVENTS).await, bench.count(PARKED).await), (281, 19));
}
