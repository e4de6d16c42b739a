//! Asks a broker for its time.
//!
//! Kafka's protocol has no question for it, but a broker stamps each record of a topic of type
//! `LogAppendTime` and returns the stamp with the acknowledgement. So a record is written to a topic of
//! that type, and its stamp lies between our own readings before and after.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::{ClientContext, Message, Timestamp};

use super::{KafkaConfig, KafkaError, settings};
use crate::Shutdown;
use crate::clock::{Clock, Millis};
use crate::health::{Health, Heartbeat};
use crate::skew::{INTERVAL, Reading, Skew, TRIES};

/// An answer that takes longer says too little.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the thread says that it lives, and looks whether it is to end.
const BEAT: Duration = Duration::from_secs(1);
/// A silence that is longer means that it is stuck.
const BEAT_DEADLINE: Duration = Duration::from_secs(30);

/// What the acknowledgement of the last record said.
type Answer = Arc<Mutex<Option<Timestamp>>>;

/// Asks for the time every [`INTERVAL`], on a thread of its own, until shutdown. While Kafka is away or
/// the topic is missing nothing is known, and nothing else suffers.
#[derive(Debug)]
pub struct ClockProbe;

impl ClockProbe {
    /// Starts the thread.
    pub fn start(
        config: &KafkaConfig,
        skew: Skew,
        health: &Health,
        stop: Shutdown,
    ) -> Result<(), KafkaError> {
        let answer = Answer::default();
        let client = settings::clock_probe(config)?;
        let producer = client.create_with_context(Acknowledged(Arc::clone(&answer)))?;
        let probe = Probe { producer, topic: config.clock_topic(), answer };
        let heartbeat = health.heartbeat("clock probe", BEAT_DEADLINE);
        thread::Builder::new()
            .name("kafka-clock".to_owned())
            .spawn(move || probe.run(&skew, &heartbeat, &stop))
            .map_err(|error| KafkaError::Unavailable(error.to_string()))?;
        Ok(())
    }
}

struct Probe {
    producer: BaseProducer<Acknowledged>,
    topic: String,
    answer: Answer,
}

impl Probe {
    fn run(&self, skew: &Skew, heartbeat: &Heartbeat, stop: &Shutdown) {
        let mut known = true;
        while !stop.is_cancelled() {
            let mut best = None;
            for _ in 0..TRIES {
                heartbeat.beat();
                best = self.ask().map(|reading| reading.better(best)).or(best);
            }
            match best {
                Some(reading) => skew.read(reading),
                None if known => tracing::warn!(
                    topic = self.topic,
                    "no broker tells its time; `shock ctl topics apply` makes the topic for it"
                ),
                None => {}
            }
            known = best.is_some();
            let next = Instant::now() + INTERVAL;
            while Instant::now() < next && !stop.is_cancelled() {
                heartbeat.beat();
                thread::park_timeout(BEAT);
            }
        }
    }

    fn ask(&self) -> Option<Reading> {
        *self.answer.lock() = None;
        let asked = Clock::System.now();
        let record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&self.topic).payload(&[]);
        self.producer.send(record).ok()?;
        // The deadline of the record is shorter: it is settled by then.
        self.producer.flush(2 * ANSWER_TIMEOUT).ok()?;
        let answered = Clock::System.now();
        match self.answer.lock().take()? {
            Timestamp::LogAppendTime(theirs) => Reading::of(asked, Millis(theirs), answered),
            // The topic is of another type: the stamp is our own.
            Timestamp::CreateTime(_) | Timestamp::NotAvailable => None,
        }
    }
}

/// Keeps what the broker's acknowledgement said.
struct Acknowledged(Answer);

impl ClientContext for Acknowledged {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, fac: &str, line: &str) {
        settings::forward_log("clock", level, fac, line);
    }
}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        *self.0.lock() = result.as_ref().ok().map(Message::timestamp);
    }
}
