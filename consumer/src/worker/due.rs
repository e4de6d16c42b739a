//! Which partitions of this process have a parked row to try: one statement a second for all of them,
//! so that a worker asks only when there is something.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use shared::position::PartitionId;

use super::Shared;
use crate::log_limit::LogLimit;

/// How often the store is asked: what an operator redrives begins so soon.
const INTERVAL: Duration = Duration::from_secs(1);

/// The flags of the partitions that are claimed here.
#[derive(Debug, Default)]
pub struct Due(Mutex<BTreeMap<PartitionId, Arc<Flag>>>);

/// Set where a row of the partition is due.
#[derive(Debug, Default)]
pub struct Flag(AtomicBool);

impl Flag {
    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes it down: the next look at the store may set it again.
    pub fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Due {
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
    fn asked(&self) -> Vec<PartitionId> {
        let all = self.0.lock();
        all.iter().filter(|(_, flag)| !flag.is_set()).map(|(id, _)| *id).collect()
    }

    fn set(&self, due: &[PartitionId]) {
        let all = self.0.lock();
        for flag in due.iter().filter_map(|id| all.get(id)) {
            flag.0.store(true, Ordering::Relaxed);
        }
    }
}

/// Asks for as long as the process lives. A store that fails is asked again at the next turn: nothing
/// is tried meanwhile.
pub(crate) async fn watch(shared: Arc<Shared>) -> Infallible {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let complaints = LogLimit::default();
    loop {
        interval.tick().await;
        let asked = shared.due.asked();
        if asked.is_empty() {
            continue;
        }
        match shared.store.due(&asked, shared.clock.now()).await {
            Ok(due) => shared.due.set(&due),
            Err(error) => {
                if let Some(kept_back) = complaints.admit() {
                    tracing::warn!(%error, kept_back, "the store does not tell what is due");
                }
            }
        }
    }
}
