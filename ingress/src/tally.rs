//! The books of one request: every event that is received leaves through exactly one outcome.
//!
//! A request that is dropped half-way (the sender went away) settles its books in `Drop`: what had
//! been handed to the log is unknown, everything else was rejected. Dry runs are not entered.

use std::cell::Cell;

use crate::metrics::Metrics;
use crate::reject::{Outcome, Reject};

/// The code under which events are refused whose sender went away before they were handed over.
const CODE_DISCONNECTED: &str = "disconnected";
/// The code of events whose sender went away while the log had them.
const CODE_UNANSWERED: &str = "unanswered";

/// One request's books.
#[derive(Debug)]
pub(crate) struct Tally<'m> {
    metrics: &'m Metrics,
    open: Cell<Open>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    events: u64,
    appended: bool,
}

impl<'m> Tally<'m> {
    /// Opens the books. Until the events are known, the request counts as one.
    pub fn open(metrics: &'m Metrics) -> Self {
        metrics.inflight_requests.inc();
        Self { metrics, open: Cell::new(Open { events: 1, appended: false }) }
    }

    /// This many events are in the request.
    pub fn received(&self, events: usize) {
        self.open.set(Open { events: events as u64, appended: false });
    }

    /// The request's events have been handed to the log.
    pub fn appended(&self) {
        self.open.set(Open { appended: true, ..self.open.get() });
    }

    /// Nothing of this request belongs in the books.
    pub fn dry_run(&self) {
        self.received(0);
    }

    /// The whole request is refused.
    pub fn refused(&self, reject: &Reject) {
        let row = reject.row();
        self.enter(row.outcome, Some(row.code), self.open.get().events);
    }

    /// So many events leave with this outcome.
    pub fn enter(&self, outcome: Outcome, code: Option<&str>, events: u64) {
        if events == 0 {
            return;
        }
        let open = self.open.get();
        debug_assert!(events <= open.events, "an event leaves once");
        self.metrics.received.inc_by(events);
        self.metrics.outcome(outcome).inc_by(events);
        if let Some(code) = code {
            self.metrics.reasons.with_label_values(&[code]).inc_by(events);
        }
        self.open.set(Open { events: open.events - events, ..open });
    }
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        self.metrics.inflight_requests.dec();
        match self.open.get() {
            Open { events: 0, .. } => {}
            Open { events, appended: true } => {
                self.enter(Outcome::Unknown, Some(CODE_UNANSWERED), events);
            }
            Open { events, appended: false } => {
                self.enter(Outcome::Rejected, Some(CODE_DISCONNECTED), events);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::metrics::Registry;

    use super::*;

    fn check(play: impl FnOnce(&Tally<'_>), expected: &[(Outcome, u64)]) {
        let metrics = Metrics::new(&Registry::new());
        play(&Tally::open(&metrics));
        let found: Vec<_> = Outcome::ALL
            .into_iter()
            .map(|outcome| (outcome, metrics.outcome(outcome).get()))
            .filter(|(_, events)| *events > 0)
            .collect();
        assert_eq!(found, expected);
        assert_eq!(metrics.received.get(), expected.iter().map(|(_, events)| events).sum::<u64>());
        assert_eq!(metrics.inflight_requests.get(), 0);
    }

    #[test]
    fn every_way_out_balances() {
        check(|tally| tally.refused(&Reject::Unauthorized), &[(Outcome::Rejected, 1)]);
        check(|_| {}, &[(Outcome::Rejected, 1)]);
        check(|tally| tally.dry_run(), &[]);
        check(
            |tally| {
                tally.received(3);
                tally.appended();
                tally.enter(Outcome::Accepted, None, 1);
            },
            &[(Outcome::Accepted, 1), (Outcome::Unknown, 2)],
        );
    }
}
