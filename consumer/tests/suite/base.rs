//! The store under test: a file of its own, or a schema in a database of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use consumer::Store;
use consumer::store::{PostgresStore, SqliteStore};
use shared::config::PostgresConfig;
use shared::position::PartitionId;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Sqlite, SqlitePool};
use tempfile::TempDir;

pub const PIPELINE: &str = "suite";

pub enum Base {
    Sqlite { _directory: TempDir, path: PathBuf, pool: SqlitePool },
    Postgres { url: String, pool: PgPool },
}

/// A transaction that keeps everybody else's writes waiting.
pub enum Hold {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

impl Hold {
    pub async fn release(self) {
        self.end("rollback".to_owned()).await;
    }

    /// Does this before anybody else may write again.
    pub async fn release_after(self, base: &Base, sql: &str) {
        self.end(base.named(&format!("{sql}; commit"))).await;
    }

    async fn end(self, sql: String) {
        let sql = AssertSqlSafe(sql);
        match self {
            Self::Sqlite(mut held) => sqlx::raw_sql(sql).execute(&mut *held).await.map(drop),
            Self::Postgres(mut held) => sqlx::raw_sql(sql).execute(&mut *held).await.map(drop),
        }
        .expect("ends");
    }
}

impl Base {
    /// Locks the store against checks of its schema and against batches.
    pub async fn hold(&self) -> Hold {
        match self {
            Self::Sqlite { pool, .. } => {
                let mut held = pool.acquire().await.expect("connects");
                sqlx::raw_sql("begin exclusive").execute(&mut *held).await.expect("locks");
                Hold::Sqlite(held)
            }
            Self::Postgres { pool, .. } => {
                let sql = self.named(
                    "begin; lock table pipeline.pipeline, pipeline.progress in exclusive mode",
                );
                let mut held = pool.acquire().await.expect("connects");
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *held).await.expect("locks");
                Hold::Postgres(held)
            }
        }
    }

    /// A new file.
    pub async fn sqlite() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let path = directory.path().join("effects.sqlite");
        let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let pool = SqlitePool::connect_with(options).await.expect("opens");
        Self::Sqlite { _directory: directory, path, pool }
    }

    /// A new database on the services' PostgreSQL.
    pub async fn postgres() -> Self {
        let path = std::env::var("SHOCK_SERVICES").expect("SHOCK_SERVICES names a services.json");
        let text = std::fs::read_to_string(path).expect("services.json is readable");
        let services: serde_json::Value =
            serde_json::from_str(&text).expect("services.json is JSON");
        let url = services["postgres"].as_str().expect("services.json names PostgreSQL");
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("suite_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let server = PgPool::connect(url).await.expect("the server of SHOCK_SERVICES answers");
        let create = format!("create database {name}");
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&server).await.expect("creates a database");
        server.close().await;
        let (server, _) = url.rsplit_once('/').expect("a URL with a database");
        let url = format!("{server}/{name}");
        let pool = PgPool::connect(&url).await.expect("the new database answers");
        Self::Postgres { url, pool }
    }

    /// Where the server is.
    pub fn url(&self) -> &str {
        match self {
            Self::Postgres { url, .. } => url,
            Self::Sqlite { .. } => unreachable!("these cases are PostgreSQL's"),
        }
    }

    /// A new handle, with connections of its own: another process, as far as the database knows.
    pub async fn store(&self) -> Store {
        match self {
            Self::Sqlite { path, .. } => {
                Store::Sqlite(SqliteStore::open(path, PIPELINE).await.expect("opens"))
            }
            Self::Postgres { url, .. } => {
                let config = PostgresConfig { url: url.clone(), connections_max: 4 };
                Store::Postgres(PostgresStore::connect(&config, PIPELINE).expect("a valid URL"))
            }
        }
    }

    /// Runs statements; `pipeline.` stands for the pipeline's schema.
    pub async fn sql(&self, sql: &str) {
        let sql = self.named(sql);
        match self {
            Self::Sqlite { pool, .. } => {
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.expect("runs");
            }
            Self::Postgres { pool, .. } => {
                // A worker may write the same rows in another order: the server ends one of the two.
                let is_deadlock = |error: &sqlx::Error| {
                    let code = error.as_database_error().and_then(|error| error.code());
                    code.as_deref() == Some("40P01")
                };
                let run = || sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(pool);
                let mut ran = run().await;
                while ran.as_ref().is_err_and(is_deadlock) {
                    ran = run().await;
                }
                ran.expect("runs");
            }
        }
    }

    /// One number.
    /// Copies the tables that a consumer writes; the SQL that puts the copies in their place.
    pub async fn copy_tables(&self) -> String {
        let mut restore = String::new();
        for table in ["progress", "processed_ids", "events", "parked"] {
            self.sql(&format!("create table copy_{table} as select * from pipeline.{table}")).await;
            restore += &format!(
                "delete from pipeline.{table}; \
                 insert into pipeline.{table} select * from copy_{table};"
            );
        }
        restore
    }

    pub async fn count(&self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(self.named(sql));
        match self {
            Self::Sqlite { pool, .. } => sqlx::query_scalar(sql).fetch_one(pool).await,
            Self::Postgres { pool, .. } => sqlx::query_scalar(sql).fetch_one(pool).await,
        }
        .expect("counts")
    }

    /// Texts, in the query's order.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        let sql = AssertSqlSafe(self.named(sql));
        match self {
            Self::Sqlite { pool, .. } => sqlx::query_scalar(sql).fetch_all(pool).await,
            Self::Postgres { pool, .. } => sqlx::query_scalar(sql).fetch_all(pool).await,
        }
        .expect("selects")
    }

    pub async fn positions(&self) -> BTreeMap<PartitionId, i64> {
        let store = self.store().await;
        let rows = store.positions().await.expect("positions");
        store.close().await;
        rows.into_iter().map(|row| (row.id, row.stored.next.0)).collect()
    }

    /// Makes the database refuse events of this type for their content.
    pub async fn refuse_type(&self, name: &str) {
        match self {
            Self::Sqlite { .. } => {
                self.sql(&format!(
                    "create trigger \"refuse {name}\" before insert on events when new.type = '{name}' \
                     begin select raise(abort, 'refused'); end"
                ))
                .await;
            }
            Self::Postgres { .. } => {
                self.sql(&format!(
                    "alter table pipeline.events add constraint \"refuse {name}\" check (type <> '{name}')"
                ))
                .await;
            }
        }
    }

    /// Makes it take them again.
    pub async fn allow_type(&self, name: &str) {
        let sql = match self {
            Self::Sqlite { .. } => format!("drop trigger \"refuse {name}\""),
            Self::Postgres { .. } => {
                format!("alter table pipeline.events drop constraint \"refuse {name}\"")
            }
        };
        self.sql(&sql).await;
    }

    /// A time in the past, as the store writes it.
    pub fn long_ago(&self) -> &'static str {
        match self {
            Self::Sqlite { .. } => "0",
            Self::Postgres { .. } => "'epoch'",
        }
    }

    fn named(&self, sql: &str) -> String {
        match self {
            Self::Sqlite { .. } => sql.replace("pipeline.", "").replace("projections.", ""),
            Self::Postgres { .. } => sql.replace("pipeline.", "\"shock_suite\"."),
        }
    }
}
