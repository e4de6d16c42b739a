//! The cases. Each takes a fresh store.

use std::sync::Arc;

use consumer::lookup::{Fate, Place};
use consumer::store::SchemaError;
use consumer::{ConsumerError, Lookup};
use shared::clock::Millis;
use shared::log::Scanner;
use shared::tenant::TenantId;

pub use super::ahead::*;
use super::base::Base;
pub use super::deaths::*;
pub use super::dlq::*;
pub use super::failures::*;
pub use super::handlers::*;
pub use super::ids::*;
pub use super::load::*;
pub use super::order::*;
pub use super::outbox::*;
pub use super::ownership::*;
pub use super::projections::*;
pub use super::recovery::*;
use super::{Bench, FIRST, NOON, SECOND, WINDOW};

const EVENTS: &str = "select count(*) from pipeline.events";
const PARKED: &str = "select count(*) from pipeline.parked";
const APPLIED_METRIC: &str = r#"shock_consumer_applied_total{class="transactional"}"#;
const DUPLICATES_METRIC: &str = r#"shock_consumer_duplicates_total{class="transactional"}"#;
const CONFLICT_METRIC: &str = r#"shock_consumer_id_conflict_total{class="transactional"}"#;

fn width_ms() -> i64 {
    WINDOW.as_millis() as i64
}

fn tenant() -> TenantId {
    TenantId::parse("acme").expect("a valid name")
}

pub async fn an_identity_has_one_effect_within_and_across_batches(base: Base) {
    let bench = Bench::new(base).await;
    for round in 0..3 {
        for n in 0..10 {
            bench.event(FIRST, Millis(NOON.0 + round), &format!("e-{n}"), n);
            bench.event(FIRST, Millis(NOON.0 + round), &format!("e-{n}"), n);
        }
    }
    // The same ids in another partition, as after a change of routes.
    bench.events(SECOND, "e", 10);
    let running = bench.drain().await;
    assert_eq!(bench.count(EVENTS).await, 10);
    bench
        .until("every record is counted", async || {
            running.metric(APPLIED_METRIC) + running.metric(DUPLICATES_METRIC) == 70
        })
        .await;
    assert_eq!(running.metric(APPLIED_METRIC), 10);
    assert_eq!(bench.log.mirrored(FIRST).map(|next| next.0), Some(60));
    running.stop().await;
}

pub async fn what_is_applied_is_what_was_posted(base: Base) {
    let bench = Bench::new(base).await;
    let value = r#"{"id":"1","source":"/s","type":"t","subject":"x/1","time":"no time at all",
        "data":{"n":1.5,"text":"ü \" \\ \n"},"extra":[1]}"#;
    bench.append(FIRST, NOON, "acme/x", value);
    bench.drain().await.stop().await;
    let rows = bench
        .base
        .texts(
            "select tenant || '|' || source || '|' || id || '|' || type || '|' || subject || '|' \
             || time from pipeline.events",
        )
        .await;
    assert_eq!(rows, ["acme|/s|1|t|x/1|no time at all"]);
    let tail = bench.base.store().await.tail(5).await.expect("tail");
    let data: serde_json::Value = serde_json::from_str(&tail[0].data).expect("JSON");
    assert_eq!(data, serde_json::json!({"n": 1.5, "text": "ü \" \\ \n"}));
    assert_eq!(tail[0].received_at, NOON);
}

pub async fn both_sides_of_a_buckets_edge_are_one_window(base: Base) {
    let bench = Bench::new(base).await;
    let edge = NOON.0.div_euclid(width_ms()) * width_ms();
    // In either order: a late record of the earlier bucket is a duplicate too.
    bench.event(FIRST, Millis(edge - 1), "forth", 1);
    bench.event(FIRST, Millis(edge), "forth", 1);
    bench.event(FIRST, Millis(edge), "back", 1);
    bench.event(FIRST, Millis(edge - 1), "back", 1);
    bench.drain().await.stop().await;
    // Across batches and processes, a whole window apart.
    bench.event(FIRST, Millis(edge - width_ms()), "back", 1);
    bench.event(FIRST, Millis(edge - 1 + width_ms()), "forth", 1);
    bench.drain().await.stop().await;
    let rows = bench.base.texts("select id from pipeline.events order by log_offset").await;
    assert_eq!(rows, ["forth", "back"], "one bucket apart is a duplicate");
    bench.event(FIRST, Millis(edge + 2 * width_ms()), "forth", 1);
    bench.drain().await.stop().await;
    assert_eq!(bench.count(EVENTS).await, 3, "three buckets apart is a new event");
    // Also where one batch takes both, as after an outage of days.
    bench.event(FIRST, Millis(edge - 9 * width_ms()), "far", 1);
    bench.event(FIRST, Millis(edge - 7 * width_ms()), "far", 1);
    bench.event(FIRST, Millis(edge - 6 * width_ms()), "far", 1);
    bench.event(FIRST, Millis(edge - 9 * width_ms()), "far", 1);
    bench.drain().await.stop().await;
    let rows = bench
        .base
        .texts("select cast(log_offset as text) from pipeline.events where id = 'far' order by 1")
        .await;
    let first = 7;
    assert_eq!(rows, [first.to_string(), (first + 1).to_string()]);
}

pub async fn a_crash_at_any_step_is_replayed_once(base: Base) {
    let mut bench = Bench::new(base).await;
    bench.config.batch_records_max = 3;
    bench.events(FIRST, "a", 40);
    bench.events(SECOND, "b", 40);
    bench.crashes(4, 40).await;
    let running = bench.drain().await;
    // A record at which it died twice is set aside, for it may be the one that kills; it was not.
    let other = "select count(*) from pipeline.parked where reason <> 'crash'";
    assert_eq!(bench.count(other).await, 0);
    bench.redrive().await;
    bench.until("all are applied", async || bench.count(EVENTS).await == 80).await;
    running.stop().await;
    let rows = bench
        .base
        .texts("select id from pipeline.events where partition = 0 order by log_offset")
        .await;
    let expected: Vec<_> = (0..40).map(|n| format!("a-{n}")).collect();
    assert_eq!(rows, expected, "in order");
}

pub async fn a_database_that_went_back_is_replayed(base: Base) {
    let bench = Bench::new(base).await;
    bench.events(FIRST, "old", 10);
    let running = bench.drain().await;
    let restore = bench.base.copy_tables().await;
    bench.events(FIRST, "lost", 20);
    bench.append(FIRST, NOON, "acme", "no event");
    bench.until_drained().await;
    assert_eq!(bench.count(EVENTS).await, 30);

    bench.base.sql(&format!("begin;{restore}commit")).await;
    bench.events(FIRST, "new", 3);
    bench.until_drained().await;
    assert_eq!(bench.count(EVENTS).await, 33);
    assert_eq!(bench.count(PARKED).await, 1);
    assert_eq!(running.metric("shock_consumer_database_went_back_total"), 1);
    running.stop().await;
}

pub async fn poison_is_parked_and_the_flow_goes_on(base: Base) {
    let bench = Bench::new(base).await;
    let late = Millis(NOON.0 - 367 * 24 * 3_600_000);
    bench.event(FIRST, NOON, "1", 1);
    bench.append(FIRST, NOON, "acme", "{");
    bench.append(FIRST, NOON, "", r#"{"id":"2","type":"t"}"#);
    bench.append(FIRST, NOON, "acme", "");
    bench.append(FIRST, NOON, "acme", r#"{"id":"nul\u0000","type":"t"}"#);
    bench.event(FIRST, late, "3", 1);
    bench.event(FIRST, Millis(NOON.0 + 25 * 3_600_000), "4", 1);
    bench.event(FIRST, NOON, "5", 1);
    let running = bench.drain().await;
    let reasons = bench.base.texts("select reason from pipeline.parked order by log_offset").await;
    let expected = [
        "value_not_json",
        "key_without_tenant",
        "empty_value",
        "text_has_nul",
        "timestamp_out_of_range",
        "timestamp_out_of_range",
    ];
    assert_eq!(reasons, expected);
    assert_eq!(bench.base.texts("select id from pipeline.events order by 1").await, ["1", "5"]);
    let line =
        r#"shock_consumer_parked_total{class="transactional",reason="timestamp_out_of_range"}"#;
    bench.until("it is counted", async || running.metric(line) == 2).await;
    running.stop().await;
    // A replay from the beginning parks nothing twice and applies nothing twice.
    bench.base.sql("update pipeline.progress set next_offset = 0").await;
    bench.drain().await.stop().await;
    assert_eq!((bench.count(PARKED).await, bench.count(EVENTS).await), (6, 2));
}

pub async fn bisecting_finds_exactly_the_refused_record(base: Base) {
    let bench = Bench::new(base).await;
    bench.base.refuse_type("refuse.me").await;
    bench.events(FIRST, "a", 11);
    bench.append(FIRST, NOON, "acme", r#"{"id":"bad","type":"refuse.me"}"#);
    bench.events(FIRST, "b", 20);
    // A retry of what is parked is a duplicate, even if the database would take it now.
    bench.append(FIRST, NOON, "acme", r#"{"id":"bad","type":"refuse.me"}"#);
    let running = bench.drain().await;
    assert_eq!(bench.count(EVENTS).await, 31);
    let parked = bench.base.texts("select reason || ' ' || log_offset from pipeline.parked").await;
    assert_eq!(parked, ["refused_by_store 11"]);
    assert_eq!(bench.count("select count(sqlstate) from pipeline.parked").await, 1);
    let rows = bench.base.texts("select id from pipeline.events order by log_offset").await;
    let expected: Vec<_> =
        (0..11).map(|n| format!("a-{n}")).chain((0..20).map(|n| format!("b-{n}"))).collect();
    assert_eq!(rows, expected);
    assert!(running.metric("shock_consumer_bisections_total") <= 10);
    running.stop().await;
}

pub async fn a_statement_nobodys_record_is_to_blame_for_halts(base: Base) {
    let bench = Bench::new(base).await;
    bench.base.sql("alter table pipeline.events rename to elsewhere").await;
    bench.events(FIRST, "a", 5);
    let running = bench.start().await;
    let line = r#"shock_consumer_halted{class="transactional",partition="0",reason="statement"}"#;
    bench.until("it halts", async || running.metric(line) == 1).await;
    assert_eq!(bench.count(PARKED).await, 0);
    assert_eq!(running.health.live(), Ok(()));
    running.stop().await;
    bench.base.sql("alter table pipeline.elsewhere rename to events").await;
    bench.drain().await.stop().await;
    assert_eq!(bench.count(EVENTS).await, 5);
}

pub async fn a_gap_halts_only_its_partition(base: Base) {
    let bench = Bench::new(base).await;
    bench.events(FIRST, "a", 5);
    bench.drain().await.stop().await;
    bench.base.sql("update pipeline.progress set next_offset = 100 where partition = 0").await;
    bench.events(SECOND, "b", 5);
    let running = bench.start().await;
    let line = r#"shock_consumer_halted{class="transactional",partition="0",reason="log_gap"}"#;
    bench.until("it halts", async || running.metric(line) == 1).await;
    bench.until("the other goes on", async || bench.count(EVENTS).await == 10).await;
    running.stop().await;
}

pub async fn an_id_with_another_payload_is_counted(base: Base) {
    let bench = Bench::new(base).await;
    bench.event(FIRST, NOON, "a", 1);
    bench.event(FIRST, NOON, "a", 2);
    let running = bench.drain().await;
    bench.event(FIRST, Millis(NOON.0 + width_ms()), "a", 3);
    bench.event(FIRST, NOON, "a", 4);
    bench.event(FIRST, NOON, "a", 4);
    bench.event(FIRST, NOON, "b", 4);
    bench.until_drained().await;
    assert_eq!(bench.count(EVENTS).await, 2);
    bench.until("every record is counted", async || running.metric(DUPLICATES_METRIC) == 4).await;
    assert!(running.metric(CONFLICT_METRIC) >= 2, "within a batch and across");
    running.stop().await;
}

pub async fn a_look_up_says_what_became_of_an_event(base: Base) {
    let bench = Bench::new(base).await;
    bench.event(FIRST, NOON, "applied", 1);
    bench.event(FIRST, Millis(0), "parked", 1);
    bench.drain().await.stop().await;
    let home = Bench::router().partition(FIRST.class, b"acme");
    let before = bench.log.range(home).expect("memory is readable").1;
    bench.event(home, NOON, "earlier", 1);
    bench.event(home, NOON, "pending", 1);
    let scanner = Arc::new(Scanner::Memory(bench.log.clone()));
    let store = bench.base.store().await;
    let lookup = Lookup::new(store, scanner, Bench::router(), vec!["/other".to_owned()]);
    let find = async |id: &str| lookup.find(tenant(), None, id).await.expect("an answer");
    match find("applied").await {
        Fate::Applied { position, applied_at_ms } => {
            assert_eq!(position, Place { class: "transactional", partition: 0, offset: 0 });
            assert!(applied_at_ms.is_some());
        }
        other => panic!("{other:?}"),
    }
    match find("parked").await {
        Fate::Parked { reason, .. } => assert_eq!(reason, "timestamp_out_of_range"),
        other => panic!("{other:?}"),
    }
    match find("pending").await {
        Fate::Pending { position, behind } => {
            assert_eq!((position.offset, behind), (before.0 + 1, 1));
        }
        other => panic!("{other:?}"),
    }
    let nowhere = Fate::Unknown { scanned: 2, complete: true, forgotten_before_ms: None };
    assert_eq!(find("nowhere").await, nowhere);
    // A spread tenant's key is another one, and so may its partition be.
    let away = [FIRST, SECOND].into_iter().find(|id| *id != home).expect("two partitions");
    bench.append(away, NOON, "acme/x", r#"{"id":"spread","type":"order.paid"}"#);
    assert!(matches!(find("spread").await, Fate::Pending { behind: 0, .. }));

    let elsewhere = lookup.find(tenant(), Some("/other"), "applied").await.expect("an answer");
    assert!(matches!(elsewhere, Fate::Unknown { .. }));

    let tail = lookup.tail(10).await.expect("tail");
    assert_eq!(tail.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), ["applied"]);
    let views = lookup.partitions().await.expect("partitions");
    let view =
        views.iter().find(|view| view.class == "transactional" && view.lag_records > Some(0));
    assert_eq!(view.and_then(|view| view.lag_records), Some(2));
    assert!(view.is_some_and(|view| view.lag_ms > Some(0)));
}

pub async fn a_store_of_another_window_or_version_is_refused(base: Base) {
    let mut bench = Bench::new(base).await;
    bench.events(FIRST, "a", 1);
    bench.drain().await.stop().await;
    bench.config.dedupe_window = 2 * WINDOW;
    let refused = bench.start().await.ended().await;
    assert!(matches!(refused, Err(ConsumerError::Schema(SchemaError::Width { .. }))));
    bench.base.sql("update pipeline._sqlx_migrations set version = 9999 where version = 1").await;
    let refused = bench.start().await.ended().await;
    assert!(matches!(refused, Err(ConsumerError::Schema(SchemaError::Newer(9_999)))));
}

/// Makes one test per case, each on a fresh store from `$base`.
macro_rules! suite {
    ($base:path: $($case:ident)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                suite::cases::$case($base().await).await;
            }
        )*
    };
}

/// Every case, for one kind of store.
macro_rules! all_cases {
    ($base:path) => {
        suite! { $base:
            an_identity_has_one_effect_within_and_across_batches
            what_is_applied_is_what_was_posted
            both_sides_of_a_buckets_edge_are_one_window
            a_crash_at_any_step_is_replayed_once
            batches_behind_one_that_is_refused_wait_in_their_order
            what_was_read_ahead_is_not_applied_to_a_database_that_went_back
            a_fenced_writer_drops_what_it_read_ahead
            a_log_that_ends_behind_what_was_read_ahead_halts_there
            nothing_is_read_ahead_beside_a_record_under_a_mark
            a_trickle_is_not_later_for_reading_ahead
            a_zombie_is_fenced
            a_stopped_worker_claims_nothing
            a_fenced_owner_claims_again
            rebalances_do_not_wait_for_the_store
            a_revocation_of_many_does_not_wait_for_their_starts
            lag_grows_while_the_store_is_away_and_goes_with_the_partition
            a_database_that_went_back_is_replayed
            an_idle_partition_notices_a_database_that_went_back
            an_identity_stands_without_its_events_row
            poison_is_parked_and_the_flow_goes_on
            bisecting_finds_exactly_the_refused_record
            a_statement_nobodys_record_is_to_blame_for_halts
            a_gap_halts_only_its_partition
            an_id_with_another_payload_is_counted
            a_look_up_says_what_became_of_an_event
            what_has_lost_its_place_goes_on_only_when_told
            a_row_that_is_gone_is_restored_above_every_epoch
            a_replay_is_taken_up_by_itself_and_has_no_second_effect
            a_replay_past_the_window_is_refused
            a_move_is_signed_and_names_its_place
            a_store_of_another_window_or_version_is_refused
            ids_are_forgotten_when_every_position_is_past_them
            one_clock_that_is_ahead_forgets_nothing
            an_idle_partition_blocks_nothing_and_one_with_unread_records_does
            an_idle_word_counts_only_under_its_claim
            what_is_measured_is_told
            a_backlog_is_limited_under_bounded_lag_and_absorbed_under_absorb
            beyond_its_budget_absorb_limits_too
            what_waits_for_a_first_owner_is_excused
            a_store_that_is_gone_is_an_outage_and_no_overload
            a_waiting_class_slows_the_one_below_elsewhere_and_not_to_nothing
            what_is_given_up_is_limited_no_more
            a_new_owner_goes_on_at_the_limit_in_effect
            odd_demands_do_no_harm
            what_heals_at_a_retry_is_never_parked
            what_is_parked_is_tried_again_by_itself
            tries_end_in_dead_and_a_redrive_begins_anew
            many_are_redriven_while_others_are_refused
            two_tries_of_one_row_have_one_effect
            an_old_record_keeps_its_identity_when_it_is_redriven
            owners_that_end_without_a_word_are_counted
            a_record_that_owners_died_of_is_parked_and_no_other
            one_death_parks_nothing
            an_end_before_the_first_mark_counts_for_no_record
            what_came_after_a_death_is_no_suspect
            a_mark_is_not_held_over_a_wait
            a_trial_leaves_nothing
            projections_have_each_event_once
            what_a_projection_refuses_is_parked
            a_projection_that_broke_halts_and_is_named
            a_projection_that_is_not_right_is_refused_at_start
            what_is_parked_is_listed_and_shown
            what_is_redriven_is_due_in_its_order_and_audited
            what_is_dropped_stays_dropped_until_somebody_says_so
            an_action_says_what_it_is_about_and_who_asks
            an_action_goes_on_from_its_cursor
            what_is_parked_is_mirrored_once_for_each_state
            later_events_of_an_entity_wait_and_come_in_order
            what_is_refused_at_its_turn_is_waited_for
            what_is_dropped_or_dead_is_not_waited_for
            what_waits_is_no_storm_and_goes_on_where_order_is_given_up
            order_holds_whatever_is_refused_and_redriven
            what_has_its_effect_is_sent_once_and_signed
            what_fails_is_tried_again_and_not_overtaken
            a_receiver_that_died_gets_what_waited
            what_a_receiver_refuses_is_dead_and_stays
            refusals_without_end_are_no_deaths
            a_receiver_that_asks_for_a_pause_gets_it
            a_full_sink_makes_its_writers_wait_and_loses_nothing
            only_what_is_applied_is_sent
            a_crash_at_any_step_loses_no_delivery
            a_topic_gets_them_in_order_and_named
            a_ledger_adds_up_whatever_is_repeated
            a_refused_statement_takes_the_state_back
            a_ledger_survives_a_crash_at_any_step
            a_saga_pays_or_gives_back
            a_saga_survives_a_crash_at_any_step
            on_poison_halt_stops_before_the_record
            a_storm_halts_its_partition_and_empties_no_topic
        }
    };
}

pub(crate) use {all_cases, suite};
