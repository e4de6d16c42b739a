//! What a worker has in hand of its partition: the records at the position, the batch that the first of
//! them make, and what was read behind them while a statement was under way.
//!
//! Reading ahead spends the time in which the database works; nothing of it is sent before the
//! statement in front of it is known to be committed. Only what is there is taken, never waited for, so
//! that no batch comes later or is smaller for it. Whatever becomes of the statement in front, what was
//! read stays in its order behind it; it goes where the worker ends, or reads from another position.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use self_cell::self_cell;
use shared::log::{ReadBounds, ReadError, Reader, Record};
use shared::position::{Offset, PartitionId};

use super::Shared;
use crate::batch::{Batch, Context, Refusals, Row};
use crate::resolution::Stored;

/// What the batches that were read ahead may take in one process, together. At the bound nobody reads
/// ahead; it is passed by the batches that are just being read, one for each thread at most.
const AHEAD_BYTES_MAX: usize = 64 << 20;

type Made<'r> = Option<Batch<'r>>;

self_cell! {
    struct Cell {
        owner: Vec<Record>,
        #[covariant]
        dependent: Made,
    }
}

/// Records, and the batch that the first of them make.
pub(super) struct Decoded {
    cell: Cell,
    took: Duration,
}

impl Decoded {
    fn of(records: Vec<Record>, take: usize, context: &Context<'_>) -> Self {
        let started = Instant::now();
        let cell = Cell::new(records, |records| Batch::decode(&records[..take], context));
        Self { cell, took: started.elapsed() }
    }

    /// `None` where nothing of it is above the position.
    pub(super) fn batch(&self) -> Option<&Batch<'_>> {
        self.cell.borrow_dependent().as_ref()
    }

    /// See [`Batch::hold_back`].
    pub(super) fn hold_back(&mut self, waiting: &HashSet<String>, tries: i32) {
        self.cell.with_dependent_mut(|_, batch| {
            if let Some(batch) = batch {
                batch.hold_back(waiting, tries);
            }
        });
    }

    /// Whether a batch of so many takes all of the records.
    pub(super) fn is_whole(&self, take: usize) -> bool {
        take == self.records().len()
    }

    /// How many of the records stand before an offset.
    pub(super) fn before(&self, offset: Offset) -> usize {
        self.records().partition_point(|record| record.position.offset < offset)
    }

    /// How long decoding took.
    pub(super) fn took(&self) -> Duration {
        self.took
    }

    fn records(&self) -> &[Record] {
        self.cell.borrow_owner()
    }

    /// Whether it was made for a writer that stands there.
    fn fits(&self, claim: Stored) -> bool {
        let fits = |batch: &Batch<'_>| (batch.epoch, batch.expected) == (claim.epoch, claim.next);
        self.batch().is_some_and(fits)
    }
}

/// What all that was read ahead in this process takes.
#[derive(Debug, Default)]
pub struct AheadBytes(AtomicUsize);

/// One batch's part of it, until it is not ahead any more.
struct Held(Arc<Shared>, usize);

impl Held {
    fn of(shared: &Arc<Shared>, records: &[Record]) -> Self {
        let records = records.iter().map(|one| one.size_bytes() + size_of::<Row<'_>>());
        let bytes = records.sum();
        shared.ahead.0.fetch_add(bytes, Ordering::Relaxed);
        Self(Arc::clone(shared), bytes)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.ahead.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// What was read ahead.
enum Ahead {
    /// Most often less than a batch: more may have come by the time they are in hand.
    Records(Vec<Record>),
    /// A whole batch.
    Decoded(Decoded),
}

/// See the module.
pub(super) struct Hand {
    shared: Arc<Shared>,
    bounds: ReadBounds,
    /// From the position on, while they are not decoded.
    records: Vec<Record>,
    /// The same, where they were decoded before they were in hand.
    ready: Option<Decoded>,
    ahead: Option<(Ahead, Held)>,
    /// What the log said instead of records, for the next read to tell.
    error: Option<ReadError>,
}

impl Hand {
    /// Nothing yet. Reads keep to the bounds.
    pub(super) fn new(shared: Arc<Shared>, bounds: ReadBounds) -> Self {
        Self { shared, bounds, records: Vec::new(), ready: None, ahead: None, error: None }
    }

    /// The records at the position; those that were read ahead are not among them.
    pub(super) fn records(&self) -> &[Record] {
        self.ready.as_ref().map_or(&self.records, Decoded::records)
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.records().is_empty()
    }

    /// Whether they were decoded before they were in hand.
    pub(super) fn is_ready(&self) -> bool {
        self.ready.is_some()
    }

    /// The record at the position, where it was read already.
    pub(super) fn first(&self) -> Option<&Record> {
        let ahead = self.ahead.as_ref().map(|(ahead, _)| match ahead {
            Ahead::Records(records) => records.as_slice(),
            Ahead::Decoded(decoded) => decoded.records(),
        });
        self.records().first().or_else(|| ahead?.first())
    }

    /// Has the next records in hand, where it has none: what was read ahead, and what there is behind
    /// it. Waits for the first one at most as long as the bounds say. Cancel safe.
    pub(super) async fn fill(&mut self, reader: &mut Reader) -> Result<(), ReadError> {
        match self.ahead.take() {
            Some((Ahead::Decoded(decoded), _)) => {
                self.ready = Some(decoded);
                return Ok(());
            }
            Some((Ahead::Records(records), _)) => self.records = records,
            None => {}
        }
        if let Some(error) = self.error.take() {
            return self.tell(error);
        }
        let Some(bounds) = self.room() else { return Ok(()) };
        match reader.read(&bounds, &mut self.records).await {
            Ok(()) => {}
            Err(error) => return self.tell(error),
        }
        if self.records.is_empty() {
            // Many partitions are idle for long, and had a full batch once.
            self.records = Vec::new();
        }
        Ok(())
    }

    /// Takes what is in the log behind what is in hand, and decodes it where it is a whole batch, for
    /// a writer that then stands there.
    pub(super) async fn read_ahead(&mut self, reader: &mut Reader, id: PartitionId, then: Stored) {
        let shared = &self.shared;
        let used = shared.ahead.0.load(Ordering::Relaxed);
        if self.ahead.is_some() || self.error.is_some() || used >= AHEAD_BYTES_MAX {
            return;
        }
        let bounds = ReadBounds { wait: Duration::ZERO, ..self.bounds };
        let mut records = Vec::new();
        if let Err(error) = reader.read(&bounds, &mut records).await {
            self.error = Some(error);
        }
        if records.is_empty() {
            return;
        }
        let held = Held::of(shared, &records);
        // Which timestamps are plausible is not for a clock that is off to say.
        let ahead = if is_full(&self.bounds, &records) && shared.skew.agrees() {
            let context = Context {
                id,
                epoch: then.epoch,
                expected: then.next,
                width: shared.width,
                now: shared.clock.now(),
                router: &shared.router,
                refused: &Refusals::default(),
            };
            let take = records.len();
            Ahead::Decoded(Decoded::of(records, take, &context))
        } else {
            Ahead::Records(records)
        };
        self.ahead = Some((ahead, held));
    }

    /// The first `take` records in hand as a batch, and all that are in hand with it, until they are
    /// put back.
    pub(super) fn decode(&mut self, take: usize, claim: Stored, context: &Context<'_>) -> Decoded {
        match self.ready.take() {
            Some(ready) if ready.is_whole(take) && ready.fits(claim) => ready,
            Some(other) => Decoded::of(other.cell.into_owner(), take, context),
            None => Decoded::of(std::mem::take(&mut self.records), take, context),
        }
    }

    /// What was decoded is records again; so many of the first are done with.
    pub(super) fn put_back(&mut self, decoded: Decoded, done: usize) {
        self.records = decoded.cell.into_owner();
        self.records.drain(..done);
    }

    /// What was decoded by a clock that has proved wrong since is to be decoded anew.
    pub(super) fn undo(&mut self) {
        if let Some(ready) = self.ready.take() {
            self.put_back(ready, 0);
        }
    }

    /// What was read before an error is applied before it is told.
    fn tell(&mut self, error: ReadError) -> Result<(), ReadError> {
        if self.records.is_empty() {
            return Err(error);
        }
        self.error = Some(error);
        Ok(())
    }

    /// What may be read behind the records in hand; `None` where they are a whole batch.
    fn room(&self) -> Option<ReadBounds> {
        let mut bounds = self.bounds;
        if !self.records.is_empty() {
            bounds.records_max = bounds.records_max.checked_sub(self.records.len())?;
            bounds.bytes_max = bounds.bytes_max.checked_sub(bytes(&self.records))?;
            bounds.wait = Duration::ZERO;
        }
        (bounds.records_max > 0 && bounds.bytes_max > 0).then_some(bounds)
    }
}

fn is_full(bounds: &ReadBounds, records: &[Record]) -> bool {
    records.len() >= bounds.records_max || bytes(records) >= bounds.bytes_max
}

fn bytes(records: &[Record]) -> usize {
    records.iter().map(Record::size_bytes).sum()
}
