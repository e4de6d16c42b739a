//! Parked rows on SQLite, for operators and the relay. An action and its note in the audit are one
//! transaction.

use serde_json::{Value, json};
use shared::clock::Millis;
use shared::log::Record;
use shared::position::PartitionId;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::{SqliteStore, position};
use crate::failure::StoreError;
use crate::store::dlq::{Audited, Parked, ParkedKey, State, Stretch, record_of, state_of};
use crate::store::{Note, partition_id};

/// What [`parked`] reads.
macro_rules! columns {
    () => {
        "k.class, k.partition, k.log_offset, k.tenant, k.digest, k.record_timestamp, k.reason, \
         k.sqlstate, k.attempts, k.tries_left, k.epoch, k.state, k.parked_at, k.next_try_at"
    };
}

/// ?1 to ?4: after this row; ?5 to ?7: up to this place; ?8: so many.
const PARKED_IN: &str = concat!(
    "select ",
    columns!(),
    " from parked k \
     where (k.class, k.partition, k.log_offset, k.digest) > (?1, ?2, ?3, ?4) \
       and (k.class, k.partition, k.log_offset) <= (?5, ?6, ?7) \
     order by k.class, k.partition, k.log_offset, k.digest limit ?8"
);

/// ?1: keys.
const PARKED_RECORDS: &str = "select k.class, k.partition, k.log_offset, k.tenant, k.digest, \
      k.record_timestamp, k.key, k.value, k.headers \
    from json_each(?1) a cross join parked k \
      on k.digest = unhex(json_extract(a.value, '$[0]')) and k.tenant = json_extract(a.value, '$[1]')";

/// ?1: keys with waits, ?2: states, ?3: now. One try more than the row has: whoever tries it now, and
/// settles it, sees that it was redriven.
const REDRIVE: &str = "update parked set state = 'parked', next_try_at = ?3 + a.wait_ms, \
      tries_left = max(tries_left, 0) + 1 \
    from (select unhex(json_extract(value, '$[0]')) as digest, \
        json_extract(value, '$[1]') as tenant, json_extract(value, '$[2]') as wait_ms \
      from json_each(?1)) a \
    where parked.digest = a.digest and parked.tenant = a.tenant \
      and parked.state in (select value from json_each(?2))";

/// ?1: keys, ?2: states.
const DROP_PARKED: &str = "update parked set state = 'dropped', next_try_at = null, tries_left = 0 \
    from (select unhex(json_extract(value, '$[0]')) as digest, \
        json_extract(value, '$[1]') as tenant from json_each(?1)) a \
    where parked.digest = a.digest and parked.tenant = a.tenant \
      and parked.state in (select value from json_each(?2))";

const AUDIT: &str = "select id, at, author, action, reason, filter, affected from audit \
    where id < ?1 order by id desc limit ?2";

/// ?1: class, ?2: partition, ?3: so many.
const UNMIRRORED: &str = concat!(
    "select ",
    columns!(),
    " from parked k where k.class = ?1 and k.partition = ?2 and k.mirrored is not k.state \
     order by k.log_offset limit ?3"
);

const UNMIRRORED_COUNT: &str = "select count(*) from (select 1 from parked \
    where class = ?1 and partition = ?2 and mirrored is not state limit ?3)";

const MIRRORED: &str = "update parked set mirrored = a.state \
    from (select unhex(json_extract(value, '$[0]')) as digest, \
        json_extract(value, '$[1]') as tenant, json_extract(value, '$[2]') as state \
      from json_each(?1)) a \
    where parked.digest = a.digest and parked.tenant = a.tenant";

impl SqliteStore {
    pub(in crate::store) async fn parked_in(
        &self,
        stretch: &Stretch,
        rows_max: u16,
    ) -> Result<Vec<Parked>, StoreError> {
        let (after, upto) = (&stretch.after, stretch.upto);
        let rows = sqlx::query(PARKED_IN)
            .bind(after.0)
            .bind(after.1)
            .bind(after.2)
            .bind(&after.3)
            .bind(upto.0)
            .bind(upto.1)
            .bind(upto.2)
            .bind(rows_max)
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(parked).collect()
    }

    pub(in crate::store) async fn parked_records(
        &self,
        keys: &[&ParkedKey],
    ) -> Result<Vec<(ParkedKey, Record)>, StoreError> {
        let keys: Vec<Value> = keys.iter().map(|key| key_json(key, Value::Null)).collect();
        let rows = sqlx::query(PARKED_RECORDS)
            .bind(json!(keys).to_string())
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(record).collect()
    }

    pub(in crate::store) async fn redrive(
        &self,
        rows: &[(ParkedKey, i64)],
        states: &[State],
        note: &Note,
        now: Millis,
    ) -> Result<u64, StoreError> {
        let rows = rows.iter().map(|(key, wait_ms)| key_json(key, json!(wait_ms))).collect();
        self.act(REDRIVE, rows, states, note, now).await
    }

    pub(in crate::store) async fn drop_parked(
        &self,
        keys: &[ParkedKey],
        states: &[State],
        note: &Note,
        now: Millis,
    ) -> Result<u64, StoreError> {
        let rows = keys.iter().map(|key| key_json(key, Value::Null)).collect();
        self.act(DROP_PARKED, rows, states, note, now).await
    }

    async fn act(
        &self,
        sql: &'static str,
        rows: Vec<Value>,
        states: &[State],
        note: &Note,
        now: Millis,
    ) -> Result<u64, StoreError> {
        let states: Vec<&str> = states.iter().map(|state| state.name()).collect();
        let mut transaction = self.writer.begin_with("begin immediate").await?;
        let moved = sqlx::query(sql)
            .bind(json!(rows).to_string())
            .bind(json!(states).to_string())
            .bind(now.0)
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        if moved > 0 {
            let affected = i64::try_from(moved).unwrap_or(i64::MAX);
            keep_note(&mut transaction, note, affected, now).await?;
        }
        transaction.commit().await?;
        Ok(moved)
    }

    pub(in crate::store) async fn audit(
        &self,
        before: i64,
        rows_max: u16,
    ) -> Result<Vec<Audited>, StoreError> {
        let rows = sqlx::query(AUDIT).bind(before).bind(rows_max).fetch_all(&self.readers).await?;
        let row = |row: &SqliteRow| {
            Ok(Audited {
                id: row.try_get("id")?,
                at: Millis(row.try_get("at")?),
                author: row.try_get("author")?,
                action: row.try_get("action")?,
                reason: row.try_get("reason")?,
                filter: row.try_get("filter")?,
                affected: row.try_get("affected")?,
            })
        };
        rows.iter().map(row).collect()
    }

    pub(in crate::store) async fn unmirrored(
        &self,
        owned: &[PartitionId],
        rows_max: u16,
        count_max: u32,
    ) -> Result<(Vec<Parked>, u64), StoreError> {
        let (mut found, mut count) = (Vec::new(), 0);
        for id in owned {
            let more = usize::from(rows_max).saturating_sub(found.len());
            let rows = sqlx::query(UNMIRRORED)
                .bind(id.class as i64)
                .bind(id.partition.as_i32())
                .bind(i64::try_from(more).unwrap_or(i64::MAX))
                .fetch_all(&self.readers)
                .await?;
            let rows: Vec<Parked> = rows.iter().map(parked).collect::<Result<_, _>>()?;
            count += match rows.len() < more {
                true => rows.len() as u64,
                false => {
                    let counted: i64 = sqlx::query_scalar(UNMIRRORED_COUNT)
                        .bind(id.class as i64)
                        .bind(id.partition.as_i32())
                        .bind(count_max)
                        .fetch_one(&self.readers)
                        .await?;
                    counted.unsigned_abs()
                }
            };
            found.extend(rows);
        }
        Ok((found, count.min(u64::from(count_max))))
    }

    pub(in crate::store) async fn mirrored(
        &self,
        rows: &[(ParkedKey, State)],
    ) -> Result<(), StoreError> {
        let rows: Vec<Value> =
            rows.iter().map(|(key, state)| key_json(key, json!(state.name()))).collect();
        sqlx::query(MIRRORED).bind(json!(rows).to_string()).execute(&self.writer).await?;
        Ok(())
    }
}

/// In the transaction of what it tells of.
pub(super) async fn keep_note(
    connection: &mut SqliteConnection,
    note: &Note,
    affected: i64,
    now: Millis,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into audit (at, author, action, reason, filter, affected) \
         values (?1, ?2, ?3, ?4, ?5, ?6)",
    )
    .bind(now.0)
    .bind(&note.author)
    .bind(note.action)
    .bind(&note.reason)
    .bind(&note.filter)
    .bind(affected)
    .execute(connection)
    .await?;
    Ok(())
}

fn key_json(key: &ParkedKey, third: Value) -> Value {
    json!([hex::encode(&key.digest), key.tenant, third])
}

fn key(row: &SqliteRow) -> Result<ParkedKey, StoreError> {
    Ok(ParkedKey { tenant: row.try_get("tenant")?, digest: row.try_get("digest")? })
}

fn parked(row: &SqliteRow) -> Result<Parked, StoreError> {
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
        at: Millis(row.try_get("parked_at")?),
        next_try_at: row.try_get::<Option<i64>, _>("next_try_at")?.map(Millis),
    })
}

fn record(row: &SqliteRow) -> Result<(ParkedKey, Record), StoreError> {
    let id = partition_id(row.try_get("class")?, row.try_get("partition")?)?;
    let place = (row.try_get("log_offset")?, row.try_get("record_timestamp")?);
    let bytes = (row.try_get("key")?, row.try_get("value")?);
    let record = record_of(id, place, bytes, row.try_get("headers")?)?;
    Ok((key(row)?, record))
}
