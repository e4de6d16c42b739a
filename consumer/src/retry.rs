//! Retry after skip: what was parked is tried again, by itself or because an operator asked.
//!
//! A row of `parked` is picked up (that takes one of its tries: a record that kills whoever tries it
//! must not be tried for ever), decoded anew and applied in one statement that inserts its identity,
//! applies its effect and deletes the row, all or nothing, under the fence. Two that try the same row
//! at once have one effect: the second finds no row. What fails is settled: the next try, or dead.
//!
//! **The bucket.** While a record is parked its identity is a duplicate, however old it is; the
//! moment its row is gone only its id says so. Where its own bucket is too old for a producer's retry
//! of this moment to meet it, the id is kept twice: in its own bucket, where a replay of the log would
//! look (if that is not expired), and in the present one.

use std::time::Duration;

use rand::Rng;
use shared::clock::Millis;
use shared::config::ConsumerConfig;
use shared::event::Event;
use shared::identity::payload_digest;
use shared::log::Record;
use shared::position::{Epoch, PartitionId};

use crate::batch::{Poison, Row, has_nul};
use crate::bucket::{Bucket, Width};

/// So many rows are picked up at once, and tried in one statement.
pub const PAGE_MAX: u16 = 64;

/// A picked row whose try nobody settled (its process died) is due again after so long: more than
/// its statement could last.
pub const LEASE: Duration = Duration::from_secs(60);

/// And each further row of the page so much later: then the one that kills is alone in its page.
pub const LEASE_STEP: Duration = Duration::from_secs(3);

/// How often, and when, parked records are tried by themselves.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    tries: i32,
    min: Duration,
    max: Duration,
    factor: u32,
}

impl Schedule {
    /// So many tries, the first after `min`, each later one after `factor` times as long, at most
    /// after `max`.
    pub fn new(tries: u32, min: Duration, max: Duration, factor: u32) -> Self {
        Self { tries: i32::try_from(tries).unwrap_or(i32::MAX), min, max, factor }
    }

    /// As configured.
    pub fn of(config: &ConsumerConfig) -> Self {
        let (min, max) = (config.parked_retry_min, config.parked_retry_max);
        Self::new(config.parked_tries_max, min, max, config.parked_retry_factor)
    }

    /// How many tries there are.
    pub fn tries(&self) -> i32 {
        self.tries
    }

    /// The wait before the next try when so many are left; `None` where none is. It grows by the
    /// factor from try to try, and half of it is random, so that what failed together comes apart.
    pub fn next(&self, left: i32) -> Option<Duration> {
        if left <= 0 {
            return None;
        }
        let done = u32::try_from(self.tries - left).unwrap_or_default();
        let bound = self.min.saturating_mul(self.factor.saturating_pow(done)).min(self.max);
        Some(bound.mul_f64(rand::rng().random_range(0.5..=1.0)))
    }
}

/// In which order parked rows are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they are due.
    Due,
    /// Of each entity one behind the other, as they stand in the log.
    Entity,
}

/// A parked row's key and what a try leaves it with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picked {
    /// The record, whole.
    pub record: Record,
    /// The row's tenant, empty where the record's key has none.
    pub tenant: String,
    /// The row's digest: not the identity's where the record could not be decoded.
    pub digest: Vec<u8>,
    /// Why it was parked.
    pub reason: String,
    /// How many tries are left after this one; below 0: this one was not left either.
    pub tries_left: i32,
    /// What it stays in order with.
    pub entity: Option<String>,
    /// It waits right behind another row that was picked, and no try of it was taken.
    pub follows: bool,
}

/// A picked row as an event to apply.
#[derive(Debug)]
pub struct Candidate<'p> {
    /// The row of `parked` that goes with the effect.
    pub picked: &'p Picked,
    /// The event; its bucket is where a producer's retry would meet it now.
    pub row: Row<'p>,
    /// The bucket of its record's timestamp, where that is another one.
    pub own: Option<Bucket>,
}

impl<'p> Candidate<'p> {
    /// Decodes a picked row, or says why it cannot be applied by this program either.
    pub fn of(picked: &'p Picked, width: Width, now: Millis) -> Result<Self, Poison> {
        let record = &picked.record;
        let event = Event::decode(record).map_err(Poison::Undecodable)?;
        if has_nul(&event) {
            return Err(Poison::TextHasNul);
        }
        let present = width.bucket(now, now).ok_or(Poison::TimestampOutOfRange)?;
        let own = width.bucket(record.timestamp, now);
        // A producer's retry of this moment looks one bucket back.
        let bucket = own.filter(|own| own.0 >= present.0 - 1).unwrap_or(present);
        let row = Row {
            record,
            identity: event.identity(),
            event,
            bucket,
            payload_digest: payload_digest(&record.value),
        };
        Ok(Self { picked, row, own: own.filter(|own| *own != bucket) })
    }
}

/// One try of one or more rows: all of them or none.
#[derive(Debug)]
pub struct Retry<'p> {
    /// The partition.
    pub id: PartitionId,
    /// The claim under which it may be tried.
    pub epoch: Epoch,
    /// The rows, in the log's order.
    pub candidates: &'p [Candidate<'p>],
}

/// What a try did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retried {
    /// The fence held; `false`: nothing was done.
    pub owned: bool,
    /// Rows that were there to be tried; the others were redriven, dropped or applied meanwhile.
    pub found: u64,
    /// Events that had their effect now. What was found and had it already is gone, too.
    pub fresh: u64,
}

/// What a failed try leaves.
#[derive(Debug)]
pub struct Settlement<'p> {
    /// The row.
    pub picked: &'p Picked,
    /// Why it fails now; `None`: as before.
    pub poison: Option<Poison>,
    /// The next try, from now; `None`: it is dead.
    pub retry_after: Option<Duration>,
    /// 1: the try was none, because the database failed, and is given back. −1: it is taken only now.
    pub tries_back: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_end() {
        let schedule = Schedule::new(4, Duration::from_secs(10), Duration::from_secs(1_000), 6);
        for (left, bound_s) in [(4, 10), (3, 60), (2, 360), (1, 1_000), (9, 10)] {
            let wait = schedule.next(left).expect("a try is left");
            let bound = Duration::from_secs(bound_s);
            assert!(wait <= bound && wait >= bound / 2, "{left}: {wait:?}");
        }
        assert_eq!((schedule.next(0), schedule.next(-1)), (None, None));
    }
}
