//! Projections where only a server can tell: rights, the fence, the ledger's chain, the rate. Needs
//! SHOCK_SERVICES: `cargo xtask test` sets it.

#[expect(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "the suite's cases are run by the other tests"
)]
mod suite;

use std::time::Instant;

use consumer::Store;
use consumer::handler::Handled;
use consumer::resolution::Stored;
use consumer::store::{PostgresStore, SchemaError};
use shared::config::{PostgresConfig, ProjectionsConfig};
use shared::position::{Epoch, Offset};
use sqlx::{Connection as _, PgConnection};

use self::suite::base::{Base, PIPELINE};
use self::suite::handlers::ledger::Ledger;
use self::suite::projections::{apply, bench, examples, things};
use self::suite::{Bench, FIRST, NOON};

fn claim(bench: &Bench, n: usize) {
    let kind = ["opened", "reserved", "paid", "closed"][n / 8 % 4];
    let value = format!(
        r#"{{"id":"{n}","type":"claim.{kind}","subject":"c-{}","data":{{"amount":{n}}}}}"#,
        n % 8
    );
    bench.append(FIRST, shared::clock::Millis(NOON.0 + n as i64 * 60_000), "acme", &value);
}

/// The consumer's role adds to the ledger and can neither change nor delete; whoever can is found out.
#[tokio::test]
async fn the_ledger_is_only_added_to_and_tells_who_changed_it() {
    let mut bench = Bench::new(Base::postgres().await).await;
    let role = format!("ledger_{}", std::process::id());
    bench.base.sql(&format!("create role {role} login")).await;
    bench.projections = examples(&bench.base);
    bench.projections.runtime_role = Some(role.clone());
    bench.migrate().await.expect("the tables are made");
    let (_, address) = bench.base.url().rsplit_once('@').expect("a URL with a user");
    let runtime = format!("postgres://{role}@{address}");
    let config = PostgresConfig { url: runtime.clone(), connections_max: 2 };
    let store = Store::Postgres(PostgresStore::connect(&config, PIPELINE).expect("a valid URL"));
    let store = store.with_projections(&bench.projections).expect("statements that change rows");
    store.check().await.expect("the role may do what the projections do");

    for n in 0..64 {
        claim(&bench, n);
        claim(&bench, n);
    }
    let process = shared::Process::alone(bench.clock.clone());
    let shutdown = shared::Shutdown::new();
    let task = tokio::spawn(bench.consumer(store, &process).run(shutdown.clone()));
    bench.until_drained().await;
    shutdown.cancel();
    task.await.expect("does not panic").expect("stops well");
    assert_eq!(bench.count("select count(*) from projections.claims").await, 64);
    assert_eq!(bench.count("select count(*) from projections.claims_broken").await, 0);
    // Claim 1 has events 1, 9, 17, 25, …, one every eight minutes; the fourth closes it, the fifth
    // opens it again.
    let as_of = "select state || ' ' || reserved || ' ' || paid from projections.claims_as_of(\
        to_timestamp(1750075200) + interval '26 minutes') where claim = 'c-1'";
    assert_eq!(bench.base.texts(as_of).await, ["claim.closed 9 17"]);

    let mut connection = PgConnection::connect(&runtime).await.expect("the role may connect");
    for refused in [
        "update projections.claims set amount = 1",
        "delete from projections.claims",
        "truncate projections.claims",
        "drop table projections.claims",
    ] {
        let error = sqlx::raw_sql(refused).execute(&mut connection).await.expect_err(refused);
        let code = error.as_database_error().and_then(|error| error.code());
        assert_eq!(code.as_deref(), Some("42501"), "{refused}: {error}");
    }
    connection.close().await.expect("closes");
    let found = "select claim || ' ' || number from projections.claims_broken order by 1";
    bench
        .base
        .sql("update projections.claims set amount = 1 where claim = 'c-1' and number = 3")
        .await;
    assert_eq!(bench.base.texts(found).await, ["c-1 3"]);
    bench.base.sql("delete from projections.claims where claim = 'c-2' and number = 5").await;
    assert_eq!(bench.base.texts(found).await, ["c-1 3", "c-2 6"]);
    bench.base.sql(&format!("drop owned by {role}; drop role {role}")).await;
}

/// A right that the role lacks is found before anything is consumed.
#[tokio::test]
async fn a_right_that_lacks_is_refused_at_start() {
    let mut bench = Bench::new(Base::postgres().await).await;
    let role = format!("lacking_{}", std::process::id());
    bench.base.sql(&format!("create role {role} login")).await;
    let sql = "insert into projections.things (name, n) select data ->> 'name', count(*) from fresh \
        group by 1 on conflict (name) do update set n = excluded.n";
    bench.projections = things(&bench.base, sql);
    bench.projections.runtime_role = Some(role.clone());
    bench.projections.entries[0].ddl[0].text +=
        "; grant select, insert on things to {runtime_role}";
    bench.migrate().await.expect("the tables are made");
    let (_, address) = bench.base.url().rsplit_once('@').expect("a URL with a user");
    let config = PostgresConfig { url: format!("postgres://{role}@{address}"), connections_max: 1 };
    let store = Store::Postgres(PostgresStore::connect(&config, PIPELINE).expect("a valid URL"));
    let store = store.with_projections(&bench.projections).expect("a statement that changes rows");
    let refused = store.check().await.expect_err("it may not update");
    assert!(matches!(refused, SchemaError::Projection(_)), "{refused}");
    assert!(refused.to_string().contains("permission denied for table things"), "{refused}");
    store.close().await;
    bench.base.sql(&format!("drop owned by {role}; drop role {role}")).await;
}

/// A statement that writes whatever is fresh is undone where the fence does not hold.
#[tokio::test]
async fn a_fenced_batch_leaves_nothing_of_a_statement_that_asks_for_no_event() {
    let mut bench = Bench::new(Base::postgres().await).await;
    let sql = "insert into projections.things (name, n) \
        select 'row ' || (select count(*) from projections.things), 1 from (select count(*) as n from fresh) f \
        where f.n > 0 or exists (select 1 from projections.switch)";
    bench.projections = things(&bench.base, sql);
    bench.projections.entries[0].ddl[0].text += "; create table switch (id int)";
    bench.migrate().await.expect("the tables are made");
    let store = bench.store().await.expect("a statement that changes rows");
    store.check().await.expect("nothing is wrong with it as yet");
    let stored = store.seed(FIRST, "test", Offset(0)).await.expect("claimed");
    bench.events(FIRST, "e", 1);
    store
        .ensure_buckets(&[consumer::bucket::Width::of_window(suite::WINDOW)
            .bucket(NOON, NOON)
            .expect("plausible")])
        .await
        .expect("made");
    bench.base.sql("insert into projections.switch values (1)").await;
    let zombie = Stored { epoch: Epoch(stored.epoch.0 - 1), next: stored.next };
    let applied = apply(&store, &bench.log.records(), zombie).await.expect("an answer");
    assert!(!applied.owned);
    assert_eq!(bench.count("select count(*) from projections.things").await, 0);
    let applied = apply(&store, &bench.log.records(), stored).await.expect("an answer");
    assert_eq!((applied.owned, applied.fresh), (true, 1));
    assert_eq!(bench.count("select count(*) from projections.things").await, 1);
}

/// Times are those of events where they are times, and nothing that a foreign writer calls a time stops
/// a record.
#[tokio::test]
async fn odd_times_are_the_time_of_receipt() {
    let bench = bench(Base::postgres().await).await;
    let time = async |text: &str| {
        let sql = format!(
            "select (pipeline.shock_time('{text}', '2026-01-01T00:00:00Z') at time zone 'UTC')::text"
        );
        bench.base.texts(&sql).await.remove(0)
    };
    for (text, expected) in [
        ("2026-03-01T12:00:59Z", "2026-03-01 12:00:59"),
        ("2024-02-29t23:59:59.123456+14:00", "2024-02-29 09:59:59.123456"),
        ("0001-01-01T00:00:00Z", "2026-01-01 00:00:00"),
        ("2026-02-29T12:00:00Z", "2026-01-01 00:00:00"),
        ("2026-04-31T12:00:00Z", "2026-01-01 00:00:00"),
        ("2026-12-31T24:00:00Z", "2026-01-01 00:00:00"),
        ("2026-12-31T23:59:60Z", "2026-01-01 00:00:00"),
        ("2026-12-31", "2026-01-01 00:00:00"),
        ("now", "2026-01-01 00:00:00"),
        ("", "2026-01-01 00:00:00"),
    ] {
        assert_eq!(time(text).await, expected, "{text}");
    }
}

/// Batches of 1,000 over 10,000 accounts, some of which most transfers meet; the rate is printed beside
/// that of the same batches without projections.
#[tokio::test]
async fn balances_of_skewed_accounts_add_up() {
    let bench = bench(Base::postgres().await).await;
    let (accounts, batch, batches) = (10_000_f64, 1_000, 30);
    let mut seed = 7_u64;
    let mut skewed = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let uniform = (seed >> 11) as f64 / (1_u64 << 53) as f64;
        (accounts * uniform.powi(4)) as u32
    };
    for n in 0..2 * batch * batches {
        let value = format!(
            r#"{{"id":"{n}","type":"account.transfer","data":{{"from":"a-{}","to":"a-{}","amount":{}}}}}"#,
            skewed(),
            skewed(),
            n % 97
        );
        bench.append(FIRST, NOON, "acme", &value);
    }
    let records = bench.log.records();
    let projected = bench.store().await.expect("statements that change rows");
    let plain = bench.base.store().await;
    let mut stored = plain.seed(FIRST, "test", Offset(0)).await.expect("claimed");
    plain
        .ensure_buckets(&[consumer::bucket::Width::of_window(suite::WINDOW)
            .bucket(NOON, NOON)
            .expect("plausible")])
        .await
        .expect("made");
    let mut rates = Vec::new();
    for (which, store) in [&plain, &projected].into_iter().enumerate() {
        let started = Instant::now();
        for round in 0..batches {
            let from = (which * batches + round) * batch;
            let part = &records[from..from + batch];
            let applied = apply(store, part, stored).await.expect("applied");
            assert_eq!((applied.owned, applied.fresh), (true, batch as u64));
            stored.next = Offset((from + batch) as i64);
        }
        rates.push((batch * batches) as f64 / started.elapsed().as_secs_f64());
    }
    println!(
        "balances and counters: {:.0} events/s, {:.0} without projections",
        rates[1], rates[0]
    );
    let sums = "select sum(balance)::bigint from projections.balances";
    assert_eq!(bench.count(sums).await, 0);
    let entries = "select sum(entries)::bigint from projections.balances";
    assert_eq!(bench.count(entries).await, 2 * (batch * batches) as i64);
}

/// Batches of 1,000 deposits through a consumer: bare, with the examples' projections, with the ledger. The
/// rates are printed; that each has all of it is asserted.
#[tokio::test]
async fn a_ledger_beside_projections_and_the_bare_batch() {
    const EVENTS: usize = 20_000;
    let mut rates = Vec::new();
    for which in ["bare", "projections", "ledger"] {
        let mut bench = bench(Base::postgres().await).await;
        bench.config.batch_records_max = 1_000;
        bench.config.batch_bytes_max = 16 << 20;
        if which != "projections" {
            bench.projections = ProjectionsConfig::default();
        }
        if which == "ledger" {
            let handled = Handled::by(Ledger);
            bench.base.store().await.make_tables(&handled).await.expect("the tables are made");
            bench.handled = Some(handled);
        }
        for n in 0..EVENTS {
            let (event_type, account) = match which {
                "projections" => ("account.transfer", r#""from":"a-0","#),
                _ => ("ledger.deposit", ""),
            };
            let value = format!(
                r#"{{"id":"{n}","type":"{event_type}","data":{{{account}"to":"a-{}","amount":1}}}}"#,
                1 + n * 7 % 9_973
            );
            bench.append(FIRST, NOON, "acme", &value);
        }
        let started = Instant::now();
        let running = bench.drain().await;
        rates.push(format!("{which} {:.0}", EVENTS as f64 / started.elapsed().as_secs_f64()));
        assert_eq!(bench.count("select count(*) from pipeline.events").await, EVENTS as i64);
        if which == "ledger" {
            let sum = "select sum(balance)::bigint from ledger.balances";
            assert_eq!(bench.count(sum).await, EVENTS as i64);
        }
        running.stop().await;
    }
    println!("events/s in batches of 1,000: {}", rates.join(", "));
}
