//! Which partitions of this process have a parked row to try: one statement a second for all of them,
//! so that a worker asks only when there is something.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use crate::log_limit::LogLimit;

/// How often the store is asked: what an operator redrives begins so soon.
const INTERVAL: Duration = Duration::from_secs(1);

/// Asks for as long as the process lives. A store that fails is asked again at the next turn: nothing
/// is tried meanwhile.
pub(crate) async fn watch(shared: Arc<Shared>) -> Infallible {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let complaints = LogLimit::default();
    loop {
        interval.tick().await;
        let asked = shared.due.down();
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
