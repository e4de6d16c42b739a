//! The suite on a real PostgreSQL, and what only a server can do to a consumer: hold a lock, kill a
//! backend, lose an answer, refuse DDL. Needs SHOCK_SERVICES: `cargo xtask test` sets it.

#[path = "world_postgres/expiry.rs"]
mod expiry;
#[path = "world_postgres/filter.rs"]
mod filter;
#[path = "world_postgres/lost.rs"]
mod lost;
#[path = "world_postgres/plans.rs"]
mod plans;
#[path = "world_postgres/stray.rs"]
mod stray;
mod suite;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use consumer::Store;
use consumer::failure::StoreError;
use consumer::handler::{Effects, Fresh, Handled, Handler, Refusal, Session};
use consumer::store::PostgresStore;
use shared::clock::Clock;
use shared::config::{OnPoison, PostgresConfig};
use shared::position::{Offset, PartitionId};
use shared::{Process, Shutdown};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use self::suite::base::{Base, PIPELINE};
use self::suite::cases::{all_cases, suite};
use self::suite::projections::things;
use self::suite::{Bench, FIRST, NOON, SECOND};

all_cases!(Base::postgres);

const EVENTS: &str = "select count(*) from pipeline.events";

async fn connection(base: &Base) -> PgConnection {
    PgConnection::connect(base.url()).await.expect("the server answers")
}

async fn run(connection: &mut PgConnection, sql: &str) {
    let sql = sql.replace("pipeline.", "\"shock_suite\".");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.expect("runs");
}

/// Holds a table that every batch writes, until it commits or is dropped.
async fn locks_events(bench: &Bench) -> PgConnection {
    let mut holder = connection(&bench.base).await;
    run(&mut holder, "begin; set local statement_timeout = 0; lock table pipeline.events").await;
    holder
}

/// Waits until a statement of the consumer waits for a lock.
async fn until_blocked(bench: &Bench) {
    const BLOCKED: &str = "select count(*) from pg_stat_activity where datname = current_database() \
        and application_name = 'shock-suite' and wait_event_type = 'Lock'";
    bench.until("a statement waits for the lock", async || bench.count(BLOCKED).await > 0).await;
}

#[tokio::test]
async fn a_zombie_waits_for_an_uncommitted_claim_and_is_fenced() {
    let bench = Bench::new(Base::postgres().await).await;
    bench.events(FIRST, "before", 3);
    let running = bench.drain().await;
    let mut successor = connection(&bench.base).await;
    run(&mut successor, "begin; update pipeline.progress set epoch = epoch + 1").await;
    bench.events(FIRST, "after", 3);
    until_blocked(&bench).await;
    run(&mut successor, "commit").await;
    bench.until("it is fenced", async || running.metric("shock_consumer_fenced_total") == 1).await;
    assert_eq!(bench.count(EVENTS).await, 3);
    running.stop().await;
}

#[tokio::test]
async fn a_backend_killed_in_mid_statement_costs_nothing() {
    let bench = Bench::new(Base::postgres().await).await;
    bench.events(FIRST, "before", 3);
    let running = bench.drain().await;
    let mut holder = connection(&bench.base).await;
    run(&mut holder, "begin; select * from pipeline.progress for update").await;
    bench.events(FIRST, "after", 3);
    until_blocked(&bench).await;
    run(
        &mut holder,
        "select pg_terminate_backend(pid) from pg_stat_activity \
         where datname = current_database() and application_name = 'shock-suite'",
    )
    .await;
    run(&mut holder, "rollback").await;
    bench.until_drained().await;
    assert_eq!(bench.count(EVENTS).await, 6);
    assert_eq!(bench.count("select count(*) from pipeline.parked").await, 0);
    assert!(running.metric("shock_consumer_retries_total") >= 1);
    running.stop().await;
}

/// A consumer whose clock is off would park every record as implausible, and parked is final.
#[tokio::test]
async fn a_clock_that_is_off_applies_and_parks_nothing() {
    let mut bench = Bench::new(Base::postgres().await).await;
    bench.config.clock_skew_max = Duration::from_secs(3_600);
    let now = Clock::System.now();
    for n in 0..3 {
        bench.event(FIRST, now, &format!("e-{n}"), n);
    }
    let running = bench.start().await;
    bench
        .until("the partition is claimed", async || {
            bench.base.positions().await.contains_key(&FIRST)
        })
        .await;
    let why = running.health.ready().expect_err("not ready");
    assert!(why.contains("off the database's (behind)"), "{why}");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(bench.count(EVENTS).await, 0);
    assert_eq!(bench.count("select count(*) from pipeline.parked").await, 0);

    bench.clock.advance(now.0 - NOON.0);
    bench.until_drained().await;
    assert_eq!(bench.count(EVENTS).await, 3);
    assert_eq!(running.health.ready(), Ok(()));
    running.stop().await;
}

/// Whoever is dropped in the middle of a statement must not keep a place of the pool.
#[tokio::test]
async fn a_dropped_statement_gives_its_place_back() {
    let bench = Bench::new(Base::postgres().await).await;
    bench.events(FIRST, "before", 3);
    bench.drain().await.stop().await;
    let config = PostgresConfig { url: bench.base.url().to_owned(), connections_max: 1 };
    let store = Store::Postgres(PostgresStore::connect(&config, PIPELINE).expect("a valid URL"));
    let held = bench.base.hold().await;
    tokio::select! {
        _ = store.claim(FIRST, "dropped", 0) => panic!("the row is locked"),
        () = until_blocked(&bench) => {}
    }
    let stored = store.stored(FIRST).await.expect("the one connection's place is free");
    assert_eq!(stored.map(|stored| stored.next), Some(Offset(3)));
    held.release().await;
}

#[tokio::test]
async fn the_runtime_role_applies_without_the_right_to_make_tables() {
    let bench = Bench::new(Base::postgres().await).await;
    let role = format!("runtime_{}", std::process::id());
    bench.base.sql(&format!("create role {role} login")).await;
    match bench.base.store().await {
        Store::Postgres(store) => store.grant(&role).await.expect("grants"),
        Store::Sqlite(_) => unreachable!("this case is PostgreSQL's"),
    }
    let (_, address) = bench.base.url().rsplit_once('@').expect("a URL with a user");
    let config = PostgresConfig { url: format!("postgres://{role}@{address}"), connections_max: 2 };
    let store = Store::Postgres(PostgresStore::connect(&config, PIPELINE).expect("a valid URL"));
    assert!(store.migrate().await.is_err(), "it may not make tables");
    let (process, shutdown) = (Process::alone(bench.clock.clone()), Shutdown::new());
    let consumer = bench.consumer(store, &process);
    let task = tokio::spawn(consumer.run(shutdown.clone()));
    bench.events(FIRST, "a", 3);
    bench.append(FIRST, NOON, "acme", "{");
    bench.until_drained().await;
    assert_eq!(bench.count(EVENTS).await, 3);
    shutdown.cancel();
    task.await.expect("does not panic").expect("stops well");
    bench.base.sql(&format!("drop owned by {role}; drop role {role}")).await;
}

/// A function in the effects' way that ends the connection for one record, and one that never ends.
async fn poison(bench: &Bench, id: &str, deed: &str) {
    bench
        .base
        .sql(&format!(
            "create or replace function pipeline.deed() returns trigger language plpgsql as $$ \
             begin if new.id = '{id}' then perform {deed}; end if; return new; end $$; \
             create or replace trigger deed before insert on pipeline.events \
             for each row execute function pipeline.deed()"
        ))
        .await;
}

async fn found_among_its_neighbours(bench: &mut Bench, deed: &str) {
    poison(bench, "b-4", deed).await;
    bench.config.parked_retry_min = Duration::from_millis(10);
    bench.config.parked_retry_max = Duration::from_millis(10);
    bench.config.parked_tries_max = 1;
    bench.events(FIRST, "a", 20);
    bench.events(FIRST, "b", 9);
    bench.events(SECOND, "c", 40);
    let running = bench.drain().await;
    let why = bench.base.texts("select reason from pipeline.parked").await;
    assert_eq!(why, ["crash"]);
    assert_eq!(bench.count(EVENTS).await, 68, "all its neighbours are applied");
    // It is tried once more by itself, and then no more.
    let state = "select state || ' ' || log_offset from pipeline.parked";
    bench.until("it is dead", async || bench.base.texts(state).await == ["dead 24"]).await;
    bench.events(FIRST, "later", 9);
    bench.until_drained().await;
    assert_eq!(bench.count(EVENTS).await, 77);
    assert_eq!(bench.count("select count(*) from pipeline.parked").await, 1);
    running.stop().await;
}

#[tokio::test]
async fn a_record_that_kills_the_backend_is_parked_and_no_other() {
    let mut bench = Bench::new(Base::postgres().await).await;
    found_among_its_neighbours(&mut bench, "pg_terminate_backend(pg_backend_pid())").await;
}

/// `statement_timeout` of the role or the database, where there is one; ours is 30 s.
async fn time_limit(bench: &Bench, limit: &str) {
    let (_, database) = bench.base.url().rsplit_once('/').expect("a URL with a database");
    bench.base.sql(&format!("alter database {database} set statement_timeout = '{limit}'")).await;
}

#[tokio::test]
async fn a_record_whose_statement_never_ends_is_parked_and_no_other() {
    let mut bench = Bench::new(Base::postgres().await).await;
    time_limit(&bench, "700ms").await;
    found_among_its_neighbours(&mut bench, "pg_sleep(600)").await;
}

/// A migration that locks the table for longer than statements may take: no record is to blame.
#[tokio::test]
async fn a_locked_table_parks_nothing() {
    let bench = Bench::new(Base::postgres().await).await;
    time_limit(&bench, "200ms").await;
    let mut holder = locks_events(&bench).await;
    bench.events(FIRST, "a", 40);
    let running = bench.start().await;
    bench
        .until("all are acquitted", async || running.metric("shock_consumer_acquittals_total") > 0)
        .await;
    run(&mut holder, "rollback").await;
    bench.until_drained().await;
    assert_eq!(bench.count(EVENTS).await, 40);
    assert_eq!(bench.count("select count(*) from pipeline.parked").await, 0);
    running.stop().await;
}

/// The lock ends at any moment of the search: nobody's record is to blame, then either.
#[tokio::test]
async fn a_lock_that_ends_at_any_step_parks_nothing() {
    for failures in 1..=7 {
        let mut bench = Bench::new(Base::postgres().await).await;
        bench.config.retry_backoff_min = Duration::from_millis(300);
        bench.config.retry_backoff_max = Duration::from_millis(300);
        time_limit(&bench, "150ms").await;
        let mut holder = locks_events(&bench).await;
        bench.events(FIRST, "a", 3);
        let running = bench.start().await;
        bench
            .until("so many statements have failed", async || {
                running.metric("shock_consumer_retries_total") >= failures
            })
            .await;
        run(&mut holder, "rollback").await;
        bench.until_drained().await;
        assert_eq!(bench.count("select count(*) from pipeline.parked").await, 0, "{failures}");
        assert_eq!(bench.count(EVENTS).await, 3);
        running.stop().await;
    }
}

/// Where nothing may be parked, a lock halts nothing, and the record that kills halts its partition.
#[tokio::test]
async fn on_poison_halt_asks_for_the_same_evidence() {
    let mut bench = Bench::new(Base::postgres().await).await;
    bench.config.on_poison = OnPoison::Halt;
    time_limit(&bench, "200ms").await;
    let mut holder = locks_events(&bench).await;
    bench.events(FIRST, "a", 20);
    let running = bench.start().await;
    bench
        .until("all are acquitted", async || running.metric("shock_consumer_acquittals_total") > 0)
        .await;
    run(&mut holder, "rollback").await;
    bench.until_drained().await;
    assert_eq!(bench.count(EVENTS).await, 20);

    poison(&bench, "b-4", "pg_terminate_backend(pg_backend_pid())").await;
    bench.events(FIRST, "b", 9);
    let halted = r#"shock_consumer_halted{class="transactional",partition="0",reason="poison"}"#;
    bench.until("it halts", async || running.metric(halted) == 1).await;
    assert_eq!(bench.count(EVENTS).await, 24, "all before it are applied");
    assert_eq!(bench.count("select count(*) from pipeline.parked").await, 0);
    running.stop().await;
}

/// A record that its process dies of, in the middle of its statement. The process is the run, dropped
/// with all that it has when the record is in hand, four times; what it ran rolls back.
#[tokio::test]
async fn a_record_that_kills_its_process_is_parked_and_no_other() {
    let bench = Bench::new(Base::postgres().await).await;
    let deed = "pg_sleep(0.5), pg_terminate_backend(pg_backend_pid())";
    poison(&bench, "b-4", deed).await;
    bench.events(FIRST, "a", 20);
    bench.events(FIRST, "b", 9);
    bench.events(SECOND, "c", 40);
    let asleep = "select count(*) from pg_stat_activity where datname = current_database() \
        and application_name = 'shock-suite' and wait_event = 'PgSleep'";
    for death in 1..=4 {
        let process = Process::alone(bench.clock.clone());
        let consumer = bench.consumer(bench.base.store().await, &process);
        tokio::select! {
            ended = consumer.run(Shutdown::new()) => panic!("ended by itself: {ended:?}"),
            () = bench.until("it has the record", async || bench.count(asleep).await > 0) => {}
        }
        assert_eq!(bench.count("select count(*) from pipeline.parked").await, 0, "death {death}");
        bench.until("its statement is over", async || bench.count(asleep).await == 0).await;
    }
    let running = bench.drain().await;
    let parked = bench.base.texts("select reason || ' ' || log_offset from pipeline.parked").await;
    assert_eq!(parked, ["crash 24"]);
    assert_eq!(bench.count(EVENTS).await, 68);
    running.stop().await;
}

/// A user's own table that has no partition for a value is that event's content, not a bucket of ours
/// that is missing.
#[tokio::test]
async fn a_users_table_without_a_partition_parks_the_record() {
    let mut bench = Bench::new(Base::postgres().await).await;
    let sql = "insert into projections.things (name, n) \
        select data ->> 'name', (data ->> 'n')::bigint from fresh";
    bench.projections = things(&bench.base, sql);
    bench.projections.entries[0].ddl[0].text = "create table things (name text, n bigint) \
        partition by range (n); \
        create table things_low partition of things for values from (0) to (100)"
        .to_owned();
    bench.migrate().await.expect("the tables are made");
    for n in [1, 500, 2] {
        let value = format!(r#"{{"id":"{n}","type":"thing.seen","data":{{"name":"a","n":{n}}}}}"#);
        bench.append(FIRST, NOON, "acme", &value);
    }
    bench.drain().await.stop().await;
    assert_eq!(bench.count(EVENTS).await, 2);
    let parked =
        bench.base.texts("select sqlstate || ' ' || log_offset from pipeline.parked").await;
    assert_eq!(parked, ["23514 1"]);
}

/// A statement that never ends would hold the fence for ever: the server ends it, unless the role says
/// sooner.
#[tokio::test]
async fn every_session_has_an_end_of_its_statements() {
    let check = async |of_role: &str, expected: &str| {
        let mut bench = Bench::new(Base::postgres().await).await;
        time_limit(&bench, of_role).await;
        let sql = "insert into projections.things (name, n) \
            select current_setting('statement_timeout') || id, 1 from fresh";
        bench.projections = things(&bench.base, sql);
        bench.migrate().await.expect("the tables are made");
        bench.append(FIRST, NOON, "acme", r#"{"id":" x","type":"thing.seen","data":{}}"#);
        bench.drain().await.stop().await;
        let seen = bench.base.texts("select name from projections.things").await;
        assert_eq!(seen, [format!("{expected} x")]);
    };
    check("0", "25s").await;
    check("10min", "25s").await;
    check("700ms", "700ms").await;
}

/// A handler that falls silent in its first batch, for longer than the server lets it: 1 while it is, 2
/// afterwards.
#[derive(Debug)]
struct Silent(Arc<AtomicU32>);

impl Handler for Silent {
    type State = ();

    async fn load(&self, _: PartitionId, _: Session<'_>) -> Result<(), StoreError> {
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "it stands for a process that is paused")]
    fn handle(&self, _: &mut (), _: &[Fresh<'_>]) -> Result<Effects, Refusal> {
        if self.0.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            // Another thread takes over what this one had to do for the runtime.
            tokio::task::block_in_place(|| std::thread::sleep(Duration::from_secs(20)));
            self.0.store(2, Ordering::SeqCst);
        }
        Ok(Effects::default())
    }
}

/// The lock of a process that is paused between its statements ends with the server's patience: the next
/// owner's claim does not wait for the process to wake.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_paused_handler_holds_its_lock_for_a_while_only() {
    let mut bench = Bench::new(Base::postgres().await).await;
    let silent = Arc::new(AtomicU32::new(0));
    bench.handled = Some(Handled::by(Silent(Arc::clone(&silent))));
    bench.events(FIRST, "a", 3);
    let running = bench.start().await;
    bench.until("it is silent", async || silent.load(Ordering::SeqCst) == 1).await;
    let claim = bench.base.store().await.claim(FIRST, "successor", 0).await.expect("an answer");
    assert_eq!(silent.load(Ordering::SeqCst), 1, "the claim came through while it was silent");
    assert_eq!(claim.expect("a row").stored.next, Offset(0), "nothing of its batch is there");
    bench.until("it is fenced", async || running.metric("shock_consumer_fenced_total") == 1).await;
    assert_eq!(bench.count(EVENTS).await, 0);
    running.stop().await;
}
