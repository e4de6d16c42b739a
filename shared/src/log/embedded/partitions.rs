//! What readers and writers share of each partition: the watermarks. The commit thread alone moves
//! `low` and `end`; nothing here touches the disk.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::Notify;

use crate::position::{Offset, PartitionId};

/// Stands for "no position was mirrored yet".
const NOT_MIRRORED: i64 = -1;

/// The partitions of the log, found by id or by index.
#[derive(Debug)]
pub(super) struct Partitions {
    index: BTreeMap<PartitionId, usize>,
    all: Vec<Watermarks>,
}

impl Partitions {
    pub(super) fn new(all: Vec<Watermarks>) -> Self {
        Self { index: all.iter().enumerate().map(|(index, it)| (it.id, index)).collect(), all }
    }

    pub(super) fn index_of(&self, id: PartitionId) -> Option<usize> {
        self.index.get(&id).copied()
    }

    pub(super) fn get(&self, index: usize) -> &Watermarks {
        &self.all[index]
    }
}

/// One partition's watermarks.
#[derive(Debug)]
pub(super) struct Watermarks {
    pub(super) id: PartitionId,
    low: AtomicI64,
    end: AtomicI64,
    mirrored: AtomicI64,
    /// Woken whenever `end` moved.
    pub(super) appended: Notify,
}

impl Watermarks {
    pub(super) fn new(id: PartitionId, low: i64, end: i64, mirrored: Option<Offset>) -> Self {
        Self {
            id,
            low: AtomicI64::new(low),
            end: AtomicI64::new(end),
            mirrored: AtomicI64::new(mirrored.map_or(NOT_MIRRORED, |offset| offset.0)),
            appended: Notify::new(),
        }
    }

    /// The oldest offset that may still have a record.
    pub(super) fn low(&self) -> Offset {
        Offset(self.low.load(Ordering::Acquire))
    }

    /// The offset after the newest durable record: readers see nothing from here on.
    pub(super) fn end(&self) -> Offset {
        Offset(self.end.load(Ordering::Acquire))
    }

    /// The applied position, if one was said.
    pub(super) fn mirrored(&self) -> Option<Offset> {
        match self.mirrored.load(Ordering::Acquire) {
            NOT_MIRRORED => None,
            offset => Some(Offset(offset)),
        }
    }

    /// Everything below this is applied and may be deleted.
    pub(super) fn applied(&self) -> Offset {
        self.mirrored().map_or(self.low(), |mirrored| mirrored.min(self.end()))
    }

    /// Takes a mirrored position; it may go back, when the database did.
    pub(super) fn mirror(&self, next: Offset) {
        self.mirrored.store(next.0.max(0), Ordering::Release);
    }

    /// Makes records up to `end` visible. The caller has made them durable.
    pub(super) fn advance(&self, end: i64) {
        let before = self.end.swap(end, Ordering::AcqRel);
        assert!(before < end, "the durable watermark went back: offsets would be reused");
        self.appended.notify_waiters();
    }

    /// Gives up everything below `low`. Called before the deletion, so that no reader takes a hole
    /// that it makes for the log's own.
    pub(super) fn raise_low(&self, low: i64) {
        let before = self.low.swap(low, Ordering::AcqRel);
        assert!(before <= low, "the low watermark went back: deleted records would be missed");
    }
}
