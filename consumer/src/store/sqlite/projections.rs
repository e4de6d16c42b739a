//! Projections on SQLite: each a statement of its own in the batch's transaction.

use std::collections::{BTreeSet, HashSet};

use serde_json::json;
use shared::clock::Millis;
use shared::position::PartitionId;
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection, SqlitePool};

use super::statements::INSERT_EVENTS;
use super::{SqliteStore, event_json, id_json, insert_ids};
use crate::batch::Row;
use crate::failure::{Failure, StoreError};
use crate::projection::{Projection, checksum, literal};
use crate::store::SchemaError;

/// An event's own time where it is one, else when the ingress received it.
const TIME: &str = "case when time glob '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T*' \
    then strftime('%Y-%m-%dT%H:%M:%fZ', time) end";
const RECEIVED: &str = "strftime('%Y-%m-%dT%H:%M:%fZ', received_at / 1000.0, 'unixepoch')";

/// ?1 the offsets of the fresh events, ?2 class, ?3 partition.
fn fresh(projection: &Projection) -> String {
    format!(
        "select ?2 as class, ?3 as partition, e.log_offset as position, tenant, subject as entity, \
         type, coalesce({TIME}, {RECEIVED}) as time, {RECEIVED} as received_at, source, id, data \
         from (select value as log_offset from json_each(?1)) f cross join events e \
         where e.class = ?2 and e.partition = ?3 and e.log_offset = f.log_offset and {} \
         order by tenant, subject, e.log_offset",
        projection.sees("?2", |prefix| {
            format!("substr(type, 1, {}) = {}", prefix.chars().count(), literal(prefix))
        })
    )
}

/// The same over rows that are ?1.
const STAND_IN: &str = "select value ->> 'class' as class, value ->> 'partition' as partition, \
    value ->> 'position' as position, value ->> 'tenant' as tenant, value ->> 'entity' as entity, \
    value ->> 'type' as type, strftime('%Y-%m-%dT%H:%M:%fZ', value ->> 'time') as time, \
    value ->> 'received_at' as received_at, value ->> 'source' as source, value ->> 'id' as id, \
    value -> 'data' as data from json_each(?1) order by 4, 5, 3";

impl SqliteStore {
    /// Inserts the identities that are new and applies the effects of those: the one place for every
    /// transaction that applies events, a batch's and the retry's of what was parked. The offsets of those
    /// that had their effect.
    pub(super) async fn effects(
        &self,
        connection: &mut SqliteConnection,
        rows: &[Row<'_>],
        id: PartitionId,
        now: Millis,
    ) -> Result<BTreeSet<i64>, StoreError> {
        // Only the record whose insert made the id has the effect, whatever became of its event's row.
        let kept = insert_ids(connection, rows.iter().map(id_json).collect(), id).await?;
        let kept: HashSet<i64> = kept.into_iter().collect();
        let is_kept = |row: &&Row<'_>| kept.contains(&row.record.position.offset.0);
        let events = json!(rows.iter().filter(is_kept).map(event_json).collect::<Vec<_>>());
        let offsets: Vec<i64> = sqlx::query_scalar(INSERT_EVENTS)
            .bind(events.to_string())
            .bind(id.class as i64)
            .bind(id.partition.as_i32())
            .bind(now.0)
            .fetch_all(&mut *connection)
            .await?;
        if !offsets.is_empty() {
            self.fill_outbox(connection, rows, &offsets, now).await?;
            let rows = json!(offsets).to_string();
            for projection in &self.projections.all {
                sqlx::query(AssertSqlSafe(projection.statement.over(&fresh(projection))))
                    .bind(&rows)
                    .bind(id.class as i64)
                    .bind(id.partition.as_i32())
                    .execute(&mut *connection)
                    .await
                    .map_err(|error| named(projection, error))?;
            }
        }
        Ok(offsets.into_iter().collect())
    }

    /// Runs the files of DDL that have not been run, each in a transaction with the note of it.
    pub(super) async fn make_projections(&self) -> Result<(), SchemaError> {
        for projection in &self.projections.all {
            for (step, ddl) in (0_i32..).zip(&projection.ddl) {
                if is_made(&self.writer, projection, step).await? {
                    continue;
                }
                let mut transaction = self.writer.begin_with("begin immediate").await?;
                sqlx::query(
                    "insert into projection_ddl (projection, step, file, checksum, applied_at) \
                     values (?1, ?2, ?3, ?4, unixepoch('subsec') * 1000)",
                )
                .bind(&projection.name)
                .bind(step)
                .bind(ddl.path.display().to_string())
                .bind(checksum(ddl))
                .execute(&mut *transaction)
                .await?;
                let made = sqlx::raw_sql(AssertSqlSafe(ddl.text.clone()));
                made.execute(&mut *transaction).await.map_err(|error| {
                    let file = ddl.path.display();
                    refused(projection, error, |words| format!("{file}: {words}"))
                })?;
                transaction.commit().await?;
            }
        }
        Ok(())
    }

    /// Tries each projection on its sample events.
    pub(in crate::store) async fn check_projections(&self) -> Result<(), SchemaError> {
        for projection in &self.projections.all {
            for step in (0_i32..).take(projection.ddl.len()) {
                if !is_made(&self.writer, projection, step).await? {
                    return Err(projection.not_made(step).into());
                }
            }
            let changed = |rows: String| async move {
                let tried = trial(&self.writer, projection, &rows).await;
                tried.map_err(|error| refused(projection, error, str::to_owned))
            };
            if changed(projection.sample_rows()).await? == 0 {
                return Err(projection.error("it changes nothing on its sample events").into());
            }
            if changed("[]".to_owned()).await? > 0 {
                let message =
                    "it changes rows where there is no event: a batch of repetitions would too";
                return Err(projection.error(message).into());
            }
        }
        Ok(())
    }
}

/// Whether a file has been run; refuses one that is another one now.
async fn is_made(
    writer: &SqlitePool,
    projection: &Projection,
    step: i32,
) -> Result<bool, SchemaError> {
    let made: Option<Vec<u8>> = sqlx::query_scalar(
        "select checksum from projection_ddl where projection = ?1 and step = ?2",
    )
    .bind(&projection.name)
    .bind(step)
    .fetch_optional(writer)
    .await?;
    Ok(projection.is_made(step, made.as_deref())?)
}

/// How many rows a projection changes; everything is rolled back.
async fn trial(writer: &SqlitePool, projection: &Projection, rows: &str) -> sqlx::Result<i64> {
    const CHANGES: &str = "select total_changes()";
    let mut connection = writer.acquire().await?;
    let mut transaction = connection.begin_with("begin immediate").await?;
    let before: i64 = sqlx::query_scalar(CHANGES).fetch_one(&mut *transaction).await?;
    let statement = projection.statement.over(STAND_IN);
    sqlx::query(AssertSqlSafe(statement)).bind(rows).execute(&mut *transaction).await?;
    let after: i64 = sqlx::query_scalar(CHANGES).fetch_one(&mut *transaction).await?;
    transaction.rollback().await?;
    Ok(after - before)
}

/// What passes by itself is no fault of the projection.
fn refused(
    projection: &Projection,
    error: sqlx::Error,
    words: impl FnOnce(&str) -> String,
) -> SchemaError {
    let message = error.as_database_error().map(|error| words(error.message()));
    let store = StoreError::from(error);
    match (message, store.failure) {
        (_, Failure::Retry | Failure::Lost | Failure::RetryAlarm) | (None, _) => {
            SchemaError::Store(store)
        }
        (Some(message), _) => projection.error(message).into(),
    }
}

/// The error of a batch, with the projection that it is of.
fn named(projection: &Projection, error: sqlx::Error) -> StoreError {
    let store = StoreError::from(error);
    let message = projection.error(store.message).to_string();
    StoreError { message, ..store }
}
