//! The commit thread: the only writer of the log. It decides offsets, makes them durable, then
//! visible, then known to whoever waits. It never writes again after a commit that failed: what the
//! journal holds is unknown then, and a later success would stand on it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Core;
use super::encoding::{KEY_BYTES, Stand, record_key, seal};
use super::queue::{Batch, Entry};
use crate::clock::Clock;
use crate::config::EmbeddedConfig;
use crate::log::AppendError;
use crate::position::{Offset, Position};

/// How often retention looks around while nothing is appended.
const RETENTION_INTERVAL: Duration = Duration::from_secs(1);

/// The thread's own state.
pub(super) struct Committer {
    pub(super) core: Arc<Core>,
    /// One per partition, by index; ahead of the shared watermarks only inside a commit.
    pub(super) stands: Vec<Stand>,
    pub(super) retention_bytes: u64,
    pub(super) retention_ms: i64,
    pub(super) clock: Clock,
    commit_records_max: usize,
    /// Partitions of the commit under way, by index, each with its end before it.
    touched: Vec<(usize, i64)>,
    disk_full: bool,
}

/// Starts the thread.
pub(super) fn spawn(
    core: Arc<Core>,
    stands: Vec<Stand>,
    config: &EmbeddedConfig,
    clock: Clock,
) -> io::Result<JoinHandle<()>> {
    let committer = Committer {
        core,
        stands,
        retention_bytes: config.retention_bytes,
        retention_ms: i64::try_from(config.retention_ms).unwrap_or(i64::MAX),
        clock,
        commit_records_max: config.commit_records_max.max(1),
        touched: Vec::new(),
        disk_full: false,
    };
    std::thread::Builder::new().name("log-commit".to_owned()).spawn(move || committer.run())
}

/// Says, when the thread ends in whatever way, that nothing will be written any more.
struct Epitaph(Arc<Core>);

impl Drop for Epitaph {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.poison(&"the commit thread panicked");
        }
        self.0.queue.abandon();
    }
}

impl Committer {
    fn run(mut self) {
        let _epitaph = Epitaph(Arc::clone(&self.core));
        let mut batch = Batch::default();
        let mut wait = Duration::ZERO;
        let mut retained = Instant::now();
        loop {
            let open = self.core.queue.take(&mut batch, wait);
            let idle = batch.entries.is_empty();
            while !batch.entries.is_empty() {
                let records = batch.entries.len().min(self.commit_records_max);
                self.commit(&mut batch, records);
            }
            if idle && !open {
                return;
            }
            if idle || self.over_bytes() || retained.elapsed() >= RETENTION_INTERVAL {
                let more = self.retain();
                retained = Instant::now();
                wait = if more { Duration::ZERO } else { RETENTION_INTERVAL };
            }
        }
    }

    /// Writes the batch's first records and settles their tickets.
    fn commit(&mut self, batch: &mut Batch, records: usize) {
        let outcome = match self.core.poisoned() {
            true => Err(AppendError::Unavailable),
            false if self.disk_is_full() => Err(AppendError::DiskFull),
            false => self.write(batch, records),
        };
        let core = &*self.core;
        let released = core.queue.release(&batch.entries[..records]);
        if outcome.is_ok() {
            for (index, _) in &self.touched {
                core.partitions.get(*index).advance(self.stands[*index].next);
            }
        }
        // Offsets were given in the entries' order, so counting again from each partition's end
        // before the commit gives the same ones.
        for (index, end) in &self.touched {
            self.stands[*index].next = *end;
        }
        for Entry { partition, ticket, .. } in batch.entries.drain(..records) {
            match outcome {
                Ok(()) => {
                    let stand = &mut self.stands[partition];
                    let id = core.partitions.get(partition).id;
                    ticket.settle(Ok(Position { id, offset: Offset(stand.next) }));
                    stand.next += 1;
                }
                Err(error) => ticket.settle(Err(error)),
            }
        }
        self.touched.clear();
        drop(released);
    }

    /// One atomic batch, one fsync.
    fn write(&mut self, batch: &mut Batch, records: usize) -> Result<(), AppendError> {
        let core = &*self.core;
        let mut durable = core.store.durable_batch(records + self.touched.capacity());
        let Batch { bytes, entries } = batch;
        for entry in &entries[..records] {
            let stand = &mut self.stands[entry.partition];
            // The first record of a partition in this commit stands at the visible end; the next ones
            // stand behind it.
            let end = core.partitions.get(entry.partition).end().0;
            if stand.next == end {
                self.touched.push((entry.partition, end));
            }
            let key = record_key(core.partitions.get(entry.partition).id, Offset(stand.next));
            let value = &mut bytes[entry.start..entry.end];
            seal(&key, value);
            stand.next += 1;
            stand.bytes += (KEY_BYTES + value.len()) as u64;
            durable.insert(&core.store.records, key, &*value);
        }
        for (index, _) in &self.touched {
            let id = core.partitions.get(*index).id;
            core.store.put_stand(&mut durable, id, self.stands[*index]);
        }
        durable.commit().map_err(|error| {
            core.poison(&error);
            match error {
                // The store failed in the background before; it looks before it writes.
                fjall::Error::Poisoned => AppendError::Unavailable,
                _ => AppendError::Unknown,
            }
        })
    }

    /// Looks before writing, because a write that fails stops the log. Says each change once.
    fn disk_is_full(&mut self) -> bool {
        let reserve_bytes = self.core.disk_reserve_bytes.load(Ordering::Relaxed);
        let available_bytes = self.core.store.available_bytes().unwrap_or_else(|error| {
            tracing::warn!(%error, "free disk space is not known, assuming there is some");
            u64::MAX
        });
        let full = available_bytes < reserve_bytes;
        match (self.disk_full, full) {
            (false, true) => tracing::error!(
                available_bytes,
                reserve_bytes,
                "too little disk space is left, events are refused"
            ),
            (true, false) => tracing::info!("the disk has space again, events are taken"),
            _ => {}
        }
        self.disk_full = full;
        full
    }

    /// Bytes of all records that are left.
    pub(super) fn total_bytes(&self) -> u64 {
        self.stands.iter().map(|stand| stand.bytes).sum()
    }

    fn over_bytes(&self) -> bool {
        self.total_bytes() > self.retention_bytes
    }
}
