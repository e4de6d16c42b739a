//! Whether a batch's statement passes: all of it is run, and its last row undoes it at the commit. One
//! statement, like the batch: a paused process holds no lock.

use std::sync::Arc;

use super::lease::Lease;
use super::projections::FENCED;
use super::{PostgresStore, STATEMENT_TIMEOUT};
use crate::batch::Batch;
use crate::failure::StoreError;

/// What undoes a statement that was only tried.
const UNDONE: &str = "SH002";

impl PostgresStore {
    pub(in crate::store) async fn passes(&self, batch: &Batch<'_>) -> Result<bool, StoreError> {
        let filter = self.filters.ask(&batch.rows);
        let query = self.bound(Arc::clone(&self.sql.probe), batch, filter);
        let mut lease = Lease::of(&self.pool).await?;
        let row = query.fetch_one(&mut *lease);
        let row = tokio::time::timeout(STATEMENT_TIMEOUT, row).await;
        match lease.settled(row) {
            // Without the fence there was nothing to undo.
            Ok(_) => Ok(false),
            Err(error) => match error.code.as_deref() {
                Some(UNDONE) => Ok(true),
                Some(FENCED) => Ok(false),
                _ => Err(error),
            },
        }
    }
}
