//! Projections on PostgreSQL: each is one more part of the statements that apply events.
//!
//! A statement that changes rows may stand in a `with` only at the top, and may have a `with` of its
//! own: there the user's `fresh` is made, where no name of ours is in its way. What cannot be seen in
//! a text is asked of the server before anything is claimed: each statement runs on its sample events,
//! alone, inside one message that begins and rolls back, so that no paused process holds a lock.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};
use sqlx::postgres::{PgConnection, PgDatabaseError, PgErrorPosition};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Either, Executor as _, SqlSafeStr as _,
    Statement as _,
};

use super::PostgresStore;
use super::statements::Statements;
use crate::batch::Row;
use crate::failure::{Failure, StoreError};
use crate::projection::{Projection, Projections, checksum, literal};
use crate::store::SchemaError;

/// What `shock_held` raises where the fence did not hold.
pub(super) const FENCED: &str = "SH001";

/// Where the projections come in.
const MARK: &str = "-- {projections}\n";
/// What tells that the fence held.
const OWNED: &str = "exists (select 1 from fence) as owned";

/// What a trial may not wait for, and that it finds nothing by its bare name: a name of ours could be
/// in its way later.
const BEGIN: &str = "begin; set local search_path = ''; set local lock_timeout = '5s'; \
    set local statement_timeout = '20s'; set local jit = off;\n";

/// A statement with the projections in it, where it applies events; ours may write although the
/// fence did not hold only what depends on no fresh event, and that is undone.
pub(super) fn joined(sql: &Arc<str>, schema: &str, projections: &Projections) -> Arc<str> {
    if projections.all.is_empty() || !sql.contains(MARK) {
        return Arc::clone(sql);
    }
    debug_assert!(sql.contains(OWNED), "a statement that applies events tells whether it could");
    let mut parts = String::new();
    for (index, projection) in projections.all.iter().enumerate() {
        let statement = projection.statement.over(&fresh(projection, schema));
        let _ = writeln!(parts, "shock_projection_{index} as (\n{statement}\n),");
    }
    let held = format!("{schema}.shock_held(exists (select 1 from fence)) as owned");
    sql.replace(MARK, &parts).replace(OWNED, &held).into()
}

/// The query that makes a projection's `fresh`.
fn fresh(projection: &Projection, schema: &str) -> String {
    format!(
        "select $1::smallint as class, $2::integer as partition, log_offset as position, tenant, \
         subject as entity, type, {schema}.shock_time(time, received_at) as time, received_at, \
         source, id, data from shock_fresh where {} order by tenant, subject, log_offset",
        projection.sees("$1::smallint", |prefix| format!("starts_with(type, {})", literal(prefix)))
    )
}

/// The same over rows that stand in the query.
fn stand_in(rows: &str) -> String {
    format!(
        "select class, partition, position, tenant, entity, type, time, received_at, source, id, data \
         from jsonb_to_recordset({}::jsonb) as r (class smallint, partition integer, position bigint, \
         tenant text, entity text, type text, time timestamptz, received_at timestamptz, source text, \
         id text, data jsonb) order by tenant, entity, position",
        literal(rows)
    )
}

impl PostgresStore {
    /// Runs the files of DDL that have not been run, each in a transaction with the note of it.
    pub(super) async fn make_projections(
        &self,
        connection: &mut PgConnection,
    ) -> Result<(), SchemaError> {
        if self.projections.all.is_empty() {
            return Ok(());
        }
        let tables = quoted(&self.projections.schema);
        let role = self.projections.runtime_role.as_deref();
        let role = role.map_or("current_user".to_owned(), quoted);
        let sql = format!("create schema if not exists {tables}");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await?;
        for projection in &self.projections.all {
            for (step, ddl) in (0_i32..).zip(&projection.ddl) {
                if self.is_made(connection, projection, step).await? {
                    continue;
                }
                let mut transaction = connection.begin().await?;
                let note = format!(
                    "insert into {}.projection_ddl (projection, step, file, checksum) \
                     values ($1, $2, $3, $4)",
                    self.schema
                );
                sqlx::query(AssertSqlSafe(note))
                    .bind(&projection.name)
                    .bind(step)
                    .bind(ddl.path.display().to_string())
                    .bind(checksum(ddl))
                    .execute(&mut *transaction)
                    .await?;
                let sql = ddl.text.replace(shared::config::RUNTIME_ROLE, &role);
                let sql = format!("set local search_path to {tables}, pg_temp;\n{sql}");
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *transaction).await.map_err(
                    |error| {
                        let words = |error: &PgDatabaseError| {
                            format!("{}: {}", ddl.path.display(), explained(error))
                        };
                        refused(projection, error, words)
                    },
                )?;
                transaction.commit().await?;
            }
        }
        if self.projections.runtime_role.is_some() {
            let sql = format!("grant usage on schema {tables} to {role}");
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
        }
        Ok(())
    }

    /// Whether a file has been run; refuses one that is another one now.
    async fn is_made(
        &self,
        connection: &mut PgConnection,
        projection: &Projection,
        step: i32,
    ) -> Result<bool, SchemaError> {
        let sql = format!(
            "select checksum from {}.projection_ddl where projection = $1 and step = $2",
            self.schema
        );
        let made: Option<Vec<u8>> = sqlx::query_scalar(AssertSqlSafe(sql))
            .bind(&projection.name)
            .bind(step)
            .fetch_optional(connection)
            .await?;
        projection.is_made(step, made.as_deref()).map_err(SchemaError::from)
    }

    /// Tries each projection on its sample events, then has the whole statement parsed.
    pub(in crate::store) async fn check_projections(&self) -> Result<(), SchemaError> {
        if self.projections.all.is_empty() {
            return Ok(());
        }
        let alone = Statements::of(&self.schema);
        let mut connection = self.options.connect().await?;
        for projection in &self.projections.all {
            for step in (0_i32..).take(projection.ddl.len()) {
                if !self.is_made(&mut connection, projection, step).await? {
                    return Err(projection.not_made(step).into());
                }
            }
            check(&mut connection, projection).await?;
            let only = Projections { all: vec![projection.clone()], ..Projections::default() };
            let whole = joined(&alone.apply, &self.schema, &only);
            let prepared = (&mut connection).prepare(AssertSqlSafe(whole).into_sql_str()).await;
            prepared.map_err(|error| refused(projection, error, explained))?;
        }
        connection.close().await?;
        Ok(())
    }

    /// The error of a statement no record is to blame for, with the projection that it is of: the one
    /// that says the same alone, on the same events.
    pub(super) async fn blame<'b, 'r: 'b>(
        &self,
        rows: impl Iterator<Item = &'b Row<'r>>,
        error: StoreError,
    ) -> StoreError {
        if self.projections.all.is_empty() || error.failure != Failure::Halt {
            return error;
        }
        let Ok(mut connection) = self.options.connect().await else { return error };
        let rows = stand_in(&Value::from_iter(rows.map(row_json)).to_string());
        let filter = |projection: &Projection| {
            let begins = |prefix: &str| format!("starts_with(type, {})", literal(prefix));
            format!("select * from ({rows}) r where {}", projection.sees("class", begins))
        };
        for projection in &self.projections.all {
            let fresh = filter(projection);
            let tried = trial(&mut connection, &projection.statement.over(&fresh)).await;
            let Err(sqlx::Error::Database(found)) = tried else { continue };
            let found = found.downcast_ref::<PgDatabaseError>();
            if error.code.as_deref() == Some(found.code()) {
                // Not the details: they tell of the events' values.
                let before = BEGIN.chars().count();
                let message = at_line(found, projection, (&fresh, before), found.message());
                return StoreError { message: projection.error(message).to_string(), ..error };
            }
        }
        error
    }
}

/// One projection, alone.
async fn check(connection: &mut PgConnection, projection: &Projection) -> Result<(), SchemaError> {
    let fresh = stand_in(&projection.sample_rows());
    let statement = projection.statement.over(&fresh);
    let wrong = |error: sqlx::Error, before: usize| {
        let words = |error: &PgDatabaseError| {
            at_line(error, projection, (&fresh, before), &explained(error))
        };
        refused(projection, error, words)
    };
    let in_trial = |error| wrong(error, BEGIN.chars().count());
    // A prepared statement is one statement. Alone it has no name of ours to lean on, and closes
    // every parenthesis that it opens.
    let sql = AssertSqlSafe(statement.clone()).into_sql_str();
    let prepared = (&mut *connection).prepare(sql).await.map_err(|error| wrong(error, 0))?;
    let parameters = match prepared.parameters() {
        Some(Either::Left(types)) => types.len(),
        Some(Either::Right(count)) => count,
        None => 0,
    };
    if parameters > 0 {
        return Err(projection.error("parameters are not taken").into());
    }
    if trial(connection, &statement).await.map_err(in_trial)? == 0 {
        return Err(projection.error("it changes nothing on its sample events").into());
    }
    let empty = projection.statement.over(&stand_in("[]"));
    if trial(connection, &empty).await.map_err(in_trial)? > 0 {
        let message = "it changes rows where there is no event: a batch of repetitions would too";
        return Err(projection.error(message).into());
    }
    Ok(())
}

/// How many rows a statement changes; everything is rolled back.
async fn trial(connection: &mut PgConnection, statement: &str) -> Result<u64, sqlx::Error> {
    let sql = AssertSqlSafe(format!("{BEGIN}{statement}\n; rollback"));
    // What stands around the statement changes no row.
    match sqlx::raw_sql(sql).execute(&mut *connection).await {
        Ok(answer) => Ok(answer.rows_affected()),
        Err(error) => {
            sqlx::raw_sql("rollback").execute(connection).await?;
            Err(error)
        }
    }
}

/// What passes by itself is no fault of the projection.
fn refused(
    projection: &Projection,
    error: sqlx::Error,
    words: impl FnOnce(&PgDatabaseError) -> String,
) -> SchemaError {
    let words = error.as_database_error().map(|error| words(error.downcast_ref()));
    let store = StoreError::from(error);
    match (words, store.failure) {
        (_, Failure::Retry | Failure::Lost | Failure::RetryAlarm) | (None, _) => {
            SchemaError::Store(store)
        }
        (Some(words), _) => projection.error(words).into(),
    }
}

/// A message of the database with all that it adds.
fn explained(error: &PgDatabaseError) -> String {
    let more = [error.detail(), error.hint()].into_iter().flatten();
    more.fold(error.message().to_owned(), |words, more| format!("{words}; {more}"))
}

/// The words with the line of the statement, where the database names a place in it. `fresh` is what
/// the statement was put over, and how many characters stood before it.
fn at_line(
    error: &PgDatabaseError,
    projection: &Projection,
    (fresh, before): (&str, usize),
    words: &str,
) -> String {
    let position = match error.position() {
        Some(PgErrorPosition::Original(position)) => position,
        Some(PgErrorPosition::Internal { .. }) | None => return words.to_owned(),
    };
    match position.checked_sub(before).and_then(|at| projection.statement.line(fresh, at)) {
        Some(line) => format!("line {line} of the statement: {words}"),
        None => words.to_owned(),
    }
}

fn row_json(row: &Row<'_>) -> Value {
    let data = serde_json::from_str(row.event.data).unwrap_or(Value::Null);
    json!({
        "class": row.record.position.id.class as i16,
        "partition": row.record.position.id.partition.as_i32(),
        "position": row.record.position.offset.0,
        "tenant": row.identity.tenant.as_str(),
        "entity": row.event.subject,
        "type": row.event.event_type,
        "time": row.record.timestamp.rfc3339(),
        "received_at": row.record.timestamp.rfc3339(),
        "source": row.event.source,
        "id": row.event.id,
        "data": data,
    })
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
