//! The cases about order around what is parked: later events of its entity wait behind it, whoever owns
//! the partition, and have their effect in order.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shared::config::OnPoison;

use super::base::Base;
use super::projections::things;
use super::{Bench, FIRST, NOON, SECOND, WINDOW};

const EVENTS: &str = "select count(*) from pipeline.events";
const PARKED: &str = "select count(*) from pipeline.parked";
const BAD: &str = "thing.bad";
const WORSE: &str = "thing.worse";
/// What is parked, in the log's order.
const ROWS: &str = "select cast(log_offset as text) || ' ' || reason || ' ' || state \
    from pipeline.parked order by log_offset";

/// A bench that keeps the order, whose projection tells in which order effects were had, and whose
/// database refuses two types of events. Parked records are not tried by themselves.
async fn ordered(base: Base) -> Bench {
    let mut bench = Bench::new(base).await;
    bench.config.on_poison = OnPoison::Entity;
    bench.config.retries_max = 0;
    bench.config.parked_retry_min = WINDOW;
    bench.config.parked_retry_max = WINDOW;
    let sql = "insert into projections.things (name) select id from fresh order by position";
    bench.projections = things(&bench.base, sql);
    let seq = match bench.base {
        Base::Sqlite { .. } => "integer primary key autoincrement",
        Base::Postgres { .. } => "bigserial primary key",
    };
    bench.projections.entries[0].ddl[0].text =
        format!("create table things (seq {seq}, name text not null)");
    bench.migrate().await.expect("the tables are made");
    bench.base.refuse_type(BAD).await;
    bench.base.refuse_type(WORSE).await;
    bench
}

impl Bench {
    /// An event of an entity; its id says which.
    fn of_entity(&self, entity: &str, n: u32, event_type: &str) {
        let value =
            format!(r#"{{"id":"{entity}-{n}","type":"{event_type}","subject":"{entity}"}}"#);
        self.append(FIRST, NOON, "acme", &value);
    }

    /// The effects, in the order in which they were had.
    async fn effects(&self) -> Vec<String> {
        self.base.texts("select name from projections.things order by seq").await
    }

    async fn effects_of(&self, entity: &str) -> Vec<String> {
        let all = self.effects().await;
        all.into_iter().filter(|id| id.starts_with(&format!("{entity}-"))).collect()
    }

    /// Has what is parked at an offset tried now.
    async fn redrive_at(&self, offset: i64) {
        let now = self.base.long_ago();
        self.base
            .sql(&format!(
                "update pipeline.parked set state = 'parked', next_try_at = {now}, tries_left = 1 \
                 where log_offset = {offset}"
            ))
            .await;
    }
}

fn ids(entity: &str, numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    numbers.into_iter().map(|n| format!("{entity}-{n}")).collect()
}

pub async fn later_events_of_an_entity_wait_and_come_in_order(base: Base) {
    let mut bench = ordered(base).await;
    bench.config.batch_records_max = 4;
    for n in 0..40 {
        bench.of_entity("a", n, if n == 2 { BAD } else { "thing.seen" });
        bench.of_entity("b", n, "thing.seen");
    }
    let running = bench.drain().await;
    assert_eq!(bench.effects_of("a").await, ids("a", 0..2));
    assert_eq!(bench.effects_of("b").await, ids("b", 0..40), "another entity goes on");
    let rows = bench.base.texts(ROWS).await;
    assert_eq!((rows.len(), rows[0].as_str()), (38, "4 refused_by_store parked"));
    assert!(rows[1..].iter().all(|row| row.ends_with(" behind parked")), "{rows:?}");
    let behind = r#"shock_consumer_parked_total{class="transactional",reason="behind"}"#;
    bench.until("they are counted", async || running.metric(behind) == 37).await;
    running.stop().await;

    // The next owner keeps the order, too; a retry by the producer is a duplicate.
    bench.of_entity("a", 40, "thing.seen");
    bench.of_entity("a", 7, "thing.seen");
    bench.of_entity("b", 40, "thing.seen");
    let running = bench.drain().await;
    assert_eq!(bench.effects_of("a").await, ids("a", 0..2));
    assert_eq!(bench.count(PARKED).await, 39);

    bench.base.allow_type(BAD).await;
    bench.redrive_at(4).await;
    bench.until("all have their effect", async || bench.count(PARKED).await == 0).await;
    assert_eq!(bench.effects_of("a").await, ids("a", 0..41));
    bench.of_entity("a", 41, "thing.seen");
    bench.until_drained().await;
    assert_eq!(bench.effects_of("a").await, ids("a", 0..42), "nothing is waited for any more");
    running.stop().await;
    // A replay of the log has no second effect.
    bench.base.sql("update pipeline.progress set next_offset = 0").await;
    bench.drain().await.stop().await;
    assert_eq!((bench.count(EVENTS).await, bench.count(PARKED).await), (83, 0));
}

/// The second of those that wait is refused when it is its turn: what is behind it waits on.
pub async fn what_is_refused_at_its_turn_is_waited_for(base: Base) {
    let bench = ordered(base).await;
    for (n, event_type) in
        ["thing.seen", BAD, "thing.seen", WORSE, "thing.seen", "thing.seen"].into_iter().enumerate()
    {
        bench.of_entity("a", n as u32, event_type);
    }
    let running = bench.drain().await;
    assert_eq!(bench.effects().await, ids("a", [0]));
    bench.base.allow_type(BAD).await;
    bench.redrive_at(1).await;
    let turned = ["3 refused_by_store parked", "4 behind parked", "5 behind parked"];
    bench.until("it is refused", async || bench.base.texts(ROWS).await == turned).await;
    assert_eq!(bench.effects().await, ids("a", [0, 1, 2]));
    // Whatever an operator redrives: it is not tried before its turn.
    bench.redrive_at(5).await;
    bench.base.allow_type(WORSE).await;
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    assert_eq!(bench.effects().await, ids("a", [0, 1, 2]));
    bench.redrive_at(3).await;
    bench.until("all have their effect", async || bench.count(PARKED).await == 0).await;
    assert_eq!(bench.effects().await, ids("a", 0..6));
    running.stop().await;
}

pub async fn what_is_dropped_or_dead_is_not_waited_for(base: Base) {
    let bench = ordered(base).await;
    for entity in ["dropped", "dead"] {
        bench.of_entity(entity, 0, BAD);
        bench.of_entity(entity, 1, "thing.seen");
        bench.of_entity(entity, 2, "thing.seen");
    }
    let running = bench.drain().await;
    assert_eq!((bench.count(EVENTS).await, bench.count(PARKED).await), (0, 6));
    bench.base.sql("update pipeline.parked set state = 'dropped' where log_offset = 0").await;
    bench.until("those behind it go on", async || bench.count(EVENTS).await == 2).await;
    assert_eq!(bench.effects().await, ids("dropped", [1, 2]));
    // Its last try.
    bench.redrive_at(3).await;
    bench.until("those behind it go on", async || bench.count(EVENTS).await == 4).await;
    assert_eq!(bench.effects_of("dead").await, ids("dead", [1, 2]));
    let left = ["0 refused_by_store dropped", "3 refused_by_store dead"];
    assert_eq!(bench.base.texts(ROWS).await, left);
    bench.of_entity("dead", 3, "thing.seen");
    bench.until_drained().await;
    assert_eq!(bench.effects_of("dead").await, ids("dead", [1, 2, 3]));
    running.stop().await;
}

pub async fn what_waits_is_no_storm_and_goes_on_where_order_is_given_up(base: Base) {
    let mut bench = ordered(base).await;
    (bench.config.storm_records, bench.config.storm_percent) = (40, 10);
    bench.of_entity("a", 0, BAD);
    for n in 1..100 {
        bench.of_entity("a", n, "thing.seen");
    }
    bench.events(SECOND, "other", 3);
    bench.drain().await.stop().await;
    assert_eq!((bench.count(EVENTS).await, bench.count(PARKED).await), (3, 100));
    bench.config.on_poison = OnPoison::Skip;
    let running = bench.start().await;
    bench.until("they go on", async || bench.count(EVENTS).await == 102).await;
    assert_eq!(bench.base.texts(ROWS).await, ["0 refused_by_store parked"]);
    running.stop().await;
}

/// Five entities, some records of which are refused at random, with restarts, redrives and a database
/// that takes ever more: at the end each entity's effects are all there, once, in order.
pub async fn order_holds_whatever_is_refused_and_redriven(base: Base) {
    let mut bench = ordered(base).await;
    bench.config.batch_records_max = 7;
    bench.config.storm_percent = 0;
    let seed = rand::rng().random();
    let mut random = StdRng::seed_from_u64(seed);
    let mut next = BTreeMap::new();
    for round in 0..6 {
        for _ in 0..40 {
            let entity = ["a", "b", "c", "d", "e"][random.random_range(0..5)];
            let event_type = match random.random_range(0..10) {
                0 => BAD,
                1 => WORSE,
                _ => "thing.seen",
            };
            let n = next.entry(entity).or_insert(0);
            bench.of_entity(entity, *n, event_type);
            *n += 1;
        }
        match round {
            2 => bench.base.allow_type(BAD).await,
            4 => bench.base.allow_type(WORSE).await,
            _ => {}
        }
        let running = bench.drain().await;
        let offset = random.random_range(0..40 * (round + 1));
        let redriven = "update pipeline.parked set next_try_at = LONG_AGO, tries_left = 9 \
            where log_offset <= OFFSET";
        let redriven = redriven.replace("LONG_AGO", bench.base.long_ago());
        bench.base.sql(&redriven.replace("OFFSET", &offset.to_string())).await;
        running.stop().await;
    }
    let running = bench.start().await;
    bench
        .until(&format!("all have their effect, seed {seed}"), async || {
            bench.base.sql(&format!(
                "update pipeline.parked set next_try_at = {}, tries_left = 9 where reason <> 'behind'",
                bench.base.long_ago()
            ))
            .await;
            bench.count(EVENTS).await == 240
        })
        .await;
    for (entity, count) in next {
        assert_eq!(bench.effects_of(entity).await, ids(entity, 0..count), "seed {seed}");
    }
    assert_eq!(bench.count(PARKED).await, 0);
    running.stop().await;
}
