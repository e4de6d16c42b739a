//! Waiting for a service to be of use: asked again and again until it answers, it dies, or the
//! time is up. Never sleeps blindly: between two questions it waits for the process's end.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::process::Process;

/// A cold JVM beside a busy compiler takes tens of seconds, not seven.
const WAIT_MAX: Duration = Duration::from_secs(120);
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Waits until `is_healthy`; the service's last words are part of a failure.
pub fn wait_until(
    name: &str,
    process: &Process,
    log: &Path,
    is_healthy: impl Fn() -> bool,
) -> Result<()> {
    let deadline = Instant::now() + WAIT_MAX;
    while !is_healthy() {
        if process.has_ended_within(ASK_EVERY)? {
            bail!("{name} ended while starting; the end of {}:\n{}", log.display(), tail(log));
        }
        if Instant::now() >= deadline {
            let seconds = WAIT_MAX.as_secs();
            bail!("{name} is not healthy after {seconds} s; {}:\n{}", log.display(), tail(log));
        }
    }
    Ok(())
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().rev().take(15).collect::<Vec<_>>();
    lines.reverse();
    lines.join("\n")
}
