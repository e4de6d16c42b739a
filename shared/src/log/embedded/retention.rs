//! Retention: deletes the oldest applied records while the log is too large, and those that are too
//! old. Never one that is not applied: an embedded log has no second reader to lose, only the one.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::atomic::Ordering;

use fjall::OwnedWriteBatch;

use super::commit::Committer;
use super::encoding::{KEY_BYTES, decode_record_key, peek_timestamp};
use crate::clock::Millis;
use crate::position::Offset;

/// The most records one round deletes: bounds how long an append waits behind it.
const ROUND_RECORDS_MAX: usize = 4096;
/// The most records deleted from one partition before the next oldest gets its turn: the order
/// among partitions is kept to within so many.
const TURN_RECORDS_MAX: usize = 128;
/// Once the log is too large, this part of its bound is freed, so that not every commit ends in a
/// round of its own.
const SLACK: u64 = 16;

/// One round's work so far.
struct Round {
    batch: OwnedWriteBatch,
    /// The partitions that the batch touches, by index.
    touched: BTreeSet<usize>,
    records_left: usize,
    /// Bytes of all records that are left in the log.
    total_bytes: u64,
    /// Deletes by size down to this.
    target_bytes: u64,
    /// Deletes by age what was received before.
    before: Millis,
}

impl Round {
    fn expired(&self, received: Millis) -> bool {
        self.total_bytes > self.target_bytes || received < self.before
    }
}

impl Committer {
    /// One bounded round; says whether there is more to delete at once. Also opens and closes the
    /// log for appends by what is not applied.
    pub(super) fn retain(&mut self) -> bool {
        if self.core.poisoned() {
            return false;
        }
        let total_bytes = self.total_bytes();
        let over = total_bytes > self.retention_bytes;
        let mut round = Round {
            batch: self.core.store.lazy_batch(ROUND_RECORDS_MAX),
            touched: BTreeSet::new(),
            records_left: ROUND_RECORDS_MAX,
            total_bytes,
            target_bytes: match over {
                true => self.retention_bytes - self.retention_bytes / SLACK,
                false => u64::MAX,
            },
            before: Millis(self.clock.now().0.saturating_sub(self.retention_ms)),
        };
        let exhausted = self.delete_oldest(&mut round);
        let (more, total_bytes) = (round.records_left == 0, round.total_bytes);
        self.finish(round);
        match exhausted {
            Ok(exhausted) => self.refuse(exhausted && total_bytes > self.retention_bytes),
            Err(error) => tracing::warn!(%error, "retention could not read the log, tries again"),
        }
        more
    }

    /// Collects the oldest applied records that are to go; says whether no applied one is left.
    fn delete_oldest(&mut self, round: &mut Round) -> Result<bool, fjall::Error> {
        let mut heads = BinaryHeap::new();
        for index in 0..self.stands.len() {
            heads.extend(self.head(index)?.map(|received| Reverse((received, index))));
        }
        while let Some(Reverse((received, index))) = heads.pop() {
            if round.records_left == 0 || !round.expired(received) {
                return Ok(false);
            }
            let head = self.take_turn(index, round)?;
            heads.extend(head.map(|received| Reverse((received, index))));
        }
        Ok(true)
    }

    /// When a partition's oldest applied record was received.
    fn head(&self, index: usize) -> Result<Option<Millis>, fjall::Error> {
        let watermarks = self.core.partitions.get(index);
        let (low, applied) = (watermarks.low(), watermarks.applied());
        let mut entries = self.core.store.entries(watermarks.id, low, applied);
        entries.next().map(|guard| guard.value().map(|value| received(&value))).transpose()
    }

    /// Puts the deletion of a partition's oldest records into the batch and moves its stand;
    /// returns its new head.
    fn take_turn(
        &mut self,
        index: usize,
        round: &mut Round,
    ) -> Result<Option<Millis>, fjall::Error> {
        let watermarks = self.core.partitions.get(index);
        let stand = &mut self.stands[index];
        let mut turn = round.records_left.min(TURN_RECORDS_MAX);
        for guard in self.core.store.entries(watermarks.id, Offset(stand.low), watermarks.applied())
        {
            let (key, value) = guard.into_inner()?;
            let received = received(&value);
            if turn == 0 || !round.expired(received) {
                return Ok(Some(received));
            }
            let bytes = (KEY_BYTES + value.len()) as u64;
            stand.bytes = stand.bytes.saturating_sub(bytes);
            // A key that is none of ours lies in this range only by damage; it goes with the rest.
            stand.low = decode_record_key(&key).map_or(stand.low, |it| it.offset.next().0);
            round.total_bytes = round.total_bytes.saturating_sub(bytes);
            round.batch.remove(&self.core.store.records, key);
            round.touched.insert(index);
            round.records_left -= 1;
            turn -= 1;
        }
        Ok(None)
    }

    /// Gives up the records, then deletes them. No fsync: a deletion that a power cut undoes leaves
    /// the log as it was before it.
    fn finish(&self, mut round: Round) {
        for index in round.touched {
            let watermarks = self.core.partitions.get(index);
            watermarks.raise_low(self.stands[index].low);
            self.core.store.put_stand(&mut round.batch, watermarks.id, self.stands[index]);
        }
        if let Err(error) = round.batch.commit() {
            self.core.poison(&error);
        }
    }

    /// Refuses appends while what is not applied alone is more than the log may hold.
    fn refuse(&self, refuse: bool) {
        let retention_bytes = self.retention_bytes;
        match (self.core.backlog_full.swap(refuse, Ordering::Relaxed), refuse) {
            (false, true) => tracing::warn!(retention_bytes, "the log is full of unapplied events"),
            (true, false) => tracing::info!(retention_bytes, "the log takes events again"),
            _ => {}
        }
    }
}

/// When a record was received. A value that does not say counts as old: it is applied, and would
/// stand in the way of everything after it.
fn received(value: &[u8]) -> Millis {
    peek_timestamp(value).unwrap_or(Millis(i64::MIN))
}
