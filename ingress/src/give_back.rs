//! Gives the system back what connections held and do not hold any more.
//!
//! glibc's allocator keeps what is freed below its newest block, and a burst of connections leaves
//! their buffers there: the process would stay as large as its busiest second. So it is asked to give
//! back whole pages when many fewer connections hold buffers than did, and their number falls no more.
#![cfg_attr(
    all(target_os = "linux", target_env = "gnu"),
    expect(unsafe_code, reason = "the allocator's own function has no form in Rust")
)]

use std::time::Duration;

use prometheus::IntGauge;
use shared::Shutdown;

/// How often it is looked at.
const POLL: Duration = Duration::from_secs(1);
/// So many connections fewer hold buffers: some 20 MiB, well worth the milliseconds that it takes.
const FEWER_MIN: i64 = 1_000;

/// Connections that hold buffers.
#[derive(Debug, Default)]
struct Holding {
    /// The most since memory was given back.
    most: i64,
    /// At the last look.
    last: i64,
}

/// Looks until `shutdown`.
pub(crate) async fn watch(open: IntGauge, resting: IntGauge, shutdown: Shutdown) {
    let mut holding = Holding::default();
    let mut ticks = tokio::time::interval(POLL);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shutdown.cancelled() => return,
        }
        if holding.look(open.get() - resting.get()) {
            // It takes the allocator's locks in turn, for milliseconds: not for a runtime's thread.
            let _ = tokio::task::spawn_blocking(trim).await;
        }
    }
}

impl Holding {
    /// Whether it pays to give memory back now.
    fn look(&mut self, now: i64) -> bool {
        let falling = now < self.last;
        self.last = now;
        self.most = self.most.max(now);
        let due = !falling && self.most - now >= FEWER_MIN;
        if due {
            self.most = now;
        }
        due
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn trim() {
    // SAFETY: the signature is glibc's (malloc.h), which every program here is linked with. It may be
    // called at any time from any thread, takes its own locks, and touches free memory only.
    unsafe extern "C" {
        safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
    malloc_trim(0);
}

/// Other allocators give back by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
const fn trim() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_once_after_a_burst() {
        let mut holding = Holding::default();
        let looks = [0, 5_000, 10_000, 4_000, 300, 300, 300, 310, 900, 0, 0, 1_310, 310, 310];
        let due: Vec<_> = looks.into_iter().map(|now| holding.look(now)).collect();
        let expected = [5, 13];
        for (at, due) in due.into_iter().enumerate() {
            assert_eq!(due, expected.contains(&at), "look {at}");
        }
    }

    #[test]
    fn the_allocator_can_be_asked() {
        let bytes = vec![1_u8; 1 << 20];
        trim();
        assert!(bytes.iter().all(|byte| *byte == 1));
    }
}
