//! Acknowledgements: how a request waits for all its records with one wake-up and no allocation.
//!
//! A request takes [`Acks`] for its n records from its thread's [`AcksPool`] and gives one [`Ticket`]
//! with each append. Whoever settles the last ticket wakes the request. A ticket that is dropped
//! unsettled counts as unknown: no bug may turn into an acknowledgement.
//!
//! Acks serve another request only when no ticket of the last one is left, not even a late one that
//! nobody waits for any more: the reference count says so, and nothing else does. So a late report
//! can never acknowledge another request's record.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;

use futures_util::task::AtomicWaker;

use crate::position::{Class, Offset, Partition, PartitionId, Position};

/// Acks kept per pool: as many requests as one thread usually has waiting for the log.
const POOLED_MAX: usize = 1024;
/// Acks of a larger batch are given back to the allocator.
const POOLED_RECORDS_MAX: usize = 1024;
/// How many of the pool are looked at for one without a ticket: late tickets are few.
const LOOKED_AT_MAX: usize = 4;

/// What became of one append.
pub type Outcome = Result<Position, AppendError>;

/// Why an append has no position. The split that matters: may the record be in the log or not?
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The log's queue is full; nothing was written.
    #[error("the queue to the log is full")]
    Full,
    /// The log cannot be reached or refuses writes now; nothing was written.
    #[error("the log is unavailable")]
    Unavailable,
    /// The disk of the embedded log is full; nothing was written.
    #[error("the disk of the log is full")]
    DiskFull,
    /// The record is larger than the log takes; nothing was written, and a retry will not help.
    #[error("the record is larger than the log takes")]
    TooLarge,
    /// The record may or may not be in the log.
    #[error("the log did not say in time whether it has the record")]
    Unknown,
}

/// The request's end: waits until every ticket is settled.
#[derive(Debug)]
pub struct Acks {
    shared: Arc<Shared>,
    records: usize,
}

/// The log's end: settles one record's outcome, once.
#[derive(Debug)]
pub struct Ticket {
    shared: Option<Arc<Shared>>,
    index: usize,
}

/// A thread's acks, used again and again.
#[derive(Debug, Default)]
pub struct AcksPool(RefCell<VecDeque<Arc<Shared>>>);

#[derive(Debug, Default)]
struct Shared {
    /// At least as many as there are records.
    outcomes: Vec<Slot>,
    open: AtomicUsize,
    failed: AtomicUsize,
    waker: AtomicWaker,
}

/// One record's outcome: written once by its ticket, the offset before the state.
#[derive(Debug, Default)]
struct Slot {
    /// 0 is open; else see [`Slot::encoded`].
    state: AtomicU64,
    offset: AtomicI64,
}

impl Slot {
    /// Failures are 1 to 5; a position is its partition above its class above [`Slot::IN_THE_LOG`].
    const fn encoded(outcome: &Outcome) -> u64 {
        match outcome {
            Err(AppendError::Full) => 1,
            Err(AppendError::Unavailable) => 2,
            Err(AppendError::DiskFull) => 3,
            Err(AppendError::TooLarge) => 4,
            Err(AppendError::Unknown) => 5,
            Ok(position) => {
                let (class, partition) = (position.id.class as u64, position.id.partition.0 as u64);
                partition << 16 | class << 8 | Self::IN_THE_LOG
            }
        }
    }

    const IN_THE_LOG: u64 = 6;

    fn settle(&self, outcome: Outcome) {
        if let Ok(position) = outcome {
            self.offset.store(position.offset.0, Ordering::Relaxed);
        }
        let previous = self.state.swap(Self::encoded(&outcome), Ordering::AcqRel);
        assert!(previous == 0, "one ticket was made twice: an ack would go to another record");
    }

    fn outcome(&self) -> Outcome {
        let state = self.state.load(Ordering::Acquire);
        Err(match state {
            1 => AppendError::Full,
            2 => AppendError::Unavailable,
            3 => AppendError::DiskFull,
            4 => AppendError::TooLarge,
            // Open: the deadline came first.
            0 | 5 => AppendError::Unknown,
            _ => {
                debug_assert!(state & 0xff == Self::IN_THE_LOG, "as it was encoded");
                let class = Class::ALL[usize::from((state >> 8) as u8)];
                let id = PartitionId { class, partition: Partition((state >> 16) as u32) };
                let offset = Offset(self.offset.load(Ordering::Relaxed));
                return Ok(Position { id, offset });
            }
        })
    }
}

impl Shared {
    /// Makes them ready for another request: whoever has `&mut` is alone with them.
    fn prepare(&mut self, records: usize) {
        for slot in self.outcomes.iter_mut().take(records) {
            *slot.state.get_mut() = 0;
        }
        if self.outcomes.len() < records {
            self.outcomes.resize_with(records, Slot::default);
        }
        *self.open.get_mut() = records;
        *self.failed.get_mut() = 0;
        // The waker of a request that went away, if it left one.
        self.waker.take();
    }
}

impl AcksPool {
    /// Acknowledgements for `records` records. Go back with [`AcksPool::put`].
    pub fn take(&self, records: usize) -> Acks {
        let mut idle = self.0.borrow_mut();
        for _ in 0..idle.len().min(LOOKED_AT_MAX) {
            let Some(mut shared) = idle.pop_front() else { break };
            if let Some(alone) = Arc::get_mut(&mut shared) {
                alone.prepare(records);
                return Acks { shared, records };
            }
            // A ticket of it is still out.
            idle.push_back(shared);
        }
        Acks::new(records)
    }

    /// Keeps them for a later request, whether or not all tickets are settled.
    pub fn put(&self, acks: Acks) {
        let mut idle = self.0.borrow_mut();
        if idle.len() < POOLED_MAX && acks.shared.outcomes.len() <= POOLED_RECORDS_MAX {
            idle.push_back(acks.shared);
        }
    }
}

impl Acks {
    /// Acknowledgements for `records` records, without a pool.
    pub fn new(records: usize) -> Self {
        let mut shared = Shared::default();
        shared.prepare(records);
        Self { shared: Arc::new(shared), records }
    }

    /// The ticket of record `index`; one per index.
    pub fn ticket(&self, index: usize) -> Ticket {
        assert!(index < self.records, "an index per record");
        Ticket { shared: Some(Arc::clone(&self.shared)), index }
    }

    /// Waits until every ticket is settled. Cancel safe: dropping it loses nothing.
    pub async fn settled(&self) {
        poll_fn(|context| {
            if self.is_settled() {
                return Poll::Ready(());
            }
            self.shared.waker.register(context.waker());
            // The last ticket may have been settled between the look and the registration.
            if self.is_settled() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Whether every ticket is settled.
    pub fn is_settled(&self) -> bool {
        self.shared.open.load(Ordering::Acquire) == 0
    }

    /// How many tickets have been settled with an error until now.
    pub fn failed(&self) -> usize {
        self.shared.failed.load(Ordering::Relaxed)
    }

    /// The outcome of record `index` as far as it is known: a ticket that is still open (the
    /// deadline came first) is [`AppendError::Unknown`].
    pub fn outcome(&self, index: usize) -> Outcome {
        assert!(index < self.records, "an index per record");
        self.shared.outcomes[index].outcome()
    }
}

impl Ticket {
    /// Settles the record's outcome.
    pub fn settle(mut self, outcome: Outcome) {
        self.settle_once(outcome);
    }

    fn settle_once(&mut self, outcome: Outcome) {
        let Some(shared) = self.shared.take() else { return };
        shared.outcomes[self.index].settle(outcome);
        if outcome.is_err() {
            shared.failed.fetch_add(1, Ordering::Relaxed);
        }
        if shared.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            let waker = shared.waker.take();
            // Before the request wakes up, so that it finds its acks without tickets.
            drop(shared);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.settle_once(Err(AppendError::Unknown));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(offset: i64) -> Position {
        let id = PartitionId { class: Class::Control, partition: Partition(0) };
        Position { id, offset: Offset(offset) }
    }

    #[tokio::test]
    async fn the_last_ticket_wakes_the_request() {
        let acks = Acks::new(3);
        let tickets: Vec<_> = (0..3).map(|n| acks.ticket(n)).collect();
        let settle = tokio::spawn(async move {
            for (n, ticket) in tickets.into_iter().enumerate() {
                tokio::task::yield_now().await;
                ticket.settle(Ok(position(n as i64)));
            }
        });
        acks.settled().await;
        settle.await.expect("the task does not panic");
        assert_eq!(acks.outcome(2), Ok(position(2)));
    }

    #[tokio::test]
    async fn a_dropped_ticket_is_unknown_never_accepted() {
        let acks = Acks::new(2);
        acks.ticket(0).settle(Ok(position(7)));
        drop(acks.ticket(1));
        acks.settled().await;
        assert_eq!(acks.outcome(0), Ok(position(7)));
        assert_eq!(acks.outcome(1), Err(AppendError::Unknown));
    }

    #[test]
    fn an_open_ticket_is_unknown() {
        let acks = Acks::new(1);
        let ticket = acks.ticket(0);
        assert_eq!(acks.outcome(0), Err(AppendError::Unknown));
        ticket.settle(Err(AppendError::Full));
        assert_eq!(acks.outcome(0), Err(AppendError::Full));
    }
    #[test]
    fn every_outcome_comes_back_as_it_was() {
        let last = Class::ALL[Class::ALL.len() - 1];
        let id = PartitionId { class: last, partition: Partition(u32::MAX) };
        let extreme = Position { id, offset: Offset(i64::MAX) };
        for outcome in [
            Ok(position(0)),
            Ok(extreme),
            Err(AppendError::Full),
            Err(AppendError::Unavailable),
            Err(AppendError::DiskFull),
            Err(AppendError::TooLarge),
            Err(AppendError::Unknown),
        ] {
            let acks = Acks::new(1);
            acks.ticket(0).settle(outcome);
            assert_eq!(acks.outcome(0), outcome);
            assert_eq!(acks.failed(), usize::from(outcome.is_err()));
        }
    }

    #[test]
    #[should_panic(expected = "one ticket was made twice")]
    fn a_record_is_settled_once() {
        let acks = Acks::new(1);
        acks.ticket(0).settle(Ok(position(1)));
        acks.ticket(0).settle(Ok(position(2)));
    }

    #[test]
    fn a_late_ticket_never_reaches_another_request() {
        let pool = AcksPool::default();
        let acks = pool.take(1);
        let late = acks.ticket(0);
        pool.put(acks);
        let next = pool.take(1);
        let ticket = next.ticket(0);
        late.settle(Ok(position(7)));
        assert_eq!(next.outcome(0), Err(AppendError::Unknown));
        assert!(!next.is_settled());
        ticket.settle(Ok(position(8)));
        assert_eq!(next.outcome(0), Ok(position(8)));
    }

    #[test]
    fn what_is_used_again_remembers_nothing() {
        let pool = AcksPool::default();
        let acks = pool.take(2);
        acks.ticket(0).settle(Ok(position(1)));
        acks.ticket(1).settle(Err(AppendError::Full));
        let first = Arc::as_ptr(&acks.shared);
        pool.put(acks);
        let acks = pool.take(3);
        assert_eq!(Arc::as_ptr(&acks.shared), first, "nobody else has it");
        assert!(!acks.is_settled());
        assert_eq!(acks.failed(), 0);
        for index in 0..3 {
            assert_eq!(acks.outcome(index), Err(AppendError::Unknown));
        }
    }
}
