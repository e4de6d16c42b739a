//! What an operator does to a partition's row, and what it rests on. The rules are the caller's.

use shared::position::{Epoch, Offset, PartitionId};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

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

/// ?1 author, ?2 action, ?3 reason, ?4 to what, ?5 to how many.
const NOTE: &str = "insert into audit (at, author, action, reason, filter, affected) \
    values (unixepoch('subsec') * 1000, ?1, ?2, ?3, ?4, ?5)";

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
            .bind(format!("{OPERATOR_PREFIX}{}", to.deed.author))
            .fetch_optional(&mut *transaction)
            .await?;
        if row.is_some() {
            sqlx::query(NOTE)
                .bind(&to.deed.author)
                .bind(to.deed.action)
                .bind(&to.deed.reason)
                .bind(&to.deed.filter)
                .bind(to.deed.affected)
                .execute(&mut *transaction)
                .await?;
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
