//! A handler's batch on SQLite: its effects are statements of the batch's transaction.

use shared::clock::Millis;
use shared::position::PartitionId;
use sqlx::SqliteConnection;

use super::SqliteStore;
use super::outbox::fill;
use crate::batch::Row;
use crate::failure::StoreError;
use crate::handler::{Fresh, Handled, Live, Loader, Param, Session};
use crate::store::SchemaError;

impl SqliteStore {
    pub(in crate::store) async fn make_tables(&self, handled: &Handled) -> Result<(), SchemaError> {
        for sql in handled.tables() {
            sqlx::raw_sql(sql.sqlite).execute(&self.writer).await?;
        }
        Ok(())
    }

    pub(in crate::store) async fn load(
        &self,
        id: PartitionId,
        loader: &dyn Loader,
    ) -> Result<Box<dyn Live>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        loader.load(id, Session::Sqlite(&mut connection)).await
    }
}

/// What the handler says of the fresh ones.
pub(super) async fn run(
    connection: &mut SqliteConnection,
    rows: &[&Row<'_>],
    live: &mut dyn Live,
    now: Millis,
) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let fresh: Vec<Fresh<'_>> = rows.iter().map(|row| Fresh::of(row)).collect();
    let effects = live.handle(&fresh).map_err(StoreError::refused)?;
    for effect in &effects.statements {
        let mut query = sqlx::query(effect.sql.sqlite);
        for param in &effect.params {
            query = match param {
                Param::Integer(number) => query.bind(*number),
                Param::Text(text) => query.bind(text.clone()),
                Param::Json(json) => query.bind(json.to_string()),
            };
        }
        query.execute(&mut *connection).await?;
    }
    fill(connection, &effects.outgoing(), now).await
}
