//! The control plane's two topics: one thread per process reads both, outside any group, and hands on
//! bytes; it knows no words. `control.state` is read from its beginning, `control.live` from five
//! seconds ago.
//!
//! While Kafka is away or a topic is missing the thread tries again, and nothing else suffers: words are
//! dropped and counted, changes of the state are refused, what is known stays.

mod reader;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntCounter;
use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use tokio::sync::watch;
use tokio_util::sync::DropGuard;

use self::reader::Reader;
use super::{KafkaConfig, KafkaError, settings};
use crate::Shutdown;
use crate::clock::{Clock, Millis};
use crate::health::Health;

/// How long a change of the state may take until this process has read it back.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// The only partition of either topic.
const PARTITION: i32 = 0;

/// What is read, in the order of each topic.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ControlRecord<'a> {
    /// The state is read from the beginning of its topic: what follows is all there is.
    StateBegins,
    /// One record of the state. An empty value is a tombstone.
    State { key: &'a [u8], value: &'a [u8] },
    /// The state was read to the topic's end; what follows is new.
    StateRead,
    /// A word, and when the broker had it.
    Live { value: &'a [u8], sent: Option<Millis> },
}

/// Why a word was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsent {
    /// More words wait than the queue holds.
    Full,
    /// It is longer than a record may be.
    TooLong,
    /// librdkafka refuses it.
    Failed,
}

/// Reads until it is dropped, and writes.
pub(crate) struct ControlTopics {
    words: Arc<BaseProducer<Words>>,
    live: String,
    config: KafkaConfig,
    /// The offset up to which this process has read the state.
    read_to: watch::Receiver<i64>,
    _stop: DropGuard,
}

impl ControlTopics {
    /// Starts the thread, which calls `hear` with all that comes. `failed` counts words that were
    /// taken and did not reach the log. Not ready until the state was read once.
    pub(crate) fn start(
        config: &KafkaConfig,
        clock: Clock,
        health: &Health,
        failed: IntCounter,
        hear: impl FnMut(ControlRecord<'_>) + Send + 'static,
    ) -> Result<Self, KafkaError> {
        let client = settings::control_words(config)?;
        let words = Arc::new(BaseProducer::from_config_and_context(&client, Words(failed))?);
        let stop = Shutdown::new();
        let (read, read_to) = watch::channel(0);
        Reader::start(config, clock, health, (Arc::clone(&words), read), stop.clone(), hear)?;
        Ok(Self {
            words,
            live: config.control_live_topic(),
            config: config.clone(),
            read_to,
            _stop: stop.drop_guard(),
        })
    }

    /// Hands a word over. Never waits.
    pub(crate) fn publish(&self, from: &str, word: &[u8]) -> Result<(), Unsent> {
        let record = BaseRecord::to(&self.live).partition(PARTITION).key(from).payload(word);
        self.words.send(record).map_err(|(error, _)| match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => Unsent::Full,
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => Unsent::TooLong,
            _ => Unsent::Failed,
        })
    }

    /// Writes records of the state (an empty value is a tombstone); returns when all in-sync replicas
    /// have them and this process has read them back.
    pub(crate) async fn change(&self, records: Vec<(String, Vec<u8>)>) -> Result<(), KafkaError> {
        let late = || KafkaError::Unavailable("not read back in time".to_owned());
        let (config, mut read_to) = (self.config.clone(), self.read_to.clone());
        let done = async move {
            let written = tokio::task::spawn_blocking(move || write(&config, &records)).await;
            let last = written.map_err(|error| KafkaError::Unavailable(error.to_string()))??;
            read_to.wait_for(|next| *next > last).await.map_err(|_| late()).map(drop)
        };
        tokio::time::timeout(CHANGE_TIMEOUT, done).await.map_err(|_| late())?
    }
}

/// The offset of the last one. A producer of its own: changes are rare, and no client waits for them.
fn write(config: &KafkaConfig, records: &[(String, Vec<u8>)]) -> Result<i64, KafkaError> {
    let last = Arc::new(Mutex::new(Ok(0)));
    let client = settings::control_change(config)?;
    let producer = BaseProducer::from_config_and_context(&client, Written(Arc::clone(&last)))?;
    let topic = config.control_state_topic();
    for (key, value) in records {
        let record = BaseRecord::to(&topic).partition(PARTITION).key(key.as_str()).payload(value);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    producer.flush(CHANGE_TIMEOUT)?;
    let settled = last.lock().clone();
    settled.map_err(KafkaError::from)
}

/// Counts what does not reach the log.
struct Words(IntCounter);

impl ClientContext for Words {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, line: &str) {
        settings::forward_log("control", level, fac, line);
    }
}

impl ProducerContext for Words {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.0.inc();
        }
    }
}

/// Keeps the last offset, or the first error.
struct Written(Arc<Mutex<Result<i64, ClientError>>>);

impl ClientContext for Written {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, line: &str) {
        settings::forward_log("control", level, fac, line);
    }
}

impl ProducerContext for Written {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut last = self.0.lock();
        match (result, &mut *last) {
            (Ok(message), Ok(offset)) => *offset = message.offset(),
            (Err((error, _)), Ok(_)) => *last = Err(error.clone()),
            (_, Err(_)) => {}
        }
    }
}

impl fmt::Debug for ControlTopics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlTopics").field("live", &self.live).finish_non_exhaustive()
    }
}
