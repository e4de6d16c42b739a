//! Which record kills: its process, the database's backend, or its time. ADR 20 has the cases.
//!
//! Owners that ended at this position without a word, and statements that ended with their
//! connection, raise a suspicion against what was in hand. Then records go alone, each under a mark in
//! the progress row that outlives us; in one process only one at a time has a mark, and none while it
//! waits. Nothing here decides for a database that fails: a record is accused only where the statement
//! passes without it, before and after it was struck.

use std::time::Duration;

use shared::log::{Reader, Record};
use shared::position::Offset;
use tracing::{debug, error, warn};

use super::bisect::Bisect;
use super::trial::Witness;
use super::{End, Worker};
use crate::batch::Poison;
use crate::resolution::Stored;
use crate::store::Unfinished;

/// So many statements that ended with their connection raise a suspicion against a batch; of a record
/// that goes alone, one.
const STRIKES_MAX: u32 = 2;
/// So many owners that died under one mark prove it.
const DEATHS_MAX: i32 = 2;
/// A clean end says so for at most so long: a stop must not wait for a database that is away.
const RELEASE_TIMEOUT: Duration = Duration::from_millis(500);

/// What is suspected at the position.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    /// So many records go alone yet.
    left: usize,
    /// The record that owners before us died of, and how many.
    culprit: Option<(Offset, i32)>,
    /// Statements that ended with their connection, for the batch in hand.
    strikes: u32,
    /// The first record in hand was struck alone, and then the statement passed with this one.
    witness: Option<Witness>,
}

/// What follows from a batch that was struck too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    /// Its records go alone.
    Alone,
    /// Does the statement pass without this record? Then it is tried once more.
    Ask,
    /// It was struck again: does the statement still pass without it? Then it is accused.
    Confirm(Witness),
}

impl Suspicion {
    /// What a claim has found, where a batch has at most so many records.
    pub(super) fn of(unfinished: Unfinished, records_max: usize) -> Self {
        let left = if unfinished.times > 0 { records_max } else { 0 };
        let proven = unfinished.times >= DEATHS_MAX;
        let culprit = unfinished.marked.filter(|_| proven).map(|at| (at, unfinished.times));
        Self { left, culprit, ..Self::default() }
    }

    /// Whether records go alone.
    pub(super) fn is_alone(&self) -> bool {
        self.left > 0
    }

    /// So many records were in the log when the claim was made: no other can have killed before.
    fn bound(&mut self, records: usize) {
        self.left = self.left.min(records);
        if self.left == 0 {
            *self = Self::default();
        }
    }

    /// How many of `take` records may go into the next batch.
    pub(super) fn take(&self, take: usize) -> usize {
        if self.is_alone() { take.min(1) } else { take }
    }

    /// A batch was committed with so many records.
    pub(super) fn passed(&mut self, records: usize) {
        let left = self.left.saturating_sub(records);
        *self = Self { left, ..Self::default() };
    }

    /// A statement ended with its connection; whether that is once too often.
    pub(super) fn strike(&mut self) -> bool {
        self.strikes += 1;
        self.strikes >= if self.is_alone() { 1 } else { STRIKES_MAX }
    }

    fn doubt(&mut self, taken: usize) -> Doubt {
        self.strikes = 0;
        match self.witness.take() {
            None if self.is_alone() => Doubt::Ask,
            None => {
                self.left = taken;
                Doubt::Alone
            }
            Some(witness) => Doubt::Confirm(witness),
        }
    }
}

impl Worker {
    /// After a claim that has found a suspicion: what was not in the log yet killed nobody. An idle
    /// partition has no suspect.
    pub(super) async fn bound_suspicion(&mut self, next: Offset, reader: &Reader) {
        if !self.suspicion.is_alone() {
            return;
        }
        let end = reader.watch_end();
        match self.watched(end.ask()).await {
            Ok(end) => self.suspicion.bound(usize::try_from(end.0 - next.0).unwrap_or_default()),
            Err(error) => debug!(partition = %self.id, %error, "the log does not tell its end"),
        }
    }

    /// Before a batch is decoded: marks a record that goes alone, and accuses the one that owners before
    /// us died of. The mark is ours alone in this process until the next wait, or the next batch.
    pub(super) async fn suspect(
        &mut self,
        claim: Stored,
        records: &[Record],
        bisect: &mut Bisect,
    ) -> Result<(), End> {
        let first = records.first().map(|record| record.position.offset);
        let Some(first) = first.filter(|first| *first >= claim.next) else { return Ok(()) };
        if !self.suspicion.is_alone() {
            return Ok(());
        }
        // Also before it is parked: who dies of that, dies under this mark.
        self.mark(claim, first).await?;
        if let Some((culprit, deaths)) = self.suspicion.culprit.take()
            && culprit == first
        {
            // Who died while parking it died of reading it: then it is parked unread.
            let unread = deaths > DEATHS_MAX;
            error!(partition = %self.id, offset = first.0, deaths, unread,
                "a record that its owners died of is parked");
            bisect.accuse(first, Poison::Crash { code: None, unread }, deaths);
        }
        Ok(())
    }

    /// Marks a record at or behind the position, when no other of this process is marked.
    pub(super) async fn mark(&mut self, claim: Stored, record: Offset) -> Result<(), End> {
        self.alone = None;
        let end = record.next();
        loop {
            let turn = self.shared.suspects.clone().lock_owned();
            let mut stop = self.stop.clone();
            let turn = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return Err(End::Stopped),
                turn = self.watched(turn) => turn,
            };
            failpoint!(Marking, self.id);
            match self.shared.store.mark(self.id, claim.epoch, claim.next, end).await {
                Ok(()) => {
                    failpoint!(Marked, self.id);
                    // A clean end takes the mark away, also where the position has moved since the claim.
                    self.unmoved = Some(claim.epoch);
                    self.alone = Some(turn);
                    return Ok(());
                }
                Err(error) => {
                    drop(turn);
                    self.wait_or_halt(error).await?;
                }
            }
        }
    }

    /// A batch of `taken` records was struck too often.
    pub(super) async fn doubt(
        &mut self,
        claim: Stored,
        taken: usize,
        records: &[Record],
        code: Option<String>,
        bisect: &mut Bisect,
    ) -> Result<(), End> {
        let offset = records[0].position.offset;
        match self.suspicion.doubt(taken) {
            Doubt::Alone => {
                warn!(partition = %self.id, records = taken, code,
                    "statements end with their connection, the records go one by one");
                return Ok(());
            }
            Doubt::Ask => {
                self.suspicion.witness = self.witness(claim, records).await?;
                if self.suspicion.witness.is_some() {
                    return Ok(());
                }
            }
            Doubt::Confirm(witness) => {
                if self.passes_with(claim, records, witness).await? == Some(true) {
                    error!(partition = %self.id, offset = offset.0, code,
                        "a record's statements end with their connection, and pass without it");
                    let attempts = STRIKES_MAX as i32 + 2;
                    bisect.accuse(offset, Poison::Crash { code, unread: false }, attempts);
                    return Ok(());
                }
            }
        }
        self.shared.metrics.acquittals.inc();
        warn!(partition = %self.id, offset = offset.0, code,
            "statements end with their connection whatever they carry: no record is to blame");
        self.suspicion = Suspicion::default();
        *bisect = self.bisect();
        Ok(())
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
        let mut suspicion = found(2, Some(7));
        suspicion.bound(3);
        assert_eq!((suspicion.left, suspicion.culprit.is_some()), (3, true));
        suspicion.bound(0);
        check(&suspicion, 8, None);
    }

    #[test]
    fn strikes_lead_to_the_record_and_a_witness_before_and_after() {
        let mut suspicion = Suspicion::default();
        assert!(!suspicion.strike());
        assert!(suspicion.strike());
        assert_eq!((suspicion.doubt(8), suspicion.take(8)), (Doubt::Alone, 1));
        assert!(suspicion.strike(), "alone, once");
        assert_eq!(suspicion.doubt(1), Doubt::Ask);
        suspicion.witness = Some(Witness::Behind(1));
        assert!(suspicion.strike());
        assert_eq!(suspicion.doubt(1), Doubt::Confirm(Witness::Behind(1)));
        assert!(suspicion.strike());
        assert_eq!(suspicion.doubt(1), Doubt::Ask, "each word of a witness counts once");

        suspicion.witness = Some(Witness::Behind(1));
        suspicion.passed(1);
        assert!(suspicion.strike());
        assert_eq!(suspicion.doubt(1), Doubt::Ask, "it was about another record");
        let mut suspicion = Suspicion::default();
        suspicion.strike();
        suspicion.passed(8);
        assert!(!suspicion.strike(), "a commit ends all counts");
    }
}
