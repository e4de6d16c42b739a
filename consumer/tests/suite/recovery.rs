//! The cases about operators: a position that has lost its place, and one that is moved back.

use std::sync::Arc;
use std::time::Duration;

use consumer::Recovery;
use consumer::bucket::Width;
use consumer::recovery::{Ask, Choice, Condition, Effect, Kind, Outcome, RecoveryError};
use shared::clock::Millis;
use shared::log::Scanner;
use shared::position::Offset;

use super::base::Base;
use super::{Bench, FIRST, NOON, SECOND, WINDOW};

const EVENTS: &str = "select count(*) from pipeline.events";
const DUPLICATES_METRIC: &str = r#"shock_consumer_duplicates_total{class="transactional"}"#;
const FIRST_PLACE: &str = "transactional/0";

fn ask(kind: Kind, to: Choice) -> Ask {
    Ask {
        kind,
        places: vec![FIRST_PLACE.to_owned()],
        to: Some(to),
        beyond_window: false,
        apply: true,
        by: "ops".to_owned(),
        why: "a test".to_owned(),
    }
}

async fn recovery(bench: &Bench) -> Recovery {
    let scanner = Arc::new(Scanner::Memory(bench.log.clone()));
    let store = bench.base.store().await;
    Recovery::new(store, scanner, Bench::router(), Width::of_window(WINDOW)).at(bench.clock.clone())
}

/// What becomes of the first partition.
async fn asked(bench: &Bench, ask: &Ask) -> Outcome {
    let outcomes = recovery(bench).await.ask(ask).await.expect("an answer");
    outcomes.into_iter().find(|one| one.partition == FIRST_PLACE).expect("it is there")
}

/// The running worker is idle or halted: it would never meet the fence, and the pause after one is
/// longer than the case.
fn patient(bench: &mut Bench) {
    bench.config.drain_timeout = Duration::from_secs(60);
}

pub async fn what_has_lost_its_place_goes_on_only_when_told(base: Base) {
    const HALTED: &str =
        r#"shock_consumer_halted{class="transactional",partition="0",reason="log_gap"}"#;
    let mut bench = Bench::new(base).await;
    patient(&mut bench);
    bench.events(FIRST, "a", 10);
    bench.drain().await.stop().await;
    bench.base.sql("update pipeline.progress set next_offset = 1000 where partition = 0").await;
    let running = bench.start().await;
    bench.until("it halts", async || running.metric(HALTED) == 1).await;

    let mut looking = ask(Kind::Recover, Choice::Earliest);
    (looking.apply, looking.places) = (false, Vec::new());
    let seen = asked(&bench, &looking).await;
    assert_eq!(seen.condition, Condition::BeyondLog);
    assert_eq!((seen.position, seen.low, seen.end), (Some(1_000), 0, 10));
    assert_eq!((seen.to, seen.taken_until, seen.moved_under), (Some(0), Some(9), None));
    let effect = Effect { read_again: 10, ..Effect::default() };
    assert_eq!(seen.effect, Some(effect));
    assert_eq!(bench.base.positions().await[&FIRST], 1_000, "only looked at");

    let moved = asked(&bench, &ask(Kind::Recover, Choice::Offset(5))).await;
    assert!(moved.moved_under > seen.epoch, "{moved:?}");
    bench.events(FIRST, "b", 3);
    bench.until_drained().await;
    bench.until("it stands still no more", async || running.metric(HALTED) == 0).await;
    assert_eq!(bench.count(EVENTS).await, 13);
    assert_eq!(bench.count("select count(*) from pipeline.parked").await, 0);
    let deeds =
        "select author || ' ' || action || ' ' || reason || ' ' || affected from pipeline.audit";
    assert_eq!(bench.base.texts(deeds).await, ["ops recover a test 10"]);
    let again = asked(&bench, &ask(Kind::Recover, Choice::Earliest)).await;
    assert!(again.refused.is_some_and(|why| why.contains("is in the log")));
    running.stop().await;
}

pub async fn a_row_that_is_gone_is_restored_above_every_epoch(base: Base) {
    let mut bench = Bench::new(base).await;
    patient(&mut bench);
    bench.events(FIRST, "a", 10);
    let running = bench.drain().await;
    bench.until("it is mirrored", async || bench.log.mirrored(FIRST) == Some(Offset(10))).await;
    bench.base.sql("delete from pipeline.progress where partition = 0").await;
    bench.events(FIRST, "b", 5);
    const HALTED: &str =
        r#"shock_consumer_halted{class="transactional",partition="0",reason="progress_vanished"}"#;
    bench.until("it halts", async || running.metric(HALTED) == 1).await;
    let moved = asked(&bench, &ask(Kind::Recover, Choice::Mirror)).await;
    assert_eq!(moved.condition, Condition::Vanished);
    assert!(moved.moved_under.is_some_and(|epoch| epoch >= NOON.0), "{moved:?}");
    bench.until_drained().await;
    assert_eq!(bench.count(EVENTS).await, 15);
    running.stop().await;
}

pub async fn a_replay_is_taken_up_by_itself_and_has_no_second_effect(base: Base) {
    let mut bench = Bench::new(base).await;
    patient(&mut bench);
    for n in 0..10 {
        bench.event(FIRST, Millis(NOON.0 + n), &format!("e-{n}"), n);
    }
    bench.events(SECOND, "other", 4);
    let running = bench.drain().await;
    let moved = asked(&bench, &ask(Kind::Replay, Choice::TimeMs(NOON.0 + 4))).await;
    assert_eq!(moved.to, Some(4));
    assert_eq!(moved.effect, Some(Effect { read_again: 6, ..Effect::default() }));
    bench.until("it is read again", async || running.metric(DUPLICATES_METRIC) == 6).await;
    bench.until_drained().await;
    assert_eq!(bench.count(EVENTS).await, 14);
    // What comes afterwards is applied under the new claim.
    bench.events(FIRST, "later", 2);
    bench.until_drained().await;
    assert_eq!(bench.count(EVENTS).await, 16);
    let ahead = asked(&bench, &ask(Kind::Replay, Choice::Offset(12))).await;
    assert_eq!(ahead.effect, Some(Effect::default()));
    running.stop().await;
}

pub async fn a_replay_past_the_window_is_refused(base: Base) {
    let bench = Bench::new(base).await;
    bench.events(FIRST, "a", 10);
    bench.drain().await.stop().await;
    bench.clock.advance(WINDOW.as_millis() as i64 + 1);
    let mut replay = ask(Kind::Replay, Choice::Offset(3));
    let look = Ask { apply: false, ..replay.clone() };
    assert_eq!(asked(&bench, &look).await.refused, None, "nothing is forgotten yet");
    // An id is asked for in the bucket before its record's, too: that one is gone, and with it what a
    // repeat was known by.
    let bucket = NOON.0 / WINDOW.as_millis() as i64;
    let forget = async |through: i64| {
        let forgotten = format!("update pipeline.pipeline set ids_forgotten_through = {through}");
        bench.base.sql(&forgotten).await;
    };
    forget(bucket - 2).await;
    assert_eq!(asked(&bench, &look).await.refused, None);
    forget(bucket - 1).await;
    let refused = asked(&bench, &replay).await;
    assert!(refused.refused.is_some_and(|why| why.contains("--beyond-window")));
    assert_eq!(bench.base.positions().await[&FIRST], 10, "nothing is moved");
    // Their ids are gone, as after the bucket was dropped: what still stands in `events` is known by it,
    // and so is a repeat behind it.
    bench.base.sql("delete from pipeline.processed_ids").await;
    forget(bucket).await;
    replay.beyond_window = true;
    assert!(asked(&bench, &replay).await.moved_under.is_some());
    bench.drain().await.stop().await;
    bench.event(FIRST, NOON, "a-5", 5);
    bench.drain().await.stop().await;
    assert_eq!(bench.count(EVENTS).await, 10);
    assert_eq!(bench.count("select count(*) from pipeline.parked").await, 0);
}

pub async fn a_move_is_signed_and_names_its_place(base: Base) {
    let bench = Bench::new(base).await;
    bench.events(FIRST, "a", 3);
    bench.drain().await.stop().await;
    let recovery = recovery(&bench).await;
    let check = async |ask: Ask, expected: &str| {
        let error = recovery.ask(&ask).await.expect_err("refused");
        assert!(matches!(&error, RecoveryError::Request(why) if why.contains(expected)), "{error}");
    };
    let replay = ask(Kind::Replay, Choice::Offset(1));
    check(Ask { why: " ".to_owned(), ..replay.clone() }, "why is missing").await;
    check(Ask { by: String::new(), ..replay.clone() }, "by is missing").await;
    check(Ask { places: vec!["rush".to_owned()], ..replay.clone() }, "no partition").await;
    check(Ask { places: Vec::new(), ..replay.clone() }, "say what to replay").await;
    check(Ask { places: vec!["transactional".to_owned()], ..replay.clone() }, "name it").await;
    check(Ask { to: None, ..replay.clone() }, "an offset or a time").await;
    check(ask(Kind::Recover, Choice::TimeMs(5)), "recover goes to").await;
    assert_eq!(bench.base.positions().await[&FIRST], 3);
}
