//! Delivery reports: what became of each record, told to its ticket.
//!
//! Only librdkafka's report settles a record that was handed over; a late report settles its own
//! ticket and no other, because the ticket travels with the record.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::ProducerContext;
use tokio::sync::Notify;

use super::native::{self, Persistence};
use super::settings;
use crate::log::{AppendError, Outcome, Ticket};
use crate::position::{Offset, PartitionId, Position};

/// What travels with a record through librdkafka.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) id: PartitionId,
    pub(super) ticket: Ticket,
}

/// How many records are on their way, over all producer instances.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    open: AtomicUsize,
    settled: AtomicU64,
    idle: Notify,
}

impl Traffic {
    pub(super) fn begin(&self) {
        self.open.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn end(&self) {
        self.settled.fetch_add(1, Ordering::Relaxed);
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.idle.notify_waiters();
        }
    }

    /// Nothing of a destroyed instance will be reported any more.
    pub(super) fn forget(&self) {
        self.open.store(0, Ordering::Release);
        self.idle.notify_waiters();
    }

    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Grows with every report: a producer with open records that stands still is stuck.
    pub(super) fn settled(&self) -> u64 {
        self.settled.load(Ordering::Relaxed)
    }

    /// Waits until nothing is on its way.
    pub(super) async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.open() == 0 {
                return;
            }
            idle.await;
        }
    }
}

/// The producer's callbacks.
#[derive(Debug)]
pub(super) struct Reports(pub(super) Arc<Traffic>);

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, line: &str) {
        settings::forward_log("producer", level, fac, line);
    }

    fn error(&self, error: ClientError, reason: &str) {
        // Its log lines say the same; what is fatal is looked for by the poll thread.
        tracing::debug!(%error, reason, "kafka producer");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<InFlight>;

    fn delivery(&self, result: &DeliveryResult<'_>, in_flight: Box<InFlight>) {
        let InFlight { id, ticket } = *in_flight;
        ticket.settle(outcome(id, result));
        self.0.end();
    }
}

fn outcome(id: PartitionId, result: &DeliveryResult<'_>) -> Outcome {
    match result {
        // After a retry of a batch so old that the broker has forgotten where it put it, it is
        // there but librdkafka cannot say where.
        Ok(message) if message.offset() < 0 => Err(AppendError::Unknown),
        Ok(message) => Ok(Position { id, offset: Offset(message.offset()) }),
        Err((error, message)) => {
            Err(refusal(error.rdkafka_error_code(), native::persistence(message)))
        }
    }
}

/// The one table from a failed report to what the caller must know: may it be in the log?
fn refusal(code: Option<Code>, persistence: Persistence) -> AppendError {
    match (persistence, code) {
        (Persistence::Possibly | Persistence::Surely, _) => AppendError::Unknown,
        (Persistence::Not, Some(Code::MessageSizeTooLarge)) => AppendError::TooLarge,
        (Persistence::Not, _) => AppendError::Unavailable,
    }
}

/// What a record that librdkafka did not even take becomes; it is not in the log.
pub(super) fn not_taken(error: &ClientError) -> AppendError {
    match error.rdkafka_error_code() {
        Some(Code::QueueFull) => AppendError::Full,
        Some(Code::MessageSizeTooLarge) => AppendError::TooLarge,
        _ => AppendError::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_surely_absent_is_refused() {
        let check = |persistence, code, expected| {
            assert_eq!(refusal(code, persistence), expected, "{persistence:?} {code:?}");
        };
        let timed_out = Some(Code::MessageTimedOut);
        let too_large = Some(Code::MessageSizeTooLarge);
        check(Persistence::Not, timed_out, AppendError::Unavailable);
        check(Persistence::Possibly, timed_out, AppendError::Unknown);
        check(Persistence::Not, too_large, AppendError::TooLarge);
        check(Persistence::Possibly, too_large, AppendError::Unknown);
        check(Persistence::Surely, None, AppendError::Unknown);
        check(Persistence::Possibly, Some(Code::PurgeInflight), AppendError::Unknown);
        check(Persistence::Not, Some(Code::PurgeQueue), AppendError::Unavailable);
    }
}
