//! The begin of a stay: the claim, and delivery from the position that it found. What only the log's
//! membership can give is asked of the supervisor.

use shared::log::Reader;
use shared::position::Offset;
use tokio::sync::oneshot;
use tracing::debug;

use super::suspicion::Suspicion;
use super::{End, Halt, Request, Worker};
use crate::resolution::Stored;
use crate::store::{Claimed, Unfinished};

impl Worker {
    /// Claims the partition above `floor`, however long the database is away.
    pub(super) async fn claim(&mut self, floor: i64) -> Result<Stored, End> {
        let owner = self.shared.config.instance.clone();
        loop {
            // Whoever is to stop may have lost the partition already: a claim would fence its owner.
            if *self.stop.borrow() {
                return Err(End::Stopped);
            }
            failpoint!(Claiming, self.id);
            let claimed = match self.shared.store.claim(self.id, &owner, floor).await {
                Ok(Some(claim)) => Ok(claim),
                // Somebody else's claim is above ours: one more would fence its owner.
                Ok(None) if floor > 0 => match self.stored().await? {
                    None => return Err(End::Halted(Halt::Vanished)),
                    Some(row) if row.epoch.0 > floor => return Err(End::Fenced),
                    Some(_) => continue,
                },
                Ok(None) => {
                    let first = self.first_position().await?;
                    let seeded = self.shared.store.seed(self.id, &owner, first).await;
                    seeded.map(|stored| Claimed { stored, unfinished: Unfinished::default() })
                }
                Err(error) => Err(error),
            };
            failpoint!(Claimed, self.id, if claimed.is_ok());
            match claimed {
                Ok(Claimed { stored: claim, unfinished }) => {
                    self.backoff.reset();
                    self.suspicion = Suspicion::of(unfinished, self.records_max);
                    self.unmoved = Some(claim.epoch);
                    // What was loaded under another claim says nothing under this one.
                    self.live = None;
                    self.gauge.claimed(claim.epoch, claim.next);
                    // An older copy of the database may lack tables this worker once made.
                    self.buckets.clear();
                    debug!(partition = %self.id, epoch = claim.epoch.0, next = claim.next.0,
                        "partition claimed");
                    return Ok(claim);
                }
                Err(error) => self.wait_or_halt(error).await?,
            }
        }
    }

    async fn first_position(&mut self) -> Result<Offset, End> {
        loop {
            let id = self.id;
            match self.ask(|reply| Request::FirstPosition(id, reply)).await? {
                Ok(first) => return Ok(first),
                Err(error) => self.wait_for_log(error).await?,
            }
        }
    }

    /// Starts delivery and mirrors the position: tools see where a fresh owner begins.
    pub(super) async fn start(&mut self, next: Offset) -> Result<Reader, End> {
        loop {
            let id = self.id;
            match self.ask(|reply| Request::Start(id, next, reply)).await? {
                Ok(reader) => {
                    reader.mirror(next);
                    failpoint!(Started, self.id);
                    self.gauge.started(reader.watch_end());
                    self.backoff.reset();
                    return Ok(reader);
                }
                Err(error) => self.wait_for_log(error).await?,
            }
        }
    }

    async fn ask<T>(
        &mut self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, End> {
        let (reply, answer) = oneshot::channel();
        let requests = self.requests.clone();
        let asked = async {
            requests.send(request(reply)).await.map_err(|_| End::Stopped)?;
            answer.await.map_err(|_| End::Stopped)
        };
        // The whole of it: the supervisor takes no request while it waits for us to stop.
        tokio::select! {
            _ = self.stop.wait_for(|stop| *stop) => Err(End::Stopped),
            answer = asked => answer,
        }
    }
}
