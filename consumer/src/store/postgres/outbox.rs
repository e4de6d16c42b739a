//! The outbox on PostgreSQL: how it is filled in the statements that apply events, and a relay's own
//! statements.

use std::sync::Arc;

use bytes::Bytes;
use shared::clock::Millis;
use shared::log::Record;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Postgres, Row as _};

use super::lease::Lease;
use super::{PostgresStore, STATEMENT_TIMEOUT, id_of, position};
use crate::failure::StoreError;
use crate::store::headers_of;
use crate::store::outbox::{Ask, Due, Settled, Slice, Waiting};

type Bound = Query<'static, Postgres, PgArguments>;

/// Where the outbox comes in; the number is its first parameter's.
const MARK: &str = "-- {outbox from $";

/// A statement with the part in it that fills the outbox, where it applies events.
pub(super) fn joined(sql: &Arc<str>, schema: &str) -> Arc<str> {
    let Some((before, rest)) = sql.split_once(MARK) else { return Arc::clone(sql) };
    let (number, after) = rest.split_once("}\n").expect("the mark is ours");
    let mut number: u32 = number.parse().expect("the mark is ours");
    let mut part = String::new();
    for piece in include_str!("outbox.sql").split('{') {
        match piece.split_once('}') {
            Some((kind, piece)) => {
                part.push_str(&format!("${number}::{kind}{piece}"));
                number += 1;
            }
            None => part.push_str(piece),
        }
    }
    let part = part.replace("pipeline.", &format!("{schema}."));
    format!("{before}{part}{after}").into()
}

/// $1 sink, $2 to $5 slices, $6 under way, $7 whether order is kept, $8 busy, $9 rows, $10 bytes.
/// The look-up of an earlier failure is a scalar subquery, so that it goes through its small index.
pub(super) const PAGE: &str = "select * from (\
      select o.*, sum(octet_length(o.value)) over (order by o.seq) - octet_length(o.value) as before \
      from (select o.* \
        from unnest($2::smallint[], $3::integer[], $4::bigint[], $5::bigint[]) \
            as s (class, partition, epoch, floor) \
          join pipeline.progress p on p.class = s.class and p.partition = s.partition \
            and p.epoch = s.epoch \
          cross join lateral (\
            select o.seq, o.class, o.partition, o.log_offset, o.message_id, o.entity, \
              o.record_timestamp, o.key, o.value, o.headers, o.attempts, \
              (extract(epoch from o.created_at) * 1000)::bigint as created_ms \
            from pipeline.outbox o \
            where o.sink = $1 and o.class = s.class and o.partition = s.partition \
              and o.seq >= s.floor and o.state = 'waiting' \
              and (o.next_try_at is null or o.next_try_at <= now()) and o.seq <> all($6::bigint[]) \
              and (not $7::boolean or o.entity is null or (o.entity <> all($8::text[]) \
                and (select true from pipeline.outbox f where f.sink = o.sink \
                  and f.entity = o.entity and f.seq < o.seq and f.attempts > 0 \
                  and f.state = 'waiting' and f.next_try_at > now() limit 1) is null)) \
            order by o.seq limit $9) o \
        order by o.seq limit $9) o) o \
    where o.before < $10 order by o.seq";

/// $1 sink, $2 to $4 what was sent; $5 to $9 what was not. No retry_ms: it is dead.
pub(super) const SETTLE: &str = "with sent as (\
      delete from pipeline.outbox o \
      using unnest($2::smallint[], $3::integer[], $4::bigint[]) as s (class, partition, seq) \
      where o.sink = $1 and o.class = s.class and o.partition = s.partition and o.seq = s.seq) \
    update pipeline.outbox o set attempts = o.attempts + 1, reason = f.reason, \
      state = case when f.retry_ms is null then 'dead' else 'waiting' end, \
      next_try_at = now() + f.retry_ms * interval '1 ms' \
    from unnest($5::smallint[], $6::integer[], $7::bigint[], $8::bigint[], $9::text[]) \
      as f (class, partition, seq, retry_ms, reason) \
    where o.sink = $1 and o.class = f.class and o.partition = f.partition and o.seq = f.seq \
      and o.state = 'waiting'";

/// $1 sink, $2 to $4 slices, $5 counted up to.
pub(super) const WAITING: &str = "select s.class, s.partition, w.rows, w.first, w.since_ms \
    from unnest($2::smallint[], $3::integer[], $4::bigint[]) as s (class, partition, floor) \
      cross join lateral (\
        select count(*) as rows, min(o.seq) as first, \
          (extract(epoch from min(o.created_at)) * 1000)::bigint as since_ms \
        from (select o.seq, o.created_at from pipeline.outbox o \
          where o.sink = $1 and o.class = s.class and o.partition = s.partition \
            and o.seq >= s.floor and o.state = 'waiting' order by o.seq limit $5) o) w";

/// $1 sink, $2 counted up to.
pub(super) const ROWS: &str = "select \
      (select count(*) from (select 1 from pipeline.outbox where sink = $1 limit $2) o) as rows, \
      (select count(*) from (select 1 from pipeline.outbox where sink = $1 and state = 'dead' \
        limit $2) o) as dead";

impl PostgresStore {
    pub(in crate::store) async fn outbox_page(
        &self,
        ask: &Ask<'_>,
    ) -> Result<Vec<Due>, StoreError> {
        let query = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.outbox_page)));
        let (classes, numbers, floors) = columns(ask.slices);
        let epochs: Vec<i64> = ask.slices.iter().map(|slice| slice.epoch.0).collect();
        let query = query
            .bind(ask.sink.to_owned())
            .bind(classes)
            .bind(numbers)
            .bind(epochs)
            .bind(floors)
            .bind(ask.under_way.to_vec())
            .bind(ask.ordered)
            .bind(ask.busy.to_vec())
            .bind(i64::from(ask.rows_max))
            .bind(i64::from(ask.bytes_max));
        self.outbox_read(query).await?.iter().map(due).collect()
    }

    pub(in crate::store) async fn outbox_settle(
        &self,
        sink: &str,
        settled: &[Settled],
    ) -> Result<(), StoreError> {
        let (mut sent, mut failed) = (Keys::default(), Keys::default());
        let (mut waits, mut reasons) = (Vec::new(), Vec::new());
        for row in settled {
            match row.failure() {
                None => sent.push(row),
                Some((wait, why)) => {
                    failed.push(row);
                    waits.push(wait);
                    reasons.push(why.to_owned());
                }
            }
        }
        let query = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.outbox_settle)));
        let query = failed.bind(sent.bind(query.bind(sink.to_owned()))).bind(waits).bind(reasons);
        let mut lease = Lease::of(&self.pool).await?;
        let done = tokio::time::timeout(STATEMENT_TIMEOUT, query.execute(&mut *lease)).await;
        lease.settled(done).map(drop)
    }

    pub(in crate::store) async fn outbox_waiting(
        &self,
        sink: &str,
        slices: &[Slice],
        count_max: u32,
    ) -> Result<Vec<Waiting>, StoreError> {
        let (classes, numbers, floors) = columns(slices);
        let query = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.outbox_waiting)))
            .bind(sink.to_owned())
            .bind(classes)
            .bind(numbers)
            .bind(floors)
            .bind(i64::from(count_max));
        let row = |row: &PgRow| {
            Ok(Waiting {
                id: id_of(row)?,
                rows: row.try_get::<i64, _>("rows")?.unsigned_abs(),
                first: row.try_get("first")?,
                since: row.try_get::<Option<i64>, _>("since_ms")?.map(Millis),
            })
        };
        self.outbox_read(query).await?.iter().map(row).collect()
    }

    pub(in crate::store) async fn outbox_rows(
        &self,
        sink: &str,
        count_max: i64,
    ) -> Result<(u64, u64), StoreError> {
        let query = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.outbox_rows)))
            .bind(sink.to_owned())
            .bind(count_max);
        let mut lease = Lease::of(&self.pool).await?;
        let row = tokio::time::timeout(STATEMENT_TIMEOUT, query.fetch_one(&mut *lease)).await;
        let row = lease.settled(row)?;
        let count = |name| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
        Ok((count("rows")?, count("dead")?))
    }

    async fn outbox_read(&self, query: Bound) -> Result<Vec<PgRow>, StoreError> {
        let mut lease = Lease::of(&self.pool).await?;
        let rows = tokio::time::timeout(STATEMENT_TIMEOUT, query.fetch_all(&mut *lease)).await;
        lease.settled(rows)
    }
}

#[derive(Default)]
struct Keys {
    classes: Vec<i16>,
    partitions: Vec<i32>,
    seqs: Vec<i64>,
}

impl Keys {
    fn push(&mut self, row: &Settled) {
        self.classes.push(row.id.class as i16);
        self.partitions.push(row.id.partition.as_i32());
        self.seqs.push(row.seq);
    }

    fn bind(self, query: Bound) -> Bound {
        query.bind(self.classes).bind(self.partitions).bind(self.seqs)
    }
}

fn columns(slices: &[Slice]) -> (Vec<i16>, Vec<i32>, Vec<i64>) {
    (
        slices.iter().map(|slice| slice.id.class as i16).collect(),
        slices.iter().map(|slice| slice.id.partition.as_i32()).collect(),
        slices.iter().map(|slice| slice.floor).collect(),
    )
}

fn due(row: &PgRow) -> Result<Due, StoreError> {
    let bytes = |name| row.try_get::<Vec<u8>, _>(name).map(Bytes::from);
    let headers: String = row.try_get("headers")?;
    Ok(Due {
        seq: row.try_get("seq")?,
        record: Record {
            position: position(row)?,
            timestamp: Millis(row.try_get("record_timestamp")?),
            key: bytes("key")?,
            value: bytes("value")?,
            headers: headers_of(&headers)?,
        },
        message_id: row.try_get("message_id")?,
        entity: row.try_get("entity")?,
        attempts: row.try_get("attempts")?,
        created_at: Millis(row.try_get("created_ms")?),
    })
}
