//! Trying parked records again, between two batches: their pick-up, the try, and what it leaves.
//!
//! It never stands in the way of the log: where records wait it takes a tenth of the writer's time,
//! and where the database fails it stops and gives the tries back.

use std::time::{Duration, Instant};

use shared::position::Epoch;
use tracing::{info, warn};

use super::{End, Worker};
use crate::batch::Poison;
use crate::failure::{Failure, StoreError};
use crate::retry::{Candidate, PAGE_MAX, Picked, Retry, Settlement};

/// While records wait in the log, tries take at most one part in so many of the time.
const SHARE: u32 = 10;

/// A try that the database prevented is made up for after so long.
const GIVEN_BACK_AFTER: Duration = Duration::from_secs(5);

/// The pace of the tries.
#[derive(Debug)]
pub(super) struct Pace {
    /// Not before then, while records wait.
    not_before: Instant,
    /// So many rows at once: one at first and after a try that ended a connection, for one of its rows
    /// may have; then twice as many each time.
    page: u16,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { not_before: Instant::now(), page: 1 }
    }
}

/// What became of one try.
enum Try {
    Done,
    /// For the content of one of its records.
    Refused(StoreError),
    /// The database failed, or another writer has the partition.
    Prevented,
    /// The connection ended, or the time was over: by what it carried, or by chance.
    Lost,
}

impl Worker {
    /// Tries a page of what is due. `idle`: no records wait.
    pub(super) async fn try_parked(&mut self, epoch: Epoch, idle: bool) -> Result<(), End> {
        let started = Instant::now();
        if !self.due.is_set() || !idle && started < self.pace.not_before {
            return Ok(());
        }
        self.heartbeat.beat();
        let (now, page) = (self.shared.clock.now(), self.pace.page);
        match self.watched(self.shared.store.pick(self.id, epoch, page, now)).await {
            Ok(picked) if picked.is_empty() => self.due.clear(),
            Ok(picked) => self.try_page(epoch, &picked).await?,
            Err(error) => {
                self.due.clear();
                warn!(partition = %self.id, code = error.code, error = %error.message,
                    "parked records cannot be picked up");
            }
        }
        self.pace.not_before = Instant::now() + started.elapsed() * (SHARE - 1);
        Ok(())
    }

    async fn try_page(&mut self, epoch: Epoch, picked: &[Picked]) -> Result<(), End> {
        let (width, now) = (self.shared.width, self.shared.clock.now());
        let (mut candidates, mut settlements) = (Vec::with_capacity(picked.len()), Vec::new());
        for row in picked {
            match Candidate::of(row, width, now) {
                _ if row.tries_left < 0 => settlements.push(self.dead(row, None)),
                Ok(candidate) => candidates.push(candidate),
                Err(poison) => settlements.push(self.dead(row, Some(poison))),
            }
        }
        match self.attempt(epoch, &candidates).await {
            Try::Done => self.pace.page = (self.pace.page * 2).min(PAGE_MAX),
            Try::Refused(error) => {
                let alone = candidates.len() == 1;
                let mut rest = candidates.chunks(1);
                for one in rest.by_ref() {
                    self.heartbeat.beat();
                    let tried = match alone {
                        true => Try::Refused(error.clone()),
                        false => self.attempt(epoch, one).await,
                    };
                    let stops = matches!(tried, Try::Lost | Try::Prevented);
                    settlements.extend(self.left_of(one[0].picked, tried));
                    if stops {
                        // What it left running may hold the fence: nobody behind it is to pay for that.
                        self.due.clear();
                        self.pace.page = 1;
                        break;
                    }
                }
                settlements.extend(rest.map(|one| given_back(one[0].picked)));
            }
            Try::Lost if candidates.len() == 1 => {
                settlements.extend(self.left_of(candidates[0].picked, Try::Lost));
            }
            Try::Lost | Try::Prevented => {
                self.due.clear();
                self.pace.page = 1;
                settlements.extend(candidates.iter().map(|one| given_back(one.picked)));
            }
        }
        if settlements.is_empty() {
            return Ok(());
        }
        let settled =
            self.shared.store.settle_tries(self.id, epoch, &settlements, self.shared.clock.now());
        if let Err(error) = self.watched(settled).await {
            // The lease on the rows runs out by itself; each has lost a try.
            self.due.clear();
            warn!(partition = %self.id, code = error.code, error = %error.message,
                "the outcome of tries cannot be kept");
        }
        Ok(())
    }

    /// Tries these, all or nothing.
    async fn attempt(&mut self, epoch: Epoch, candidates: &[Candidate<'_>]) -> Try {
        if candidates.is_empty() {
            return Try::Done;
        }
        let now = self.shared.clock.now();
        let buckets = candidates.iter().map(|candidate| candidate.row.bucket);
        let tried = match self.make_buckets(buckets).await {
            Ok(()) => {
                let retry = Retry { id: self.id, epoch, candidates };
                self.watched(self.shared.store.retry(&retry, now)).await
            }
            Err(error) => Err(error),
        };
        match tried {
            Ok(done) if done.owned => {
                self.count_tries("applied", done.fresh);
                self.count_tries("repeated", done.found - done.fresh);
                Try::Done
            }
            // The next batch finds out whose it is.
            Ok(_) => Try::Prevented,
            Err(error) => match error.failure {
                Failure::Data => Try::Refused(error),
                Failure::Lost => Try::Lost,
                Failure::Bucket | Failure::Retry | Failure::RetryAlarm | Failure::Halt => {
                    self.buckets.clear();
                    warn!(partition = %self.id, code = error.code, error = %error.message,
                        "the database prevented the try of parked records");
                    Try::Prevented
                }
            },
        }
    }

    /// What a try of one row leaves of it.
    fn left_of<'p>(&self, picked: &'p Picked, tried: Try) -> Option<Settlement<'p>> {
        let poison = match tried {
            Try::Done => return None,
            Try::Prevented => return Some(given_back(picked)),
            Try::Refused(error) => Some(Poison::Refused(error.code)),
            Try::Lost => None,
        };
        match self.schedule.next(picked.tries_left) {
            None => Some(self.dead(picked, poison)),
            retry_after => {
                self.count_tries("failed", 1);
                Some(Settlement { picked, poison, retry_after, given_back: false })
            }
        }
    }

    fn dead<'p>(&self, picked: &'p Picked, poison: Option<Poison>) -> Settlement<'p> {
        self.count_tries("dead", 1);
        let reason = poison.as_ref().map_or(picked.reason.as_str(), |poison| poison.reason());
        info!(position = %picked.record.position, reason, "a parked record is dead");
        Settlement { picked, poison, retry_after: None, given_back: false }
    }

    fn count_tries(&self, outcome: &str, rows: u64) {
        let labels = &[self.id.class.name(), outcome];
        self.shared.metrics.parked_tries.with_label_values(labels).inc_by(rows);
    }
}

fn given_back(picked: &Picked) -> Settlement<'_> {
    let retry_after = Some(GIVEN_BACK_AFTER);
    Settlement { picked, poison: None, retry_after, given_back: true }
}
