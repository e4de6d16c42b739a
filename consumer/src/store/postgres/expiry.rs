//! Forgetting ids on PostgreSQL: what is due is dropped by a function of the schema's owner, which
//! checks the rule itself.

use std::sync::Arc;
use std::time::Duration;

use shared::clock::Millis;
use sqlx::{AssertSqlSafe, Row as _};

use super::lease::Lease;
use super::{PostgresStore, STATEMENT_TIMEOUT, id_of};
use crate::bucket::Bucket;
use crate::failure::StoreError;
use crate::store::{CaughtUp, Forgotten, IdBuckets};

/// The most tables one call drops: while it does, the batches wait.
const DROPS_MAX: i32 = 8;

impl PostgresStore {
    pub(in crate::store) async fn caught_up(&self, all: &[CaughtUp]) -> Result<(), StoreError> {
        let column = |of: fn(&CaughtUp) -> i64| all.iter().map(of).collect::<Vec<_>>();
        let mut lease = Lease::of(&self.pool).await?;
        let told = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.caught_up)))
            .bind(all.iter().map(|one| one.id.class as i16).collect::<Vec<_>>())
            .bind(all.iter().map(|one| one.id.partition.as_i32()).collect::<Vec<_>>())
            .bind(column(|one| one.epoch.0))
            .bind(column(|one| one.next.0))
            .bind(column(|one| one.at.0))
            .execute(&mut *lease);
        let told = tokio::time::timeout(STATEMENT_TIMEOUT, told).await;
        lease.settled(told).map(drop)
    }

    pub(in crate::store) async fn forget_ids(
        &self,
        wait: Duration,
    ) -> Result<Forgotten, StoreError> {
        let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        let mut lease = Lease::of(&self.pool).await?;
        let dropped = sqlx::query_scalar(AssertSqlSafe(Arc::clone(&self.sql.drop_buckets)))
            .bind(wait_ms)
            .bind(DROPS_MAX)
            .fetch_all(&mut *lease);
        let dropped = tokio::time::timeout(STATEMENT_TIMEOUT, dropped).await;
        let buckets: Vec<i64> = lease.settled(dropped)?;
        let more = !buckets.is_empty();
        Ok(Forgotten { buckets: buckets.into_iter().map(Bucket).collect(), more })
    }

    pub(in crate::store) async fn id_buckets(&self) -> Result<IdBuckets, StoreError> {
        let mut lease = Lease::of(&self.pool).await?;
        let row =
            sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.id_buckets))).fetch_one(&mut *lease);
        let row = tokio::time::timeout(STATEMENT_TIMEOUT, row).await;
        let row = lease.settled(row)?;
        let behind = match row.try_get::<Option<i16>, _>("class")? {
            Some(_) => Some(id_of(&row)?),
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
        let mut lease = Lease::of(&self.pool).await?;
        let before = sqlx::query_scalar(AssertSqlSafe(Arc::clone(&self.sql.forgotten_before)))
            .fetch_one(&mut *lease);
        let before = tokio::time::timeout(STATEMENT_TIMEOUT, before).await;
        Ok(lease.settled::<Option<i64>>(before)?.map(Millis))
    }
}
