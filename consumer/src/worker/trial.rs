//! The trial of a record that was struck alone: does its statement pass without it?
//!
//! A witness is the next record, in a statement that leaves the accused one out and is undone as a
//! whole: order and effects are as if nobody had asked. It speaks before the accused one is tried once
//! more and after, so that a lock or a stall that ends in between accuses nobody.

use shared::log::Record;

use super::{End, Worker};
use crate::batch::{Batch, Poison, Refusal, Refusals};
use crate::failure::Failure;
use crate::resolution::Stored;

/// So many records behind the accused one are asked before it is the database: some of them may kill,
/// too.
const WITNESSES_MAX: usize = 4;

/// What passes where the first record in hand does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Witness {
    /// The record so many places behind it.
    Behind(usize),
    /// The statement without an event: none is in hand behind the accused one.
    Nothing,
}

impl Worker {
    /// Who passes without the first of the records. `None`: it is the database, as far as one can tell.
    pub(super) async fn witness(
        &mut self,
        claim: Stored,
        records: &[Record],
    ) -> Result<Option<Witness>, End> {
        let mut was_struck = false;
        for place in 1..records.len().min(WITNESSES_MAX + 1) {
            let witness = Witness::Behind(place);
            match self.passes_with(claim, records, witness).await? {
                Some(true) => return Ok(Some(witness)),
                Some(false) => was_struck = true,
                None => {}
            }
        }
        // Where events do not pass, that a statement without one does says nothing.
        let nothing =
            !was_struck && self.passes_with(claim, records, Witness::Nothing).await? == Some(true);
        Ok(nothing.then_some(Witness::Nothing))
    }

    /// Whether the statement passes with this witness instead of the first record; `None`: the record is
    /// no event, and so no witness. A refusal for its content is an answer, too: the database works.
    pub(super) async fn passes_with(
        &mut self,
        claim: Stored,
        records: &[Record],
        witness: Witness,
    ) -> Result<Option<bool>, End> {
        let (place, out) = match witness {
            Witness::Behind(place) => (place, &records[..place]),
            Witness::Nothing => (0, &records[..1]),
        };
        let unread = || Refusal { poison: Poison::Crash { code: None, unread: true }, attempts: 1 };
        let refused = Refusals {
            records: out.iter().map(|record| (record.position.offset, unread())).collect(),
            ..Refusals::default()
        };
        loop {
            // Who dies of the witness dies under its mark.
            self.mark(claim, records[place].position.offset).await?;
            let context = self.context(claim, &refused);
            let Some(batch) = Batch::decode(&records[..=place], &context) else { return Ok(None) };
            if batch.rows.is_empty() && witness != Witness::Nothing {
                return Ok(None);
            }
            self.ensure_buckets(&batch).await?;
            if self.alone.is_none() {
                // It waited, and the mark's turn is another's.
                continue;
            }
            let passes = self.shared.store.passes(&batch, self.shared.clock.now());
            match self.watched(passes).await {
                Ok(passes) => return Ok(Some(passes)),
                Err(error) if error.failure == Failure::Data => return Ok(Some(true)),
                Err(error) => {
                    let struck = error.failure == Failure::Lost;
                    if error.failure == Failure::Bucket {
                        self.buckets.clear();
                    }
                    self.wait_or_halt(error).await?;
                    if struck {
                        return Ok(Some(false));
                    }
                }
            }
        }
    }
}
