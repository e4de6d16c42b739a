//! The log in memory: for tests and benches. Same contract as the others, but it dies with the
//! process, and its failures are scripted.

mod publisher;
mod records;

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use parking_lot::Mutex;
use tokio::sync::Notify;

pub use self::publisher::PublisherMemory;
use self::records::Records;
use super::{AppendError, Change, Drained, NewRecord, ReadBounds, ReadError, Record, Ticket};
use crate::position::{Offset, PartitionId, Position};

/// Records in memory. Cheap to clone; all clones are one log.
#[derive(Clone, Debug)]
pub struct MemoryLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    ids: Vec<PartitionId>,
    /// A partition keeps at least this many bytes and less than about twice as many.
    kept_bytes_min: usize,
    state: Mutex<State>,
    appended: Notify,
    moved: Notify,
}

#[derive(Debug, Default)]
struct State {
    changes: VecDeque<Change>,
    partitions: BTreeMap<PartitionId, Records>,
    mirrored: BTreeMap<PartitionId, Offset>,
    script: VecDeque<Fault>,
    held: Vec<Ticket>,
}

/// What happens to one append, in the order in which they are scripted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is written, the ticket says so.
    Refuse(AppendError),
    /// The record is written, but nobody says so: the ticket stays open.
    Silent,
    /// The append works.
    Pass,
}

impl MemoryLog {
    /// An empty log of these partitions, which keeps everything.
    pub fn new(ids: impl IntoIterator<Item = PartitionId>) -> Self {
        Self::keeping(ids, usize::MAX)
    }

    /// An empty log of these partitions. Each keeps its newest `kept_bytes_min` bytes, and up to
    /// about as many again: for benches, which append without end.
    pub fn keeping(ids: impl IntoIterator<Item = PartitionId>, kept_bytes_min: usize) -> Self {
        Self(Arc::new(Shared {
            ids: ids.into_iter().collect(),
            kept_bytes_min,
            state: Mutex::default(),
            appended: Notify::new(),
            moved: Notify::new(),
        }))
    }

    /// Takes partitions away from whoever has them, as a rebalance would; the receiver hears when
    /// their writers have stopped.
    pub fn revoke(&self, ids: Vec<PartitionId>) -> Receiver<()> {
        let (done, drained) = sync_channel(1);
        self.0.state.lock().changes.push_back(Change::Revoked(ids, Drained(Some(done))));
        self.0.moved.notify_one();
        drained
    }

    /// The next appends meet these fates; after them, appends pass again.
    pub fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.0.state.lock().script.extend(faults);
    }

    /// Everything in the log, partition by partition, in order.
    pub fn records(&self) -> Vec<Record> {
        let state = self.0.state.lock();
        state.partitions.iter().flat_map(|(id, kept)| kept.from(*id, kept.low())).collect()
    }

    /// The last position mirrored for a partition.
    pub fn mirrored(&self, id: PartitionId) -> Option<Offset> {
        self.0.state.lock().mirrored.get(&id).copied()
    }

    /// See [`super::Log::append`].
    pub fn append(&self, record: &NewRecord<'_>, ticket: Ticket) {
        let mut state = self.0.state.lock();
        let fault = state.script.pop_front().unwrap_or(Fault::Pass);
        if let Fault::Refuse(error) = fault {
            drop(state);
            ticket.settle(Err(error));
            return;
        }
        let kept_bytes_min = self.0.kept_bytes_min;
        let partition =
            state.partitions.entry(record.id).or_insert_with(|| Records::new(kept_bytes_min));
        let position = Position { id: record.id, offset: partition.push(record) };
        if fault == Fault::Silent {
            state.held.push(ticket);
            drop(state);
        } else {
            drop(state);
            ticket.settle(Ok(position));
        }
        self.0.appended.notify_waiters();
    }

    /// See [`super::Scanner::range`].
    pub fn range(&self, id: PartitionId) -> Result<(Offset, Offset), ReadError> {
        let state = self.0.state.lock();
        let kept = state.partitions.get(&id).map(|kept| (kept.low(), kept.end()));
        Ok(kept.unwrap_or((Offset(0), Offset(0))))
    }

    /// See [`super::Scanner::scan`].
    pub fn scan(
        &self,
        id: PartitionId,
        from: Offset,
        to: Offset,
        visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let state = self.0.state.lock();
        let kept = state.partitions.get(&id).into_iter().flat_map(|kept| kept.from(id, from));
        for record in kept.take_while(|record| record.position.offset < to) {
            if visit(&record).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// All partitions, for one reader for ever.
    pub fn subscribe(&self) -> Assignment {
        Assignment { log: self.clone(), stage: Stage::Fresh, left: Notify::new() }
    }

    fn end(&self, id: PartitionId) -> Offset {
        self.0.state.lock().partitions.get(&id).map_or(Offset(0), Records::end)
    }
}

/// All partitions, from [`MemoryLog::subscribe`].
#[derive(Debug)]
pub struct Assignment {
    log: MemoryLog,
    stage: Stage,
    left: Notify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Fresh,
    Assigned,
    Leaving,
    Left,
}

impl Assignment {
    /// See [`super::Subscription::next`].
    pub async fn next(&mut self) -> Option<Change> {
        loop {
            match self.stage {
                Stage::Fresh => {
                    self.stage = Stage::Assigned;
                    return Some(Change::Assigned(self.log.0.ids.clone()));
                }
                Stage::Assigned => {
                    if let Some(change) = self.log.0.state.lock().changes.pop_front() {
                        return Some(change);
                    }
                    tokio::select! {
                        () = self.left.notified() => {}
                        () = self.log.0.moved.notified() => {}
                    }
                }
                Stage::Leaving => {
                    self.stage = Stage::Left;
                    return Some(Change::Revoked(self.log.0.ids.clone(), super::Drained(None)));
                }
                Stage::Left => return None,
            }
        }
    }

    /// See [`super::Subscription::first_position`].
    pub fn first_position(&self, id: PartitionId) -> Result<Offset, ReadError> {
        Ok(self.log.mirrored(id).unwrap_or(Offset(0)))
    }

    /// See [`super::Subscription::start`].
    pub fn start(&self, id: PartitionId, from: Offset) -> Result<PartitionReader, ReadError> {
        Ok(PartitionReader { log: self.log.clone(), id, next: from })
    }

    /// See [`super::Subscription::leave`].
    pub fn leave(&mut self) {
        if self.stage != Stage::Left {
            self.stage = Stage::Leaving;
            self.left.notify_one();
        }
    }
}

/// A cursor in one partition.
#[derive(Debug)]
pub struct PartitionReader {
    log: MemoryLog,
    id: PartitionId,
    next: Offset,
}

impl PartitionReader {
    /// See [`super::Reader::read`].
    pub async fn read(
        &mut self,
        bounds: &ReadBounds,
        into: &mut Vec<Record>,
    ) -> Result<(), ReadError> {
        let (low, end) = self.log.range(self.id)?;
        if self.next < low || self.next > end {
            return Err(ReadError::Gap { wanted: self.next, low, end });
        }
        let appended = self.log.0.appended.notified();
        if self.next == self.log.end(self.id) {
            let _ = tokio::time::timeout(bounds.wait, appended).await;
        }
        let (mut records, mut bytes) = (0, 0);
        self.log.scan(self.id, self.next, Offset(i64::MAX), &mut |record| {
            bytes += record.size_bytes();
            records += 1;
            into.push(record.clone());
            self.next = record.position.offset.next();
            match records >= bounds.records_max || bytes >= bounds.bytes_max {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })
    }

    /// See [`super::Reader::end`].
    pub fn end(&self) -> Offset {
        self.log.end(self.id)
    }

    /// See [`super::Reader::watch_end`].
    pub fn watch_end(&self) -> PartitionEnd {
        PartitionEnd { log: self.log.clone(), id: self.id }
    }

    /// See [`super::Reader::mirror`].
    pub fn mirror(&self, next: Offset) {
        self.log.0.state.lock().mirrored.insert(self.id, next);
    }
}

/// See [`super::LogEnd`].
#[derive(Debug)]
pub struct PartitionEnd {
    log: MemoryLog,
    id: PartitionId,
}

impl PartitionEnd {
    /// The offset after the newest record.
    pub fn get(&self) -> Offset {
        self.log.end(self.id)
    }
}
