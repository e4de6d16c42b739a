//! Writes the DLQ topic: some copies at a time, each waited for.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

use super::{KafkaConfig, KafkaError, settings};
use crate::log::{DeadLetter, Unpublished};

/// Longer than a record's own time-out: by then each is settled.
const SETTLED_TIMEOUT: Duration = Duration::from_millis(2 * super::MESSAGE_TIMEOUT_MS);

/// What became of each copy of one call.
type Outcomes = Arc<Mutex<Vec<Result<(), Unpublished>>>>;

/// The topic. All clones are one.
#[derive(Clone)]
pub struct DeadLetterTopic {
    producer: Arc<BaseProducer<Settled>>,
    topic: String,
}

impl DeadLetterTopic {
    /// Prepares the client; contacts nobody yet.
    pub fn start(config: &KafkaConfig) -> Result<Self, KafkaError> {
        let client = settings::dead_letters(config)?;
        let producer = BaseProducer::from_config_and_context(&client, Settled)?;
        Ok(Self { producer: Arc::new(producer), topic: config.dlq_topic() })
    }

    /// See [`crate::log::DeadLetters::publish`].
    pub(in crate::log) async fn publish(
        &self,
        letters: Vec<DeadLetter>,
    ) -> Vec<Result<(), Unpublished>> {
        let (this, count) = (self.clone(), letters.len());
        let written = tokio::task::spawn_blocking(move || this.write(&letters)).await;
        written.unwrap_or_else(|error| vec![Err(unavailable(&error)); count])
    }

    fn write(&self, letters: &[DeadLetter]) -> Vec<Result<(), Unpublished>> {
        let unsaid = || Err(unavailable(&"no broker said that it has it"));
        let outcomes: Outcomes = Arc::new(Mutex::new(vec![unsaid(); letters.len()]));
        for (index, letter) in letters.iter().enumerate() {
            let ticket = Box::new((index, Arc::clone(&outcomes)));
            let mut record = BaseRecord::with_opaque_to(&self.topic, ticket)
                .payload(letter.value.as_ref())
                .headers(headers(letter));
            // A record that had no key gets none, so that the copies spread alike.
            if !letter.key.is_empty() {
                record = record.key(letter.key.as_ref());
            }
            if let Err((error, _)) = self.producer.send(record) {
                outcomes.lock()[index] = Err(unpublished(&error));
            }
        }
        if let Err(error) = self.producer.flush(SETTLED_TIMEOUT) {
            tracing::debug!(%error, "the DLQ topic was not written in time");
        }
        outcomes.lock().clone()
    }
}

fn headers(letter: &DeadLetter) -> OwnedHeaders {
    let empty = OwnedHeaders::new_with_capacity(letter.headers.len());
    letter.headers.iter().fold(empty, |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value.as_ref()) })
    })
}

fn unpublished(error: &ClientError) -> Unpublished {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize) => {
            Unpublished::TooLarge
        }
        _ => unavailable(error),
    }
}

fn unavailable(why: &impl std::fmt::Display) -> Unpublished {
    Unpublished::Unavailable(why.to_string())
}

/// Keeps what the brokers said of each.
struct Settled;

impl ClientContext for Settled {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, line: &str) {
        settings::forward_log("dlq", level, fac, line);
    }
}

impl ProducerContext for Settled {
    type DeliveryOpaque = Box<(usize, Outcomes)>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Self::DeliveryOpaque) {
        let (index, outcomes) = *ticket;
        outcomes.lock()[index] = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(unpublished(error)),
        };
    }
}

impl std::fmt::Debug for DeadLetterTopic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetterTopic").field("topic", &self.topic).finish_non_exhaustive()
    }
}
