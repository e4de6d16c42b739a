//! Writes a topic beside the log: some records at a time, each waited for.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

use super::{KafkaConfig, KafkaError, settings};
use crate::log::{Publication, Unpublished};

/// Longer than a record's own time-out: by then each is settled.
const SETTLED_TIMEOUT: Duration = Duration::from_millis(2 * super::MESSAGE_TIMEOUT_MS);

/// What became of each record of one call.
type Outcomes = Arc<Mutex<Vec<Result<(), Unpublished>>>>;

/// The topic. All clones are one.
#[derive(Clone)]
pub struct TopicPublisher {
    /// An idempotent producer can end for good; then it is made anew.
    producer: Arc<Mutex<Arc<BaseProducer<Settled>>>>,
    client: Arc<ClientConfig>,
    context: &'static str,
    topic: String,
}

impl TopicPublisher {
    /// Copies of what is parked: at least once is all that they promise.
    pub fn dead_letters(config: &KafkaConfig) -> Result<Self, KafkaError> {
        Self::start(settings::dead_letters(config)?, "dlq", config.dlq_topic())
    }

    /// What a sink sends: no record of one call is in the topic while one before it in the same
    /// partition is not.
    pub fn sink(config: &KafkaConfig, topic: &str) -> Result<Self, KafkaError> {
        Self::start(settings::sink(config)?, "sink", topic.to_owned())
    }

    /// Prepares the client; contacts nobody yet.
    fn start(
        client: ClientConfig,
        context: &'static str,
        topic: String,
    ) -> Result<Self, KafkaError> {
        let producer = BaseProducer::from_config_and_context(&client, Settled(context))?;
        let producer = Arc::new(Mutex::new(Arc::new(producer)));
        Ok(Self { producer, client: Arc::new(client), context, topic })
    }

    /// See [`crate::log::Publisher::publish`].
    pub(in crate::log) async fn publish(
        &self,
        publications: Vec<Publication>,
    ) -> Vec<Result<(), Unpublished>> {
        let (this, count) = (self.clone(), publications.len());
        let written = tokio::task::spawn_blocking(move || this.write(&publications)).await;
        written.unwrap_or_else(|error| vec![Err(unavailable(&error)); count])
    }

    fn write(&self, publications: &[Publication]) -> Vec<Result<(), Unpublished>> {
        let mut outcomes = self.write_together(publications);
        if publications.len() == 1 {
            return outcomes;
        }
        // A broker judges a batch and says it of all its records: alone, each has an answer of its own.
        for (publication, outcome) in publications.iter().zip(&mut outcomes) {
            if *outcome != Err(Unpublished::TooLarge) {
                continue;
            }
            *outcome = self.write_together(std::slice::from_ref(publication)).swap_remove(0);
            if matches!(outcome, Err(Unpublished::Unavailable(_))) {
                break;
            }
        }
        outcomes
    }

    fn write_together(&self, publications: &[Publication]) -> Vec<Result<(), Unpublished>> {
        let unsaid = || Err(unavailable(&"no broker said that it has it"));
        let producer = match self.living() {
            Ok(producer) => producer,
            Err(error) => return vec![Err(unavailable(&error)); publications.len()],
        };
        let outcomes: Outcomes = Arc::new(Mutex::new(vec![unsaid(); publications.len()]));
        for (index, publication) in publications.iter().enumerate() {
            let ticket = Box::new((index, Arc::clone(&outcomes)));
            let mut record = BaseRecord::with_opaque_to(&self.topic, ticket)
                .payload(publication.value.as_ref())
                .headers(headers(publication));
            // A record that had no key gets none, so that the copies spread alike.
            if !publication.key.is_empty() {
                record = record.key(publication.key.as_ref());
            }
            if let Err((error, _)) = producer.send(record) {
                outcomes.lock()[index] = Err(unpublished(&error));
            }
        }
        if let Err(error) = producer.flush(SETTLED_TIMEOUT) {
            tracing::debug!(%error, topic = self.topic, "the topic was not written in time");
        }
        outcomes.lock().clone()
    }

    /// The producer, or a new one where it has ended.
    fn living(&self) -> Result<Arc<BaseProducer<Settled>>, ClientError> {
        let mut producer = self.producer.lock();
        if let Some((code, why)) = producer.client().fatal_error() {
            tracing::warn!(topic = self.topic, %code, why, "the producer has ended, making a new one");
            let context = Settled(self.context);
            *producer = Arc::new(BaseProducer::from_config_and_context(&self.client, context)?);
        }
        Ok(Arc::clone(&producer))
    }
}

fn headers(publication: &Publication) -> OwnedHeaders {
    let empty = OwnedHeaders::new_with_capacity(publication.headers.len());
    publication.headers.iter().fold(empty, |headers, (key, value)| {
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
struct Settled(&'static str);

impl ClientContext for Settled {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, line: &str) {
        settings::forward_log(self.0, level, fac, line);
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

impl std::fmt::Debug for TopicPublisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TopicPublisher").field("topic", &self.topic).finish_non_exhaustive()
    }
}
