//! What became of a record, in the words of the log: the one table from librdkafka's reports and
//! refusals to outcomes.

use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode as Code};

use super::native::{Persistence, Report};
use super::settings;
use crate::log::{AppendError, Outcome};
use crate::position::{Offset, PartitionId, Position};

/// Where the producer's log lines go, and why the brokers do not let it in.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    refused: Arc<Mutex<Option<String>>>,
}

impl Lines {
    /// What a broker last said against our credentials, or we against its certificate.
    pub fn refused(&self) -> Option<String> {
        self.refused.lock().clone()
    }
}

impl ClientContext for Lines {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, line: &str) {
        settings::forward_log("producer", level, fac, line);
    }

    fn error(&self, error: ClientError, reason: &str) {
        // Its log lines say the same; what is fatal is looked for by the thread that polls.
        tracing::debug!(%error, reason, "kafka producer");
        if matches!(error.rdkafka_error_code(), Some(Code::Authentication | Code::SSL)) {
            *self.refused.lock() = Some(reason.to_owned());
        }
    }
}

/// What a report says of the record that went to `id`.
pub(super) fn outcome(id: PartitionId, report: &Report) -> Outcome {
    match report.error {
        Some(code) => Err(refusal(code, report.persistence)),
        // After a retry of a batch so old that the broker has forgotten where it put it, it is
        // there but librdkafka cannot say where.
        None if report.offset < 0 => Err(AppendError::Unknown),
        None => Ok(Position { id, offset: Offset(report.offset) }),
    }
}

/// A failed report: may the record be in the log?
fn refusal(code: Code, persistence: Persistence) -> AppendError {
    match (persistence, code) {
        (Persistence::Possibly | Persistence::Surely, _) => AppendError::Unknown,
        (Persistence::Not, Code::MessageSizeTooLarge) => AppendError::TooLarge,
        (Persistence::Not, _) => AppendError::Unavailable,
    }
}

/// What a record that librdkafka did not even take becomes; it is not in the log.
pub(super) fn not_taken(code: Code) -> AppendError {
    match code {
        Code::QueueFull => AppendError::Full,
        Code::MessageSizeTooLarge => AppendError::TooLarge,
        _ => AppendError::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{Class, Partition};

    #[test]
    fn only_what_is_surely_absent_is_refused() {
        let check = |persistence, code, expected| {
            assert_eq!(refusal(code, persistence), expected, "{persistence:?} {code:?}");
        };
        check(Persistence::Not, Code::MessageTimedOut, AppendError::Unavailable);
        check(Persistence::Possibly, Code::MessageTimedOut, AppendError::Unknown);
        check(Persistence::Not, Code::MessageSizeTooLarge, AppendError::TooLarge);
        check(Persistence::Possibly, Code::MessageSizeTooLarge, AppendError::Unknown);
        check(Persistence::Surely, Code::MessageTimedOut, AppendError::Unknown);
        check(Persistence::Possibly, Code::PurgeInflight, AppendError::Unknown);
        check(Persistence::Not, Code::PurgeQueue, AppendError::Unavailable);
    }

    #[test]
    fn nothing_is_acknowledged_without_its_place() {
        let id = PartitionId { class: Class::Telemetry, partition: Partition(4) };
        let mut report = Report {
            opaque: 0,
            error: None,
            persistence: Persistence::Surely,
            offset: 12,
            broker: 1,
        };
        assert_eq!(outcome(id, &report), Ok(Position { id, offset: Offset(12) }));
        report.offset = -1;
        assert_eq!(outcome(id, &report), Err(AppendError::Unknown));
    }
}
