//! The bounded queue between appends and the commit thread. An append never waits here: it is put in
//! or refused. Two buffers take turns, so that one gathers while the other is being written, and a
//! record is copied once, without an allocation of its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use super::encoding::{encode_record, encoded_bytes};
use crate::log::{AppendError, NewRecord, Ticket};

/// What an entry costs besides its encoded bytes: bounds their number where records are tiny.
const ENTRY_BYTES: usize = 64;

/// The queue. Its bound is bytes: of what waits and of what was taken but is not settled yet.
#[derive(Debug)]
pub(super) struct Queue {
    gathered: Mutex<Gathered>,
    changed: Condvar,
    bytes_max: usize,
    settled: AtomicU64,
    settled_more: Notify,
}

#[derive(Debug, Default)]
struct Gathered {
    batch: Batch,
    /// Of this batch and of the one being written.
    bytes: usize,
    /// Records ever put in; [`Queue::settled`] follows it.
    entered: u64,
    closed: bool,
    nudged: bool,
}

/// Encoded records, one after the other, and what belongs to each.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) entries: Vec<Entry>,
}

/// One record of a batch.
#[derive(Debug)]
pub(super) struct Entry {
    /// Index into the log's partitions.
    pub(super) partition: usize,
    /// Where its encoded value begins and ends in the batch.
    pub(super) start: usize,
    pub(super) end: usize,
    /// Whom to tell.
    pub(super) ticket: Ticket,
}

impl Entry {
    fn cost_bytes(&self) -> usize {
        self.end - self.start + ENTRY_BYTES
    }
}

impl Queue {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            gathered: Mutex::default(),
            changed: Condvar::new(),
            bytes_max,
            settled: AtomicU64::new(0),
            settled_more: Notify::new(),
        }
    }

    /// Puts a record in, or settles its ticket at once with the reason why not.
    pub(super) fn push(&self, partition: usize, record: &NewRecord<'_>, ticket: Ticket) {
        match self.try_push(partition, record, ticket) {
            Ok(()) => {
                self.changed.notify_one();
            }
            Err((error, ticket)) => ticket.settle(Err(error)),
        }
    }

    fn try_push(
        &self,
        partition: usize,
        record: &NewRecord<'_>,
        ticket: Ticket,
    ) -> Result<(), (AppendError, Ticket)> {
        let cost_bytes = match encoded_bytes(record) {
            Some(bytes) if bytes + ENTRY_BYTES <= self.bytes_max => bytes + ENTRY_BYTES,
            // It would not fit into an empty queue either.
            _ => return Err((AppendError::TooLarge, ticket)),
        };
        let mut gathered = self.gathered.lock();
        if gathered.closed {
            return Err((AppendError::Unavailable, ticket));
        }
        if gathered.bytes + cost_bytes > self.bytes_max {
            return Err((AppendError::Full, ticket));
        }
        gathered.bytes += cost_bytes;
        gathered.entered += 1;
        let Batch { bytes, entries } = &mut gathered.batch;
        let start = bytes.len();
        encode_record(record, bytes);
        entries.push(Entry { partition, start, end: bytes.len(), ticket });
        Ok(())
    }

    /// Exchanges an empty batch for what has gathered; waits for it at most `wait`, and less when
    /// nudged. Says whether more can come.
    pub(super) fn take(&self, batch: &mut Batch, wait: Duration) -> bool {
        debug_assert!(batch.entries.is_empty(), "a batch is settled before the next is taken");
        batch.bytes.clear();
        let mut gathered = self.gathered.lock();
        if gathered.batch.entries.is_empty() && !gathered.closed && !gathered.nudged {
            self.changed.wait_for(&mut gathered, wait);
        }
        gathered.nudged = false;
        std::mem::swap(batch, &mut gathered.batch);
        !gathered.closed
    }

    /// Gives back the room of entries, whose tickets the caller settles before it takes the next.
    pub(super) fn release(&self, entries: &[Entry]) -> Released<'_> {
        let bytes = entries.iter().map(Entry::cost_bytes).sum();
        Released { queue: self, bytes, records: entries.len() as u64 }
    }

    /// Makes the commit thread look around although nothing was appended.
    pub(super) fn nudge(&self) {
        self.gathered.lock().nudged = true;
        self.changed.notify_one();
    }

    /// Refuses whatever comes from now on; what is in the queue is still written.
    pub(super) fn close(&self) {
        self.gathered.lock().closed = true;
        self.changed.notify_one();
    }

    /// After the commit thread died: nothing that waits will be written, and nobody waits for it.
    pub(super) fn abandon(&self) {
        let (waiting, entered) = {
            let mut gathered = self.gathered.lock();
            gathered.closed = true;
            (std::mem::take(&mut gathered.batch.entries), gathered.entered)
        };
        for entry in waiting {
            entry.ticket.settle(Err(AppendError::Unavailable));
        }
        self.settled.store(entered, Ordering::Release);
        self.settled_more.notify_waiters();
    }

    /// Waits until everything that was in the queue at the time of the call is settled.
    pub(super) async fn flushed(&self) {
        let entered = self.gathered.lock().entered;
        loop {
            let more = self.settled_more.notified();
            if self.settled.load(Ordering::Acquire) >= entered {
                return;
            }
            more.await;
        }
    }
}

/// Room that is given back, and counted as settled, when this is dropped.
#[derive(Debug)]
pub(super) struct Released<'a> {
    queue: &'a Queue,
    bytes: usize,
    records: u64,
}

impl Drop for Released<'_> {
    fn drop(&mut self) {
        self.queue.gathered.lock().bytes -= self.bytes;
        self.queue.settled.fetch_add(self.records, Ordering::AcqRel);
        self.queue.settled_more.notify_waiters();
    }
}
