//! Where a sink's rows go, and what their answers mean.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shared::log::{Publication, Publisher, Unpublished};

use super::lane::{Answer, Lane};
use super::own_log::OwnLog;
use super::webhook::Webhook;
use crate::store::outbox::Due;

/// The header of a record in a sink's topic that names the message.
pub const HEADER_OUTBOX_ID: &str = "shock-outbox-id";

/// Rows of a topic that are written at once.
const TOPIC_ROWS_MAX: u16 = 500;
/// Rows that are read for each request that may begin.
const ROWS_PER_LANE: u16 = 4;
/// Rows that are read at once where they go in lanes.
const LANES_ROWS_MAX: u16 = 256;

/// Where they go.
#[derive(Clone, Debug)]
pub enum Target {
    /// A POST each.
    Webhook(Box<Webhook>),
    /// A topic.
    Topic(Publisher),
    /// The log that this consumer reads: what follows from events.
    Log(Arc<OwnLog>),
}

/// What became of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has it.
    Sent,
    /// It may pass later; the receiver asked for at least this pause, of all rows.
    Failed(Reason, Option<Duration>),
    /// It never will: it is this row, not the receiver.
    Refused(Reason),
}

/// Why a row was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No connection, or it broke.
    Connection,
    /// No answer in time.
    Timeout,
    /// The answer's status.
    Status(u16),
    /// Kafka, or the log, does not take it now.
    Unavailable,
    /// It is larger than the topic takes.
    TooLarge,
    /// The row is not as it was written.
    Undecodable,
}

impl Reason {
    /// Every [`Reason::label`].
    pub const LABELS: [&'static str; 10] = [
        "connection",
        "timeout",
        "redirected",
        "throttled",
        "gone",
        "status_4xx",
        "status_5xx",
        "unavailable",
        "too_large",
        "undecodable",
    ];

    /// Its name in the metrics: a closed set.
    pub fn label(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Timeout => "timeout",
            Self::Status(408 | 425 | 429) => "throttled",
            Self::Status(410) => "gone",
            Self::Status(status) if status < 400 => "redirected",
            Self::Status(status) if status < 500 => "status_4xx",
            Self::Status(_) => "status_5xx",
            Self::Unavailable => "unavailable",
            Self::TooLarge => "too_large",
            Self::Undecodable => "undecodable",
        }
    }
}

impl fmt::Display for Reason {
    /// As the outbox keeps it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            other => f.write_str(other.label()),
        }
    }
}

impl Target {
    /// How many lanes may be under way when this share of the load may go.
    pub(super) fn lanes(&self, share: f64) -> usize {
        match self {
            Self::Webhook(webhook) => (webhook.concurrency() as f64 * share).ceil() as usize,
            Self::Log(_) => (OwnLog::CONCURRENCY as f64 * share).ceil() as usize,
            // One after the other, so that none overtakes.
            Self::Topic(_) => usize::from(share > 0.0),
        }
    }

    /// How many rows are read for so many free lanes. `careful`: the last ones failed.
    pub(super) fn rows_max(&self, free: usize, careful: bool) -> u16 {
        match self {
            Self::Webhook(_) | Self::Log(_) => u16::try_from(free)
                .unwrap_or(LANES_ROWS_MAX)
                .saturating_mul(ROWS_PER_LANE)
                .min(LANES_ROWS_MAX),
            // Alone it is seen which one it is that the topic does not take.
            Self::Topic(_) if careful => 1,
            Self::Topic(_) => TOPIC_ROWS_MAX,
        }
    }

    /// Puts rows, which come by number, into lanes that may be under way at once.
    pub(super) fn deal(&self, rows: Vec<Due>, free: usize, ordered: bool) -> Vec<Lane> {
        match self {
            Self::Webhook(_) | Self::Log(_) => Lane::deal(rows, free, ordered),
            Self::Topic(_) if rows.is_empty() => Vec::new(),
            Self::Topic(_) => vec![Lane { entity: None, rows }],
        }
    }

    /// Sends a lane's rows, in their order.
    pub(super) async fn deliver(&self, lane: Lane) -> Vec<Answer> {
        match self {
            Self::Webhook(webhook) => webhook.deliver(lane).await,
            Self::Topic(topic) => publish(topic, lane).await,
            Self::Log(log) => log.deliver(lane).await,
        }
    }

    /// Whether a failure is of the receiver as a whole: no row is to blame, and none is written for it.
    pub(super) fn fails_as_one(&self) -> bool {
        matches!(self, Self::Topic(_))
    }
}

async fn publish(topic: &Publisher, lane: Lane) -> Vec<Answer> {
    let started = std::time::Instant::now();
    let publication = |row: &Due| {
        let mut headers = row.record.headers.clone();
        headers.push((HEADER_OUTBOX_ID.to_owned(), Bytes::from(row.message_id.clone())));
        Publication { key: row.record.key.clone(), value: row.record.value.clone(), headers }
    };
    let outcomes = topic.publish(lane.rows.iter().map(publication).collect()).await;
    let took = started.elapsed();
    let answer = |(row, outcome)| {
        let outcome = match outcome {
            Ok(()) => Outcome::Sent,
            Err(Unpublished::TooLarge) => Outcome::Refused(Reason::TooLarge),
            Err(Unpublished::Unavailable(why)) => {
                tracing::debug!(why, "a sink's topic does not take a record");
                Outcome::Failed(Reason::Unavailable, None)
            }
        };
        Answer { row, outcome: Some(outcome), took }
    };
    lane.rows.into_iter().zip(outcomes).map(answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_is_one_of_the_closed_set() {
        let reasons = [
            (Reason::Connection, "connection"),
            (Reason::Timeout, "timeout"),
            (Reason::Status(100), "redirected"),
            (Reason::Status(301), "redirected"),
            (Reason::Status(400), "status_4xx"),
            (Reason::Status(408), "throttled"),
            (Reason::Status(410), "gone"),
            (Reason::Status(429), "throttled"),
            (Reason::Status(500), "status_5xx"),
            (Reason::Status(599), "status_5xx"),
            (Reason::Unavailable, "unavailable"),
            (Reason::TooLarge, "too_large"),
            (Reason::Undecodable, "undecodable"),
        ];
        for (reason, label) in reasons {
            assert_eq!(reason.label(), label, "{reason:?}");
            assert!(Reason::LABELS.contains(&label));
        }
        assert_eq!(Reason::Status(503).to_string(), "status 503");
    }
}
