//! What an operator does to a partition's row, or a restore, and what it rests on. The rules are the
//! caller's.

use std::sync::Arc;

use shared::position::{Epoch, Offset, PartitionId};
use sqlx::{AssertSqlSafe, Row as _};

use super::lease::Lease;
use super::{PostgresStore, STATEMENT_TIMEOUT, id_of, stored};
use crate::failure::StoreError;
use crate::resolution::Stored;
use crate::store::{OPERATOR_PREFIX, Relocation};

impl PostgresStore {
    pub(in crate::store) async fn relocate(
        &self,
        id: PartitionId,
        to: &Relocation<'_>,
    ) -> Result<Option<Stored>, StoreError> {
        let (sql, epoch) = match to.seen {
            Some(seen) => (&self.sql.relocate, seen),
            None => (&self.sql.restore, to.epoch_min),
        };
        let mut lease = Lease::of(&self.pool).await?;
        let row = sqlx::query(AssertSqlSafe(Arc::clone(sql)))
            .bind(id.class as i16)
            .bind(id.partition.as_i32())
            .bind(epoch.0)
            .bind(to.next.0)
            .bind(to.record_timestamp.map(|time| time.0))
            .bind(format!("{OPERATOR_PREFIX}{}", to.note.author))
            .bind(&to.note.author)
            .bind(to.note.action)
            .bind(&to.note.reason)
            .bind(&to.note.filter)
            .bind(to.affected)
            .fetch_optional(&mut *lease);
        let row = tokio::time::timeout(STATEMENT_TIMEOUT, row).await;
        lease.settled(row)?.map(|row| stored(&row)).transpose()
    }

    pub(in crate::store) async fn relocated(
        &self,
    ) -> Result<Vec<(PartitionId, Epoch)>, StoreError> {
        let mut lease = Lease::of(&self.pool).await?;
        let rows = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.relocated)))
            .bind(OPERATOR_PREFIX)
            .fetch_all(&mut *lease);
        let rows = tokio::time::timeout(STATEMENT_TIMEOUT, rows).await;
        let rows = lease.settled(rows)?;
        rows.iter().map(|row| Ok((id_of(row)?, Epoch(row.try_get("epoch")?)))).collect()
    }

    pub(in crate::store) async fn strayed(
        &self,
        left: &[(PartitionId, Stored)],
    ) -> Result<Vec<PartitionId>, StoreError> {
        let mut lease = Lease::of(&self.pool).await?;
        let rows = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.strayed)))
            .bind(left.iter().map(|(id, _)| id.class as i16).collect::<Vec<_>>())
            .bind(left.iter().map(|(id, _)| id.partition.as_i32()).collect::<Vec<_>>())
            .bind(left.iter().map(|(_, left)| left.epoch.0).collect::<Vec<_>>())
            .bind(left.iter().map(|(_, left)| left.next.0).collect::<Vec<_>>())
            .fetch_all(&mut *lease);
        let rows = tokio::time::timeout(STATEMENT_TIMEOUT, rows).await;
        lease.settled(rows)?.iter().map(id_of).collect()
    }

    pub(in crate::store) async fn applied_last(
        &self,
        id: PartitionId,
    ) -> Result<Option<Offset>, StoreError> {
        let mut lease = Lease::of(&self.pool).await?;
        let last = sqlx::query_scalar(AssertSqlSafe(Arc::clone(&self.sql.applied_last)))
            .bind(id.class as i16)
            .bind(id.partition.as_i32())
            .fetch_one(&mut *lease);
        let last: Result<Result<Option<i64>, _>, _> =
            tokio::time::timeout(STATEMENT_TIMEOUT, last).await;
        Ok(lease.settled(last)?.map(Offset))
    }
}
