//! Projections: the examples that ship, on every store.

use std::path::Path;

use consumer::batch::{Batch, Context, Refusals};
use consumer::bucket::Width;
use consumer::failure::{Failure, StoreError};
use consumer::resolution::Stored;
use consumer::store::{Applied, SchemaError};
use consumer::{ConsumerError, Store};
use shared::config::{
    Config, DdlFile, Origin, ProjectionConfig, ProjectionsConfig, Purpose, Sources,
};
use shared::log::Record;

use super::base::Base;
use super::{Bench, FIRST, NOON, SECOND, WINDOW};

/// The examples, as their users load them.
pub fn examples(base: &Base) -> ProjectionsConfig {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let flags = ["kafka.brokers=none:1", "kafka.durability=single", "postgres.url=postgres://a/b"];
    let sources = Sources {
        files: vec![root.join("config/examples/projections.toml")],
        flags: flags.map(str::to_owned).to_vec(),
        backend: Some(match base {
            Base::Sqlite { .. } => "embedded",
            Base::Postgres { .. } => "kafka",
        }),
        ..Sources::default()
    };
    Config::load(&sources, Purpose::Consumer).expect("the examples are right").projections
}

/// A bench with the examples' tables.
pub async fn bench(base: Base) -> Bench {
    let mut bench = Bench::new(base).await;
    bench.projections = examples(&bench.base);
    bench.migrate().await.expect("the tables are made");
    bench
}

/// One projection of `thing.*` that puts what its events say into `things`.
pub fn things(base: &Base, sql: &str) -> ProjectionsConfig {
    let ddl =
        "create table things (name text not null primary key, n bigint not null check (n < 1000))";
    let (ddl, sql) = match base {
        Base::Sqlite { .. } => (ddl.replace("bigint", "integer"), sql.replace("projections.", "")),
        Base::Postgres { .. } => (ddl.to_owned(), sql.to_owned()),
    };
    let ddl = DdlFile { path: "things.ddl.sql".into(), text: ddl };
    ProjectionsConfig {
        schema: "projections".to_owned(),
        runtime_role: None,
        entries: vec![ProjectionConfig {
            name: "things".to_owned(),
            types: vec!["thing.*".to_owned()],
            class: None,
            sql,
            place: Origin::File("things.toml".into(), 7),
            ddl: vec![ddl],
            sample: vec![r#"{"type":"thing.seen","data":{"name":"a","n":1}}"#.to_owned()],
        }],
    }
}

const THINGS: &str = "insert into projections.things as t (name, n)\n\
    select data ->> 'name', sum(cast(data ->> 'n' as integer)) from fresh group by 1\n\
    on conflict (name) do update set n = t.n + excluded.n";

fn transfer(bench: &Bench, id: &str, from: u32, to: u32, amount: i64) {
    let value = format!(
        r#"{{"id":"{id}","type":"account.transfer","data":{{"from":"a-{from}","to":"a-{to}","amount":{amount}}}}}"#
    );
    bench.append(FIRST, NOON, "acme", &value);
}

fn claim(bench: &Bench, id: &str, event_type: &str, claim: &str, amount: i64) {
    let value = format!(
        r#"{{"id":"{id}","type":"{event_type}","subject":"{claim}","data":{{"amount":{amount}}}}}"#
    );
    bench.append(FIRST, NOON, "acme", &value);
}

/// Repetitions within a batch, across batches and after a replay from the start change nothing; the
/// sums are those of the events.
pub async fn projections_have_each_event_once(base: Base) {
    let bench = bench(base).await;
    let (mut expected, mut paid) = ([0_i64; 5], 0);
    for round in 0..2 {
        for n in 0..40_u32 {
            // Every key many times in a batch of 16, one much more than the others.
            let (from, to, amount) =
                (if n % 2 == 0 { 0 } else { n % 5 }, (n + 1) % 5, i64::from(n));
            let id = format!("t-{n}");
            transfer(&bench, &id, from, to, amount);
            transfer(&bench, &id, from, to, amount);
            let event_type = if n % 3 == 0 { "claim.reserved" } else { "claim.paid" };
            claim(&bench, &format!("c-{n}"), event_type, &format!("c-{}", n % 4), amount);
            if round == 0 {
                expected[from as usize] -= amount;
                expected[to as usize] += amount;
                paid += if n % 3 == 0 { 0 } else { amount };
            }
        }
    }
    // Another partition's events go to the same rows.
    bench.append(
        SECOND,
        NOON,
        "acme",
        r#"{"id":"second","type":"account.transfer","data":{"from":"a-0","to":"a-1","amount":7}}"#,
    );
    expected[0] -= 7;
    expected[1] += 7;
    let running = bench.drain().await;
    let holds = async |when: &str| {
        for (account, balance) in expected.iter().enumerate() {
            let sql =
                format!("select balance from projections.balances where account = 'a-{account}'");
            assert_eq!(bench.count(&sql).await, *balance, "{when}: account {account}");
        }
        let sum = "select cast(sum(balance) as bigint) from projections.balances";
        assert_eq!(bench.count(sql_of(&bench, sum).as_str()).await, 0, "{when}");
        let entries =
            sql_of(&bench, "select cast(sum(entries) as bigint) from projections.balances");
        assert_eq!(bench.count(&entries).await, 82, "{when}");
        let counted =
            sql_of(&bench, "select cast(sum(events) as bigint) from projections.counters");
        assert_eq!(bench.count(&counted).await, 81, "{when}");
        let events = "select count(*) from pipeline.events";
        assert_eq!(bench.count(events).await, 81, "{when}");
        assert_eq!(bench.count("select count(*) from projections.claims").await, 40, "{when}");
        let highest = "select max(number) from projections.claims where claim = 'c-1'";
        assert_eq!(bench.count(highest).await, 10, "{when}: numbered without a gap");
        let sql =
            "select cast(sum(amount) as bigint) from projections.claims where type = 'claim.paid'";
        assert_eq!(bench.count(&sql_of(&bench, sql)).await, paid, "{when}");
        if let Base::Postgres { .. } = bench.base {
            let broken = "select count(*) from projections.claims_broken";
            assert_eq!(bench.count(broken).await, 0, "{when}");
        }
    };
    holds("at once").await;
    running.stop().await;

    bench.base.sql("update pipeline.progress set next_offset = 0").await;
    bench.drain().await.stop().await;
    holds("after a replay").await;
}

/// SQLite's type for what PostgreSQL calls `bigint`.
fn sql_of(bench: &Bench, sql: &str) -> String {
    match bench.base {
        Base::Sqlite { .. } => sql.replace("bigint", "integer"),
        Base::Postgres { .. } => sql.to_owned(),
    }
}

/// What a projection refuses for its content is parked, alone; the others of its batch are applied. A
/// try that comes later has the same effects.
pub async fn what_a_projection_refuses_is_parked(base: Base) {
    let mut bench = Bench::new(base).await;
    let gated = "sum(cast(data ->> 'n' as integer)) \
        - (select coalesce(sum(less), 0) from projections.gate) * count(*)";
    let sql = THINGS.replace("sum(cast(data ->> 'n' as integer))", gated);
    bench.projections = things(&bench.base, &sql);
    bench.projections.entries[0].ddl[0].text += "; create table gate (less integer not null)";
    bench.migrate().await.expect("the tables are made");
    let seen = |n: u32, value: i64| {
        let value = format!(
            r#"{{"id":"{n}","type":"thing.seen","data":{{"name":"n-{}","n":{value}}}}}"#,
            n % 3
        );
        bench.append(FIRST, NOON, "acme", &value);
    };
    for n in 0..20 {
        seen(n, if n == 11 { 5_000 } else { 1 });
    }
    // Of a type that it does not see.
    bench.event(FIRST, NOON, "other", 9_999);
    let running = bench.drain().await;
    let sum = sql_of(&bench, "select cast(sum(n) as bigint) from projections.things");
    assert_eq!(bench.count(&sum).await, 19);
    assert_eq!(bench.count("select count(*) from pipeline.events").await, 20);
    let parked = bench.base.texts("select reason from pipeline.parked where log_offset = 11").await;
    assert_eq!(parked, ["refused_by_store"]);
    assert_eq!(bench.count("select count(*) from pipeline.parked").await, 1);

    bench.base.sql("insert into projections.gate values (4500)").await;
    bench.redrive().await;
    let events = "select count(*) from pipeline.events";
    bench.until("it has its effect", async || bench.count(events).await == 21).await;
    assert_eq!(bench.count(&sum).await, 519);
    assert_eq!(bench.count("select count(*) from pipeline.parked").await, 0);
    running.stop().await;
}

/// A statement that no record is to blame for halts its partition, and says which projection it was.
pub async fn a_projection_that_broke_halts_and_is_named(base: Base) {
    let mut bench = Bench::new(base).await;
    bench.projections = things(&bench.base, THINGS);
    bench.migrate().await.expect("the tables are made");
    let event =
        |id: &str| format!(r#"{{"id":"{id}","type":"thing.seen","data":{{"name":"a","n":1}}}}"#);
    bench.append(FIRST, NOON, "acme", &event("1"));
    let running = bench.drain().await;
    bench.base.sql("drop table projections.things").await;
    bench.append(FIRST, NOON, "acme", &event("2"));
    let halted = r#"shock_consumer_halted{class="transactional",partition="0",reason="statement"}"#;
    bench.until("it halts", async || running.metric(halted) == 1).await;
    running.stop().await;
    assert_eq!(bench.count("select count(*) from pipeline.events").await, 1);
    assert_eq!(bench.count("select count(*) from pipeline.parked").await, 0);

    let store = bench.store().await.expect("statements that change rows");
    let stored = store.stored(FIRST).await.expect("an answer").expect("a row");
    let records: Vec<_> = bench.log.records().into_iter().skip(1).collect();
    let error = apply(&store, &records, stored).await.expect_err("the table is gone");
    assert_eq!(error.failure, Failure::Halt);
    assert!(error.message.starts_with("things.toml:7: projection `things`"), "{}", error.message);
    assert!(error.message.contains("things"), "{}", error.message);
}

/// Applies records where a partition stands.
pub async fn apply(
    store: &Store,
    records: &[Record],
    stored: Stored,
) -> Result<Applied, StoreError> {
    let context = Context {
        id: FIRST,
        epoch: stored.epoch,
        expected: stored.next,
        width: Width::of_window(WINDOW),
        now: NOON,
        router: &Bench::router(),
        refused: &Refusals::default(),
    };
    let batch = Batch::decode(records, &context).expect("a batch");
    store.apply(&batch, NOON).await
}

/// Each is refused before anything is claimed, with its place and what the database says.
pub async fn a_projection_that_is_not_right_is_refused_at_start(base: Base) {
    let mut bench = Bench::new(base).await;
    bench.events(FIRST, "a", 3);
    let right = things(&bench.base, THINGS);
    bench.projections = right.clone();
    let (place, message) = refusal(&bench).await;
    assert!(place.contains("things.toml:7: projection `things`"), "{place}");
    assert!(message.contains("things.ddl.sql has not been run"), "{message}");
    bench.migrate().await.expect("the tables are made");

    let name = |name: &str| THINGS.replace("sum(cast", name);
    let count = THINGS
        .replace("data ->> 'name', sum(cast(data ->> 'n' as integer))", "'a', count(*)")
        .replace("group by 1", "where true");
    let postgres = matches!(bench.base, Base::Postgres { .. });
    let mut cases = vec![
        (name("suum(cast"), "suum"),
        (THINGS.replace("(name, n)", "(name, nn)"), "nn"),
        (THINGS.replace("things as t", "thinks as t"), "thinks"),
        (THINGS.replace("insert into", "insert onto"), "onto"),
        (THINGS.replace("from fresh", "from fresh where false"), "changes nothing"),
        (count, "changes rows where there is no event"),
    ];
    if postgres {
        // Not set-based: one row for each event, and the same row twice.
        let each =
            THINGS.replace(" group by 1", "").replace("sum(cast(data ->> 'n' as integer))", "1");
        cases.push((each, "cannot affect row a second time"));
        cases.push((THINGS.replace("projections.things", "things"), "does not exist"));
        cases.push((THINGS.replace("\nselect", "\n\nselect nosuch,"), "line 3 of the statement"));
    }
    for (sql, expected) in cases {
        bench.projections = things(&bench.base, &sql);
        let (_, message) = refusal(&bench).await;
        assert!(message.contains(expected), "{sql}: {message}");
    }
    assert!(bench.base.positions().await.is_empty(), "nothing was claimed");

    let mut changed = right.clone();
    changed.entries[0].ddl[0].text.push_str("-- more");
    bench.projections = changed;
    let refused = bench.migrate().await.expect_err("the file was run as it was");
    assert!(refused.to_string().contains("is another one now"), "{refused}");
    bench.projections = right;
    bench.migrate().await.expect("what was run is not run again");
    bench.drain().await.stop().await;
    assert_eq!(bench.count("select count(*) from projections.things").await, 0, "rolled back");
}

/// How a start ends: place and message.
async fn refusal(bench: &Bench) -> (String, String) {
    match bench.start().await.ended().await {
        Err(ConsumerError::Schema(SchemaError::Projection(error))) => {
            (error.to_string(), error.message)
        }
        other => panic!("not refused for its projection: {other:?}"),
    }
}
