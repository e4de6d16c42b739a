//! Waiting for a condition, with a deadline and a message that says what was awaited.
//!
//! The only place in this crate where time passes without something being received.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::bail;

/// How often a condition is looked at. Short against every deadline here, long against one look.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Looks until `condition` gives a value; fails after `deadline` with what was awaited and what was
/// seen last. An error of the condition itself ends the wait at once.
pub async fn wait_until<T>(
    what: impl Display,
    deadline: Duration,
    mut condition: impl AsyncFnMut() -> anyhow::Result<Seen<T>>,
) -> anyhow::Result<T> {
    let started = Instant::now();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match condition().await? {
            Seen::There(value) => return Ok(value),
            Seen::NotYet(last) if started.elapsed() > deadline => {
                bail!("waited {deadline:?} for {what}; last seen: {last}")
            }
            Seen::NotYet(_) => {}
        }
    }
}

/// What one look at a condition saw.
#[derive(Debug)]
pub enum Seen<T> {
    /// It holds.
    There(T),
    /// It does not hold yet; the text goes into the message should the wait fail.
    NotYet(String),
}

/// Lets `duration` pass: how long an outage lasts, never how a result is awaited.
pub async fn let_pass(duration: Duration) {
    tokio::time::sleep(duration).await;
}
