//! The wait before a batch that has events for a sink which has no room.
//!
//! Nothing is dropped: the log takes what comes, as in every outage of what is behind the writer. Whoever
//! does not want that gives the sink a pipeline of its own.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::{End, Worker};
use crate::batch::Batch;

/// How often it is looked again.
const INTERVAL: Duration = Duration::from_millis(500);

impl Worker {
    /// Waits while a sink is full that this batch has events for.
    pub(super) async fn make_room(&mut self, batch: &Batch<'_>) -> Result<(), End> {
        let sinks = Arc::clone(self.shared.store.sinks());
        while let Some(sink) = sinks.full_for(&batch.rows) {
            if let Some(kept_back) = self.shared.log_limits.full.admit() {
                warn!(partition = %self.id, sink = sink.name(), kept_back,
                    "a sink is full, waiting before its events");
            }
            self.lose_turn();
            self.pause(INTERVAL).await?;
            self.turn_goes_on();
        }
        Ok(())
    }
}
