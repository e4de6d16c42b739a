//! PostgreSQL: one schema per pipeline, the batch as one autocommitted statement.
//!
//! Never `begin … commit` from here: a process that is paused between the two would hold the
//! progress row's lock, and its successor could not claim. Table names carry the schema, so that a
//! pooler in transaction mode needs no session state. The role that runs this needs select, insert
//! and update on the tables (of `audit` no update, of `sealed_buckets` neither), delete on `parked` and
//! `outbox`, and execute on the functions that make, seal and drop buckets; [`PostgresStore::grant`]
//! gives exactly that.

mod columns;
mod dlq;
mod expiry;
mod filter;
mod handler;
mod lease;
mod outbox;
mod parked;
mod projections;
mod relocation;
mod statements;
mod trial;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use shared::clock::Millis;
use shared::config::{PostgresConfig, ProjectionsConfig};
use shared::identity::Identity;
use shared::position::{Epoch, Offset, PartitionId, Position};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Postgres, Row as _};

use self::columns::{EventColumns, OutboxColumns, ParkedColumns};
use self::filter::{FilterColumns, Filters};
use self::lease::Lease;
use self::statements::Statements;
use super::schema::{SchemaError, SchemaState, check_pipeline};
use super::{
    Applied, AppliedAt, AppliedEvent, Claimed, Filtered, Known, ParkedAt, Progress, Unfinished,
    partition_id,
};
use crate::batch::Batch;
use crate::bucket::Bucket;
use crate::failure::StoreError;
use crate::outbox::Sinks;
use crate::projection::{Dialect, Projections};
use crate::resolution::Stored;

static MIGRATOR: Migrator = sqlx::migrate!("migrations/postgres");

/// A statement that has not answered after this long counts as lost: its outcome is looked up on
/// another connection. Longer than a batch may take, shorter than a worker may be silent.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// What a connection begins with.
///
/// No compiler: the look-ups' estimated cost makes the planner compile every batch, measured 95 ms instead
/// of 25 ms per 1,000 events. And the server ends what we have stopped waiting for: a statement that never
/// ends would hold the fence for ever, for us and every successor. A shorter limit of the role stays.
/// Who waits for a row or a seal is to see what was committed meanwhile (ADR 3, ADR 4).
const SESSION: &str = "set jit = off; set default_transaction_isolation = 'read committed'; \
    select set_config('statement_timeout', '25s', false) from pg_settings \
    where name = 'statement_timeout' and setting::bigint not between 1 and 25000";

/// How long a connection may take to be made or to come free.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// The most buckets one call of `shock_ensure_buckets` takes.
const BUCKETS_MAX: i64 = 512;

/// A pipeline's schema.
#[derive(Clone, Debug)]
pub struct PostgresStore {
    pipeline: String,
    schema: String,
    pool: PgPool,
    options: Arc<PgConnectOptions>,
    sql: Arc<Statements>,
    projections: Arc<Projections>,
    filters: Arc<Filters>,
    sinks: Arc<Sinks>,
}

impl PostgresStore {
    /// Prepares connections; makes none yet.
    pub fn connect(config: &PostgresConfig, pipeline: &str) -> Result<Self, SchemaError> {
        check_pipeline(pipeline)?;
        // The password is in the URL: an error of parsing it must not print it.
        let options = PgConnectOptions::from_str(&config.url)
            .map_err(|_| SchemaError::Address("the URL of PostgreSQL cannot be parsed".to_owned()))?
            .application_name(&format!("shock-{pipeline}"))
            .statement_cache_capacity(64)
            .disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(config.connections_max)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            // A pooler in transaction mode may give a statement another server connection: there, set
            // both for the role or the database.
            .after_connect(|connection, _| {
                Box::pin(async move { sqlx::raw_sql(SESSION).execute(connection).await.map(drop) })
            })
            .connect_lazy_with(options.clone());
        let schema = format!("\"shock_{pipeline}\"");
        let sql = Arc::new(Statements::of(&schema));
        let options = Arc::new(options);
        Ok(Self {
            pipeline: pipeline.to_owned(),
            schema,
            pool,
            options,
            sql,
            projections: Arc::default(),
            filters: Arc::default(),
            sinks: Arc::default(),
        })
    }

    /// With the user's SQL in every statement that applies events.
    pub(super) fn with_projections(
        mut self,
        config: &ProjectionsConfig,
    ) -> Result<Self, SchemaError> {
        self.projections = Arc::new(Projections::of(config, Dialect::Postgres)?);
        self.sql = Arc::new(self.statements_anew());
        Ok(self)
    }

    /// With an outbox that these sinks empty.
    pub(super) fn with_sinks(mut self, sinks: Arc<Sinks>) -> Self {
        self.sinks = sinks;
        self.sql = Arc::new(self.statements_anew());
        self
    }

    pub(super) fn sinks(&self) -> &Arc<Sinks> {
        &self.sinks
    }

    fn statements_anew(&self) -> Statements {
        let has_sinks = !self.sinks.is_empty();
        Statements::of(&self.schema).with(&self.schema, &self.projections, has_sinks)
    }

    pub(super) fn pipeline(&self) -> &str {
        &self.pipeline
    }

    pub(super) fn migrator(&self) -> &'static Migrator {
        &MIGRATOR
    }

    /// Migrates on a connection of its own, straight to the server: it needs session state.
    pub(super) async fn migrate(&self) -> Result<(), SchemaError> {
        let mut connection = self.options.connect().await?;
        // Temporary tables last: nobody's may stand in for ours inside the definer's function.
        let prepare = format!(
            "create schema if not exists {0}; set search_path to {0}, pg_temp",
            self.schema
        );
        sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut connection).await?;
        MIGRATOR.run(&mut connection).await?;
        sqlx::query("insert into pipeline (name) values ($1) on conflict do nothing")
            .bind(&self.pipeline)
            .execute(&mut connection)
            .await?;
        self.make_projections(&mut connection).await?;
        connection.close().await?;
        match &self.projections.runtime_role {
            Some(role) => self.grant(role).await,
            None => Ok(()),
        }
    }

    /// Gives a role what the running consumer needs, and nothing that makes or drops tables at will.
    pub async fn grant(&self, role: &str) -> Result<(), SchemaError> {
        let role = format!("\"{}\"", role.replace('"', "\"\""));
        let schema = &self.schema;
        let sql = format!(
            "grant usage on schema {schema} to {role}; \
             grant select, insert, update on all tables in schema {schema} to {role}; \
             grant delete on {schema}.parked, {schema}.outbox to {role}; \
             revoke update on {schema}.audit from {role}; \
             revoke insert, update on {schema}.sealed_buckets from {role}; \
             grant execute on function {schema}.shock_ensure_buckets, {schema}.shock_drop_buckets, \
             {schema}.shock_seal_bucket to {role}"
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.pool).await?;
        Ok(())
    }

    pub(super) async fn schema_state(&self) -> Result<SchemaState, SchemaError> {
        let table = format!("{}._sqlx_migrations", self.schema);
        let found: Option<String> = sqlx::query_scalar("select to_regclass($1)::text")
            .bind(&table)
            .fetch_one(&self.pool)
            .await?;
        if found.is_none() {
            return Ok(SchemaState::default());
        }
        let sql = format!("select version, checksum, success from {table} order by 1");
        let rows = sqlx::query_as(AssertSqlSafe(sql));
        Ok(SchemaState(rows.fetch_all(&self.pool).await?))
    }

    pub(super) async fn settle(&self, width_ms: i64) -> Result<(String, i64), SchemaError> {
        let sql = format!(
            "update {}.pipeline set bucket_ms = coalesce(bucket_ms, $1) returning name, bucket_ms",
            self.schema
        );
        let row = sqlx::query_as(AssertSqlSafe(sql));
        Ok(row.bind(width_ms).fetch_one(&self.pool).await?)
    }

    pub(super) async fn width_ms(&self) -> Result<Option<i64>, SchemaError> {
        let sql = format!("select bucket_ms from {}.pipeline", self.schema);
        Ok(sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&self.pool).await?)
    }

    pub(super) async fn claim(
        &self,
        id: PartitionId,
        owner: &str,
        floor: i64,
    ) -> Result<Option<Claimed>, StoreError> {
        let mut lease = Lease::of(&self.pool).await?;
        let row = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.claim)))
            .bind(id.class as i16)
            .bind(id.partition.as_i32())
            .bind(owner)
            .bind(floor)
            .fetch_optional(&mut *lease);
        let row = tokio::time::timeout(STATEMENT_TIMEOUT, row).await;
        let Some(row) = lease.settled(row)? else { return Ok(None) };
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
        let mut lease = Lease::of(&self.pool).await?;
        let marked = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.mark)))
            .bind(id.class as i16)
            .bind(id.partition.as_i32())
            .bind(epoch.0)
            .bind(next.0)
            .bind(end.0)
            .execute(&mut *lease);
        let marked = tokio::time::timeout(STATEMENT_TIMEOUT, marked).await;
        lease.settled(marked).map(drop)
    }

    pub(super) async fn release(&self, id: PartitionId, epoch: Epoch) -> Result<(), StoreError> {
        let mut lease = Lease::of(&self.pool).await?;
        let released = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.release)))
            .bind(id.class as i16)
            .bind(id.partition.as_i32())
            .bind(epoch.0)
            .execute(&mut *lease);
        let released = tokio::time::timeout(STATEMENT_TIMEOUT, released).await;
        lease.settled(released).map(drop)
    }

    pub(super) async fn seed(
        &self,
        id: PartitionId,
        owner: &str,
        first: Offset,
    ) -> Result<Stored, StoreError> {
        let mut lease = Lease::of(&self.pool).await?;
        let row = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.seed)))
            .bind(id.class as i16)
            .bind(id.partition.as_i32())
            .bind(owner)
            .bind(first.0)
            .fetch_one(&mut *lease);
        let row = tokio::time::timeout(STATEMENT_TIMEOUT, row).await;
        stored(&lease.settled(row)?)
    }

    pub(super) async fn time(&self) -> Result<Millis, StoreError> {
        let mut lease = Lease::of(&self.pool).await?;
        let time =
            sqlx::query_scalar("select (extract(epoch from clock_timestamp()) * 1000)::bigint")
                .fetch_one(&mut *lease);
        let time = tokio::time::timeout(STATEMENT_TIMEOUT, time).await;
        lease.settled(time).map(Millis)
    }

    pub(super) async fn stored(&self, id: PartitionId) -> Result<Option<Stored>, StoreError> {
        let mut lease = Lease::of(&self.pool).await?;
        let row = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.stored)))
            .bind(id.class as i16)
            .bind(id.partition.as_i32())
            .fetch_optional(&mut *lease);
        let row = tokio::time::timeout(STATEMENT_TIMEOUT, row).await;
        lease.settled(row)?.map(|row| stored(&row)).transpose()
    }

    pub(super) async fn positions(&self) -> Result<Vec<Progress>, StoreError> {
        let mut lease = Lease::of(&self.pool).await?;
        let rows =
            sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.positions))).fetch_all(&mut *lease);
        let rows = tokio::time::timeout(STATEMENT_TIMEOUT, rows).await;
        lease
            .settled(rows)?
            .iter()
            .map(|row| {
                let timestamp: Option<i64> = row.try_get("record_timestamp")?;
                Ok(Progress {
                    id: id_of(row)?,
                    stored: stored(row)?,
                    owner: row.try_get("owner")?,
                    updated_at: Millis(row.try_get("updated_ms")?),
                    record_timestamp: timestamp.map(Millis),
                })
            })
            .collect()
    }

    /// Makes the buckets' tables, a run of neighbours per call: a batch that spans a gap (a foreign
    /// writer's old record among today's) must not fill the gap with tables.
    pub(super) async fn ensure_buckets(&self, buckets: &[Bucket]) -> Result<(), StoreError> {
        let mut sorted: Vec<i64> = buckets.iter().map(|bucket| bucket.0).collect();
        sorted.sort_unstable();
        sorted.dedup();
        for run in sorted.chunk_by(|a, b| a + 1 == *b) {
            for part in run.chunks(BUCKETS_MAX as usize) {
                let mut lease = Lease::of(&self.pool).await?;
                let call = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.ensure)))
                    .bind(part[0])
                    .bind(part[part.len() - 1])
                    .execute(&mut *lease);
                let call = tokio::time::timeout(STATEMENT_TIMEOUT, call).await;
                lease.settled(call)?;
            }
        }
        Ok(())
    }

    pub(super) async fn apply(&self, batch: &Batch<'_>) -> Result<Applied, StoreError> {
        let filter = self.filters.ask(&batch.rows);
        let (asked, positive) = (filter.asked, filter.positive);
        let query = self.bound(Arc::clone(&self.sql.apply), batch, filter);
        let mut lease = Lease::of(&self.pool).await?;
        let row = query.fetch_one(&mut *lease);
        let row = tokio::time::timeout(STATEMENT_TIMEOUT, row).await;
        let row = match lease.settled(row) {
            Err(error) if error.code.as_deref() == Some(projections::FENCED) => {
                return Ok(Applied::default());
            }
            Err(error) => return Err(self.blame(batch.rows.iter(), error).await),
            Ok(row) => row,
        };
        applied(&row, asked, positive)
    }

    /// The plan of the batch statement, as `explain` prints it: line by line.
    pub async fn apply_plan(&self, batch: &Batch<'_>) -> Result<Vec<String>, StoreError> {
        let sql = Arc::from(format!("explain {}", self.sql.apply));
        let filter = self.filters.ask(&batch.rows);
        let rows = self.bound(sql, batch, filter).fetch_all(&self.pool).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    /// Every statement that runs here, by name, with its parameters as `$1` and so on.
    pub fn statements(&self) -> Vec<(&'static str, Arc<str>)> {
        self.sql.all()
    }

    fn bound(
        &self,
        sql: Arc<str>,
        batch: &Batch<'_>,
        filter: FilterColumns,
    ) -> sqlx::query::Query<'static, Postgres, sqlx::postgres::PgArguments> {
        let query = sqlx::query(AssertSqlSafe(sql))
            .bind(batch.id.class as i16)
            .bind(batch.id.partition.as_i32())
            .bind(batch.epoch.0)
            .bind(batch.expected.0)
            .bind(batch.target.0)
            .bind(batch.record_timestamp.map(|at| at.0));
        let query = EventColumns::of(&batch.rows).bind(query);
        let query = filter.bind(ParkedColumns::of(&batch.parked).bind(query));
        OutboxColumns::of(&self.sinks, &batch.rows).bind(query)
    }

    pub(super) async fn applied(
        &self,
        identity: &Identity,
    ) -> Result<Option<AppliedAt>, StoreError> {
        let mut lease = Lease::of(&self.pool).await?;
        let row = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.applied)))
            .bind(identity.digest.as_slice())
            .bind(identity.tenant.as_str())
            .fetch_optional(&mut *lease);
        let row = tokio::time::timeout(STATEMENT_TIMEOUT, row).await;
        let Some(row) = lease.settled(row)? else { return Ok(None) };
        let at = row.try_get::<Option<i64>, _>("applied_ms")?.map(Millis);
        Ok(Some(AppliedAt { position: position(&row)?, at }))
    }

    pub(super) async fn parked(&self, identity: &Identity) -> Result<Option<ParkedAt>, StoreError> {
        let mut lease = Lease::of(&self.pool).await?;
        let row = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.parked)))
            .bind(identity.digest.as_slice())
            .bind(identity.tenant.as_str())
            .fetch_optional(&mut *lease);
        let row = tokio::time::timeout(STATEMENT_TIMEOUT, row).await;
        let Some(row) = lease.settled(row)? else { return Ok(None) };
        Ok(Some(ParkedAt {
            position: position(&row)?,
            reason: row.try_get("reason")?,
            sqlstate: row.try_get("sqlstate")?,
            attempts: row.try_get("attempts")?,
            state: row.try_get("state")?,
            at: Millis(row.try_get("parked_ms")?),
        }))
    }

    pub(super) async fn tail(&self, n: u16) -> Result<Vec<AppliedEvent>, StoreError> {
        let mut lease = Lease::of(&self.pool).await?;
        let rows = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.tail)))
            .bind(i64::from(n))
            .fetch_all(&mut *lease);
        let rows = tokio::time::timeout(STATEMENT_TIMEOUT, rows).await;
        lease
            .settled(rows)?
            .iter()
            .map(|row| {
                Ok(AppliedEvent {
                    position: position(row)?,
                    tenant: row.try_get("tenant")?,
                    source: row.try_get("source")?,
                    id: row.try_get("id")?,
                    event_type: row.try_get("type")?,
                    subject: row.try_get("subject")?,
                    received_at: Millis(row.try_get("received_ms")?),
                    applied_at: Millis(row.try_get("applied_ms")?),
                    data: row.try_get("data")?,
                })
            })
            .collect()
    }

    pub(super) fn known(&self) -> Known {
        self.filters.known()
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

/// What the batch statement did; so many rows were asked about in the filters, so many passed them.
fn applied(row: &PgRow, asked: u64, positive: u64) -> Result<Applied, StoreError> {
    let count = |name| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
    Ok(Applied {
        owned: row.try_get("owned")?,
        fresh: count("fresh")?,
        parked: count("parked")?,
        conflicts: count("conflicts")?,
        filtered: Filtered {
            asked,
            positive,
            false_positive: positive.saturating_sub(count("met")?),
            spared: count("spared")?,
        },
    })
}

fn stored(row: &PgRow) -> Result<Stored, StoreError> {
    Ok(Stored { epoch: Epoch(row.try_get("epoch")?), next: Offset(row.try_get("next_offset")?) })
}

fn id_of(row: &PgRow) -> Result<PartitionId, StoreError> {
    let class: i16 = row.try_get("class")?;
    let partition: i32 = row.try_get("partition")?;
    partition_id(i64::from(class), i64::from(partition))
}

fn position(row: &PgRow) -> Result<Position, StoreError> {
    Ok(Position { id: id_of(row)?, offset: Offset(row.try_get("log_offset")?) })
}
