//! The state of the user's Rust: loaded after the claim, kept when its statement is committed, loaded
//! anew where nobody knows whether it was.

use shared::clock::Millis;
use shared::position::Epoch;

use super::{End, Worker};
use crate::batch::Batch;
use crate::failure::{Failure, StoreError};
use crate::retry::{Retried, Retry};
use crate::store::Applied;

impl Worker {
    /// Loads it where it is not there, however long the database is away.
    pub(super) async fn load_state(&mut self, epoch: Epoch) -> Result<(), End> {
        let Some(handler) = self.shared.handler.clone() else { return Ok(()) };
        while self.live.is_none() {
            match self.shared.store.load(self.id, epoch, handler.loader()).await {
                Ok(live) => self.live = Some(live),
                Err(error) => self.wait_or_halt(error).await?,
            }
        }
        Ok(())
    }

    /// Sends a batch. What it changes in the state stays only with [`Self::keep_state`]: whoever sends
    /// another one knows that this one is not committed.
    pub(super) async fn apply(
        &mut self,
        batch: &Batch<'_>,
        now: Millis,
    ) -> Result<Applied, StoreError> {
        let Some(mut live) = self.live.take() else {
            assert!(self.shared.handler.is_none(), "its effects would be left out");
            return self.watched(self.shared.store.apply(batch, now)).await;
        };
        live.undo();
        let store = &self.shared.store;
        let applied = self.watched(store.apply_with(batch, now, live.as_mut())).await;
        self.live = Some(live);
        applied
    }

    /// What the last statement has changed in the state is committed.
    pub(super) fn keep_state(&mut self) {
        if let Some(live) = &mut self.live {
            live.keep();
        }
    }

    /// A batch is committed, and nobody said by which sending: the last one may have met the fence, and
    /// left the state without what an earlier one did. It is loaded anew before the next batch.
    pub(super) fn drop_state(&mut self) {
        self.live = None;
    }

    /// Tries parked rows. Where nobody said whether they had their effect, the state is dropped: it is
    /// loaded anew before the next batch.
    pub(super) async fn retry(
        &mut self,
        retry: &Retry<'_>,
        now: Millis,
    ) -> Result<Retried, StoreError> {
        let Some(mut live) = self.live.take() else {
            assert!(self.shared.handler.is_none(), "its effects would be left out");
            return self.watched(self.shared.store.retry(retry, now)).await;
        };
        live.undo();
        let store = &self.shared.store;
        let retried = self.watched(store.retry_with(retry, now, live.as_mut())).await;
        match &retried {
            Ok(done) if done.owned => live.keep(),
            Ok(_) => {}
            Err(error) if error.failure == Failure::Data => {}
            // Whatever it is called, it may have come at the commit.
            Err(_) => return retried,
        }
        self.live = Some(live);
        retried
    }
}
