//! Outcomes on their way from the thread that polls to the thread that serves.
//!
//! They are handed over together, and the serving thread wakes its own requests: one remote wake-up
//! (a lock and a system call) for many acknowledgements instead of one for each.

use std::future::poll_fn;
use std::task::Poll;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use crate::log::{Outcome, Ticket};

/// Outcomes on their way from the thread that polls to the one that serves.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    inbox: Mutex<Inbox>,
    waker: AtomicWaker,
}

#[derive(Debug, Default)]
struct Inbox {
    outcomes: Vec<(Ticket, Outcome)>,
    attended: bool,
}

impl Mailbox {
    /// From now on outcomes are left here.
    pub fn open(&self) {
        self.inbox.lock().attended = true;
    }

    /// From now on they are not; what was left is settled.
    pub fn close(&self) {
        let mut inbox = self.inbox.lock();
        inbox.attended = false;
        let mut left = std::mem::take(&mut inbox.outcomes);
        drop(inbox);
        settle(&mut left);
    }

    /// Leaves outcomes for the thread that attends, or settles them here and now where none does.
    pub fn post(&self, outcomes: &mut Vec<(Ticket, Outcome)>) {
        let mut inbox = self.inbox.lock();
        if !inbox.attended {
            drop(inbox);
            return settle(outcomes);
        }
        let first = inbox.outcomes.is_empty();
        inbox.outcomes.append(outcomes);
        drop(inbox);
        if first {
            self.waker.wake();
        }
    }

    /// Waits for outcomes, and moves them into `outcomes`, which is empty.
    pub async fn collect(&self, outcomes: &mut Vec<(Ticket, Outcome)>) {
        poll_fn(|context| {
            self.waker.register(context.waker());
            let mut inbox = self.inbox.lock();
            if inbox.outcomes.is_empty() {
                return Poll::Pending;
            }
            std::mem::swap(&mut inbox.outcomes, outcomes);
            Poll::Ready(())
        })
        .await;
    }
}

/// Tells each request its outcome.
pub(super) fn settle(outcomes: &mut Vec<(Ticket, Outcome)>) {
    for (ticket, outcome) in outcomes.drain(..) {
        ticket.settle(outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Acks, AppendError};

    #[tokio::test]
    async fn outcomes_wait_for_the_thread_that_attends_and_for_nobody_else() {
        let mailbox = Mailbox::default();
        let acks = Acks::new(3);
        let mut post = vec![(acks.ticket(0), Err(AppendError::Full))];
        mailbox.post(&mut post);
        assert_eq!(acks.outcome(0), Err(AppendError::Full), "nobody attends");

        mailbox.open();
        post.push((acks.ticket(1), Err(AppendError::TooLarge)));
        mailbox.post(&mut post);
        assert!(post.is_empty());
        assert_eq!(acks.outcome(1), Err(AppendError::Unknown), "not before it is collected");
        let mut collected = Vec::new();
        mailbox.collect(&mut collected).await;
        settle(&mut collected);
        assert_eq!(acks.outcome(1), Err(AppendError::TooLarge));

        post.push((acks.ticket(2), Err(AppendError::DiskFull)));
        mailbox.post(&mut post);
        mailbox.close();
        assert_eq!(acks.outcome(2), Err(AppendError::DiskFull), "nothing is left behind");
    }
}
