//! The reading side: all partitions for one reader, for as long as the process lives, and a cursor
//! in each. Waits are wake-ups by the commit thread, never polls. Disk reads run on blocking threads.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::EmbeddedLog;
use super::partitions::Watermarks;
use crate::log::{Change, Drained, ReadBounds, ReadError, Record};
use crate::position::{Offset, PartitionId};

/// All partitions, from [`EmbeddedLog::subscribe`].
#[derive(Debug)]
pub struct Assignment {
    log: EmbeddedLog,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Fresh,
    Assigned,
    Leaving,
    Left,
}

impl Assignment {
    pub(super) fn new(log: EmbeddedLog) -> Self {
        Self { log, stage: Stage::Fresh }
    }

    /// See [`crate::log::Subscription::next`].
    pub async fn next(&mut self) -> Option<Change> {
        let ids = &self.log.0.ids;
        match self.stage {
            Stage::Fresh => {
                self.stage = Stage::Assigned;
                Some(Change::Assigned(ids.clone()))
            }
            // Nothing changes until `leave`, which cannot be called while this waits.
            Stage::Assigned => std::future::pending().await,
            Stage::Leaving => {
                self.stage = Stage::Left;
                Some(Change::Revoked(ids.clone(), Drained(None)))
            }
            Stage::Left => None,
        }
    }

    /// See [`crate::log::Subscription::first_position`].
    pub fn first_position(&self, id: PartitionId) -> Result<Offset, ReadError> {
        let watermarks = self.log.watermarks(id)?;
        Ok(watermarks.mirrored().unwrap_or_else(|| watermarks.low()))
    }

    /// See [`crate::log::Subscription::start`].
    pub fn start(&self, id: PartitionId, from: Offset) -> Result<PartitionReader, ReadError> {
        let unknown = || ReadError::Unavailable(format!("the log has no partition {id}"));
        let partition = self.log.0.core.partitions.index_of(id).ok_or_else(unknown)?;
        Ok(PartitionReader { log: self.log.clone(), partition, next: from })
    }

    /// See [`crate::log::Subscription::leave`].
    pub fn leave(&mut self) {
        if self.stage != Stage::Left {
            self.stage = Stage::Leaving;
        }
    }
}

/// A cursor in one partition.
#[derive(Debug)]
pub struct PartitionReader {
    log: EmbeddedLog,
    partition: usize,
    next: Offset,
}

impl PartitionReader {
    /// See [`crate::log::Reader::read`].
    pub async fn read(
        &mut self,
        bounds: &ReadBounds,
        into: &mut Vec<Record>,
    ) -> Result<(), ReadError> {
        let deadline = Instant::now() + bounds.wait;
        loop {
            if !self.wait(deadline).await? {
                return Ok(());
            }
            let (log, partition, from, bounds) =
                (self.log.clone(), self.partition, self.next, *bounds);
            let (records, next) =
                tokio::task::spawn_blocking(move || read_from(&log, partition, from, &bounds))
                    .await
                    .map_err(|error| ReadError::Unavailable(error.to_string()))??;
            // From here on nothing is awaited: a read that is dropped has not moved the cursor.
            self.next = next;
            if !records.is_empty() {
                into.extend(records);
                return Ok(());
            }
        }
    }

    /// Waits until there is something from the cursor on; `false` when the deadline came first.
    async fn wait(&self, deadline: Instant) -> Result<bool, ReadError> {
        let watermarks = self.watermarks();
        loop {
            let appended = watermarks.appended.notified();
            check(watermarks, self.next)?;
            if self.next < watermarks.end() {
                return Ok(true);
            }
            if tokio::time::timeout_at(deadline.into(), appended).await.is_err() {
                return Ok(false);
            }
        }
    }

    /// See [`crate::log::Reader::end`].
    pub fn end(&self) -> Offset {
        self.watermarks().end()
    }

    /// See [`crate::log::Reader::watch_end`].
    pub fn watch_end(&self) -> PartitionEnd {
        PartitionEnd { log: self.log.clone(), partition: self.partition }
    }

    /// See [`crate::log::Reader::mirror`].
    pub fn mirror(&self, next: Offset) {
        self.watermarks().mirror(next);
        let core = &self.log.0.core;
        // Retention looks every second; only producers that are refused cannot wait for it.
        if core.backlog_full.load(Ordering::Relaxed) {
            core.queue.nudge();
        }
    }

    fn watermarks(&self) -> &Watermarks {
        self.log.0.core.partitions.get(self.partition)
    }
}

/// See [`crate::log::LogEnd`].
#[derive(Debug)]
pub struct PartitionEnd {
    log: EmbeddedLog,
    partition: usize,
}

impl PartitionEnd {
    /// The durable watermark.
    pub fn get(&self) -> Offset {
        self.log.0.core.partitions.get(self.partition).end()
    }
}

fn check(watermarks: &Watermarks, wanted: Offset) -> Result<(), ReadError> {
    let (low, end) = (watermarks.low(), watermarks.end());
    match low <= wanted && wanted <= end {
        true => Ok(()),
        false => Err(ReadError::Gap { wanted, low, end }),
    }
}

/// The records from `from` on within the bounds, and the offset after them. Offsets without a record
/// are passed over: only those that an opening skipped, never those that retention deleted.
fn read_from(
    log: &EmbeddedLog,
    partition: usize,
    from: Offset,
    bounds: &ReadBounds,
) -> Result<(Vec<Record>, Offset), ReadError> {
    let core = &log.0.core;
    let watermarks = core.partitions.get(partition);
    let end = watermarks.end();
    let (mut records, mut bytes, mut next) = (Vec::new(), 0, end);
    for record in core.store.records(watermarks.id, from, end) {
        let record = record?;
        bytes += record.size_bytes();
        let after = record.position.offset.next();
        records.push(record);
        if records.len() >= bounds.records_max || bytes >= bounds.bytes_max {
            next = after;
            break;
        }
    }
    // Retention gives offsets up before it deletes them: if `from` still stands, nothing was missed.
    check(watermarks, from).map(|()| (records, next))
}
