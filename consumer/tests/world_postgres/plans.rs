//! No statement of ours reads a big table from end to end.
//!
//! The tables hold 60,000 rows each, and the catalogue says that these are 10 million: the planner
//! takes the rows per page from there, and the pages from the file. So a full scan looks cheaper than
//! it would be (fewer pages), and an index must win all the same.

use std::collections::BTreeMap;

use consumer::Store;
use consumer::batch::{Batch, Context, Refusals};
use consumer::bucket::Width;
use consumer::store::PostgresStore;
use shared::position::{Epoch, Offset};
use sqlx::{AssertSqlSafe, PgConnection};

use super::suite::base::Base;
use super::suite::{Bench, FIRST, NOON, WINDOW};

/// Three buckets of ids around the batch's, the events and the parked, filled and told as big.
async fn filled() -> (Bench, PostgresStore) {
    let bench = Bench::new(Base::postgres().await).await;
    bench.events(FIRST, "a", 50);
    bench.drain().await.stop().await;
    let bucket = NOON.0.div_euclid(WINDOW.as_millis() as i64);
    let fill = format!(
        "select pipeline.shock_ensure_buckets({0}, {1}); \
         insert into pipeline.processed_ids \
           select {0} + n % 3, 'acme', sha256(n::text::bytea), 1, 0, n, n \
           from generate_series(1, 60000) n; \
         insert into pipeline.events (class, partition, log_offset, tenant, source, id, type, \
             received_at, data) \
           select 1, n % 8, 1000 + n, 'acme', '/s', n::text, 'order.paid', now(), '{{}}' \
           from generate_series(1, 60000) n; \
         insert into pipeline.parked (tenant, digest, class, partition, log_offset, \
             record_timestamp, payload_digest, reason, key, value, headers) \
           select 'acme', sha256(('p' || n)::bytea), 1, n % 8, 1000 + n, 0, n, 'value_not_json', \
             '', '{{', '[]' from generate_series(1, 60000) n; \
         analyze; \
         update pg_class set reltuples = 10000000 \
           where relnamespace = 'shock_suite'::regnamespace and relkind = 'r' \
             and (relname in ('events', 'parked') or relname like 'processed_ids%')",
        bucket - 1,
        bucket + 1,
    );
    bench.base.sql(&fill).await;
    let Store::Postgres(store) = bench.base.store().await else {
        unreachable!("these cases are PostgreSQL's")
    };
    (bench, store)
}

/// The lines of a plan that scan a big table from end to end.
fn scans(plan: &[String]) -> Vec<&String> {
    let big = ["events", "parked", "processed_ids"];
    plan.iter()
        .filter(|line| {
            line.split_once("Seq Scan on ").is_some_and(|(_, on)| {
                let table = on.split([' ', '.']).find(|word| !word.starts_with("shock_"));
                table.is_some_and(|table| big.iter().any(|one| table.starts_with(one)))
            })
        })
        .collect()
}

/// The plan that serves every value of the parameters.
async fn generic_plan(connection: &mut PgConnection, name: &str, sql: &str) -> Vec<String> {
    let prepare = format!("prepare {name} as {sql}");
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *connection).await.expect(name);
    let count = "select cardinality(parameter_types) from pg_prepared_statements where name = $1";
    let count: i32 =
        sqlx::query_scalar(count).bind(name).fetch_one(&mut *connection).await.expect("prepared");
    let values = match count {
        0 => String::new(),
        count => format!("({})", vec!["null"; count as usize].join(", ")),
    };
    let explain = format!("explain (costs off) execute {name}{values}");
    let lines = sqlx::query_scalar(AssertSqlSafe(explain)).fetch_all(&mut *connection).await;
    lines.expect(name)
}

#[tokio::test]
async fn no_statement_scans_a_big_table() {
    let (bench, store) = filled().await;
    let Base::Postgres { pool, .. } = &bench.base else {
        unreachable!("these cases are PostgreSQL's")
    };
    let mut connection = pool.acquire().await.expect("connects");
    let session = "set plan_cache_mode = force_generic_plan; set jit = off";
    sqlx::raw_sql(session).execute(&mut *connection).await.expect("sets");
    let scanned = generic_plan(
        &mut connection,
        "the_whole",
        "select count(payload_digest) from \"shock_suite\".processed_ids where partition > $1",
    )
    .await;
    assert!(!scans(&scanned).is_empty(), "the test sees a scan where there is one: {scanned:#?}");
    let mut plans = BTreeMap::new();
    for (name, sql) in store.statements() {
        plans.insert(name, generic_plan(&mut connection, name, &sql).await);
    }
    assert!(plans["apply"].iter().any(|line| line.contains("Index")), "{:#?}", plans["apply"]);
    plans.retain(|_, plan| !scans(plan).is_empty());
    assert!(plans.is_empty(), "{plans:#?}");
}

#[tokio::test]
async fn the_batch_statement_never_scans_the_ids_for_a_batch_either() {
    let (bench, store) = filled().await;
    let records = bench.log.records();
    let context = Context {
        id: FIRST,
        epoch: Epoch(1),
        expected: Offset(0),
        width: Width::of_window(WINDOW),
        now: NOON,
        router: &Bench::router(),
        refused: &Refusals::default(),
    };
    let batch = Batch::decode(&records, &context).expect("a batch");
    let plan = store.apply_plan(&batch).await.expect("a plan");
    assert!(scans(&plan).is_empty(), "{plan:#?}");
    let ids = plan.iter().find(|line| line.contains("Index") && line.contains("processed_ids"));
    assert!(ids.is_some(), "{plan:#?}");
}
