//! A connection for one statement. Only an answered one goes back to the pool.
//!
//! The pool takes every connection back with a ping that waits, without a bound, for the statement
//! that was left in it: a worker that was dropped in the middle of one (its partition was lost, a
//! drain ran out) would hold a place of the pool for as long as the database or the network is
//! silent. Such a connection is closed; what its statement did is the row's to tell.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::PgPool;
use sqlx::{PgConnection, Postgres};
use tokio::time::error::Elapsed;

use crate::failure::StoreError;

/// How long the end of a transaction is waited for.
const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(2);

/// One statement's connection.
pub(super) struct Lease {
    connection: PoolConnection<Postgres>,
    answered: bool,
}

impl Lease {
    /// A connection of the pool.
    pub(super) async fn of(pool: &PgPool) -> Result<Self, StoreError> {
        Ok(Self { connection: pool.acquire().await?, answered: false })
    }

    /// Several statements, and all were answered.
    pub(super) fn keep(&mut self) {
        self.answered = true;
    }

    /// Ends a transaction; where that is not answered, with its connection.
    pub(super) async fn roll_back(&mut self) {
        let ended = sqlx::raw_sql("rollback").execute(&mut *self.connection);
        let ended = tokio::time::timeout(ROLLBACK_TIMEOUT, ended).await;
        self.answered = matches!(ended, Ok(Ok(_)));
    }

    /// The statement's answer, or that none came in time.
    pub(super) fn settled<T>(
        mut self,
        answer: Result<Result<T, sqlx::Error>, Elapsed>,
    ) -> Result<T, StoreError> {
        let Ok(answer) = answer else { return Err(StoreError::timed_out()) };
        self.answered = match &answer {
            Ok(_) => true,
            // A pooler that lost the prepared statement: this connection would ask for it for ever.
            // A server that shuts the connection: its ping would only write another line.
            Err(sqlx::Error::Database(error)) => {
                !error.code().is_some_and(|code| code.starts_with("26") || code.starts_with("57P"))
            }
            Err(_) => false,
        };
        answer.map_err(|error| StoreError::from(error).under_way())
    }
}

impl Deref for Lease {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.answered {
            self.connection.close_on_drop();
        }
    }
}
