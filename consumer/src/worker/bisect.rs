//! Bisecting: from a refused batch down to the one record the database refuses.
//!
//! Halve until one record is left, try it again a few times, park it, go back to whole batches: at
//! most 2·log2 n statements and the retries for one bad record among n. Records before it are
//! applied on the way, so order is kept.

use shared::position::Offset;

use crate::batch::{Poison, Refusal, Refusals};
use crate::failure::StoreError;
use crate::retry::Schedule;

/// How many records the next batch may take, and which one is to be parked.
#[derive(Debug)]
pub struct Bisect {
    limit: Option<usize>,
    /// A record that was refused alone, and how often.
    alone: Option<(Offset, u32)>,
    retries_max: u32,
    schedule: Schedule,
    refused: Refusals,
}

/// What to do about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send fewer records.
    Halve,
    /// Send the same record again, after a wait.
    Again,
    /// Send it to be parked.
    Park,
}

impl Bisect {
    /// Whole batches.
    pub fn new(retries_max: u32, schedule: Schedule) -> Self {
        Self { limit: None, alone: None, retries_max, schedule, refused: Refusals::default() }
    }

    /// How many of the records at hand go into the next batch.
    pub fn take(&self, available: usize) -> usize {
        self.limit.unwrap_or(available).min(available)
    }

    /// The next batch takes at most so many records.
    pub fn limit(&mut self, records: usize) {
        self.limit = Some(records);
    }

    /// The records to park.
    pub fn refused(&self) -> &Refusals {
        &self.refused
    }

    /// A batch of `taken` records from `first` was refused. Gives the refusal back where it was one
    /// record and was to be parked already.
    pub fn narrow(
        &mut self,
        taken: usize,
        first: Offset,
        refusal: StoreError,
    ) -> Result<Next, StoreError> {
        if taken > 1 {
            self.limit = Some(taken / 2);
            return Ok(Next::Halve);
        }
        if self.refused.records.contains_key(&first) {
            return Err(refusal);
        }
        self.limit = Some(1);
        let refused = self.alone.filter(|(offset, _)| *offset == first).map_or(0, |(_, n)| n) + 1;
        self.alone = Some((first, refused));
        if refused <= self.retries_max {
            return Ok(Next::Again);
        }
        self.park(first, Poison::Refused(refusal.code), i32::try_from(refused).unwrap_or(i32::MAX));
        Ok(Next::Park)
    }

    /// This record is to be parked, and nothing was refused.
    pub fn accuse(&mut self, offset: Offset, poison: Poison, attempts: i32) {
        self.limit = None;
        self.alone = Some((offset, 0));
        self.park(offset, poison, attempts);
    }

    fn park(&mut self, offset: Offset, poison: Poison, attempts: i32) {
        self.refused.records.insert(offset, Refusal { poison, attempts });
        self.refused.tries = self.schedule.tries();
        self.refused.retry_after = self.schedule.next(self.schedule.tries());
    }

    /// A batch was committed, `left` records are at hand. While the culprit is among them the limit
    /// stays; once it is parked, or has passed alone, or none is left (the batch as a whole was too
    /// much), it goes.
    pub fn passed(&mut self, left: usize) {
        if left == 0 || self.alone.take().is_some() {
            self.limit = None;
            self.refused.records.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::failure::Failure;

    fn bisect(retries_max: u32) -> Bisect {
        let day = Duration::from_secs(86_400);
        Bisect::new(retries_max, Schedule::new(3, day, day, 1))
    }

    fn refusal() -> StoreError {
        StoreError { failure: Failure::Data, code: Some("22P02".into()), message: "bad".into() }
    }

    /// Runs n records with bad ones against a database that refuses every batch with a bad record
    /// that is not to be parked; gives back what was parked and the number of statements.
    fn run(n: i64, bad: &[i64]) -> (Vec<i64>, usize) {
        let (mut bisect, mut parked, mut statements) = (bisect(0), Vec::new(), 0);
        let mut records: Vec<i64> = (0..n).collect();
        while !records.is_empty() {
            let take = bisect.take(records.len());
            statements += 1;
            let is_parked = |offset: &i64| bisect.refused().records.contains_key(&Offset(*offset));
            if records[..take].iter().any(|offset| bad.contains(offset) && !is_parked(offset)) {
                bisect.narrow(take, Offset(records[0]), refusal()).expect("parking works");
                continue;
            }
            parked.extend(records[..take].iter().filter(|offset| is_parked(offset)));
            records.drain(..take);
            bisect.passed(records.len());
        }
        (parked, statements)
    }

    #[test]
    fn exactly_the_bad_records_are_parked_in_few_statements() {
        assert_eq!(run(8, &[]), (vec![], 1));
        for bad in 0..64 {
            let (parked, statements) = run(64, &[bad]);
            assert_eq!(parked, [bad]);
            assert!(statements <= 2 * 6 + 3, "{bad}: {statements}");
        }
        assert_eq!(run(64, &[0, 1, 63]).0, [0, 1, 63]);
        assert_eq!(run(1, &[0]).0, [0]);
    }

    #[test]
    fn a_record_that_cannot_be_parked_gives_the_refusal_back() {
        let mut bisect = bisect(0);
        assert!(bisect.narrow(1, Offset(7), refusal()).is_ok());
        assert!(bisect.narrow(1, Offset(7), refusal()).is_err());
    }

    #[test]
    fn a_record_alone_is_tried_again_before_it_is_parked() {
        let mut bisect = bisect(2);
        let mut next = || bisect.narrow(1, Offset(7), refusal()).expect("not parked yet");
        assert_eq!([next(), next(), next()], [Next::Again, Next::Again, Next::Park]);
        let refused = &bisect.refused().records[&Offset(7)];
        assert_eq!((refused.attempts, bisect.refused().tries), (3, 3));
        bisect.passed(5);
        assert!(bisect.refused().records.is_empty());
        assert_eq!(bisect.take(5), 5);
    }

    #[test]
    fn one_that_passes_at_a_retry_ends_the_search() {
        let mut bisect = bisect(2);
        assert_eq!(bisect.narrow(4, Offset(7), refusal()).expect("halves"), Next::Halve);
        bisect.passed(2);
        assert_eq!(bisect.take(2), 2, "the culprit may be behind what has passed");
        assert_eq!(bisect.narrow(1, Offset(9), refusal()).expect("retries"), Next::Again);
        bisect.passed(5);
        assert_eq!(bisect.take(5), 5);
    }
}
