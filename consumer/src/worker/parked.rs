//! Trying parked records again, between two batches: their pick-up, the try, and what it leaves.
//!
//! It never stands in the way of the log: where records wait it takes a tenth of the writer's time,
//! and where the database fails it stops and gives the tries back. A try of which nobody knows what
//! became of it is fenced off by a new claim before anything else is done: it may still run.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use shared::position::Epoch;
use tracing::{info, warn};

use super::{End, Worker};
use crate::batch::Poison;
use crate::failure::{Failure, StoreError};
use crate::resolution::Stored;
use crate::retry::{Candidate, Order, PAGE_MAX, Picked, Retry, Settlement};

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
    /// Tries a page of what is due, and gives the claim back, which may be a new one. `idle`: no records
    /// wait.
    pub(super) async fn try_parked(&mut self, claim: Stored, idle: bool) -> Result<Stored, End> {
        let started = Instant::now();
        if !self.due.is_set() || !idle && started < self.pace.not_before {
            return Ok(claim);
        }
        self.heartbeat.beat();
        let (now, page) = (self.shared.clock.now(), self.pace.page);
        let order = self.order();
        let pick = self.shared.store.pick(self.id, claim.epoch, page, order, now);
        let claim = match self.watched(pick).await {
            Ok(picked) if picked.is_empty() => self.arm(claim).await?,
            Ok(picked) => {
                failpoint!(Picked, self.id);
                self.try_page(claim, &picked).await?
            }
            Err(error) => {
                self.due.clear();
                warn!(partition = %self.id, code = error.code, error = %error.message,
                    "parked records cannot be picked up");
                self.fence_off(claim, error.failure).await?
            }
        };
        self.pace.not_before = Instant::now() + started.elapsed() * (SHARE - 1);
        Ok(claim)
    }

    async fn try_page(&mut self, claim: Stored, picked: &[Picked]) -> Result<Stored, End> {
        let (mut claim, order) = (claim, self.order());
        let (width, now) = (self.shared.width, self.shared.clock.now());
        let (mut candidates, mut settlements) = (Vec::with_capacity(picked.len()), Vec::new());
        for row in picked {
            match Candidate::of(row, width, now) {
                _ if row.tries_left < 0 => settlements.push(self.dead(row, None)),
                Ok(candidate) => candidates.push(candidate),
                Err(poison) => settlements.push(self.dead(row, Some(poison))),
            }
        }
        match self.attempt(claim.epoch, &candidates).await {
            Try::Done => self.pace.page = (self.pace.page * 2).min(PAGE_MAX),
            Try::Refused(error) => {
                let alone = candidates.len() == 1;
                let mut rest = candidates.chunks(1);
                let mut failed = HashSet::new();
                for one in rest.by_ref() {
                    let entity = one[0].picked.entity.as_ref();
                    if order == Order::Entity && entity.is_some_and(|one| failed.contains(one)) {
                        // It follows, and keeps its tries.
                        continue;
                    }
                    self.heartbeat.beat();
                    let tried = match alone {
                        true => Try::Refused(error.clone()),
                        false => self.attempt(claim.epoch, one).await,
                    };
                    let stops = matches!(tried, Try::Lost | Try::Prevented);
                    let lost = matches!(tried, Try::Lost);
                    if !matches!(tried, Try::Done) {
                        failed.extend(entity);
                    }
                    settlements.extend(self.left_of(one[0].picked, tried));
                    if lost {
                        claim = self.fence_off(claim, Failure::Lost).await?;
                    }
                    if stops {
                        // Nobody behind it is to pay for what it met.
                        self.due.clear();
                        self.pace.page = 1;
                        break;
                    }
                }
                settlements.extend(rest.filter_map(|one| given_back(one[0].picked)));
            }
            Try::Lost => {
                claim = self.fence_off(claim, Failure::Lost).await?;
                if let [alone] = candidates.as_slice() {
                    settlements.extend(self.left_of(alone.picked, Try::Lost));
                } else {
                    self.due.clear();
                    self.pace.page = 1;
                    settlements.extend(candidates.iter().filter_map(|one| given_back(one.picked)));
                }
            }
            Try::Prevented => {
                self.due.clear();
                self.pace.page = 1;
                settlements.extend(candidates.iter().filter_map(|one| given_back(one.picked)));
            }
        }
        if settlements.is_empty() {
            return Ok(claim);
        }
        let now = self.shared.clock.now();
        let settled = self.shared.store.settle_tries(self.id, claim.epoch, &settlements, now);
        if let Err(error) = self.watched(settled).await {
            // The lease on the rows runs out by itself; each has lost a try.
            self.due.clear();
            warn!(partition = %self.id, code = error.code, error = %error.message,
                "the outcome of tries cannot be kept");
            claim = self.fence_off(claim, error.failure).await?;
        }
        failpoint!(Settled, self.id);
        Ok(claim)
    }

    /// A new claim where a statement was under way when its connection ended: it may still run, or arrive
    /// late, and then finds that the partition is not its writer's any more.
    pub(super) async fn fence_off(
        &mut self,
        claim: Stored,
        failure: Failure,
    ) -> Result<Stored, End> {
        if failure != Failure::Lost {
            return Ok(claim);
        }
        // What was suspected at the position is suspected still.
        let suspicion = std::mem::take(&mut self.suspicion);
        let claim = self.claim(claim.epoch.0).await?;
        self.suspicion = suspicion;
        Ok(claim)
    }

    /// Tries these, all or nothing.
    async fn attempt(&mut self, epoch: Epoch, candidates: &[Candidate<'_>]) -> Try {
        if candidates.is_empty() {
            return Try::Done;
        }
        if self.live.is_none() && self.shared.handler.is_some() {
            // An earlier try has lost it.
            return Try::Prevented;
        }
        let now = self.shared.clock.now();
        let buckets = candidates.iter().map(|candidate| candidate.row.bucket);
        let tried = match self.make_buckets(buckets).await {
            Ok(()) => {
                failpoint!(Retrying, self.id);
                let retry = Retry { id: self.id, epoch, candidates };
                self.retry(&retry, now).await
            }
            Err(error) => Err(error),
        };
        failpoint!(Retried, self.id);
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
            Try::Prevented => return given_back(picked),
            Try::Refused(error) => Some(Poison::Refused(error.code)),
            Try::Lost => None,
        };
        let taken_now = i32::from(picked.follows);
        match self.schedule.next(picked.tries_left - taken_now) {
            None => Some(self.dead(picked, poison)),
            retry_after => {
                self.count_tries("failed", 1);
                Some(Settlement { picked, poison, retry_after, tries_back: -taken_now })
            }
        }
    }

    fn dead<'p>(&self, picked: &'p Picked, poison: Option<Poison>) -> Settlement<'p> {
        self.count_tries("dead", 1);
        let reason = poison.as_ref().map_or(picked.reason.as_str(), |poison| poison.reason());
        info!(position = %picked.record.position, reason, "a parked record is dead");
        Settlement { picked, poison, retry_after: None, tries_back: -i32::from(picked.follows) }
    }

    fn count_tries(&self, outcome: &str, rows: u64) {
        let labels = &[self.id.class.name(), outcome];
        self.shared.metrics.parked_tries.with_label_values(labels).inc_by(rows);
    }
}

/// Nothing was taken of a row that follows another one: it waits on.
fn given_back(picked: &Picked) -> Option<Settlement<'_>> {
    let retry_after = Some(GIVEN_BACK_AFTER);
    let settlement = Settlement { picked, poison: None, retry_after, tries_back: 1 };
    (!picked.follows).then_some(settlement)
}
