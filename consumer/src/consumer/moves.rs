//! Whether an operator has moved a position ([`crate::recovery`]), or the database is at an earlier
//! state: asked of the store now and then, so that a move by any process is taken up, also for a
//! partition that has nothing to apply and would never meet the fence, or that stands still.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use shared::position::{Epoch, PartitionId};
use tokio::sync::mpsc;
use tracing::debug;

use super::{Consumer, Stay};
use crate::failure::StoreError;
use crate::resolution::Stored;
use crate::worker::Shared;

/// Partitions, with the epoch of their move.
pub(super) type Moves = Vec<(PartitionId, Epoch)>;

/// How often the store is asked: two short statements of a process, whatever the number of partitions.
const INTERVAL: Duration = Duration::from_secs(2);

/// Tells what has been moved and not been claimed since, for ever. The next word waits for the last one.
pub(super) async fn watch(shared: Arc<Shared>, moves: mpsc::Sender<Moves>) -> Infallible {
    loop {
        tokio::time::sleep(INTERVAL).await;
        if let Err(error) = tell_strayed(&shared).await {
            debug!(%error, "cannot ask where idle partitions stand");
        }
        match shared.store.relocated().await {
            Ok(moved) if moved.is_empty() => {}
            // The supervisor is gone: nobody needs to know any more.
            Ok(moved) => drop(moves.send(moved).await),
            // The workers say it, and wait.
            Err(error) => debug!(%error, "cannot ask for moved positions"),
        }
    }
}

/// Has the workers look at their rows that are idle and whose row is not as they left it.
async fn tell_strayed(shared: &Shared) -> Result<(), StoreError> {
    let idle: Vec<_> = shared
        .load
        .gauges
        .all()
        .iter()
        .filter_map(|gauge| gauge.idle())
        .map(|(id, epoch, next, _)| (id, Stored { epoch, next }))
        .collect();
    if !idle.is_empty() {
        shared.strayed.set(&shared.store.strayed(&idle).await?);
    }
    Ok(())
}

impl Consumer {
    /// Takes up what operators have moved: nobody else claims it, so there is nothing to wait for. A
    /// worker that has claimed its partition after the move is left alone.
    pub(super) fn follow_moves(&mut self, moves: &[(PartitionId, Epoch)]) {
        for (id, moved) in moves {
            match self.partitions.get_mut(id) {
                Some(Stay::Running(running)) => {
                    let claimed = self.shared.load.gauges.epoch(*id);
                    if claimed.is_some_and(|claimed| claimed < *moved) {
                        running.moved = true;
                        running.stop.send_replace(true);
                    }
                }
                Some(stay @ (Stay::Waiting(_) | Stay::Halted)) => {
                    *stay = Stay::Waiting(None);
                    self.forget(*id);
                }
                None => {}
            }
        }
    }
}
