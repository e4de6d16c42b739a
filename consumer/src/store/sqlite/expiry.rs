//! Forgetting ids on SQLite: a bucket is a range of the tree, deleted in slices, so that batches come
//! between.

use shared::clock::Millis;
use sqlx::Row as _;

use super::SqliteStore;
use super::statements::{
    CAUGHT_UP, DELETE_SLICE, DUE_BUCKET, FORGET, FORGOTTEN_BEFORE, ID_BUCKETS,
};
use crate::bucket::Bucket;
use crate::failure::StoreError;
use crate::store::{CaughtUp, Forgotten, IdBuckets, partition_id};

/// The ids of one slice: some 10 ms of the one writer's time.
const SLICE_IDS: i64 = 5_000;

impl SqliteStore {
    pub(in crate::store) async fn caught_up(&self, all: &[CaughtUp]) -> Result<(), StoreError> {
        let mut transaction = self.writer.begin_with("begin immediate").await?;
        for one in all {
            sqlx::query(CAUGHT_UP)
                .bind(one.id.class as i64)
                .bind(one.id.partition.as_i32())
                .bind(one.epoch.0)
                .bind(one.next.0)
                .bind(one.at.0)
                .execute(&mut *transaction)
                .await?;
        }
        Ok(transaction.commit().await?)
    }

    /// One slice. The rule is checked in the transaction that deletes.
    pub(in crate::store) async fn forget_ids(&self, now: Millis) -> Result<Forgotten, StoreError> {
        let mut transaction = self.writer.begin_with("begin immediate").await?;
        let due: Option<i64> =
            sqlx::query_scalar(DUE_BUCKET).bind(now.0).fetch_optional(&mut *transaction).await?;
        let Some(bucket) = due else {
            transaction.rollback().await?;
            return Ok(Forgotten::default());
        };
        sqlx::query(FORGET).bind(bucket).execute(&mut *transaction).await?;
        let deleted = sqlx::query(DELETE_SLICE)
            .bind(bucket)
            .bind(SLICE_IDS - 1)
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        transaction.commit().await?;
        let emptied = deleted < SLICE_IDS.unsigned_abs();
        let buckets = if emptied { vec![Bucket(bucket)] } else { Vec::new() };
        Ok(Forgotten { buckets, more: true })
    }

    pub(in crate::store) async fn id_buckets(&self, now: Millis) -> Result<IdBuckets, StoreError> {
        let row = sqlx::query(ID_BUCKETS).bind(now.0).fetch_one(&self.readers).await?;
        let behind = match row.try_get::<Option<i64>, _>("class")? {
            Some(class) => Some(partition_id(class, row.try_get("partition")?)?),
            None => None,
        };
        Ok(IdBuckets {
            count: row.try_get::<i64, _>("count")?.unsigned_abs(),
            oldest: row.try_get::<Option<i64>, _>("oldest")?.map(Bucket),
            behind,
        })
    }

    /// Since when ids are all kept.
    pub(in crate::store) async fn forgotten_before(&self) -> Result<Option<Millis>, StoreError> {
        let before: Option<i64> =
            sqlx::query_scalar(FORGOTTEN_BEFORE).fetch_one(&self.readers).await?;
        Ok(before.map(Millis))
    }
}
