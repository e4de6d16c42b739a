//! Which record kills: its process, the database's backend, or its time. ADR 20 has the cases.
//!
//! Owners that ended at this position without a word, and statements that ended with their
//! connection, raise a suspicion against what was in hand. Then records go alone, each under a mark in
//! the progress row that outlives us; in one process only one at a time has a mark. Nothing here
//! decides for a database that fails: an accused record is parked only in a statement in which the one
//! behind it passes.

use std::time::Duration;

use shared::log::Record;
use shared::position::Offset;
use tokio::sync::OwnedMutexGuard;
use tracing::{debug, error, warn};

use super::bisect::Bisect;
use super::{End, Worker};
use crate::batch::Poison;
use crate::resolution::Stored;
use crate::store::Unfinished;

/// So many statements that ended with their connection raise a suspicion, and so many under one mark.
const STRIKES_MAX: u32 = 2;
/// So many owners that died under one mark prove it.
const DEATHS_MAX: i32 = 2;
/// So many records in a row may be accused before it is the database.
const ACCUSED_MAX: usize = 4;
/// A clean end says so for at most so long: a stop must not wait for a database that is away.
const RELEASE_TIMEOUT: Duration = Duration::from_millis(500);

/// What is suspected at the position.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    /// So many records go alone yet.
    left: usize,
    /// The record that owners before us died of, how many, and whether one of them while parking it.
    culprit: Option<(Offset, i32)>,
    /// Statements that ended with their connection, for the batch in hand.
    strikes: u32,
    /// So many of the first records in hand are accused.
    accused: usize,
}

/// What follows from a batch that was struck too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    /// Its records go alone.
    Alone,
    /// The record at this place is accused, and those before it are.
    Accuse(usize),
    /// It is the database: everything begins anew.
    Acquit,
}

impl Suspicion {
    /// What a claim has found, where a batch has at most so many records.
    pub(super) fn of(unfinished: Unfinished, records_max: usize) -> Self {
        let left = if unfinished.times > 0 { records_max } else { 0 };
        let proven = unfinished.times >= DEATHS_MAX;
        let culprit = unfinished.marked.filter(|_| proven).map(|at| (at, unfinished.times));
        Self { left, culprit, ..Self::default() }
    }

    /// How many of `take` records may go into the next batch.
    pub(super) fn take(&self, take: usize) -> usize {
        match (self.accused, self.left) {
            (0, 0) => take,
            (0, _) => take.min(1),
            (accused, _) => take.min(accused + 1),
        }
    }

    /// Whether nobody is suspected.
    pub(super) fn is_calm(&self) -> bool {
        self.left == 0 && self.accused == 0 && self.culprit.is_none()
    }

    /// A batch was committed with so many records.
    pub(super) fn passed(&mut self, records: usize) {
        let left = self.left.saturating_sub(records);
        *self = Self { left, ..Self::default() };
    }

    /// A statement ended with its connection; whether that is once too often.
    pub(super) fn strike(&mut self) -> bool {
        self.strikes += 1;
        self.strikes >= STRIKES_MAX
    }

    fn doubt(&mut self, taken: usize) -> Doubt {
        self.strikes = 0;
        if self.left == 0 && self.accused == 0 {
            self.left = taken;
            return Doubt::Alone;
        }
        if self.accused == ACCUSED_MAX {
            *self = Self::default();
            return Doubt::Acquit;
        }
        // Without a witness the accused were alone in it: nobody is behind them.
        self.accused = (self.accused + 1).min(taken);
        Doubt::Accuse(self.accused - 1)
    }
}

impl Worker {
    /// Before a batch is decoded: accuses the record that owners before us died of, or marks a record
    /// that goes alone. The guard is held until it is known what became of it.
    pub(super) async fn suspect(
        &mut self,
        claim: Stored,
        records: &[Record],
        bisect: &mut Bisect,
    ) -> Result<Option<OwnedMutexGuard<()>>, End> {
        let first = records.first().map(|record| record.position.offset);
        let Some(first) = first.filter(|first| *first >= claim.next) else { return Ok(None) };
        if let Some((culprit, deaths)) = self.suspicion.culprit.take()
            && culprit == first
        {
            // Who died while parking it died of reading it: then it is parked unread.
            let unread = deaths > DEATHS_MAX;
            error!(partition = %self.id, offset = first.0, deaths, unread,
                "a record that its owners died of is parked");
            bisect.accuse(first, Poison::Crash { code: None, unread }, deaths);
            return Ok(None);
        }
        if self.suspicion.left == 0 || self.suspicion.accused > 0 {
            return Ok(None);
        }
        self.shared.metrics.alone.inc();
        let alone = self.shared.suspects.clone().lock_owned();
        let mut stop = self.stop.clone();
        let alone = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return Err(End::Stopped),
            alone = self.watched(alone) => alone,
        };
        let end = first.next();
        while let Err(error) = self.shared.store.mark(self.id, claim.epoch, claim.next, end).await {
            self.wait_or_halt(error).await?;
        }
        // A clean end takes the mark away, also where the position has moved since the claim.
        self.unmoved = Some(claim.epoch);
        Ok(Some(alone))
    }

    /// A batch of `taken` records was struck too often.
    pub(super) fn doubt(
        &mut self,
        taken: usize,
        records: &[Record],
        code: Option<String>,
        bisect: &mut Bisect,
    ) {
        match self.suspicion.doubt(taken) {
            Doubt::Alone => {
                warn!(partition = %self.id, records = taken, code,
                    "statements end with their connection, the records go one by one");
            }
            Doubt::Accuse(place) => {
                let offset = records[place].position.offset;
                error!(partition = %self.id, offset = offset.0, code,
                    "a record's statements end with their connection, it is accused");
                let attempts = 2 * STRIKES_MAX as i32;
                bisect.accuse(offset, Poison::Crash { code, unread: false }, attempts);
            }
            Doubt::Acquit => {
                self.shared.metrics.acquittals.inc();
                warn!(partition = %self.id, code,
                    "statements end with their connection whatever they carry: no record is to blame");
                *bisect = self.bisect();
            }
        }
    }

    /// A clean end: nobody died here. Where the position has not moved since the claim, it says so.
    pub(super) async fn release(&self) {
        let Some(epoch) = self.unmoved else { return };
        let released = self.shared.store.release(self.id, epoch);
        match tokio::time::timeout(RELEASE_TIMEOUT, released).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(partition = %self.id, %error, "a clean end is not kept"),
            Err(_) => debug!(partition = %self.id, "a clean end is not kept in time"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(times: i32, marked: Option<i64>) -> Suspicion {
        Suspicion::of(Unfinished { times, marked: marked.map(Offset) }, 8)
    }

    #[test]
    fn what_a_claim_finds() {
        let check = |suspicion: &Suspicion, take, culprit| {
            assert_eq!(suspicion.take(8), take);
            assert_eq!(suspicion.culprit.map(|(offset, _)| offset.0), culprit);
        };
        check(&found(0, None), 8, None);
        check(&found(1, None), 1, None);
        check(&found(5, None), 1, None);
        check(&found(1, Some(7)), 1, None);
        check(&found(2, Some(7)), 1, Some(7));
        let mut suspicion = found(1, None);
        for _ in 0..8 {
            assert_eq!(suspicion.take(8), 1);
            suspicion.passed(1);
        }
        assert_eq!(suspicion.take(8), 8, "as many as a batch has");
    }

    #[test]
    fn strikes_lead_to_the_record_and_then_to_the_database() {
        let mut suspicion = Suspicion::default();
        let mut struck = |taken| {
            assert!(!suspicion.strike());
            assert!(suspicion.strike());
            let doubt = suspicion.doubt(taken);
            (doubt, suspicion.take(8))
        };
        assert_eq!(struck(8), (Doubt::Alone, 1));
        assert_eq!(struck(1), (Doubt::Accuse(0), 2));
        assert_eq!(struck(2), (Doubt::Accuse(1), 3));
        assert_eq!(struck(3), (Doubt::Accuse(2), 4));
        assert_eq!(struck(4), (Doubt::Accuse(3), 5));
        assert_eq!(struck(5), (Doubt::Acquit, 8));
        let mut suspicion = Suspicion::default();
        suspicion.strike();
        suspicion.passed(8);
        assert!(!suspicion.strike(), "a commit ends all counts");
    }
}
