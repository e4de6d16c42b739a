//! Bisecting: from a refused batch down to the one record the database refuses.
//!
//! Halve until one record is left, park it, go back to whole batches: at most 2·log2 n statements
//! for one bad record among n. Records before it are applied on the way, so order is kept.

use std::collections::BTreeMap;

use shared::position::Offset;

use crate::failure::StoreError;

/// How many records the next batch may take, and which one is to be parked.
#[derive(Debug, Default)]
pub struct Bisect {
    limit: Option<usize>,
    refused: BTreeMap<Offset, Option<String>>,
}

impl Bisect {
    /// How many of the records at hand go into the next batch.
    pub fn take(&self, available: usize) -> usize {
        self.limit.unwrap_or(available).min(available)
    }

    /// The records to park, with the database's code.
    pub fn refused(&self) -> &BTreeMap<Offset, Option<String>> {
        &self.refused
    }

    /// A batch of `taken` records from `first` was refused. Gives the refusal back where it was one
    /// record and was to be parked already.
    pub fn narrow(
        &mut self,
        taken: usize,
        first: Offset,
        refusal: StoreError,
    ) -> Result<(), StoreError> {
        if taken > 1 {
            self.limit = Some(taken / 2);
            return Ok(());
        }
        if self.refused.contains_key(&first) {
            return Err(refusal);
        }
        self.limit = Some(1);
        self.refused.insert(first, refusal.code);
        Ok(())
    }

    /// A batch was committed, `left` records are at hand. While the culprit is among them the limit
    /// stays; once it is parked, or none is left (the batch as a whole was too much), it goes.
    pub fn passed(&mut self, left: usize) {
        if left == 0 || !self.refused.is_empty() {
            self.limit = None;
            self.refused.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;

    fn refusal() -> StoreError {
        StoreError { failure: Failure::Data, code: Some("22P02".into()), message: "bad".into() }
    }

    /// Runs n records with bad ones against a database that refuses every batch with a bad record
    /// that is not to be parked; gives back what was parked and the number of statements.
    fn run(n: i64, bad: &[i64]) -> (Vec<i64>, usize) {
        let (mut bisect, mut parked, mut statements) = (Bisect::default(), Vec::new(), 0);
        let mut records: Vec<i64> = (0..n).collect();
        while !records.is_empty() {
            let take = bisect.take(records.len());
            statements += 1;
            let is_parked = |offset: &i64| bisect.refused().contains_key(&Offset(*offset));
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
        let mut bisect = Bisect::default();
        assert!(bisect.narrow(1, Offset(7), refusal()).is_ok());
        assert!(bisect.narrow(1, Offset(7), refusal()).is_err());
    }
}
