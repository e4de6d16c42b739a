//! The way back into the log: what follows from events is appended where its key and type belong.
//!
//! It may be appended twice, where an acknowledgement was lost: with the same identity and the same
//! timestamp, so that it has one effect.

use std::time::{Duration, Instant};

use shared::event::Event;
use shared::log::{Acks, AppendError, Log, NewRecord};
use shared::route::Router;

use super::lane::{Answer, Lane};
use super::target::{Outcome, Reason};
use crate::store::outbox::Due;

/// Longer than the log's own time-out: by then each is settled.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// The log and its routes.
#[derive(Debug)]
pub struct OwnLog {
    log: Log,
    router: Router,
}

impl OwnLog {
    /// Entities that have an append under way at once.
    pub(super) const CONCURRENCY: usize = 64;

    /// Appends to a log by these routes.
    pub const fn new(log: Log, router: Router) -> Self {
        Self { log, router }
    }

    /// One after the other; what stands behind one that failed is not appended.
    pub(super) async fn deliver(&self, lane: Lane) -> Vec<Answer> {
        let mut answers: Vec<Answer> = Vec::with_capacity(lane.rows.len());
        let mut failed = false;
        for row in lane.rows {
            let started = Instant::now();
            let outcome = if failed { None } else { Some(self.append(&row).await) };
            failed |= matches!(outcome, Some(Outcome::Failed(..)));
            answers.push(Answer { row, outcome, took: started.elapsed() });
        }
        answers
    }

    async fn append(&self, row: &Due) -> Outcome {
        let record = &row.record;
        let Ok(event) = Event::decode(record) else {
            return Outcome::Refused(Reason::Undecodable);
        };
        let class = self.router.class(&event.event_type);
        let headers: Vec<(&str, &[u8])> =
            record.headers.iter().map(|(name, value)| (name.as_str(), value.as_ref())).collect();
        let new = NewRecord {
            id: self.router.partition(class, &record.key),
            timestamp: record.timestamp,
            key: &record.key,
            value: &record.value,
            headers: &headers,
        };
        let acks = Acks::new(1);
        self.log.append(&new, acks.ticket(0));
        // A time-out leaves the slot open, which counts as unknown.
        let _ = tokio::time::timeout(ANSWER_TIMEOUT, acks.settled()).await;
        match acks.outcome(0) {
            Ok(_) => Outcome::Sent,
            Err(AppendError::TooLarge) => Outcome::Refused(Reason::TooLarge),
            Err(
                AppendError::Full
                | AppendError::Unavailable
                | AppendError::DiskFull
                | AppendError::Unknown,
            ) => Outcome::Failed(Reason::Unavailable, None),
        }
    }
}
