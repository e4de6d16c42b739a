//! The thread that reads both topics, and serves the reports of the words that were sent.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::BaseProducer;
use rdkafka::{Message, Offset, TopicPartitionList};
use tokio::sync::watch;

use super::super::{KafkaConfig, KafkaError, settings};
use super::{ControlRecord, PARTITION, Words};
use crate::Shutdown;
use crate::clock::{Clock, Millis};
use crate::health::{Health, Heartbeat};

/// The condition of readiness.
const CONDITION: &str = "control";
/// The longest wait for one answer of the cluster.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause behind what failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// The longest wait for a record; also how late a stop or a failed word is noticed.
const TURN: Duration = Duration::from_millis(100);
/// A state that gives nothing for this long, not even its end, is asked for anew.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// A silence of the thread that is longer means that it is stuck.
const BEAT_DEADLINE: Duration = Duration::from_secs(30);
/// How old a word may be that a fresh process still wants.
const LIVE_FROM_MS: i64 = 5_000;

/// Why there is nothing to read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Away {
    #[error("the topic {0} is missing; `shock ctl topics apply` makes it")]
    Missing(String),
    #[error("kafka does not answer: {0}")]
    Kafka(#[from] ClientError),
    #[error("the topic {0} gives nothing")]
    Silent(String),
}

/// One turn's result.
enum Turn {
    /// A record, or nothing.
    Came,
    /// The end of a partition.
    End,
}

pub(super) struct Reader<H> {
    consumer: BaseConsumer<Quiet>,
    words: Arc<BaseProducer<Words>>,
    state: String,
    live: String,
    /// Where the state goes on; none: nothing was read yet.
    next: Option<i64>,
    /// The same, once all before it is in effect.
    read_to: watch::Sender<i64>,
    clock: Clock,
    health: Health,
    heartbeat: Heartbeat,
    /// Whether the state was read to its end once.
    ready: bool,
    /// What was said last, so that it is said once.
    told: Option<Away>,
    stop: Shutdown,
    hear: H,
}

impl<H: FnMut(ControlRecord<'_>) + Send + 'static> Reader<H> {
    pub(super) fn start(
        config: &KafkaConfig,
        clock: Clock,
        health: &Health,
        (words, read_to): (Arc<BaseProducer<Words>>, watch::Sender<i64>),
        stop: Shutdown,
        hear: H,
    ) -> Result<(), KafkaError> {
        let client = settings::control_reader(config)?;
        let consumer = BaseConsumer::from_config_and_context(&client, Quiet)?;
        health.set(CONDITION, Err("kafka has not been reached yet".to_owned()));
        let reader = Self {
            consumer,
            words,
            state: config.control_state_topic(),
            live: config.control_live_topic(),
            next: None,
            read_to,
            clock,
            health: health.clone(),
            heartbeat: health.heartbeat("control topics", BEAT_DEADLINE),
            ready: false,
            told: None,
            stop,
            hear,
        };
        thread::Builder::new()
            .name("kafka-control".to_owned())
            .spawn(move || reader.run())
            .map_err(|error| KafkaError::Unavailable(error.to_string()))?;
        Ok(())
    }

    fn run(mut self) {
        while let Err(away) = self.attend() {
            if !self.ready {
                self.health.set(CONDITION, Err(away.to_string()));
            }
            self.tell(away);
            self.pause();
        }
    }

    /// Reads the state anew and follows both topics; ends when told to, or when they cannot be followed.
    fn attend(&mut self) -> Result<(), Away> {
        self.find(&self.state)?;
        self.assign(&[(&self.state, Offset::Beginning)])?;
        self.next = None;
        self.read_to.send_replace(0);
        (self.hear)(ControlRecord::StateBegins);
        let mut heard = (Instant::now(), self.next);
        while let Turn::Came = self.turn()? {
            if self.stop.is_cancelled() {
                return Ok(());
            }
            if heard.1 != self.next {
                heard = (Instant::now(), self.next);
            } else if heard.0.elapsed() > SILENCE_MAX {
                return Err(Away::Silent(self.state.clone()));
            }
        }
        (self.hear)(ControlRecord::StateRead);
        self.in_effect();
        self.ready = true;
        self.health.set(CONDITION, Ok(()));
        self.follow()
    }

    fn in_effect(&self) {
        let Some(next) = self.next else { return };
        self.read_to.send_if_modified(|read_to| std::mem::replace(read_to, next) != next);
    }

    fn follow(&mut self) -> Result<(), Away> {
        let (mut listening, mut next) = (false, Instant::now());
        while !self.stop.is_cancelled() {
            if !listening && Instant::now() >= next {
                match self.listen() {
                    Ok(()) => {
                        listening = true;
                        self.told = None;
                    }
                    Err(away) => {
                        self.tell(away);
                        next = Instant::now() + RETRY_INTERVAL;
                    }
                }
            }
            self.turn()?;
            self.in_effect();
        }
        Ok(())
    }

    /// Follows the live topic, too, from a little before now.
    fn listen(&self) -> Result<(), Away> {
        self.find(&self.live)?;
        self.heartbeat.beat();
        // First the end: what is written between the two answers is not missed.
        let (_, end) = self.consumer.fetch_watermarks(&self.live, PARTITION, ANSWER_TIMEOUT)?;
        let mut asked = TopicPartitionList::with_capacity(1);
        let Millis(now) = self.clock.now();
        let since = Offset::Offset((now - LIVE_FROM_MS).max(0));
        asked.add_partition_offset(&self.live, PARTITION, since)?;
        let found = self.consumer.offsets_for_times(asked, ANSWER_TIMEOUT)?;
        let from = match found.elements().first().map(|element| (element.error(), element.offset()))
        {
            Some((Err(error), _)) => return Err(error.into()),
            Some((Ok(()), Offset::Offset(offset))) => offset,
            Some((Ok(()), _)) | None => end,
        };
        let next = self.next.map_or(Offset::Beginning, Offset::Offset);
        self.assign(&[(&self.state, next), (&self.live, Offset::Offset(from))])
    }

    fn assign(&self, topics: &[(&str, Offset)]) -> Result<(), Away> {
        let mut list = TopicPartitionList::with_capacity(topics.len());
        for (topic, from) in topics {
            list.add_partition_offset(topic, PARTITION, *from)?;
        }
        Ok(self.consumer.assign(&list)?)
    }

    /// Whether a topic is there.
    fn find(&self, topic: &str) -> Result<(), Away> {
        self.heartbeat.beat();
        // All topics: asking for one by name would create it where the brokers create by themselves.
        let metadata = self.consumer.fetch_metadata(None, ANSWER_TIMEOUT)?;
        let there = |it: &rdkafka::metadata::MetadataTopic| {
            it.name() == topic && !it.partitions().is_empty()
        };
        match metadata.topics().iter().any(there) {
            true => Ok(()),
            false => Err(Away::Missing(topic.to_owned())),
        }
    }

    /// Waits for a record, at most [`TURN`], and hands it on.
    fn turn(&mut self) -> Result<Turn, Away> {
        self.heartbeat.beat();
        self.words.poll(Duration::ZERO);
        match self.consumer.poll(TURN) {
            None => {}
            Some(Ok(message)) => {
                let state = message.topic() == self.state;
                hand_on(&message, state, &mut self.hear);
                if state {
                    self.next = Some(message.offset() + 1);
                }
            }
            Some(Err(ClientError::PartitionEOF(_))) => return Ok(Turn::End),
            Some(Err(error)) if is_final(&error) => return Err(error.into()),
            Some(Err(error)) => tracing::debug!(%error, "control topics"),
        }
        Ok(Turn::Came)
    }

    fn tell(&mut self, away: Away) {
        if self.told.as_ref() != Some(&away) {
            tracing::warn!("the control plane cannot be followed: {away}");
            self.told = Some(away);
        }
    }

    fn pause(&self) {
        let end = Instant::now() + RETRY_INTERVAL;
        while Instant::now() < end && !self.stop.is_cancelled() {
            self.heartbeat.beat();
            self.words.poll(Duration::ZERO);
            thread::park_timeout(TURN);
        }
    }
}

fn hand_on(message: &BorrowedMessage<'_>, state: bool, hear: &mut impl FnMut(ControlRecord<'_>)) {
    let value = message.payload().unwrap_or_default();
    hear(match state {
        true => ControlRecord::State { key: message.key().unwrap_or_default(), value },
        false => ControlRecord::Live { value, sent: message.timestamp().to_millis().map(Millis) },
    });
}

/// Whether librdkafka does not mend it by itself: the topic is another one, shorter, or gone.
fn is_final(error: &ClientError) -> bool {
    use RDKafkaErrorCode as E;
    matches!(
        error.rdkafka_error_code(),
        Some(
            E::AutoOffsetReset
                | E::OffsetOutOfRange
                | E::UnknownTopic
                | E::UnknownPartition
                | E::UnknownTopicOrPartition
                | E::TopicAuthorizationFailed
        )
    )
}

pub(super) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, line: &str) {
        settings::forward_log("control", level, fac, line);
    }

    fn error(&self, error: ClientError, reason: &str) {
        tracing::debug!(%error, reason, "control topics");
    }
}

impl ConsumerContext for Quiet {}
