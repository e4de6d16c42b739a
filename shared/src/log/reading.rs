//! The reading side of the log: who owns which partition, and its records in order.
//!
//! Order of an assignment: [`Change::Assigned`] → the consumer claims the partition in its database
//! → [`Subscription::start`] at the stored position → [`Reader::read`]. The log delivers nothing
//! before `start`: the fence comes first. A position outside the log is an error, never a jump.

use std::collections::BTreeMap;
use std::future::ready;
use std::ops::ControlFlow;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use futures_util::future::Either;

use super::{LogEnd, Record, embedded, kafka, memory};
use crate::clock::Millis;
use crate::position::{Offset, PartitionId};

/// A change of what this process owns.
#[derive(Debug)]
pub enum Change {
    /// These partitions are ours now: claim, then start each.
    Assigned(Vec<PartitionId>),
    /// These are to be given up: stop their writers, mirror their positions, then say so. The group
    /// waits for that, at most the drain bound.
    Revoked(Vec<PartitionId>, Drained),
    /// These were taken from us already: stop their writers, mirror nothing.
    Lost(Vec<PartitionId>),
}

/// Says that the writers of revoked partitions have stopped. Dropping it says so too.
#[derive(Debug)]
pub struct Drained(pub(super) Option<SyncSender<()>>);

impl Drop for Drained {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            // The group may have stopped waiting; then nobody needs to know.
            let _ = sender.try_send(());
        }
    }
}

/// How much one read may return, and how long it may wait for the first record.
#[derive(Clone, Copy, Debug)]
pub struct ReadBounds {
    /// At most so many records.
    pub records_max: usize,
    /// Stop after the record that reaches so many bytes ([`Record::size_bytes`]).
    pub bytes_max: usize,
    /// Return empty-handed after this long.
    pub wait: Duration,
}

/// Why no records come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The position is not in the log any more, or not yet (retention, recreated topic).
    #[error("offset {} is outside the log, which holds {} to {}", .wanted.0, .low.0, .end.0)]
    Gap {
        /// The position to read from.
        wanted: Offset,
        /// The oldest record that is left.
        low: Offset,
        /// The offset after the newest record.
        end: Offset,
    },
    /// The log cannot be read now; it is tried again.
    #[error("the log cannot be read: {0}")]
    Unavailable(String),
    /// The partition is not ours any more.
    #[error("the partition was taken away")]
    Revoked,
}

/// Membership: the stream of changes, and the start of each partition.
#[derive(Debug)]
pub enum Subscription {
    /// A Kafka consumer group.
    Kafka(kafka::Group),
    /// All partitions of the embedded log, for as long as the process lives.
    Embedded(embedded::Assignment),
    /// All partitions of the memory log.
    Memory(memory::Assignment),
}

impl Subscription {
    /// The next change; `None` after [`Subscription::leave`] has given everything back.
    pub async fn next(&mut self) -> Option<Change> {
        match self {
            Self::Kafka(group) => group.next().await,
            Self::Embedded(assignment) => assignment.next().await,
            Self::Memory(assignment) => assignment.next().await,
        }
    }

    /// Where a partition without a stored position begins: the group's mirrored offset if there is
    /// one, else the oldest record that is left.
    ///
    /// Like [`Subscription::start`], the future borrows nothing: whoever waits for it must not stop
    /// listening to [`Subscription::next`] meanwhile, or a revocation would wait for the waiter.
    pub fn first_position(
        &self,
        id: PartitionId,
    ) -> impl Future<Output = Result<Offset, ReadError>> + Send + use<> {
        match self {
            Self::Kafka(group) => Either::Left(group.first_position(id)),
            Self::Embedded(assignment) => Either::Right(ready(assignment.first_position(id))),
            Self::Memory(assignment) => Either::Right(ready(assignment.first_position(id))),
        }
    }

    /// Starts delivery of an assigned partition at `from`.
    pub fn start(
        &self,
        id: PartitionId,
        from: Offset,
    ) -> impl Future<Output = Result<Reader, ReadError>> + Send + use<> {
        let asked = match self {
            Self::Kafka(group) => Either::Left(group.start(id, from)),
            Self::Embedded(assignment) => {
                Either::Right(ready(assignment.start(id, from).map(Reader::Embedded)))
            }
            Self::Memory(assignment) => {
                Either::Right(ready(assignment.start(id, from).map(Reader::Memory)))
            }
        };
        async move {
            match asked {
                Either::Left(started) => started.await.map(Reader::Kafka),
                Either::Right(started) => started.await,
            }
        }
    }

    /// Begins to give everything back: the last changes come from [`Subscription::next`], then `None`.
    pub fn leave(&mut self) {
        match self {
            Self::Kafka(group) => group.leave(),
            Self::Embedded(assignment) => assignment.leave(),
            Self::Memory(assignment) => assignment.leave(),
        }
    }
}

/// The records of one partition, in order, without gaps.
#[derive(Debug)]
pub enum Reader {
    /// A partition queue split from a Kafka consumer.
    Kafka(kafka::PartitionReader),
    /// A cursor in the embedded log.
    Embedded(embedded::PartitionReader),
    /// A cursor in the memory log.
    Memory(memory::PartitionReader),
}

impl Reader {
    /// Appends the next records to `into`; waits for the first at most `bounds.wait`. Not polling is
    /// the back-pressure: what is not read stays in the log. Cancel safe.
    pub async fn read(
        &mut self,
        bounds: &ReadBounds,
        into: &mut Vec<Record>,
    ) -> Result<(), ReadError> {
        match self {
            Self::Kafka(reader) => reader.read(bounds, into).await,
            Self::Embedded(reader) => reader.read(bounds, into).await,
            Self::Memory(reader) => reader.read(bounds, into).await,
        }
    }

    /// The offset after the newest record, as far as this reader knows.
    pub fn end(&self) -> Offset {
        match self {
            Self::Kafka(reader) => reader.end(),
            Self::Embedded(reader) => reader.end(),
            Self::Memory(reader) => reader.end(),
        }
    }

    /// The same for others to look at, without the reader.
    pub fn watch_end(&self) -> LogEnd {
        match self {
            Self::Kafka(reader) => LogEnd::Kafka(reader.watch_end()),
            Self::Embedded(reader) => LogEnd::Embedded(reader.watch_end()),
            Self::Memory(reader) => LogEnd::Memory(reader.watch_end()),
        }
    }

    /// Mirrors a committed position to the log, for tools and autoscalers. It may fail or be late:
    /// nothing is decided by it. In the embedded log it also frees what retention may delete.
    pub fn mirror(&self, next: Offset) {
        match self {
            Self::Kafka(reader) => reader.mirror(next),
            Self::Embedded(reader) => reader.mirror(next),
            Self::Memory(reader) => reader.mirror(next),
        }
    }
}

/// Looks at records without consuming them: for `shock ctl events find`. Blocking: call it from
/// `spawn_blocking`.
#[derive(Debug)]
pub enum Scanner {
    /// A Kafka consumer outside any group.
    Kafka(kafka::Scanner),
    /// A snapshot of the embedded log.
    Embedded(embedded::EmbeddedLog),
    /// The memory log.
    Memory(memory::MemoryLog),
}

impl Scanner {
    /// The oldest offset and the offset after the newest record of a partition.
    pub fn range(&self, id: PartitionId) -> Result<(Offset, Offset), ReadError> {
        match self {
            Self::Kafka(scanner) => scanner.range(id),
            Self::Embedded(log) => log.range(id),
            Self::Memory(log) => log.range(id),
        }
    }

    /// Visits the records from `from` (or the oldest that is left, if later) to `to`, exclusive, in
    /// order, until the visitor breaks.
    pub fn scan(
        &self,
        id: PartitionId,
        from: Offset,
        to: Offset,
        visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        match self {
            Self::Kafka(scanner) => scanner.scan(id, from, to, visit),
            Self::Embedded(log) => log.scan(id, from, to, visit),
            Self::Memory(log) => log.scan(id, from, to, visit),
        }
    }

    /// The mirrored position of each of these partitions that has one: what [`Reader::mirror`] left
    /// with the log, or what somebody else has put in its place.
    pub fn mirrored(
        &self,
        ids: &[PartitionId],
    ) -> Result<BTreeMap<PartitionId, Offset>, ReadError> {
        let each = |mirrored: &dyn Fn(PartitionId) -> Option<Offset>| {
            ids.iter().filter_map(|id| Some((*id, mirrored(*id)?))).collect()
        };
        match self {
            Self::Kafka(scanner) => scanner.mirrored(ids),
            Self::Embedded(log) => Ok(each(&|id| log.mirrored(id))),
            Self::Memory(log) => Ok(each(&|id| log.mirrored(id))),
        }
    }

    /// The first record whose timestamp is not before `time`; `None` where there is none. The order
    /// of timestamps is the writers' affair: later records may be older.
    pub fn offset_at(&self, id: PartitionId, time: Millis) -> Result<Option<Offset>, ReadError> {
        if let Self::Kafka(scanner) = self {
            return scanner.offset_at(id, time);
        }
        let mut found = None;
        let mut visit = |record: &Record| {
            if record.timestamp < time {
                return ControlFlow::Continue(());
            }
            found = Some(record.position.offset);
            ControlFlow::Break(())
        };
        self.scan(id, Offset(0), Offset(i64::MAX), &mut visit)?;
        Ok(found)
    }
}
