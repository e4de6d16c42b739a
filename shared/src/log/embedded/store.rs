//! The store under the log: fjall, opened with the options that the log relies on, and its records
//! in order. Nothing else names a path or an option of fjall.

use std::fs::File;
use std::path::{Path, PathBuf};

use fjall::config::FilterPolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};

use super::OpenError;
use super::encoding::{Stand, decode_record, partition_key, record_key};
use crate::log::{ReadError, Record};
use crate::position::{Offset, PartitionId};

/// The log's directory inside the data directory.
const DIRECTORY: &str = "log";
/// Journals are kept until what they hold is in tables; 64 MiB each, so at least two.
const JOURNALS_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// A memtable becomes a table at this size: small enough for a laptop's memory and a quick start.
const MEMTABLE_BYTES: u64 = 16 * 1024 * 1024;
/// Blocks read from disk; a consumer that keeps up reads from the memtable.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;

/// The open store.
pub(super) struct Store {
    database: Database,
    /// The records; see `encoding.rs`.
    pub(super) records: Keyspace,
    /// Each partition's stand; see `encoding.rs`.
    pub(super) stands: Keyspace,
    directory: PathBuf,
}

impl Store {
    /// Opens or makes it under the data directory.
    pub(super) fn open(data_dir: &Path) -> Result<Self, OpenError> {
        let directory = data_dir.join(DIRECTORY);
        let failed = |source| OpenError::Store { directory: directory.clone(), source };
        let open = || {
            Database::builder(&directory)
                .cache_size(CACHE_BYTES)
                .max_journaling_size(JOURNALS_BYTES_MAX)
                .open()
        };
        // fjall asserts some of what it reads back: a damaged file must say so, not end in a panic.
        let database = std::panic::catch_unwind(open)
            .map_err(|_| OpenError::Unreadable { directory: directory.clone() })?
            .map_err(failed)?;
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(MEMTABLE_BYTES)
                // Records are read in ranges, never looked up: filters would only cost memory.
                .filter_policy(FilterPolicy::disabled())
        };
        let records = database.keyspace("records", options).map_err(failed)?;
        let stands = database.keyspace("partitions", options).map_err(failed)?;
        // fjall syncs what is inside its directory; the entries that lead to it are ours to sync.
        for path in [Some(data_dir), data_dir.parent()].into_iter().flatten() {
            let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
            File::open(path)
                .and_then(|it| it.sync_all())
                .map_err(|source| OpenError::Directory { directory: path.to_owned(), source })?;
        }
        Ok(Self { database, records, stands, directory })
    }

    /// A batch that is on disk, by fsync, when its commit returns.
    pub(super) fn durable_batch(&self, items: usize) -> OwnedWriteBatch {
        OwnedWriteBatch::with_capacity(self.database.clone(), items)
            .durability(Some(PersistMode::SyncAll))
    }

    /// A batch that a power cut may undo, but only whole and with everything after it.
    pub(super) fn lazy_batch(&self, items: usize) -> OwnedWriteBatch {
        OwnedWriteBatch::with_capacity(self.database.clone(), items)
            .durability(Some(PersistMode::Buffer))
    }

    /// Puts a partition's stand into a batch.
    pub(super) fn put_stand(&self, batch: &mut OwnedWriteBatch, id: PartitionId, stand: Stand) {
        batch.insert(&self.stands, partition_key(id), stand.encode());
    }

    /// Keys and values of the records from `from` to `to`, exclusive, as one snapshot.
    pub(super) fn entries(&self, id: PartitionId, from: Offset, to: Offset) -> fjall::Iter {
        // An empty range is said with equal ends: the store panics where they are the wrong way round.
        let to = to.max(from);
        self.records.range(record_key(id, from)..record_key(id, to))
    }

    /// The records from `from` to `to`, exclusive, as one snapshot.
    pub(super) fn records(
        &self,
        id: PartitionId,
        from: Offset,
        to: Offset,
    ) -> impl Iterator<Item = Result<Record, ReadError>> + use<> {
        self.entries(id, from, to).map(move |guard| {
            let (key, value) =
                guard.into_inner().map_err(|error| ReadError::Unavailable(error.to_string()))?;
            decode_record(&key, &value).map_err(|error| {
                ReadError::Unavailable(format!("a record of {id} is damaged: {error}"))
            })
        })
    }

    /// Free space for this user on the log's disk.
    pub(super) fn available_bytes(&self) -> std::io::Result<u64> {
        fs4::available_space(&self.directory)
    }
}
