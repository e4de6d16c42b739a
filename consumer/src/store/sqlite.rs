//! SQLite: one file per pipeline, one write connection, the batch in one `BEGIN IMMEDIATE`.
//!
//! WAL with `synchronous=FULL`: a commit that was answered survives the loss of power. Rows go in
//! as one JSON text per table (`json_each`): a statement per row would cost more than the rows.

mod dlq;
mod expiry;
mod handler;
mod outbox;
mod parked;
mod projections;
mod relocation;
mod statements;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shared::clock::Millis;
use shared::config::ProjectionsConfig;
use shared::identity::Identity;
use shared::position::{Epoch, Offset, PartitionId, Position};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{Connection as _, Row as _, SqliteConnection};

use self::statements::{
    CLAIM, COUNT_CONFLICTS, FENCE, FIND_APPLIED, INSERT_IDS, INSERT_PARKED, MARK, RELEASE, TAIL,
};
use super::schema::{SchemaError, SchemaState, check_pipeline};
use super::{
    Applied, AppliedAt, AppliedEvent, Claimed, ParkedAt, Progress, Unfinished, partition_id,
};
use crate::batch::{Batch, ParkedRow, Row};
use crate::failure::StoreError;
use crate::handler::Live;
use crate::headers;
use crate::outbox::Sinks;
use crate::projection::{Dialect, Projections};
use crate::resolution::Stored;

static MIGRATOR: Migrator = sqlx::migrate!("migrations/sqlite");

/// Connections that read beside the writer: look-ups of the admin port.
const READERS_MAX: u32 = 4;

/// A pipeline's file.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    pipeline: String,
    /// One connection: SQLite has one writer, and waiting in the pool is fairer than its lock.
    writer: SqlitePool,
    readers: SqlitePool,
    projections: Arc<Projections>,
    sinks: Arc<Sinks>,
}

impl SqliteStore {
    /// Opens or creates the file; its directory must exist.
    pub async fn open(path: &Path, pipeline: &str) -> Result<Self, SchemaError> {
        check_pipeline(pipeline)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5))
            .statement_cache_capacity(64);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            // Where SQLite has ended a transaction by itself (a full disk, an I/O error), sqlx goes
            // on counting it, and would refuse every later one: such a connection is closed. The
            // ping lets the rollback of a dropped transaction pass first.
            .before_acquire(|connection, _| {
                Box::pin(async move {
                    connection.ping().await?;
                    Ok(!connection.is_in_transaction())
                })
            })
            .connect_with(options.clone())
            .await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .connect_lazy_with(options.read_only(true));
        let (projections, sinks) = (Arc::default(), Arc::default());
        Ok(Self { pipeline: pipeline.to_owned(), writer, readers, projections, sinks })
    }

    /// With the user's SQL in every transaction that applies events.
    pub(super) fn with_projections(
        mut self,
        config: &ProjectionsConfig,
    ) -> Result<Self, SchemaError> {
        self.projections = Arc::new(Projections::of(config, Dialect::Sqlite)?);
        Ok(self)
    }

    /// With an outbox that these sinks empty.
    pub(super) fn with_sinks(mut self, sinks: Arc<Sinks>) -> Self {
        self.sinks = sinks;
        self
    }

    pub(super) fn sinks(&self) -> &Arc<Sinks> {
        &self.sinks
    }

    pub(super) fn pipeline(&self) -> &str {
        &self.pipeline
    }

    pub(super) fn migrator(&self) -> &'static Migrator {
        &MIGRATOR
    }

    pub(super) async fn migrate(&self) -> Result<(), SchemaError> {
        MIGRATOR.run(&self.writer).await?;
        sqlx::query("insert into pipeline (singleton, name) values (1, ?1) on conflict do nothing")
            .bind(&self.pipeline)
            .execute(&self.writer)
            .await?;
        self.make_projections().await
    }

    pub(super) async fn schema_state(&self) -> Result<SchemaState, SchemaError> {
        let table = "select count(*) from sqlite_master where name = '_sqlx_migrations'";
        if sqlx::query_scalar::<_, i64>(table).fetch_one(&self.writer).await? == 0 {
            return Ok(SchemaState::default());
        }
        let rows =
            sqlx::query_as("select version, checksum, success from _sqlx_migrations order by 1");
        Ok(SchemaState(rows.fetch_all(&self.writer).await?))
    }

    pub(super) async fn settle(&self, width_ms: i64) -> Result<(String, i64), SchemaError> {
        let row = sqlx::query_as(
            "update pipeline set bucket_ms = coalesce(bucket_ms, ?1) returning name, bucket_ms",
        );
        Ok(row.bind(width_ms).fetch_one(&self.writer).await?)
    }

    pub(super) async fn width_ms(&self) -> Result<Option<i64>, SchemaError> {
        let width = sqlx::query_scalar("select bucket_ms from pipeline");
        Ok(width.fetch_one(&self.readers).await?)
    }

    pub(super) async fn claim(
        &self,
        id: PartitionId,
        owner: &str,
        floor: i64,
    ) -> Result<Option<Claimed>, StoreError> {
        let row = sqlx::query(CLAIM)
            .bind(id.class as i64)
            .bind(id.partition.as_i32())
            .bind(owner)
            .bind(floor)
            .fetch_optional(&self.writer)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let unfinished = Unfinished::of(row.try_get("attempts")?, row.try_get("attempt_to")?);
        Ok(Some(Claimed { stored: stored(&row)?, unfinished }))
    }

    pub(super) async fn mark(
        &self,
        id: PartitionId,
        epoch: Epoch,
        next: Offset,
        end: Offset,
    ) -> Result<(), StoreError> {
        sqlx::query(MARK)
            .bind(id.class as i64)
            .bind(id.partition.as_i32())
            .bind(epoch.0)
            .bind(next.0)
            .bind(end.0)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    pub(super) async fn release(&self, id: PartitionId, epoch: Epoch) -> Result<(), StoreError> {
        sqlx::query(RELEASE)
            .bind(id.class as i64)
            .bind(id.partition.as_i32())
            .bind(epoch.0)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    pub(super) async fn seed(
        &self,
        id: PartitionId,
        owner: &str,
        first: Offset,
    ) -> Result<Stored, StoreError> {
        let row = sqlx::query(
            "insert into progress \
               (class, partition, epoch, next_offset, owner, updated_at, attempt_from) \
             values (?1, ?2, 1, ?4, ?3, unixepoch('subsec') * 1000, ?4) \
             on conflict do update set epoch = epoch + 1, owner = excluded.owner \
             returning epoch, next_offset",
        )
        .bind(id.class as i64)
        .bind(id.partition.as_i32())
        .bind(owner)
        .bind(first.0)
        .fetch_one(&self.writer)
        .await?;
        stored(&row)
    }

    pub(super) async fn stored(&self, id: PartitionId) -> Result<Option<Stored>, StoreError> {
        let row = sqlx::query(
            "select epoch, next_offset from progress where class = ?1 and partition = ?2",
        )
        .bind(id.class as i64)
        .bind(id.partition.as_i32())
        .fetch_optional(&self.readers)
        .await?;
        row.map(|row| stored(&row)).transpose()
    }

    pub(super) async fn positions(&self) -> Result<Vec<Progress>, StoreError> {
        let rows = sqlx::query(
            "select class, partition, epoch, next_offset, owner, updated_at, record_timestamp \
             from progress order by 1, 2",
        )
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Progress {
                    id: partition_id(row.try_get("class")?, row.try_get("partition")?)?,
                    stored: stored(row)?,
                    owner: row.try_get("owner")?,
                    updated_at: Millis(row.try_get("updated_at")?),
                    record_timestamp: row
                        .try_get::<Option<i64>, _>("record_timestamp")?
                        .map(Millis),
                })
            })
            .collect()
    }

    pub(super) async fn apply(
        &self,
        batch: &Batch<'_>,
        now: Millis,
        live: Option<&mut dyn Live>,
    ) -> Result<Applied, StoreError> {
        let mut transaction = self.writer.begin_with("begin immediate").await?;
        let applied = self.written(&mut transaction, batch, now, live).await?;
        transaction.commit().await?;
        Ok(applied)
    }

    /// Whether a batch passes: all of it is written, and nothing of it stays.
    pub(super) async fn passes(&self, batch: &Batch<'_>, now: Millis) -> Result<bool, StoreError> {
        let mut transaction = self.writer.begin_with("begin immediate").await?;
        let applied = self.written(&mut transaction, batch, now, None).await?;
        transaction.rollback().await?;
        Ok(applied.owned)
    }

    async fn written(
        &self,
        transaction: &mut SqliteConnection,
        batch: &Batch<'_>,
        now: Millis,
        live: Option<&mut dyn Live>,
    ) -> Result<Applied, StoreError> {
        let fenced = sqlx::query(FENCE)
            .bind(batch.id.class as i64)
            .bind(batch.id.partition.as_i32())
            .bind(batch.epoch.0)
            .bind(batch.expected.0)
            .bind(batch.target.0)
            .bind(now.0)
            .bind(batch.record_timestamp.map(|at| at.0))
            .execute(&mut *transaction)
            .await?;
        if fenced.rows_affected() == 0 {
            return Ok(Applied::default());
        }
        let mut applied = Applied { owned: true, ..Applied::default() };
        if !batch.rows.is_empty() {
            let fresh = self.effects(transaction, &batch.rows, batch.id, now).await?;
            applied.fresh = fresh.len() as u64;
            if let Some(live) = live {
                let is_fresh = |row: &&Row<'_>| fresh.contains(&row.record.position.offset.0);
                let rows: Vec<&Row<'_>> = batch.rows.iter().filter(is_fresh).collect();
                handler::run(transaction, &rows, live, now).await?;
            }
            if applied.fresh < batch.rows.len() as u64 {
                let ids = json!(batch.rows.iter().map(id_json).collect::<Vec<_>>());
                let conflicts: i64 = sqlx::query_scalar(COUNT_CONFLICTS)
                    .bind(ids.to_string())
                    .fetch_one(&mut *transaction)
                    .await?;
                applied.conflicts = conflicts.unsigned_abs();
            }
        }
        if !batch.parked.is_empty() {
            let parked = json!(batch.parked.iter().map(parked_json).collect::<Vec<_>>());
            let inserted = sqlx::query(INSERT_PARKED)
                .bind(parked.to_string())
                .bind(batch.id.class as i64)
                .bind(batch.id.partition.as_i32())
                .bind(now.0)
                .bind(batch.epoch.0)
                .execute(&mut *transaction)
                .await?;
            applied.parked = inserted.rows_affected();
        }
        Ok(applied)
    }

    pub(super) async fn applied(
        &self,
        identity: &Identity,
    ) -> Result<Option<AppliedAt>, StoreError> {
        let row = sqlx::query(FIND_APPLIED)
            .bind(identity.digest.as_slice())
            .bind(identity.tenant.as_str())
            .fetch_optional(&self.readers)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let at = row.try_get::<Option<i64>, _>("applied_at")?.map(Millis);
        Ok(Some(AppliedAt { position: position(&row)?, at }))
    }

    pub(super) async fn parked(&self, identity: &Identity) -> Result<Option<ParkedAt>, StoreError> {
        let row = sqlx::query(
            "select class, partition, log_offset, reason, sqlstate, attempts, state, parked_at \
             from parked where digest = ?1 and tenant = ?2",
        )
        .bind(identity.digest.as_slice())
        .bind(identity.tenant.as_str())
        .fetch_optional(&self.readers)
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(ParkedAt {
            position: position(&row)?,
            reason: row.try_get("reason")?,
            sqlstate: row.try_get("sqlstate")?,
            attempts: row.try_get("attempts")?,
            state: row.try_get("state")?,
            at: Millis(row.try_get("parked_at")?),
        }))
    }

    pub(super) async fn tail(&self, n: u16) -> Result<Vec<AppliedEvent>, StoreError> {
        let rows = sqlx::query(TAIL).bind(i64::from(n)).fetch_all(&self.readers).await?;
        rows.iter()
            .map(|row| {
                Ok(AppliedEvent {
                    position: position(row)?,
                    tenant: row.try_get("tenant")?,
                    source: row.try_get("source")?,
                    id: row.try_get("id")?,
                    event_type: row.try_get("type")?,
                    subject: row.try_get("subject")?,
                    received_at: Millis(row.try_get("received_at")?),
                    applied_at: Millis(row.try_get("applied_at")?),
                    data: row.try_get("data")?,
                })
            })
            .collect()
    }

    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// The offsets of those that are new.
async fn insert_ids(
    connection: &mut SqliteConnection,
    ids: Vec<Value>,
    id: PartitionId,
) -> Result<Vec<i64>, StoreError> {
    let offsets = sqlx::query_scalar(INSERT_IDS)
        .bind(json!(ids).to_string())
        .bind(id.class as i64)
        .bind(id.partition.as_i32())
        .fetch_all(connection)
        .await?;
    Ok(offsets)
}

fn id_json(row: &Row<'_>) -> Value {
    json!([
        row.record.position.offset.0,
        row.bucket.0,
        row.identity.tenant.as_str(),
        hex::encode(row.identity.digest),
        row.payload_digest,
    ])
}

fn event_json(row: &Row<'_>) -> Value {
    json!([
        row.record.position.offset.0,
        row.identity.tenant.as_str(),
        row.record.timestamp.0,
        row.event.source,
        row.event.id,
        row.event.event_type,
        row.event.subject,
        row.event.time,
        row.event.data,
        row.event.extensions,
    ])
}

fn parked_json(row: &ParkedRow<'_>) -> Value {
    json!([
        row.record.position.offset.0,
        row.bucket.map(|bucket| bucket.0),
        row.tenant,
        hex::encode(row.digest),
        row.payload_digest,
        row.record.timestamp.0,
        row.poison.reason(),
        row.poison.sqlstate(),
        hex::encode(&row.record.key),
        hex::encode(&row.record.value),
        headers::to_json(row.record),
        row.attempts,
        row.retry_after.map(millis),
        row.tries,
        row.entity,
    ])
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn stored(row: &SqliteRow) -> Result<Stored, StoreError> {
    Ok(Stored { epoch: Epoch(row.try_get("epoch")?), next: Offset(row.try_get("next_offset")?) })
}

fn position(row: &SqliteRow) -> Result<Position, StoreError> {
    let id = partition_id(row.try_get("class")?, row.try_get("partition")?)?;
    Ok(Position { id, offset: Offset(row.try_get("log_offset")?) })
}

#[cfg(test)]
mod tests {
    use shared::position::{Class, Partition};
    use shared::route::Router;

    use super::*;
    use crate::batch::{Context, Refusals};
    use crate::bucket::Width;

    const ID: PartitionId = PartitionId { class: Class::Transactional, partition: Partition(0) };
    const NOW: Millis = Millis(1_800_000_000_000);

    fn record(offset: i64) -> shared::log::Record {
        shared::log::Record {
            position: Position { id: ID, offset: Offset(offset) },
            timestamp: NOW,
            key: b"acme".as_slice().into(),
            value: format!(r#"{{"id":"{offset}","type":"a"}}"#).into(),
            headers: Vec::new(),
        }
    }

    /// SQLite ends a transaction by itself (a full disk, an I/O error; here a trigger that asks for
    /// it), which sqlx does not see: its connection would refuse every later transaction.
    #[tokio::test]
    async fn a_transaction_that_sqlite_ended_does_not_stop_the_writer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("effects.sqlite");
        let store = SqliteStore::open(&path, "main").await.unwrap();
        store.migrate().await.unwrap();
        let claim = store.seed(ID, "test", Offset(0)).await.unwrap();
        let trigger = "create trigger full before insert on events \
            begin select raise(rollback, 'database or disk is full'); end";
        sqlx::query(trigger).execute(&store.writer).await.unwrap();

        let records: Vec<_> = (0..4).map(record).collect();
        let router = Router::new([1, 1, 1], Vec::new());
        let context = Context {
            id: ID,
            epoch: claim.epoch,
            expected: claim.next,
            width: Width::of_window(Duration::from_secs(86_400)),
            now: NOW,
            router: &router,
            refused: &Refusals::default(),
        };
        let batch = Batch::decode(&records, &context).unwrap();
        store.apply(&batch, NOW, None).await.unwrap_err();
        sqlx::query("drop trigger full").execute(&store.writer).await.unwrap();
        let applied = store.apply(&batch, NOW, None).await.unwrap();
        assert_eq!((applied.owned, applied.fresh), (true, 4));
    }
}
