//! The statements over parked rows: which are due, their pick-up, their try, what a try leaves.

use std::sync::Arc;

use bytes::Bytes;
use shared::clock::Millis;
use shared::log::Record;
use shared::position::{Epoch, PartitionId};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row as _};

use super::columns::{CandidateColumns, EventColumns, OutboxColumns, SettlementColumns, millis};
use super::lease::Lease;
use super::projections::FENCED;
use super::{PostgresStore, STATEMENT_TIMEOUT, id_of, position};
use crate::failure::StoreError;
use crate::retry::{LEASE, LEASE_STEP, Order, Picked, Retried, Retry, Settlement};
use crate::store::headers_of;

impl PostgresStore {
    pub(in crate::store) async fn due(
        &self,
        partitions: &[PartitionId],
    ) -> Result<Vec<PartitionId>, StoreError> {
        let classes: Vec<_> = partitions.iter().map(|id| id.class as i16).collect();
        let numbers: Vec<_> = partitions.iter().map(|id| id.partition.as_i32()).collect();
        let mut lease = Lease::of(&self.pool).await?;
        let rows = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.due)))
            .bind(classes)
            .bind(numbers)
            .fetch_all(&mut *lease);
        let rows = tokio::time::timeout(STATEMENT_TIMEOUT, rows).await;
        lease.settled(rows)?.iter().map(id_of).collect()
    }

    pub(in crate::store) async fn pick(
        &self,
        id: PartitionId,
        epoch: Epoch,
        rows_max: u16,
        order: Order,
    ) -> Result<Vec<Picked>, StoreError> {
        let sql = match order {
            Order::Due => &self.sql.pick,
            Order::Entity => &self.sql.pick_in_order,
        };
        let mut lease = Lease::of(&self.pool).await?;
        let rows = sqlx::query(AssertSqlSafe(Arc::clone(sql)))
            .bind(id.class as i16)
            .bind(id.partition.as_i32())
            .bind(epoch.0)
            .bind(i64::from(rows_max))
            .bind(millis(LEASE))
            .bind(millis(LEASE_STEP))
            .fetch_all(&mut *lease);
        let rows = tokio::time::timeout(STATEMENT_TIMEOUT, rows).await;
        lease.settled(rows)?.iter().map(picked).collect()
    }

    pub(in crate::store) async fn waiting(
        &self,
        id: PartitionId,
        entities: &[String],
    ) -> Result<Vec<Option<String>>, StoreError> {
        let mut lease = Lease::of(&self.pool).await?;
        let waiting = sqlx::query_scalar(AssertSqlSafe(Arc::clone(&self.sql.waiting)))
            .bind(id.class as i16)
            .bind(id.partition.as_i32())
            .bind(entities.to_vec())
            .fetch_all(&mut *lease);
        let waiting = tokio::time::timeout(STATEMENT_TIMEOUT, waiting).await;
        lease.settled(waiting)
    }

    pub(in crate::store) async fn arm(
        &self,
        id: PartitionId,
        epoch: Epoch,
        order: Order,
    ) -> Result<u64, StoreError> {
        let sql = match order {
            Order::Due => &self.sql.arm_all,
            Order::Entity => &self.sql.arm,
        };
        let mut lease = Lease::of(&self.pool).await?;
        let armed = sqlx::query(AssertSqlSafe(Arc::clone(sql)))
            .bind(id.class as i16)
            .bind(id.partition.as_i32())
            .bind(epoch.0)
            .execute(&mut *lease);
        let armed = tokio::time::timeout(STATEMENT_TIMEOUT, armed).await;
        Ok(lease.settled(armed)?.rows_affected())
    }

    pub(in crate::store) async fn retry(&self, retry: &Retry<'_>) -> Result<Retried, StoreError> {
        let query = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.retry)))
            .bind(retry.id.class as i16)
            .bind(retry.id.partition.as_i32())
            .bind(retry.epoch.0);
        let events = EventColumns::of(retry.candidates.iter().map(|candidate| &candidate.row));
        let query = CandidateColumns::of(retry.candidates).bind(events.bind(query));
        let rows = retry.candidates.iter().map(|candidate| &candidate.row);
        let query = OutboxColumns::of(&self.sinks, rows).bind(query);
        let mut lease = Lease::of(&self.pool).await?;
        let row = tokio::time::timeout(STATEMENT_TIMEOUT, query.fetch_one(&mut *lease)).await;
        let row = match lease.settled(row) {
            Err(error) if error.code.as_deref() == Some(FENCED) => return Ok(Retried::default()),
            Err(error) => {
                let rows = retry.candidates.iter().map(|candidate| &candidate.row);
                return Err(self.blame(rows, error).await);
            }
            Ok(row) => row,
        };
        let count = |name| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
        let (found, fresh) = (count("found")?, count("fresh")?);
        Ok(Retried { owned: row.try_get("owned")?, found, fresh })
    }

    pub(in crate::store) async fn settle_tries(
        &self,
        id: PartitionId,
        epoch: Epoch,
        settlements: &[Settlement<'_>],
    ) -> Result<(), StoreError> {
        let query = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.settle)))
            .bind(id.class as i16)
            .bind(id.partition.as_i32())
            .bind(epoch.0);
        let query = SettlementColumns::of(settlements).bind(query);
        let mut lease = Lease::of(&self.pool).await?;
        let settled = tokio::time::timeout(STATEMENT_TIMEOUT, query.execute(&mut *lease)).await;
        lease.settled(settled).map(drop)
    }
}

fn picked(row: &PgRow) -> Result<Picked, StoreError> {
    let bytes = |name| row.try_get::<Vec<u8>, _>(name).map(Bytes::from);
    let headers: String = row.try_get("headers")?;
    Ok(Picked {
        record: Record {
            position: position(row)?,
            timestamp: Millis(row.try_get("record_timestamp")?),
            key: bytes("key")?,
            value: bytes("value")?,
            headers: headers_of(&headers)?,
        },
        tenant: row.try_get("tenant")?,
        digest: row.try_get("digest")?,
        reason: row.try_get("reason")?,
        tries_left: row.try_get("tries_left")?,
        entity: row.try_get("entity")?,
        follows: row.try_get("follows")?,
    })
}
