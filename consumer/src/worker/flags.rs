//! One flag per partition that is claimed here: whoever asks the store for all of them in one statement
//! raises it, its worker looks at it between two batches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use shared::position::PartitionId;

/// The flags.
#[derive(Debug, Default)]
pub struct Flags(Mutex<BTreeMap<PartitionId, Arc<Flag>>>);

/// Raised where its partition's worker has something to look at.
#[derive(Debug, Default)]
pub struct Flag(AtomicBool);

impl Flag {
    /// Whether it is up.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes it down: the next look at the store may raise it again. Whether it was up.
    pub fn clear(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl Flags {
    /// The flag of a partition whose writer begins.
    pub fn open(&self, id: PartitionId) -> Arc<Flag> {
        let flag = Arc::default();
        self.0.lock().insert(id, Arc::clone(&flag));
        flag
    }

    /// The writer of this flag has ended.
    pub fn close(&self, id: PartitionId, flag: &Arc<Flag>) {
        let mut all = self.0.lock();
        if all.get(&id).is_some_and(|one| Arc::ptr_eq(one, flag)) {
            all.remove(&id);
        }
    }

    /// Those whose flag is down.
    pub fn down(&self) -> Vec<PartitionId> {
        let all = self.0.lock();
        all.iter().filter(|(_, flag)| !flag.is_set()).map(|(id, _)| *id).collect()
    }

    /// Raises these.
    pub fn set(&self, ids: &[PartitionId]) {
        let all = self.0.lock();
        for flag in ids.iter().filter_map(|id| all.get(id)) {
            flag.0.store(true, Ordering::Relaxed);
        }
    }
}
