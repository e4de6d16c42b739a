//! The statements over parked rows: which are due, their pick-up, their try, what a try leaves.

use bytes::Bytes;
use serde_json::{Value, json};
use shared::clock::Millis;
use shared::log::Record;
use shared::position::{Epoch, PartitionId};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::statements::{
    ARM, ARM_ALL, DUE, FOLLOWERS, HOLDS, PICK, PICK_IN_ORDER, SEEN, SETTLE, TAKE, WAITING,
};
use super::{SqliteStore, handler, id_json, insert_ids, millis, position};
use crate::batch::Row;
use crate::failure::StoreError;
use crate::handler::Live;
use crate::retry::{Candidate, LEASE, LEASE_STEP, Order, Picked, Retried, Retry, Settlement};
use crate::store::{headers_of, partition_id};

impl SqliteStore {
    pub(in crate::store) async fn due(
        &self,
        partitions: &[PartitionId],
        now: Millis,
    ) -> Result<Vec<PartitionId>, StoreError> {
        let all: Vec<_> =
            partitions.iter().map(|id| json!([id.class as i64, id.partition.0])).collect();
        let rows = sqlx::query(DUE)
            .bind(json!(all).to_string())
            .bind(now.0)
            .fetch_all(&self.readers)
            .await?;
        rows.iter()
            .map(|row| partition_id(row.try_get("class")?, row.try_get("partition")?))
            .collect()
    }

    pub(in crate::store) async fn pick(
        &self,
        id: PartitionId,
        epoch: Epoch,
        rows_max: u16,
        order: Order,
        now: Millis,
    ) -> Result<Vec<Picked>, StoreError> {
        let sql = match order {
            Order::Due => PICK,
            Order::Entity => PICK_IN_ORDER,
        };
        let rows = sqlx::query(sql)
            .bind(id.class as i64)
            .bind(id.partition.as_i32())
            .bind(epoch.0)
            .bind(now.0)
            .bind(rows_max)
            .bind(millis(LEASE))
            .bind(millis(LEASE_STEP))
            .fetch_all(&self.writer)
            .await?;
        let mut picked: Vec<Picked> = rows.iter().map(one).collect::<Result<_, _>>()?;
        let left = rows_max.saturating_sub(u16::try_from(picked.len()).unwrap_or(u16::MAX));
        if order == Order::Entity && left > 0 {
            let first: Vec<_> = picked
                .iter()
                .filter_map(|row| Some(json!([row.entity.as_ref()?, row.record.position.offset.0])))
                .collect();
            let rows = sqlx::query(FOLLOWERS)
                .bind(id.class as i64)
                .bind(id.partition.as_i32())
                .bind(json!(first).to_string())
                .bind(now.0)
                .bind(left)
                .fetch_all(&self.writer)
                .await?;
            for row in &rows {
                picked.push(one(row)?);
            }
        }
        // `returning` keeps no order.
        picked.sort_unstable_by_key(|picked| picked.record.position.offset);
        Ok(picked)
    }

    pub(in crate::store) async fn waiting(
        &self,
        id: PartitionId,
        entities: &[String],
    ) -> Result<Vec<Option<String>>, StoreError> {
        let waiting = sqlx::query_scalar(WAITING)
            .bind(id.class as i64)
            .bind(id.partition.as_i32())
            .bind(json!(entities).to_string())
            .fetch_all(&self.readers);
        Ok(waiting.await?)
    }

    pub(in crate::store) async fn arm(
        &self,
        id: PartitionId,
        epoch: Epoch,
        order: Order,
        now: Millis,
    ) -> Result<u64, StoreError> {
        let sql = match order {
            Order::Due => ARM_ALL,
            Order::Entity => ARM,
        };
        let armed = sqlx::query(sql)
            .bind(id.class as i64)
            .bind(id.partition.as_i32())
            .bind(epoch.0)
            .bind(now.0)
            .execute(&self.writer)
            .await?;
        Ok(armed.rows_affected())
    }

    pub(in crate::store) async fn retry(
        &self,
        retry: &Retry<'_>,
        now: Millis,
        live: Option<&mut dyn Live>,
    ) -> Result<Retried, StoreError> {
        let mut transaction = self.writer.begin_with("begin immediate").await?;
        if !holds(&mut transaction, retry.id, retry.epoch).await? {
            transaction.rollback().await?;
            return Ok(Retried::default());
        }
        let mut retried = Retried { owned: true, ..Retried::default() };
        let mut applied = Vec::new();
        for candidate in retry.candidates {
            let taken = sqlx::query(TAKE)
                .bind(&candidate.picked.tenant)
                .bind(&candidate.picked.digest)
                .bind(retry.id.class as i64)
                .bind(retry.id.partition.as_i32())
                .bind(candidate.row.record.position.offset.0)
                .execute(&mut *transaction)
                .await?;
            if taken.rows_affected() == 0 {
                continue;
            }
            retried.found += 1;
            if let Some(own) = candidate.own {
                let row = &candidate.row;
                let seen: bool = sqlx::query_scalar(SEEN)
                    .bind(row.identity.digest.as_slice())
                    .bind(row.identity.tenant.as_str())
                    .bind(own.0)
                    .fetch_one(&mut *transaction)
                    .await?;
                if seen {
                    continue;
                }
            }
            let row: &[Row<'_>] = std::slice::from_ref(&candidate.row);
            let fresh = self.effects(&mut transaction, row, retry.id, now).await?;
            if !fresh.is_empty() {
                retried.fresh += 1;
                applied.push(&candidate.row);
                keep_own(&mut transaction, candidate, retry.id).await?;
            }
        }
        if let Some(live) = live {
            handler::run(&mut transaction, &applied, live, now).await?;
        }
        transaction.commit().await?;
        Ok(retried)
    }

    pub(in crate::store) async fn settle_tries(
        &self,
        id: PartitionId,
        epoch: Epoch,
        settlements: &[Settlement<'_>],
        now: Millis,
    ) -> Result<(), StoreError> {
        let mut transaction = self.writer.begin_with("begin immediate").await?;
        if holds(&mut transaction, id, epoch).await? {
            for settlement in settlements {
                let poison = settlement.poison.as_ref();
                sqlx::query(SETTLE)
                    .bind(&settlement.picked.tenant)
                    .bind(&settlement.picked.digest)
                    .bind(settlement.picked.tries_left)
                    .bind(now.0)
                    .bind(settlement.retry_after.map(millis))
                    .bind(settlement.tries_back)
                    .bind(poison.map(|poison| poison.reason()))
                    .bind(poison.and_then(|poison| poison.sqlstate()))
                    .execute(&mut *transaction)
                    .await?;
            }
        }
        transaction.commit().await?;
        Ok(())
    }
}

/// Whether the claim is the last one: inside a transaction that writes, nobody else's can come.
async fn holds(
    connection: &mut SqliteConnection,
    id: PartitionId,
    epoch: Epoch,
) -> Result<bool, StoreError> {
    let rows: i64 = sqlx::query_scalar(HOLDS)
        .bind(id.class as i64)
        .bind(id.partition.as_i32())
        .bind(epoch.0)
        .fetch_one(connection)
        .await?;
    Ok(rows > 0)
}

/// A replay of the log looks into the record's own bucket.
async fn keep_own(
    connection: &mut SqliteConnection,
    candidate: &Candidate<'_>,
    id: PartitionId,
) -> Result<(), StoreError> {
    let Some(own) = candidate.own else { return Ok(()) };
    let mut row = id_json(&candidate.row);
    row[1] = Value::from(own.0);
    insert_ids(connection, vec![row], id).await.map(drop)
}

fn one(row: &SqliteRow) -> Result<Picked, StoreError> {
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
