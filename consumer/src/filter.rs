//! Keeps a filter of the bucket that today's events are looked up in: the one before the present.
//!
//! Its ids are read beside consumption, once it is over for everybody. Where late records come all the
//! same they take the mark away, and it is read anew, but never for more than a fiftieth of the time.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng;
use tracing::{info, warn};

use crate::bucket::{Bucket, Width};
use crate::failure::StoreError;
use crate::store::Reading;
use crate::worker::Shared;

/// How often it is looked: what a process does without a filter for so long is no loss.
const INTERVAL_MAX: Duration = Duration::from_secs(60);
const LOOKS_PER_WINDOW: u32 = 48;
/// Before the first look: the claims come first.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// At most one part in so many of the time is spent with reading.
const SHARE: u32 = 50;

/// Looks for as long as the process lives.
pub(crate) async fn run(shared: Arc<Shared>) -> Infallible {
    let interval = interval(shared.width);
    let (mut not_before, mut wait) = (Instant::now(), FIRST_WAIT);
    loop {
        // Not all processes at the same instant.
        let jitter = rand::rng().random_range(0.5..1.0);
        tokio::time::sleep(wait.mul_f64(jitter)).await;
        wait = interval;
        // Which bucket is over is not for this clock to say.
        if !shared.skew.agrees() || Instant::now() < not_before {
            continue;
        }
        match round(&shared).await {
            Ok(spent) => not_before = Instant::now() + spent * (SHARE - 1),
            Err(error) => {
                not_before = Instant::now() + interval * SHARE;
                shared.metrics.filter.errors.inc();
                warn!(code = error.code, error = %error.message,
                    "the ids of the bucket before cannot be read, it is asked instead");
            }
        }
    }
}

fn interval(width: Width) -> Duration {
    let window = Duration::from_millis(width.as_millis().unsigned_abs());
    (window / LOOKS_PER_WINDOW).min(INTERVAL_MAX)
}

/// One look; the time that was spent with reading.
async fn round(shared: &Shared) -> Result<Duration, StoreError> {
    let now = shared.clock.now();
    let Some(present) = shared.width.bucket(now, now) else { return Ok(Duration::ZERO) };
    let before = Bucket(present.0 - 1);
    let reading =
        shared.store.read_ids(before, shared.width, shared.config.filter_bytes_max).await?;
    let metrics = &shared.metrics.filter;
    let known = shared.store.known();
    metrics.ids.set(i64::try_from(known.ids).unwrap_or(i64::MAX));
    metrics.bytes.set(i64::try_from(known.bytes).unwrap_or(i64::MAX));
    metrics.too_many.set(i64::from(matches!(reading, Reading::TooMany(_))));
    match reading {
        Reading::Read { ids, took } => {
            metrics.read_seconds.observe(took.as_secs_f64());
            info!(
                bucket = before.0,
                ids,
                seconds = took.as_secs_f64(),
                "the ids of the bucket before are known"
            );
            Ok(took)
        }
        Reading::Unsealed { took } => Ok(took),
        Reading::Known | Reading::NotYet | Reading::TooMany(_) => Ok(Duration::ZERO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_follow_the_window_and_are_not_rare() {
        let check = |window_s, interval_ms| {
            let width = Width::of_window(Duration::from_secs(window_s));
            assert_eq!(interval(width), Duration::from_millis(interval_ms), "{window_s}");
        };
        check(60, 1_250);
        check(86_400, 60_000);
    }
}
