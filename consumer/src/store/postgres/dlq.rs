//! Parked rows on PostgreSQL, for operators and the relay. An action and its note in the audit are one
//! statement.

use std::sync::Arc;

use shared::clock::Millis;
use shared::log::Record;
use shared::position::PartitionId;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Postgres, Row as _};

use super::lease::Lease;
use super::{PostgresStore, STATEMENT_TIMEOUT, id_of, position};
use crate::failure::StoreError;
use crate::store::Note;
use crate::store::dlq::{Audited, Parked, ParkedKey, State, Stretch, record_of, state_of};

/// What [`parked`] reads.
macro_rules! columns {
    () => {
        "k.class, k.partition, k.log_offset, k.tenant, k.digest, k.record_timestamp, k.reason, \
         k.sqlstate, k.attempts, k.tries_left, k.epoch, k.state, \
         (extract(epoch from k.parked_at) * 1000)::bigint as parked_ms, \
         (extract(epoch from k.next_try_at) * 1000)::bigint as next_try_ms"
    };
}

/// $1 to $4: after this row; $5 to $7: up to this place; $8: so many.
pub(super) const PARKED_IN: &str = concat!(
    "select ",
    columns!(),
    " from pipeline.parked k \
     where (k.class, k.partition, k.log_offset, k.digest) > ($1, $2, $3, $4) \
       and (k.class, k.partition, k.log_offset) <= ($5, $6, $7) \
     order by k.class, k.partition, k.log_offset, k.digest limit $8"
);

pub(super) const PARKED_RECORDS: &str = "select k.class, k.partition, k.log_offset, k.tenant, \
      k.digest, k.record_timestamp, k.key, k.value, k.headers::text as headers \
    from unnest($1::bytea[], $2::text[]) as a (digest, tenant) \
      join pipeline.parked k on k.digest = a.digest and k.tenant = a.tenant";

/// One try more than the row has: whoever tries it now, and settles it, sees that it was redriven.
pub(super) const REDRIVE: &str = "with moved as (\
      update pipeline.parked k set state = 'parked', \
        next_try_at = now() + a.wait_ms * interval '1 ms', \
        tries_left = greatest(k.tries_left, 0) + 1 \
      from unnest($1::bytea[], $2::text[], $3::bigint[]) as a (digest, tenant, wait_ms) \
      where k.digest = a.digest and k.tenant = a.tenant and k.state = any($4) returning 1), \
    noted as (\
      insert into pipeline.audit (author, action, reason, filter, affected) \
      select $5, $6, $7, $8::jsonb, count(*) from moved having count(*) > 0) \
    select count(*) from moved";

pub(super) const DROP_PARKED: &str = "with moved as (\
      update pipeline.parked k set state = 'dropped', next_try_at = null, tries_left = 0 \
      from unnest($1::bytea[], $2::text[]) as a (digest, tenant) \
      where k.digest = a.digest and k.tenant = a.tenant and k.state = any($3) returning 1), \
    noted as (\
      insert into pipeline.audit (author, action, reason, filter, affected) \
      select $4, $5, $6, $7::jsonb, count(*) from moved having count(*) > 0) \
    select count(*) from moved";

pub(super) const AUDIT: &str = "select id, (extract(epoch from at) * 1000)::bigint as at_ms, author, \
      action, reason, filter::text as filter, affected \
    from pipeline.audit where id < $1 order by id desc limit $2";

pub(super) const UNMIRRORED: &str = concat!(
    "select k.* from unnest($1::smallint[], $2::integer[]) as o (class, partition) \
     cross join lateral (select ",
    columns!(),
    " from pipeline.parked k where k.class = o.class and k.partition = o.partition \
       and k.mirrored is distinct from k.state order by k.log_offset limit $3) k limit $3"
);

pub(super) const UNMIRRORED_COUNT: &str = "select count(*) from (select 1 \
    from unnest($1::smallint[], $2::integer[]) as o (class, partition) \
      cross join lateral (select 1 from pipeline.parked k where k.class = o.class \
        and k.partition = o.partition and k.mirrored is distinct from k.state limit $3) k \
    limit $3) counted";

pub(super) const MIRRORED: &str = "update pipeline.parked k set mirrored = a.state \
    from unnest($1::bytea[], $2::text[], $3::text[]) as a (digest, tenant, state) \
    where k.digest = a.digest and k.tenant = a.tenant";

type Bound = Query<'static, Postgres, PgArguments>;

impl PostgresStore {
    pub(in crate::store) async fn parked_in(
        &self,
        stretch: &Stretch,
        rows_max: u16,
    ) -> Result<Vec<Parked>, StoreError> {
        let (after, upto) = (&stretch.after, stretch.upto);
        let query = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.parked_in)))
            .bind(after.0)
            .bind(after.1)
            .bind(after.2)
            .bind(after.3.clone())
            .bind(upto.0)
            .bind(upto.1)
            .bind(upto.2)
            .bind(i64::from(rows_max));
        self.rows(query).await?.iter().map(parked).collect()
    }

    pub(in crate::store) async fn parked_records(
        &self,
        keys: &[&ParkedKey],
    ) -> Result<Vec<(ParkedKey, Record)>, StoreError> {
        let query = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.parked_records)));
        let query = bind_keys(query, keys.iter().copied());
        self.rows(query).await?.iter().map(record).collect()
    }

    pub(in crate::store) async fn redrive(
        &self,
        rows: &[(ParkedKey, i64)],
        states: &[State],
        note: &Note,
    ) -> Result<u64, StoreError> {
        let waits: Vec<i64> = rows.iter().map(|(_, wait_ms)| *wait_ms).collect();
        let query = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.redrive)));
        let query = bind_keys(query, rows.iter().map(|(key, _)| key)).bind(waits);
        self.counted(bind_note(query, states, note)).await
    }

    pub(in crate::store) async fn drop_parked(
        &self,
        keys: &[ParkedKey],
        states: &[State],
        note: &Note,
    ) -> Result<u64, StoreError> {
        let query = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.drop_parked)));
        let query = bind_keys(query, keys.iter());
        self.counted(bind_note(query, states, note)).await
    }

    pub(in crate::store) async fn audit(
        &self,
        before: i64,
        rows_max: u16,
    ) -> Result<Vec<Audited>, StoreError> {
        let query = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.audit)))
            .bind(before)
            .bind(i64::from(rows_max));
        let row = |row: &PgRow| {
            Ok(Audited {
                id: row.try_get("id")?,
                at: Millis(row.try_get("at_ms")?),
                author: row.try_get("author")?,
                action: row.try_get("action")?,
                reason: row.try_get("reason")?,
                filter: row.try_get("filter")?,
                affected: row.try_get("affected")?,
            })
        };
        self.rows(query).await?.iter().map(row).collect()
    }

    pub(in crate::store) async fn unmirrored(
        &self,
        owned: &[PartitionId],
        rows_max: u16,
        count_max: u32,
    ) -> Result<(Vec<Parked>, u64), StoreError> {
        let asked = |sql: &Arc<str>, most: i64| {
            let classes: Vec<i16> = owned.iter().map(|id| id.class as i16).collect();
            let numbers: Vec<i32> = owned.iter().map(|id| id.partition.as_i32()).collect();
            sqlx::query(AssertSqlSafe(Arc::clone(sql))).bind(classes).bind(numbers).bind(most)
        };
        let rows = self.rows(asked(&self.sql.unmirrored, i64::from(rows_max))).await?;
        let rows: Vec<Parked> = rows.iter().map(parked).collect::<Result<_, _>>()?;
        if rows.len() < usize::from(rows_max) {
            let count = rows.len() as u64;
            return Ok((rows, count));
        }
        let count = asked(&self.sql.unmirrored_count, i64::from(count_max));
        Ok((rows, self.counted(count).await?))
    }

    pub(in crate::store) async fn mirrored(
        &self,
        rows: &[(ParkedKey, State)],
    ) -> Result<(), StoreError> {
        let states: Vec<&'static str> = rows.iter().map(|(_, state)| state.name()).collect();
        let query = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.mirrored)));
        let query = bind_keys(query, rows.iter().map(|(key, _)| key)).bind(states);
        let mut lease = Lease::of(&self.pool).await?;
        let done = tokio::time::timeout(STATEMENT_TIMEOUT, query.execute(&mut *lease)).await;
        lease.settled(done).map(drop)
    }

    async fn rows(&self, query: Bound) -> Result<Vec<PgRow>, StoreError> {
        let mut lease = Lease::of(&self.pool).await?;
        let rows = tokio::time::timeout(STATEMENT_TIMEOUT, query.fetch_all(&mut *lease)).await;
        lease.settled(rows)
    }

    async fn counted(&self, query: Bound) -> Result<u64, StoreError> {
        let mut lease = Lease::of(&self.pool).await?;
        let row = tokio::time::timeout(STATEMENT_TIMEOUT, query.fetch_one(&mut *lease)).await;
        let count: i64 = lease.settled(row)?.try_get(0)?;
        Ok(count.unsigned_abs())
    }
}

fn bind_keys<'k>(query: Bound, keys: impl Iterator<Item = &'k ParkedKey>) -> Bound {
    let (digests, tenants): (Vec<Vec<u8>>, Vec<String>) =
        keys.map(|key| (key.digest.clone(), key.tenant.clone())).unzip();
    query.bind(digests).bind(tenants)
}

fn bind_note(query: Bound, states: &[State], note: &Note) -> Bound {
    let states: Vec<&'static str> = states.iter().map(|state| state.name()).collect();
    query
        .bind(states)
        .bind(note.author.clone())
        .bind(note.action)
        .bind(note.reason.clone())
        .bind(note.filter.clone())
}

fn key(row: &PgRow) -> Result<ParkedKey, StoreError> {
    Ok(ParkedKey { tenant: row.try_get("tenant")?, digest: row.try_get("digest")? })
}

fn parked(row: &PgRow) -> Result<Parked, StoreError> {
    Ok(Parked {
        key: key(row)?,
        position: position(row)?,
        record_timestamp: Millis(row.try_get("record_timestamp")?),
        reason: row.try_get("reason")?,
        sqlstate: row.try_get("sqlstate")?,
        attempts: row.try_get("attempts")?,
        tries_left: row.try_get("tries_left")?,
        epoch: row.try_get("epoch")?,
        state: state_of(row.try_get("state")?)?,
        at: Millis(row.try_get("parked_ms")?),
        next_try_at: row.try_get::<Option<i64>, _>("next_try_ms")?.map(Millis),
    })
}

fn record(row: &PgRow) -> Result<(ParkedKey, Record), StoreError> {
    let place = (row.try_get("log_offset")?, row.try_get("record_timestamp")?);
    let bytes = (row.try_get("key")?, row.try_get("value")?);
    let record = record_of(id_of(row)?, place, bytes, row.try_get("headers")?)?;
    Ok((key(row)?, record))
}
