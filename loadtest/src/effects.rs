//! Reads the effects, from outside: the `events` table of PostgreSQL, or of the SQLite file.
//!
//! Read-only on purpose: it opens the file without the right to write, and never takes part in the
//! pipeline's own transactions.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, PgConnection, Row, SqliteConnection};

use crate::canonical;
use crate::ledger::Identity;
use crate::verify::{Effect, Parked, Position, StepBack, Tables};
use crate::wait::{Seen, wait_until};

/// The classes' names by the number that the tables hold.
const CLASSES: [&str; 3] = ["control", "transactional", "telemetry"];

/// Where the effects are.
#[derive(Clone, Debug)]
pub enum Effects {
    /// The file of the embedded store.
    Sqlite(PathBuf),
    /// A database of PostgreSQL with the tables of one pipeline.
    Postgres(String),
}

/// One row, as both databases give it.
type Columns = (i64, i64, i64, String, String, String, String);

impl Effects {
    /// All of them.
    pub async fn read(&self) -> anyhow::Result<Vec<Effect>> {
        const SQLITE: &str = "select class, partition, log_offset, tenant, source, id, data \
                              from events order by class, partition, log_offset";
        const POSTGRES: &str = "select class::bigint, partition::bigint, log_offset, tenant, \
                                source, id, data::text \
                                from events order by class, partition, log_offset";
        let rows: Vec<Columns> = match self {
            Self::Sqlite(file) => {
                let mut connection = sqlite(file).await?;
                sqlx::query_as(SQLITE).fetch_all(&mut connection).await
            }
            Self::Postgres(url) => {
                let mut connection = postgres(url).await?;
                sqlx::query_as(POSTGRES).fetch_all(&mut connection).await
            }
        }
        .context("read the effects")?;
        rows.into_iter().map(effect).collect()
    }

    /// What the tables beside the effects say. Steps back are there where [`Effects::watch`] was called.
    pub async fn tables(&self) -> anyhow::Result<Tables> {
        const POSITIONS: &str = "select class, partition, next_offset from progress order by 1, 2";
        const PARKED: &str = "select class, partition, log_offset, reason from parked";
        const WATCHED: &str = "select to_regclass('step_back') is not null";
        const STEPS_BACK: &str = "select class, partition, from_offset, to_offset from step_back";
        let mut connection = self.postgres().await?;
        let mut tables = Tables::default();
        let rows: Vec<(i16, i32, i64)> =
            sqlx::query_as(POSITIONS).fetch_all(&mut connection).await.context(POSITIONS)?;
        for (class, partition, next) in rows {
            tables.positions.push(Position { partition: name(class, partition)?, next });
        }
        let rows: Vec<(i16, i32, i64, String)> =
            sqlx::query_as(PARKED).fetch_all(&mut connection).await.context(PARKED)?;
        for (class, partition, offset, reason) in rows {
            tables.parked.push(Parked { partition: name(class, partition)?, offset, reason });
        }
        if sqlx::query_scalar(WATCHED).fetch_one(&mut connection).await.context(WATCHED)? {
            let rows: Vec<(i16, i32, i64, i64)> =
                sqlx::query_as(STEPS_BACK).fetch_all(&mut connection).await.context(STEPS_BACK)?;
            for (class, partition, from, to) in rows {
                let partition = name(class, partition)?;
                tables.steps_back.push(StepBack { partition, from, to });
            }
        }
        Ok(tables)
    }

    /// From now on the database notes each position that goes back, but for those an operator moves.
    pub async fn watch(&self) -> anyhow::Result<()> {
        let sql = "create table step_back \
                     (class smallint, partition integer, from_offset bigint, to_offset bigint); \
                   create function note_step_back() returns trigger language plpgsql as $$ begin \
                     execute format('insert into %I.step_back values ($1, $2, $3, $4)', \
                       tg_table_schema) \
                       using new.class, new.partition, old.next_offset, new.next_offset; \
                     return null; end $$; \
                   create trigger step_back after update on progress for each row \
                     when (new.next_offset < old.next_offset and new.owner not like 'operator:%') \
                     execute function note_step_back()";
        let mut connection = self.postgres().await?;
        sqlx::raw_sql(sql).execute(&mut connection).await.context("watch the positions").map(drop)
    }

    /// How many there are.
    pub async fn count(&self) -> anyhow::Result<u64> {
        const COUNT: &str = "select count(*) from events";
        let count: i64 = match self {
            Self::Sqlite(file) => {
                let mut connection = sqlite(file).await?;
                sqlx::query(COUNT).fetch_one(&mut connection).await.context(COUNT)?.try_get(0)
            }
            Self::Postgres(url) => {
                let mut connection = postgres(url).await?;
                sqlx::query(COUNT).fetch_one(&mut connection).await.context(COUNT)?.try_get(0)
            }
        }
        .context("a count")?;
        u64::try_from(count).context("a count is not negative")
    }

    /// A connection to the database, on the pipeline's schema.
    pub async fn postgres(&self) -> anyhow::Result<PgConnection> {
        match self {
            Self::Postgres(url) => postgres(url).await,
            Self::Sqlite(file) => anyhow::bail!("{} is not PostgreSQL", file.display()),
        }
    }

    /// Waits until there are at least so many.
    pub async fn wait_for(&self, count: u64, deadline: Duration) -> anyhow::Result<()> {
        wait_until(format!("{count} effects"), deadline, async || {
            let there = self.count().await?;
            Ok(if there >= count { Seen::There(()) } else { Seen::NotYet(format!("{there}")) })
        })
        .await
    }
}

async fn sqlite(file: &PathBuf) -> anyhow::Result<SqliteConnection> {
    let options = SqliteConnectOptions::new().filename(file).read_only(true);
    SqliteConnection::connect_with(&options).await.with_context(|| file.display().to_string())
}

async fn postgres(url: &str) -> anyhow::Result<PgConnection> {
    // The URL holds a password: it stays out of the message.
    let mut connection = PgConnection::connect(url).await.context("connect to PostgreSQL")?;
    // The pipeline's schema, whatever it is called; `into strict` in words: exactly one.
    let path = sqlx::query(
        "select set_config('search_path', \
             (select quote_ident(schemaname) from pg_tables where tablename = 'events'), false)",
    );
    path.execute(&mut connection).await.context("one schema with a table `events`")?;
    Ok(connection)
}

fn effect(row: Columns) -> anyhow::Result<Effect> {
    let (class, partition, offset, tenant, source, id, data) = row;
    let partition = name(i16::try_from(class).unwrap_or(-1), i32::try_from(partition)?)?;
    let data = canonical::of_json(data.as_bytes())
        .with_context(|| format!("the data of effect {id} are no JSON"))?;
    let identity = Identity { tenant, source, id };
    Ok(Effect { identity, partition, offset, data })
}

/// A partition's name.
fn name(class: i16, partition: i32) -> anyhow::Result<String> {
    let known = usize::try_from(class).ok().and_then(|class| CLASSES.get(class));
    let known = known.with_context(|| format!("no class has the number {class}"))?;
    Ok(format!("{known}/{partition}"))
}
