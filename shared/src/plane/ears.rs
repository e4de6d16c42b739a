//! What arrives at this process: counted, kept, handed to whoever listens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};

use super::Heard;
use super::board::Board;
use super::decode::Ignored;
use super::metrics::PlaneMetrics;
use super::state::{Change, State};
use crate::clock::Clock;

/// Words that a slow listener may be behind; older ones are lost to it.
const BEHIND_MAX: usize = 4_096;
/// How often records that change nothing are spoken of at most.
const IGNORED_INTERVAL: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Ears {
    pub live: broadcast::Sender<Arc<Heard>>,
    pub state: watch::Sender<Arc<State>>,
    pub board: Board,
    pub metrics: PlaneMetrics,
    pub clock: Clock,
    /// When an ignored record was spoken of last.
    said: Mutex<Option<Instant>>,
}

impl Ears {
    pub(super) fn new(clock: Clock, metrics: PlaneMetrics, state: State) -> Self {
        Self {
            live: broadcast::Sender::new(BEHIND_MAX),
            state: watch::Sender::new(Arc::new(state)),
            board: Board::default(),
            metrics,
            clock,
            said: Mutex::default(),
        }
    }

    /// A word.
    pub(super) fn hear(&self, heard: Heard) {
        self.metrics.heard.with_label_values(&[heard.live.kind()]).inc();
        self.metrics.age.observe(heard.age.as_secs_f64());
        let heard = Arc::new(heard);
        self.board.hear(&heard);
        // Nobody listens: nobody misses it.
        let _ = self.live.send(heard);
    }

    /// A change of the state, in effect when this returns.
    pub(super) fn take(&self, change: Change) {
        let mut ignored = None;
        self.state.send_modify(|state| {
            let mut next = State::clone(state);
            let (subject, before) =
                (change.subject.to_string(), next.get(&change.subject).cloned());
            let after = change.entry.clone();
            match next.apply(change, self.clock.now()) {
                Ok(()) => {
                    self.metrics.heard.with_label_values(&["state"]).inc();
                    let (from, to) = (told(before.as_ref()), told(after.as_ref()));
                    let by = after.as_ref().map(|entry| entry.by.as_str());
                    let why = after.as_ref().map(|entry| entry.why.as_str());
                    tracing::info!(subject, from, to, by, why, "what operators have set changed");
                    *state = Arc::new(next);
                }
                Err(reason) => ignored = Some(reason),
            }
        });
        if let Some(reason) = ignored {
            self.ignore("state", reason);
        }
    }

    /// A record that changes nothing.
    pub(super) fn ignore(&self, topic: &'static str, reason: Ignored) {
        let reason = reason.name();
        self.metrics.ignored.with_label_values(&[topic, reason]).inc();
        let mut said = self.said.lock();
        if said.is_none_or(|at| at.elapsed() >= IGNORED_INTERVAL) {
            *said = Some(Instant::now());
            tracing::warn!(topic, reason, "a record of the control plane is ignored");
        }
    }
}

/// An entry as log lines tell it.
pub(super) fn told(entry: Option<&super::state::Entry>) -> String {
    entry.map_or_else(|| "nothing".to_owned(), ToString::to_string)
}
