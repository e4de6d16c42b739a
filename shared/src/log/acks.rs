//! Acknowledgements: how a request waits for all its records with one allocation and one wake-up.
//!
//! A request makes [`Acks`] for its n records and gives one [`Ticket`] with each append. Whoever
//! settles the last ticket wakes the request. A ticket that is dropped unsettled counts as unknown:
//! no bug may turn into an acknowledgement.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use crate::position::Position;

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
pub struct Acks(Arc<Shared>);

/// The log's end: settles one record's outcome, once.
#[derive(Debug)]
pub struct Ticket {
    shared: Option<Arc<Shared>>,
    index: usize,
}

#[derive(Debug)]
struct Shared {
    outcomes: Mutex<Vec<Option<Outcome>>>,
    open: AtomicUsize,
    waker: AtomicWaker,
}

impl Acks {
    /// Acknowledgements for `records` records.
    pub fn new(records: usize) -> Self {
        Self(Arc::new(Shared {
            outcomes: Mutex::new(vec![None; records]),
            open: AtomicUsize::new(records),
            waker: AtomicWaker::new(),
        }))
    }

    /// The ticket of record `index`; one per index.
    pub fn ticket(&self, index: usize) -> Ticket {
        Ticket { shared: Some(Arc::clone(&self.0)), index }
    }

    /// Waits until every ticket is settled. Cancel safe: dropping it loses nothing.
    pub async fn settled(&self) {
        poll_fn(|context| {
            if self.0.open.load(Ordering::Acquire) == 0 {
                return Poll::Ready(());
            }
            self.0.waker.register(context.waker());
            // The last ticket may have been settled between the look and the registration.
            match self.0.open.load(Ordering::Acquire) {
                0 => Poll::Ready(()),
                _ => Poll::Pending,
            }
        })
        .await;
    }

    /// The outcome of record `index` as far as it is known: a ticket that is still open (the
    /// deadline came first) is [`AppendError::Unknown`].
    pub fn outcome(&self, index: usize) -> Outcome {
        self.0.outcomes.lock()[index].unwrap_or(Err(AppendError::Unknown))
    }
}

impl Ticket {
    /// Settles the record's outcome.
    pub fn settle(mut self, outcome: Outcome) {
        self.settle_once(outcome);
    }

    fn settle_once(&mut self, outcome: Outcome) {
        let Some(shared) = self.shared.take() else { return };
        let previous = shared.outcomes.lock()[self.index].replace(outcome);
        assert!(previous.is_none(), "one ticket was made twice: an ack would go to another record");
        if shared.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            shared.waker.wake();
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
    use crate::position::{Class, Offset, Partition, PartitionId};

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
}
