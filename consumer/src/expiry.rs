//! Forgetting ids: buckets that no unread record can repeat are dropped.
//!
//! The rule is the store's, under its own locks ([`Store::forget_ids`]): this task only asks, now and
//! then, in every process; several at once do no harm. It also says for idle partitions that they have
//! read everything, because their rows do not move and buckets would wait for them for ever. A
//! partition that stands still with records unread, or that nobody has, is waited for: its records are
//! still to be compared.
//!
//! [`Store::forget_ids`]: crate::store::Store::forget_ids

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng;
use shared::log::ReadError;
use tracing::{debug, info, warn};

use crate::bucket::{Bucket, Width};
use crate::failure::StoreError;
use crate::store::CaughtUp;
use crate::worker::Shared;

/// A bucket is looked for so often in a window, so that it lives that much longer at most.
const LOOKS_PER_WINDOW: u32 = 48;

/// The first wait for the batches to let a bucket go, and how often it is doubled: 6.4 s at last, where
/// batches take that long. As long as it is waited for, later batches wait, too.
const WAIT_MIN: Duration = Duration::from_millis(100);
const DOUBLINGS_MAX: u32 = 6;

/// Between two steps the batches have the store for so many times as long as the step took.
const PAUSE_STEPS: u32 = 4;

/// The steps of one round; what is left is for the next.
const STEPS_MAX: usize = 10_000;

/// A bucket that is so many widths old is told: usually the oldest is three and a part.
const OLD_WIDTHS: i64 = 5;

/// Looks for as long as the process lives.
pub(crate) async fn run(shared: Arc<Shared>) -> Infallible {
    let interval = interval(shared.width);
    loop {
        // Not all processes at the same instant.
        let jitter = rand::rng().random_range(0.75..1.25);
        tokio::time::sleep(interval.mul_f64(jitter)).await;
        // How old a record is, is not for this clock to say.
        if !shared.skew.agrees() {
            continue;
        }
        let ended = round(&shared).await;
        shared.metrics.ids.failing.set(ended.is_err().into());
        if let Err(error) = ended {
            shared.metrics.ids.errors.inc();
            warn!(code = error.code, error = %error.message,
                "ids are not forgotten for now, trying again later");
        }
    }
}

fn interval(width: Width) -> Duration {
    Duration::from_millis(width.as_millis().unsigned_abs()) / LOOKS_PER_WINDOW
}

/// One look: what is idle is told, what is due is dropped, what is left is measured.
async fn round(shared: &Shared) -> Result<(), StoreError> {
    tell_idle(shared).await?;
    let dropped = forget(shared).await;
    measure(shared).await?;
    dropped
}

/// Tells of partitions that have nothing left to read: the end is asked of the log itself, for what is
/// remembered of it may be from before an outage.
async fn tell_idle(shared: &Shared) -> Result<(), StoreError> {
    let mut caught_up = Vec::new();
    for gauge in shared.load.gauges.all() {
        let Some((id, epoch, next, end)) = gauge.idle() else { continue };
        let at = shared.clock.now();
        match end.ask().await {
            Ok(end) if end <= next => caught_up.push(CaughtUp { id, epoch, next, at }),
            Ok(_) | Err(ReadError::Revoked) => {}
            Err(error) => {
                // A log that does not answer is not asked for each of hundreds of partitions.
                debug!(partition = %id, %error, "the log does not tell its end");
                break;
            }
        }
    }
    if caught_up.is_empty() {
        return Ok(());
    }
    shared.store.caught_up(&caught_up).await
}

/// Drops what is due, step by step.
async fn forget(shared: &Shared) -> Result<(), StoreError> {
    let mut doublings = 0;
    for _ in 0..STEPS_MAX {
        let asked = Instant::now();
        let wait = WAIT_MIN * (1 << doublings);
        failpoint!(Forgetting, "ids");
        let forgotten = shared.store.forget_ids(wait, shared.clock.now()).await;
        failpoint!(Forgotten, "ids");
        match forgotten {
            Ok(step) => {
                shared.metrics.ids.dropped.inc_by(step.buckets.len() as u64);
                if let (Some(first), Some(last)) = (step.buckets.first(), step.buckets.last()) {
                    info!(
                        buckets = step.buckets.len(),
                        first = first.0,
                        last = last.0,
                        "ids are forgotten"
                    );
                }
                if !step.more {
                    return Ok(());
                }
            }
            Err(error) if error.is_busy() && doublings < DOUBLINGS_MAX => doublings += 1,
            Err(error) => return Err(error),
        }
        tokio::time::sleep(PAUSE_STEPS * asked.elapsed()).await;
    }
    Ok(())
}

async fn measure(shared: &Shared) -> Result<(), StoreError> {
    let now = shared.clock.now();
    let there = shared.store.id_buckets(now).await?;
    let width_ms = shared.width.as_millis();
    let age_ms = |oldest: Bucket| now.0.saturating_sub(oldest.0.saturating_mul(width_ms)).max(0);
    let age_ms = there.oldest.map_or(0, age_ms);
    shared.metrics.ids.buckets.set(i64::try_from(there.count).unwrap_or(i64::MAX));
    shared.metrics.ids.oldest_age_seconds.set(age_ms / 1_000);
    if let (true, Some(behind)) = (age_ms / width_ms > OLD_WIDTHS, there.behind)
        && let Some(kept_back) = shared.log_limits.old_ids.admit()
    {
        info!(partition = %behind, buckets = there.count, age_s = age_ms / 1_000, kept_back,
            "ids are kept for longer than usual: this partition's position is the furthest behind");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_rare_and_follow_the_window() {
        let check = |window_s, interval_ms| {
            let width = Width::of_window(Duration::from_secs(window_s));
            assert_eq!(interval(width), Duration::from_millis(interval_ms), "{window_s}");
        };
        check(60, 1_250);
        check(3_600, 75_000);
        check(86_400, 1_800_000);
    }
}
