//! What an operator does to a partition's row, or a restore, and what it rests on. The rules are the
//! caller's.

use serde_json::json;
use shared::clock::Clock;
use shared::position::{Epoch, Offset, PartitionId};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::dlq::keep_note;
use super::{SqliteStore, stored};
use crate::failure::StoreError;
use crate::resolution::Stored;
use crate::store::{OPERATOR_PREFIX, Relocation, partition_id};

/// ?1 class, ?2 partition, ?3 the epoch that was seen, ?4 next, ?5 its timestamp, ?6 owner.
const RELOCATE: &str = "update progress \
    set epoch = epoch + 1, next_offset = ?4, record_timestamp = ?5, owner = ?6, \
      updated_at = unixepoch('subsec') * 1000, attempt_from = null, attempt_to = null, attempts = 0 \
    where class = ?1 and partition = ?2 and epoch = ?3 returning epoch, next_offset";

/// The same where the row was gone.
const RESTORE: &str = "insert into progress \
    (class, partition, epoch, next_offset, record_timestamp, owner, updated_at) \
    values (?1, ?2, ?3, ?4, ?5, ?6, unixepoch('subsec') * 1000) \
    on conflict do nothing returning epoch, next_offset";

/// ?1 rows as they were left: [class, partition, epoch, position]. As on PostgreSQL.
const STRAYED: &str = "select l.class, l.partition from (select \
      json_extract(value, '$[0]') as class, json_extract(value, '$[1]') as partition, \
      json_extract(value, '$[2]') as epoch, json_extract(value, '$[3]') as next_offset \
      from json_each(?1)) l \
    left join progress p on p.class = l.class and p.partition = l.partition \
    where p.epoch is null or p.epoch < l.epoch \
      or p.epoch = l.epoch and p.next_offset < l.next_offset";

impl SqliteStore {
    pub(in crate::store) async fn relocate(
        &self,
        id: PartitionId,
        to: &Relocation<'_>,
    ) -> Result<Option<Stored>, StoreError> {
        let (sql, epoch) = match to.seen {
            Some(seen) => (RELOCATE, seen),
            None => (RESTORE, to.epoch_min),
        };
        let mut transaction = self.writer.begin_with("begin immediate").await?;
        let row = sqlx::query(sql)
            .bind(id.class as i64)
            .bind(id.partition.as_i32())
            .bind(epoch.0)
            .bind(to.next.0)
            .bind(to.record_timestamp.map(|time| time.0))
            .bind(format!("{OPERATOR_PREFIX}{}", to.note.author))
            .fetch_optional(&mut *transaction)
            .await?;
        if row.is_some() {
            keep_note(&mut transaction, to.note, to.affected, Clock::System.now()).await?;
        }
        transaction.commit().await?;
        row.map(|row| stored(&row)).transpose()
    }

    pub(in crate::store) async fn relocated(
        &self,
    ) -> Result<Vec<(PartitionId, Epoch)>, StoreError> {
        let rows =
            sqlx::query("select class, partition, epoch from progress where owner like ?1 || '%'")
                .bind(OPERATOR_PREFIX)
                .fetch_all(&self.readers)
                .await?;
        let one = |row: &SqliteRow| {
            let id = partition_id(row.try_get("class")?, row.try_get("partition")?)?;
            Ok((id, Epoch(row.try_get("epoch")?)))
        };
        rows.iter().map(one).collect()
    }

    pub(in crate::store) async fn strayed(
        &self,
        left: &[(PartitionId, Stored)],
    ) -> Result<Vec<PartitionId>, StoreError> {
        let left: Vec<_> = left
            .iter()
            .map(|(id, left)| json!([id.class as i64, id.partition.0, left.epoch.0, left.next.0]))
            .collect();
        let rows =
            sqlx::query(STRAYED).bind(json!(left).to_string()).fetch_all(&self.readers).await?;
        rows.iter()
            .map(|row| partition_id(row.try_get("class")?, row.try_get("partition")?))
            .collect()
    }

    pub(in crate::store) async fn applied_last(
        &self,
        id: PartitionId,
    ) -> Result<Option<Offset>, StoreError> {
        let last: Option<i64> = sqlx::query_scalar(
            "select max(log_offset) from events where class = ?1 and partition = ?2",
        )
        .bind(id.class as i64)
        .bind(id.partition.as_i32())
        .fetch_one(&self.readers)
        .await?;
        Ok(last.map(Offset))
    }
}
