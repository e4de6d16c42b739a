//! The outbox on SQLite: how it is filled in the transactions that apply events, and a relay's own
//! statements.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::{Value, json};
use shared::clock::Millis;
use shared::log::Record;
use shared::position::Offset;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::{SqliteStore, position};
use crate::batch::Row;
use crate::failure::StoreError;
use crate::headers;
use crate::outbox::Outgoing;
use crate::store::headers_of;
use crate::store::outbox::{Ask, Due, Settled, Slice, Waiting};

/// ?1 rows, ?2 now.
const FILL: &str = "insert into outbox (sink, class, partition, log_offset, message_id, entity, \
      record_timestamp, key, value, headers, created_at) \
    select json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'), \
      json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]'), \
      json_extract(value, '$[6]'), unhex(json_extract(value, '$[7]')), \
      unhex(json_extract(value, '$[8]')), json_extract(value, '$[9]'), ?2 \
    from json_each(?1) order by key";

/// ?1 sink, ?2 class, ?3 partition, ?4 epoch, ?5 floor, ?6 now, ?7 under way, ?8 whether order is kept,
/// ?9 busy, ?10 rows.
const PAGE: &str = "select o.* from outbox o \
    where o.sink = ?1 and o.class = ?2 and o.partition = ?3 and o.seq >= ?5 \
      and exists (select 1 from progress where class = ?2 and partition = ?3 and epoch = ?4) \
      and o.state = 'waiting' and (o.next_try_at is null or o.next_try_at <= ?6) \
      and o.seq not in (select value from json_each(?7)) \
      and (not ?8 or o.entity is null or (o.entity not in (select value from json_each(?9)) \
        and not exists (select 1 from outbox f where f.sink = o.sink and f.entity = o.entity \
          and f.seq < o.seq and f.attempts > 0 and f.state = 'waiting' and f.next_try_at > ?6))) \
    order by o.seq limit ?10";

/// ?1 sink, ?2 numbers.
const SENT: &str = "delete from outbox where sink = ?1 \
    and seq in (select value from json_each(?2))";

/// ?1 sink, ?2 numbers with waits and reasons, ?3 now.
const FAILED: &str = "update outbox set attempts = attempts + 1, reason = f.reason, \
      state = case when f.retry_ms is null then 'dead' else 'waiting' end, \
      next_try_at = ?3 + f.retry_ms \
    from (select json_extract(value, '$[0]') as seq, json_extract(value, '$[1]') as retry_ms, \
        json_extract(value, '$[2]') as reason from json_each(?2)) f \
    where outbox.sink = ?1 and outbox.seq = f.seq and outbox.state = 'waiting'";

/// ?1 sink, ?2 class, ?3 partition, ?4 floor, ?5 counted up to.
const WAITING: &str = "select count(*) as rows, min(seq) as first, min(created_at) as since_ms \
    from (select seq, created_at from outbox where sink = ?1 and class = ?2 and partition = ?3 \
      and seq >= ?4 and state = 'waiting' order by seq limit ?5)";

/// ?1 sink, ?2 counted up to.
const ROWS: &str = "select \
      (select count(*) from (select 1 from outbox where sink = ?1 limit ?2)) as rows, \
      (select count(*) from (select 1 from outbox where sink = ?1 and state = 'dead' limit ?2)) \
        as dead";

impl SqliteStore {
    /// What goes to sinks of the events that are fresh.
    pub(super) async fn fill_outbox(
        &self,
        connection: &mut SqliteConnection,
        rows: &[Row<'_>],
        fresh: &[i64],
        now: Millis,
    ) -> Result<(), StoreError> {
        if self.sinks.is_empty() {
            return Ok(());
        }
        let fresh: BTreeSet<Offset> = fresh.iter().map(|offset| Offset(*offset)).collect();
        let rows = rows.iter().filter(|row| fresh.contains(&row.record.position.offset));
        let rows: Vec<Outgoing<'_>> = rows.flat_map(|row| self.sinks.outgoing(row)).collect();
        fill(connection, &rows, now).await
    }

    pub(in crate::store) async fn outbox_page(
        &self,
        ask: &Ask<'_>,
        now: Millis,
    ) -> Result<Vec<Due>, StoreError> {
        let (under_way, busy) = (json!(ask.under_way).to_string(), json!(ask.busy).to_string());
        let mut found: Vec<Due> = Vec::new();
        for slice in ask.slices {
            let rows = sqlx::query(PAGE)
                .bind(ask.sink)
                .bind(slice.id.class as i64)
                .bind(slice.id.partition.as_i32())
                .bind(slice.epoch.0)
                .bind(slice.floor)
                .bind(now.0)
                .bind(&under_way)
                .bind(ask.ordered)
                .bind(&busy)
                .bind(ask.rows_max)
                .fetch_all(&self.readers)
                .await?;
            for row in &rows {
                found.push(due(row)?);
            }
        }
        found.sort_unstable_by_key(|row| row.seq);
        found.truncate(usize::from(ask.rows_max));
        let mut before = 0;
        let bytes_max = usize::try_from(ask.bytes_max).unwrap_or(usize::MAX);
        let fits = |row: &Due| {
            let fits = before < bytes_max;
            before += row.record.value.len();
            fits
        };
        Ok(found.into_iter().take_while(fits).collect())
    }

    pub(in crate::store) async fn outbox_settle(
        &self,
        sink: &str,
        settled: &[Settled],
        now: Millis,
    ) -> Result<(), StoreError> {
        let failed = |row: &Settled| {
            let (wait, why) = row.failure()?;
            Some(json!([row.seq, wait, why]))
        };
        let failed: Vec<Value> = settled.iter().filter_map(failed).collect();
        let sent = settled.iter().filter(|row| row.failure().is_none());
        let sent: Vec<i64> = sent.map(|row| row.seq).collect();
        let mut transaction = self.writer.begin_with("begin immediate").await?;
        sqlx::query(SENT)
            .bind(sink)
            .bind(json!(sent).to_string())
            .execute(&mut *transaction)
            .await?;
        if !failed.is_empty() {
            sqlx::query(FAILED)
                .bind(sink)
                .bind(json!(failed).to_string())
                .bind(now.0)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    pub(in crate::store) async fn outbox_waiting(
        &self,
        sink: &str,
        slices: &[Slice],
        count_max: u32,
    ) -> Result<Vec<Waiting>, StoreError> {
        let mut waiting = Vec::with_capacity(slices.len());
        for slice in slices {
            let row = sqlx::query(WAITING)
                .bind(sink)
                .bind(slice.id.class as i64)
                .bind(slice.id.partition.as_i32())
                .bind(slice.floor)
                .bind(count_max)
                .fetch_one(&self.readers)
                .await?;
            waiting.push(Waiting {
                id: slice.id,
                rows: row.try_get::<i64, _>("rows")?.unsigned_abs(),
                first: row.try_get("first")?,
                since: row.try_get::<Option<i64>, _>("since_ms")?.map(Millis),
            });
        }
        Ok(waiting)
    }

    pub(in crate::store) async fn outbox_rows(
        &self,
        sink: &str,
        count_max: i64,
    ) -> Result<(u64, u64), StoreError> {
        let row = sqlx::query(ROWS).bind(sink).bind(count_max).fetch_one(&self.readers).await?;
        let count = |name| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
        Ok((count("rows")?, count("dead")?))
    }
}

/// Puts rows into the outbox.
pub(super) async fn fill(
    connection: &mut SqliteConnection,
    rows: &[Outgoing<'_>],
    now: Millis,
) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let rows: Vec<Value> = rows.iter().map(outgoing_json).collect();
    sqlx::query(FILL).bind(json!(rows).to_string()).bind(now.0).execute(connection).await?;
    Ok(())
}

fn outgoing_json(row: &Outgoing<'_>) -> Value {
    let record = row.record;
    json!([
        row.sink,
        record.position.id.class as i64,
        record.position.id.partition.0,
        record.position.offset.0,
        row.message_id,
        row.entity,
        record.timestamp.0,
        hex::encode(&record.key),
        hex::encode(&record.value),
        headers::to_json(record),
    ])
}

fn due(row: &SqliteRow) -> Result<Due, StoreError> {
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
        created_at: Millis(row.try_get("created_at")?),
    })
}
