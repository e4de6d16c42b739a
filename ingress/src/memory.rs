//! The memory watermark: new bodies are refused before the system ends the process.
//!
//! The bytes in flight bound what bodies take; this bounds what everything together takes, whatever
//! it is. Looked at a few times a second, never by a request.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus::IntGauge;
use shared::Shutdown;

/// How often it is looked at.
const POLL: Duration = Duration::from_millis(100);
/// Bodies are refused above so many hundredths of the maximum …
const SHED_PERCENT: u64 = 90;
/// … and taken again below so many.
const RESUME_PERCENT: u64 = 85;
/// Linux counts memory in pages of 4 KiB wherever this is deployed.
const PAGE_BYTES: u64 = 4096;

/// Whether bodies are refused for the memory's sake.
#[derive(Clone, Debug)]
pub(crate) struct Watermark(Arc<State>);

#[derive(Debug)]
struct State {
    /// 0 = nothing bounds it.
    bytes_max: u64,
    shedding: AtomicBool,
    used: IntGauge,
    shed: IntGauge,
}

impl Watermark {
    /// Below `bytes_max`, or with 0 below what the control group allows, if it bounds anything.
    pub fn new(bytes_max: u64, used: IntGauge, shed: IntGauge) -> Self {
        let bytes_max = if bytes_max > 0 { bytes_max } else { group_max().unwrap_or(0) };
        let own = Self(Arc::new(State { bytes_max, shedding: AtomicBool::new(false), used, shed }));
        own.look();
        own
    }

    /// Whether a body is to be refused.
    pub fn is_shedding(&self) -> bool {
        self.0.shedding.load(Ordering::Relaxed)
    }

    /// Looks until `shutdown`.
    pub async fn watch(self, shutdown: Shutdown) {
        let mut ticks = tokio::time::interval(POLL);
        while !shutdown.is_cancelled() {
            tokio::select! {
                _ = ticks.tick() => self.look(),
                () = shutdown.cancelled() => {}
            }
        }
    }

    fn look(&self) {
        let Some(used) = own_bytes() else { return };
        self.0.used.set(i64::try_from(used).unwrap_or(i64::MAX));
        let before = self.is_shedding();
        let now = sheds(before, used, self.0.bytes_max);
        if now == before {
            return;
        }
        self.0.shedding.store(now, Ordering::Relaxed);
        self.0.shed.set(i64::from(now));
        let max = self.0.bytes_max;
        if now {
            tracing::warn!(used, max, "bodies are refused until memory is free again");
        } else {
            tracing::info!(used, max, "bodies are taken again");
        }
    }
}

fn sheds(before: bool, used: u64, bytes_max: u64) -> bool {
    let percent = if before { RESUME_PERCENT } else { SHED_PERCENT };
    bytes_max > 0 && used > bytes_max / 100 * percent
}

/// What of this process the system cannot take back: resident and not backed by a file.
fn own_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = text.split(' ').skip(1).map(str::parse::<u64>);
    let (resident, of_files) = (pages.next()?.ok()?, pages.next()?.ok()?);
    Some(resident.saturating_sub(of_files) * PAGE_BYTES)
}

/// `memory.max` of this process's control group (version 2); none where it says `max`.
fn group_max() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let file = Path::new("/sys/fs/cgroup").join(own).join("memory.max");
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_sheds_above_one_mark_and_resumes_below_another() {
        let check = |before, used, expected| assert_eq!(sheds(before, used, 1000), expected);
        check(false, 900, false);
        check(false, 901, true);
        check(true, 851, true);
        check(true, 850, false);
        assert!(!sheds(false, u64::MAX, 0), "nothing bounds it");
    }

    #[test]
    fn a_process_knows_what_it_uses() {
        assert!(own_bytes().is_none_or(|bytes| bytes > 64 * 1024));
    }
}
