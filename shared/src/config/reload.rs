//! A configuration that follows its files: read again when they change or when asked, checked as a
//! whole, applied as a whole, or not at all.
//!
//! What cannot be replaced in a running process keeps the value of the start and is named. The loop
//! has no heartbeat on purpose: a mount that hangs must not restart a process that serves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use parking_lot::Mutex;
use prometheus::{IntCounter, IntGauge};
use serde::Serialize;

use super::watch::Watch;
use super::{Config, InEffect, Loaded, Purpose, Sources, keys};
use crate::clock::{Clock, Millis};
use crate::metrics::Registry;

/// How often the files are looked at. A change is applied after two to three of these.
const POLL: Duration = Duration::from_millis(1_500);

/// How many changed settings a reload names in the log: entries that move up change all behind them.
const CHANGES_MAX: usize = 50;

/// Where the admin port says which configuration is in effect.
pub const CONFIG_PATH: &str = "/configz";

/// What the configuration in effect exports.
#[derive(Clone, Debug)]
pub struct Metrics {
    generation: IntGauge,
    failures: IntCounter,
    last_success: IntGauge,
    restart_needed: IntGauge,
}

impl Metrics {
    /// Registers the families.
    pub fn new(registry: &Registry) -> Self {
        Self {
            generation: registry.gauge(
                "shock_config_generation",
                "The configuration in effect: 1 at the start, one more with each reload that was applied.",
            ),
            failures: registry.counter(
                "shock_config_reload_failures_total",
                "Reloads that were refused; the configuration before stayed in effect.",
            ),
            last_success: registry.gauge(
                "shock_config_last_reload_success",
                "1 while what the files say is in effect, 0 while they hold something that was refused.",
            ),
            restart_needed: registry.gauge(
                "shock_config_restart_needed",
                "Settings whose value in the files takes effect only with a restart.",
            ),
        }
    }
}

/// Which configuration is in effect, for people: `/configz` of the admin port. All clones are one.
#[derive(Clone, Debug)]
pub struct Status(Arc<Mutex<Inner>>);

#[derive(Clone, Debug, Serialize)]
struct Inner {
    /// 1 at the start.
    generation: u64,
    /// Milliseconds since the epoch.
    applied_at_ms: i64,
    /// Why the last reload was refused; absent where it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    /// Settings that wait for a restart.
    restart_needed: Vec<String>,
}

impl Status {
    /// The route that tells it.
    pub fn routes(&self) -> Router {
        let tell = |State(status): State<Self>| async move {
            let told = status.0.lock().clone();
            axum::Json(told)
        };
        Router::new().route(CONFIG_PATH, get(tell)).with_state(self.clone())
    }
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// Reads the configuration again and hands it on.
pub struct Reloader<F> {
    sources: Sources,
    purpose: Purpose,
    /// What the process was started with; what cannot be replaced is compared with it.
    started: Loaded,
    /// What is in effect, to tell what a reload changes.
    current: BTreeMap<String, InEffect>,
    watch: Watch,
    clock: Clock,
    metrics: Metrics,
    status: Status,
    apply: F,
}

impl<F: FnMut(Config) -> Result<(), Refused>> Reloader<F> {
    /// A reloader of what was loaded from these sources for this purpose. `apply` puts a new
    /// configuration in effect, or refuses it and changes nothing.
    pub fn new(
        started: Loaded,
        sources: Sources,
        purpose: Purpose,
        registry: &Registry,
        clock: Clock,
        apply: F,
    ) -> Self {
        let metrics = Metrics::new(registry);
        metrics.generation.set(1);
        metrics.last_success.set(1);
        let status = Status(Arc::new(Mutex::new(Inner {
            generation: 1,
            applied_at_ms: clock.now().0,
            last_error: None,
            restart_needed: Vec::new(),
        })));
        let watch = Watch::new(started.files().clone());
        let current = started.settings().clone();
        Self { sources, purpose, started, current, watch, clock, metrics, status, apply }
    }

    /// What it tells about itself.
    pub fn status(&self) -> Status {
        self.status.clone()
    }

    /// Follows the files until the other end of `asked` is gone; what arrives there reloads at once.
    /// Blocks: it reads files. Give it a thread.
    pub fn run(mut self, asked: &Receiver<()>) {
        loop {
            match asked.recv_timeout(POLL) {
                Ok(()) => self.reload(),
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Reloads if the files have changed and are quiet.
    pub fn look(&mut self) {
        if self.watch.changed() {
            let files: Vec<_> = self.watch.differing().map(Path::display).collect();
            tracing::info!(?files, "the configuration's files have changed");
            self.reload();
        }
    }

    /// Reads, checks and applies everything.
    pub fn reload(&mut self) {
        let (loaded, files) = Config::load_with_files(&self.sources, self.purpose);
        // Also after a refusal: the next change of what was read now is the one that mends it.
        self.watch = Watch::new(files);
        let applied = loaded.map_err(|error| Refused(error.to_string())).and_then(|loaded| {
            let waiting = restart_needed(&self.started, &loaded);
            (self.apply)(loaded.config)?;
            Ok((waiting, loaded.settings))
        });
        match applied {
            Ok((waiting, settings)) => {
                let before = std::mem::replace(&mut self.current, settings);
                tell(&changes(&before, &self.current));
                self.applied(waiting.into_iter().collect());
            }
            Err(refused) => self.refused(&refused),
        }
    }

    fn applied(&self, waiting: Vec<String>) {
        self.metrics.generation.inc();
        self.metrics.last_success.set(1);
        self.metrics.restart_needed.set(i64::try_from(waiting.len()).unwrap_or(i64::MAX));
        let mut status = self.status.0.lock();
        status.generation += 1;
        status.last_error = None;
        let Millis(now) = self.clock.now();
        status.applied_at_ms = now;
        tracing::info!(generation = status.generation, "the configuration was reloaded");
        if !waiting.is_empty() && waiting != status.restart_needed {
            tracing::warn!(keys = waiting.join(", "), "changed settings need a restart");
        }
        status.restart_needed = waiting;
    }

    fn refused(&self, refused: &Refused) {
        self.metrics.failures.inc();
        self.metrics.last_success.set(0);
        for fault in refused.0.lines() {
            tracing::error!(fault, "the configuration was not reloaded; the old one stays");
        }
        self.status.0.lock().last_error = Some(refused.0.clone());
    }
}

/// The settings that differ from the start's and cannot be replaced.
fn restart_needed(started: &Loaded, loaded: &Loaded) -> BTreeSet<String> {
    let (before, now) = (started.settings(), loaded.settings());
    let paths = before.keys().chain(now.keys());
    let differ = |path: &&String| before.get(*path) != now.get(*path) && !keys::reloads(path);
    paths.filter(differ).cloned().collect()
}

/// What a reload changes in a running process, one line each: `control.profile: absorb → bounded-lag`.
/// A secret is said to have changed.
fn changes(before: &BTreeMap<String, InEffect>, now: &BTreeMap<String, InEffect>) -> Vec<String> {
    let paths: BTreeSet<_> = before.keys().chain(now.keys()).collect();
    let changed = paths.into_iter().filter(|path| before.get(*path) != now.get(*path));
    let told = changed.filter(|path| keys::reloads(path)).map(|path| {
        let secret = keys::find(path).is_none_or(|key| key.secret);
        let shown = |of: &BTreeMap<String, InEffect>| match of.get(path) {
            Some(setting) => setting.shown.clone(),
            None => "not set".to_owned(),
        };
        if secret {
            format!("{path}: changed, a secret")
        } else {
            format!("{path}: {} → {}", shown(before), shown(now))
        }
    });
    told.collect()
}

fn tell(changes: &[String]) {
    for change in changes.iter().take(CHANGES_MAX) {
        tracing::info!(change, "a setting changes");
    }
    if changes.len() > CHANGES_MAX {
        tracing::info!(further = changes.len() - CHANGES_MAX, "more settings change");
    }
}

#[cfg(test)]
mod tests;
