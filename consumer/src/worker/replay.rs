//! A database that went back in time (restored, failed over to an older copy): a claim above every
//! epoch there was, and the log again from where the database stands.

use shared::log::Reader;
use shared::position::Offset;
use tracing::error;

use super::{End, Halt, Worker};
use crate::resolution::{Resolution, Stored, resolve};

impl Worker {
    /// Before the next poll, where an idle partition's row is said not to be as it was left: nothing else
    /// would show it until the next record comes. The claim, which may be a new one.
    pub(super) async fn look_where_it_stands(&mut self, claim: Stored) -> Result<Stored, End> {
        if !self.strayed.clear() {
            return Ok(claim);
        }
        // As for a batch of one record that was never sent.
        let row = self.stored().await?;
        match resolve(claim.epoch, claim.next, claim.next.next(), row) {
            Resolution::Resend => Ok(claim),
            Resolution::Committed | Resolution::Reclaim => self.claim_what_went_back(claim).await,
            Resolution::Fenced => Err(End::Fenced),
            Resolution::Vanished => Err(End::Halted(Halt::Vanished)),
        }
    }

    /// Claims above our own epoch, too: it may be taken anew by somebody else.
    pub(super) async fn claim_what_went_back(&mut self, claim: Stored) -> Result<Stored, End> {
        self.shared.metrics.went_back.inc();
        error!(partition = %self.id, epoch = claim.epoch.0, next = claim.next.0,
            "the database went back in time, replaying from where it stands");
        self.claim(claim.epoch.0).await
    }

    /// Delivery from somewhere else.
    pub(super) async fn restart(&mut self, reader: Reader, next: Offset) -> Result<Reader, End> {
        // Two readers of one partition would share its queue: the old one goes first.
        drop(reader);
        self.start(next).await
    }
}
