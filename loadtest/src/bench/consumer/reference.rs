//! What the consumer is compared with, on the same server: the bare fused statement, fed from memory by
//! a plain loop, and the paper's listing, event by event.

use std::time::Instant;

use anyhow::{Context, ensure};
use sqlx::{Connection, PgConnection, Row};

use super::scene::Scene;
use crate::load::EVENT_BYTES;

/// Events of a batch, as the consumer's.
const BATCH: i64 = 1_000;

/// Fence, ids and events with the columns of the product's tables, and nothing that asks elsewhere: no
/// neighbouring buckets, nothing parked.
const TABLES: &str = "create schema bare; \
    create table bare.progress (class smallint, partition integer, epoch bigint not null, \
      next_offset bigint not null, updated_at timestamptz, primary key (class, partition)) \
      with (fillfactor = 50); \
    create table bare.ids (digest bytea, tenant text collate \"C\", log_offset bigint not null, \
      payload_digest bigint not null, primary key (digest, tenant)); \
    create table bare.applied (class smallint, partition integer, log_offset bigint, tenant text not null, \
      source text not null, id text not null, type text not null, received_at timestamptz not null, \
      applied_at timestamptz not null default now(), data jsonb not null, \
      primary key (class, partition, log_offset)); \
    insert into bare.progress values (1, 0, 1, 0, now()); \
    create table bare.processed (id text primary key); \
    create table bare.effects (id text not null, data jsonb not null)";

const FUSED: &str = "with fence as ( \
      update bare.progress set next_offset = $2, updated_at = now() \
      where class = 1 and partition = 0 and epoch = 1 and next_offset = $1 returning 1), \
    batch as (select * from unnest($3::bigint[], $4::bytea[], $5::text[], $6::bigint[], $7::text[]) \
        as b (log_offset, digest, tenant, payload_digest, data) where exists (select 1 from fence)), \
    fresh as (insert into bare.ids (digest, tenant, log_offset, payload_digest) \
      select digest, tenant, log_offset, payload_digest from batch on conflict do nothing \
      returning log_offset), \
    applied as (insert into bare.applied \
        (class, partition, log_offset, tenant, source, id, type, received_at, data) \
      select 1, 0, log_offset, tenant, '/bench', 'b-0-' || log_offset, 'order.paid', now(), data::jsonb \
      from batch join fresh using (log_offset) returning 1) \
    select exists (select 1 from fence), (select count(*) from applied)";

/// Makes the tables beside the pipeline's own.
pub async fn prepare(scene: &mut Scene) -> anyhow::Result<()> {
    let connection = &mut scene.connection;
    sqlx::raw_sql("set jit = off").execute(&mut *connection).await.context("jit")?;
    sqlx::raw_sql(TABLES).execute(connection).await.context("the bare tables").map(drop)
}

/// Events per second of the fused statement, one connection, one statement after the other.
pub async fn bare(connection: &mut PgConnection, events: i64) -> anyhow::Result<f64> {
    let first: i64 = sqlx::query_scalar("select next_offset from bare.progress")
        .fetch_one(&mut *connection)
        .await
        .context("where it stands")?;
    let data = data();
    let started = Instant::now();
    for from in (first..first + events).step_by(BATCH as usize) {
        let offsets: Vec<i64> = (from..from + BATCH).collect();
        let digests: Vec<Vec<u8>> = offsets.iter().map(|offset| digest(*offset)).collect();
        let texts = vec![data.as_str(); offsets.len()];
        let tenants = vec!["t0"; offsets.len()];
        let row = sqlx::query(FUSED)
            .bind(from)
            .bind(from + BATCH)
            .bind(&offsets)
            .bind(digests)
            .bind(tenants)
            .bind(&offsets)
            .bind(texts)
            .fetch_one(&mut *connection)
            .await
            .context("a batch")?;
        let (owned, applied): (bool, i64) = (row.try_get(0)?, row.try_get(1)?);
        ensure!(owned && applied == BATCH, "a batch of the bare loop was not applied");
    }
    Ok(events as f64 / started.elapsed().as_secs_f64())
}

/// Events per second of the paper's way: look whether it was processed, note it, apply it, each event in
/// a transaction of its own.
pub async fn paper(connection: &mut PgConnection, first: i64, events: i64) -> anyhow::Result<f64> {
    let data = data();
    let started = Instant::now();
    for number in first..first + events {
        let id = format!("p-{number}");
        let mut transaction = connection.begin().await.context("begin")?;
        let seen = sqlx::query("select 1 from bare.processed where id = $1")
            .bind(&id)
            .fetch_optional(&mut *transaction)
            .await
            .context("select")?;
        ensure!(seen.is_none(), "{id} is new");
        sqlx::query("insert into bare.processed (id) values ($1)")
            .bind(&id)
            .execute(&mut *transaction)
            .await
            .context("insert the id")?;
        sqlx::query("insert into bare.effects (id, data) values ($1, $2::jsonb)")
            .bind(&id)
            .bind(&data)
            .execute(&mut *transaction)
            .await
            .context("insert the effect")?;
        transaction.commit().await.context("commit")?;
    }
    Ok(events as f64 / started.elapsed().as_secs_f64())
}

/// As long as what the consumer's events carry.
fn data() -> String {
    format!(r#"{{"n":1,"text":"{:x<1$}"}}"#, "", EVENT_BYTES - 80)
}

/// Without order, as digests are: multiplied by an odd number, bits are spread over all of it.
fn digest(offset: i64) -> Vec<u8> {
    let mixed = (offset as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    mixed.to_be_bytes().to_vec()
}
