//! A handler's batch on PostgreSQL: a transaction of several statements, because only the database knows
//! which events are fresh, and only the handler what they do.
//!
//! So the progress row is locked from the first statement to the commit. A process that is paused in
//! between must not hold it: the server ends a transaction that is idle for longer than
//! [`IDLE_MAX_MS`], and with it everything in it. The successor's claim waits no longer than that.

use std::sync::Arc;

use shared::position::{Epoch, PartitionId};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, Postgres, Row as _};

use super::columns::{CandidateColumns, EventColumns, OutboxColumns};
use super::lease::Lease;
use super::{PostgresStore, STATEMENT_TIMEOUT, applied, projections};
use crate::batch::{Batch, Row};
use crate::failure::StoreError;
use crate::handler::{Effects, Fresh, Handled, Live, Loader, Param, Session};
use crate::outbox::Outgoing;
use crate::retry::{Retried, Retry};
use crate::store::{Applied, SchemaError};

/// The longest a handler may think: beyond, the server ends its transaction.
const IDLE_MAX_MS: u32 = 5_000;

/// What a handler's statements add to what applies events: which of them are fresh.
pub(super) const FRESH: &str = ",\n    (select coalesce(array_agg(f.log_offset order by f.log_offset), \
    '{}') from fresh f) as fresh_offsets";

/// $1 class, $2 partition, then rows.
pub(super) const ADD: &str = "insert into pipeline.outbox (sink, class, partition, log_offset, \
      message_id, entity, record_timestamp, key, value, headers) \
    select o.sink, $1, $2, o.log_offset, o.message_id, o.entity, o.record_timestamp, o.key, o.value, \
      o.headers \
    from unnest($3::text[], $4::bigint[], $5::text[], $6::text[], $7::bigint[], $8::bytea[], \
        $9::bytea[], $10::text[]) with ordinality \
      as o (sink, log_offset, message_id, entity, record_timestamp, key, value, headers, rank) \
    order by o.rank";

/// $1 class, $2 partition, $3 epoch.
pub(super) const HOLD: &str = "select 1 from pipeline.progress \
    where class = $1 and partition = $2 and epoch = $3 for update";

type Bound = Query<'static, Postgres, PgArguments>;

impl PostgresStore {
    pub(in crate::store) async fn make_tables(&self, handled: &Handled) -> Result<(), SchemaError> {
        let mut connection = self.options.connect().await?;
        for sql in handled.tables() {
            sqlx::raw_sql(sql.postgres).execute(&mut connection).await?;
        }
        connection.close().await?;
        Ok(())
    }

    pub(in crate::store) async fn load(
        &self,
        id: PartitionId,
        epoch: Epoch,
        loader: &dyn Loader,
    ) -> Result<Box<dyn Live>, StoreError> {
        let mut lease = Lease::of(&self.pool).await?;
        let loading = async {
            begin(&mut lease).await?;
            // A statement of ours whose answer was lost may still run: it has this row until it ends.
            sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.hold)))
                .bind(id.class as i16)
                .bind(id.partition.as_i32())
                .bind(epoch.0)
                .fetch_optional(&mut *lease)
                .await?;
            loader.load(id, Session::Postgres(&mut lease)).await
        };
        let loaded = tokio::time::timeout(STATEMENT_TIMEOUT, loading).await;
        let Ok(loaded) = loaded else { return Err(StoreError::timed_out()) };
        lease.roll_back().await;
        loaded
    }

    pub(in crate::store) async fn apply_with(
        &self,
        batch: &Batch<'_>,
        live: &mut dyn Live,
    ) -> Result<Applied, StoreError> {
        let filter = self.filters.ask(&batch.rows);
        let (asked, positive) = (filter.asked, filter.positive);
        let query = self.bound(Arc::clone(&self.sql.apply_handled), batch, filter);
        let rows: Vec<&Row<'_>> = batch.rows.iter().collect();
        let Some(row) = self.transact(query, batch.id, &rows, live).await? else {
            return Ok(Applied::default());
        };
        applied(&row, asked, positive)
    }

    pub(in crate::store) async fn retry_with(
        &self,
        retry: &Retry<'_>,
        live: &mut dyn Live,
    ) -> Result<Retried, StoreError> {
        let rows: Vec<&Row<'_>> = retry.candidates.iter().map(|one| &one.row).collect();
        let query = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.retry_handled)))
            .bind(retry.id.class as i16)
            .bind(retry.id.partition.as_i32())
            .bind(retry.epoch.0);
        let query = EventColumns::of(rows.iter().copied()).bind(query);
        let query = CandidateColumns::of(retry.candidates).bind(query);
        let query = OutboxColumns::of(&self.sinks, rows.iter().copied()).bind(query);
        let Some(row) = self.transact(query, retry.id, &rows, live).await? else {
            return Ok(Retried::default());
        };
        let count = |name| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
        Ok(Retried { owned: true, found: count("found")?, fresh: count("fresh")? })
    }

    /// Runs what applies events, then what the handler says of the fresh ones, and commits. `None`: the
    /// fence did not hold, and nothing is done.
    async fn transact(
        &self,
        query: Bound,
        id: PartitionId,
        rows: &[&Row<'_>],
        live: &mut dyn Live,
    ) -> Result<Option<PgRow>, StoreError> {
        let mut lease = Lease::of(&self.pool).await?;
        let done = async {
            begin(&mut lease).await?;
            let row = query.fetch_one(&mut *lease).await?;
            if !row.try_get::<bool, _>("owned")? {
                return Ok(None);
            }
            let offsets: Vec<i64> = row.try_get("fresh_offsets")?;
            let is_fresh =
                |row: &&&Row<'_>| offsets.binary_search(&row.record.position.offset.0).is_ok();
            let fresh: Vec<Fresh<'_>> =
                rows.iter().filter(is_fresh).map(|row| Fresh::of(row)).collect();
            if !fresh.is_empty() {
                let effects = live.handle(&fresh).map_err(StoreError::refused)?;
                self.run(&mut lease, id, &effects).await?;
            }
            sqlx::raw_sql("commit").execute(&mut *lease).await?;
            Ok::<_, StoreError>(Some(row))
        };
        let done = match tokio::time::timeout(STATEMENT_TIMEOUT, done).await {
            Ok(done) => done,
            Err(_) => return Err(StoreError::timed_out()),
        };
        let fenced = |error: &StoreError| error.code.as_deref() == Some(projections::FENCED);
        match done {
            Ok(Some(row)) => {
                lease.keep();
                Ok(Some(row))
            }
            Ok(None) => {
                lease.roll_back().await;
                Ok(None)
            }
            Err(error) if fenced(&error) => {
                lease.roll_back().await;
                Ok(None)
            }
            Err(error) => {
                lease.roll_back().await;
                Err(self.blame(rows.iter().copied(), error.under_way()).await)
            }
        }
    }

    async fn run(
        &self,
        connection: &mut PgConnection,
        id: PartitionId,
        effects: &Effects,
    ) -> Result<(), StoreError> {
        for effect in &effects.statements {
            let mut query = sqlx::query(effect.sql.postgres);
            for param in &effect.params {
                query = match param {
                    Param::Integer(number) => query.bind(*number),
                    Param::Text(text) => query.bind(text.clone()),
                    Param::Json(json) => query.bind(json.to_string()),
                };
            }
            query.execute(&mut *connection).await?;
        }
        let outgoing: Vec<Outgoing<'_>> = effects.outgoing();
        if outgoing.is_empty() {
            return Ok(());
        }
        let query = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.outbox_add)))
            .bind(id.class as i16)
            .bind(id.partition.as_i32());
        OutboxColumns::of_outgoing(outgoing).bind(query).execute(connection).await?;
        Ok(())
    }
}

/// Begins a transaction that the server ends when we fall silent in it.
async fn begin(connection: &mut PgConnection) -> Result<(), StoreError> {
    let begin = format!("begin; set local idle_in_transaction_session_timeout = '{IDLE_MAX_MS}ms'");
    sqlx::raw_sql(AssertSqlSafe(begin)).execute(connection).await?;
    Ok(())
}
