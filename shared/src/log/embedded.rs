//! The embedded durable log: one process, one directory, no services.
//!
//! It stands on fjall, a log-structured store with a checksummed journal. An append is put into a
//! bounded queue and never waits; one thread takes what has gathered, gives each record the next
//! offset of its partition, commits all of it as one atomic batch with one fsync, and only then
//! moves the watermark up to which readers see, and settles the tickets. While it waits for the
//! disk, the next batch gathers: that is the whole group commit.
//!
//! What it promises, and where each promise is kept:
//! - A ticket settled with a position is on disk (`commit.rs`; fjall's `SyncAll` is `fsync` of the
//!   journal). A batch that a crash tore is discarded whole when the log is opened; no ticket of it
//!   was settled.
//! - Durable before visible: readers see nothing above the watermark (`partitions.rs`).
//! - No offset is given twice, nor one below the position that the consumer's database has passed:
//!   the next offset is the greater of the log's end and that position (`recovery.rs`).
//! - After a failed commit nothing is written any more until the process starts again: the failed
//!   batch is unknown, what comes later is refused (`commit.rs`).
//! - Retention deletes only what was applied (`retention.rs`). Where what is *not* applied alone is
//!   more than `retention_bytes`, appends are refused as full until the consumer catches up.
//!
//! Not promised: records on a disk that changes what it has synced. Where fjall meets a journal entry
//! that does not decode, it takes it for the end and drops what follows; where a whole batch fails
//! its checksum, the log refuses to open. After a power cut (not after a killed process) the second
//! can be a batch that was never acknowledged.
//!
//! It never retries an append, and never opens a directory that another process holds.

mod commit;
mod encoding;
mod lock;
mod partitions;
mod queue;
mod reading;
mod recovery;
mod retention;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

pub use self::encoding::DecodeError;
pub use self::lock::DataDirectory;
use self::partitions::{Partitions, Watermarks};
use self::queue::Queue;
pub use self::reading::{Assignment, PartitionEnd, PartitionReader};
use self::store::Store;
use super::{AppendError, NewRecord, ReadError, Record, Ticket};
use crate::clock::Clock;
use crate::config::EmbeddedConfig;
use crate::position::{Offset, PartitionId};

/// Free disk space below which nothing is appended, besides the room for a full queue: the store
/// writes in the background too (a memtable to a table, tables into one another), and a write of
/// its own that finds the disk full would stop it until a restart.
const DISK_RESERVE_BYTES: u64 = 256 * 1024 * 1024;

/// The longest [`EmbeddedLog::flush`] waits: a disk that hangs must not hang a drain for ever.
const FLUSH_WAIT_MAX: Duration = Duration::from_secs(30);

/// Why the log does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses the directory.
    #[error(
        "the data directory {} is in use by {}",
        .directory.display(),
        .pid.map_or("another process".to_owned(), |pid| format!("the process with pid {pid}"))
    )]
    Locked {
        /// The data directory.
        directory: PathBuf,
        /// Its holder, where it could be read.
        pid: Option<u32>,
    },
    /// The directory cannot be made or used.
    #[error("the data directory {} cannot be used: {source}", .directory.display())]
    Directory {
        /// The data directory.
        directory: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The store under the log does not open; its files are as they were.
    #[error("the log in {} does not open: {source}", .directory.display())]
    Store {
        /// The log's directory.
        directory: PathBuf,
        /// What the store says.
        source: fjall::Error,
    },
    /// The store's files are damaged in a way that the store does not expect; they are as they were.
    #[error("the log in {} is damaged and does not open", .directory.display())]
    Unreadable {
        /// The log's directory.
        directory: PathBuf,
    },
    /// The store under the log opened, but cannot be read.
    #[error("the log cannot be read: {0}")]
    Read(#[source] fjall::Error),
    /// An entry of the log is not what this program writes.
    #[error("the log holds an entry that cannot be read: {0}")]
    Damaged(#[from] DecodeError),
    /// Records wait in a partition that the configuration does not have: they would never be
    /// applied.
    #[error(
        "the log holds {records} records of partition {id} that are not applied, but the \
         configuration has no such partition"
    )]
    UnknownPartition {
        /// The partition.
        id: PartitionId,
        /// How many offsets of it are not applied.
        records: i64,
    },
}

/// The log. Cheap to clone; all clones, readers and assignments are one log, which closes when the
/// last of them is dropped (that blocks until the queue is written).
#[derive(Clone)]
pub struct EmbeddedLog(Arc<Owner>);

/// Owns the thread. Fields are dropped in this order: the store before the directory's lock.
struct Owner {
    core: Arc<Core>,
    thread: Mutex<Option<JoinHandle<()>>>,
    ids: Vec<PartitionId>,
    _directory: DataDirectory,
}

/// What the commit thread and everybody else share.
struct Core {
    store: Store,
    partitions: Partitions,
    queue: Queue,
    /// A commit failed: nothing is written any more.
    poisoned: AtomicBool,
    /// What is not applied alone is more than retention allows.
    backlog_full: AtomicBool,
    /// See [`DISK_RESERVE_BYTES`]; a test raises it to fill the disk.
    disk_reserve_bytes: AtomicU64,
}

impl EmbeddedLog {
    /// Opens the log in a directory that is locked already: what else lives there (the database
    /// that `positions` come from) must not be another process's either. `ids` are the partitions
    /// that appends may name; `positions` are the applied positions from the consumer's database.
    /// Blocking: it replays the journals, at most some 200 MiB.
    pub fn open(
        directory: DataDirectory,
        config: &EmbeddedConfig,
        ids: Vec<PartitionId>,
        positions: &BTreeMap<PartitionId, Offset>,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let in_directory =
            |source| OpenError::Directory { directory: directory.path().to_owned(), source };
        let store = Store::open(directory.path())?;
        let stands = recovery::recover(&store, &ids, positions)?;
        let watermarks = stands
            .iter()
            .map(|(id, stand)| {
                Watermarks::new(*id, stand.low, stand.next, positions.get(id).copied())
            })
            .collect();
        let reserve_bytes = DISK_RESERVE_BYTES + config.queue_bytes_max as u64;
        let core = Arc::new(Core {
            store,
            partitions: Partitions::new(watermarks),
            queue: Queue::new(config.queue_bytes_max),
            poisoned: AtomicBool::new(false),
            backlog_full: AtomicBool::new(false),
            disk_reserve_bytes: AtomicU64::new(reserve_bytes),
        });
        let stands = stands.into_iter().map(|(_, stand)| stand).collect();
        let thread = commit::spawn(Arc::clone(&core), stands, config, clock);
        let thread = Mutex::new(Some(thread.map_err(in_directory)?));
        tracing::info!(directory = %directory.path().display(), "embedded log opened");
        Ok(Self(Arc::new(Owner { core, thread, ids, _directory: directory })))
    }

    /// See [`super::Log::append`].
    pub fn append(&self, record: &NewRecord<'_>, ticket: Ticket) {
        let core = &self.0.core;
        let index = core.partitions.index_of(record.id);
        debug_assert!(
            index.is_some(),
            "routing names a partition that the log was not opened with"
        );
        match index {
            Some(index) if !core.poisoned() => match core.backlog_full.load(Ordering::Relaxed) {
                true => ticket.settle(Err(AppendError::Full)),
                false => core.queue.push(index, record, ticket),
            },
            _ => ticket.settle(Err(AppendError::Unavailable)),
        }
    }

    /// See [`super::Log::flush`].
    pub async fn flush(&self) {
        let flushed = self.0.core.queue.flushed();
        if tokio::time::timeout(FLUSH_WAIT_MAX, flushed).await.is_err() {
            tracing::warn!(waited = ?FLUSH_WAIT_MAX, "the log was not flushed in time");
        }
    }

    /// See [`super::Scanner::range`].
    pub fn range(&self, id: PartitionId) -> Result<(Offset, Offset), ReadError> {
        let watermarks = self.watermarks(id)?;
        Ok((watermarks.low(), watermarks.end()))
    }

    /// See [`super::Scanner::mirrored`].
    pub fn mirrored(&self, id: PartitionId) -> Option<Offset> {
        self.watermarks(id).ok().and_then(Watermarks::mirrored)
    }

    /// See [`super::Scanner::scan`].
    pub fn scan(
        &self,
        id: PartitionId,
        from: Offset,
        to: Offset,
        visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let (low, end) = self.range(id)?;
        for record in self.0.core.store.records(id, from.max(low), to.min(end)) {
            if visit(&record?).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// All partitions, for as long as the process lives.
    pub fn subscribe(&self) -> Assignment {
        Assignment::new(self.clone())
    }

    fn watermarks(&self, id: PartitionId) -> Result<&Watermarks, ReadError> {
        let partitions = &self.0.core.partitions;
        let unknown = || ReadError::Unavailable(format!("the log has no partition {id}"));
        partitions.index_of(id).map(|index| partitions.get(index)).ok_or_else(unknown)
    }
}

impl Core {
    fn poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Relaxed)
    }

    /// Stops all writing for good.
    fn poison(&self, error: &dyn fmt::Display) {
        if !self.poisoned.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "the embedded log failed and takes no more events until a restart");
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.core.queue.close();
        if let Some(thread) = self.thread.get_mut().take() {
            // A thread that panicked has said so, and has abandoned the queue.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for EmbeddedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedLog")
            .field("partitions", &self.0.ids.len())
            .field("poisoned", &self.0.core.poisoned())
            .finish_non_exhaustive()
    }
}
