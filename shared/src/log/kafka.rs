//! The log on Apache Kafka, through librdkafka.
//!
//! One idempotent [`Producer`] per process writes; a [`Group`] member reads under cooperative
//! rebalancing, one queue per partition; a [`Scanner`] looks without a group; [`topics`] compares and
//! creates topics; `ControlTopics` carries the control plane; a [`TopicPublisher`] takes copies of what
//! is parked. Nothing here re-sends an event, moves a position that does not fit, or changes a topic
//! that exists. Kafka's committed offsets are written as a mirror and decide nothing but where a
//! partition begins that no database has a position for.

mod breaker;
mod clock_probe;
mod control_topics;
mod delivery;
mod fitness;
mod group;
mod lane;
mod load;
mod mailbox;
mod member;
mod metrics;
mod native;
mod ownership;
mod poller;
mod producer;
mod progress;
mod publisher;
mod reader;
mod record;
mod scanner;
mod seat;
mod settings;
mod slots;
pub mod topics;
mod waiting;

use std::collections::BTreeMap;
use std::fmt;

pub use self::clock_probe::ClockProbe;
pub(crate) use self::control_topics::{ControlRecord, ControlTopics, Unsent};
pub use self::group::Group;
pub use self::metrics::ProducerMetrics;
pub use self::producer::Producer;
pub use self::publisher::TopicPublisher;
pub use self::reader::{PartitionEnd, PartitionReader};
pub use self::scanner::Scanner;
pub use self::settings::{
    MESSAGE_TIMEOUT_MS, PROPERTIES_OF_CLASSIC, PROPERTIES_RESERVED, producer as producer_settings,
};
use crate::position::Class;

/// How long the clock topic keeps its records: nobody reads them.
const CLOCK_RETENTION_MS: u64 = 60_000;

/// How long the control plane's words are kept, and how soon their segments end.
const LIVE_RETENTION_MS: u64 = 60_000;
const LIVE_SEGMENT_MS: u64 = 600_000;

/// The largest word of the control plane: some thousand partitions'.
pub const CONTROL_BYTES_MAX: u32 = 1_048_576;

/// Room for what a copy says about its record: names of tenant, source, id and type among it.
const DLQ_HEADERS_BYTES: u32 = 65_536;

const DAY_MS: u64 = 86_400_000;

/// How to reach Kafka.
#[derive(Clone)]
pub struct KafkaConfig {
    /// `bootstrap.servers`.
    pub brokers: String,
    /// Topics are named `<prefix>.<class>`: `events.control`, …
    pub topic_prefix: String,
    /// What each class's topic has to be, by `class.index()`.
    pub topics: [TopicSpec; 3],
    /// What the topics must give before the ingress starts.
    pub durability: Durability,
    /// How members of a consumer group agree on who owns what.
    pub group_protocol: GroupProtocol,
    /// Further librdkafka settings (security.*, sasl.*, ssl.*), passed through; secrets among them.
    pub properties: BTreeMap<String, String>,
}

impl fmt::Debug for KafkaConfig {
    /// The properties' values may be passwords: only their names are shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("topic_prefix", &self.topic_prefix)
            .field("topics", &self.topics)
            .field("durability", &self.durability)
            .field("group_protocol", &self.group_protocol)
            .field("properties", &self.properties.keys())
            .finish()
    }
}

impl KafkaConfig {
    /// The name of a class's topic.
    pub fn topic(&self, class: Class) -> String {
        format!("{}.{class}", self.topic_prefix)
    }

    /// The consumer group of a pipeline: what KEDA and Kafka's tools are pointed at.
    pub fn group_id(&self, pipeline: &str) -> String {
        format!("{}.{pipeline}", self.topic_prefix)
    }

    /// The name of the topic that tells the brokers' time ([`ClockProbe`]).
    pub fn clock_topic(&self) -> String {
        format!("{}-clock", self.topic_prefix)
    }

    /// What the topic that tells the brokers' time has to be: the last record is all that counts.
    pub fn clock_spec(&self) -> TopicSpec {
        TopicSpec {
            partitions: 1,
            min_insync_replicas: 1,
            retention_ms: CLOCK_RETENTION_MS,
            timestamps: Timestamps::LogAppend,
            ..*self.spec(Class::Control)
        }
    }

    /// The name of the topic of what operators have set ([`crate::plane::state`]).
    pub fn control_state_topic(&self) -> String {
        format!("{}-control.state", self.topic_prefix)
    }

    /// What it has to be: as durable as the class `control`, the last record of each key for ever.
    pub fn control_state_spec(&self) -> TopicSpec {
        TopicSpec {
            partitions: 1,
            // Not looked at by compaction; fixed, so that a class's retention does not make it differ.
            retention_ms: DAY_MS,
            message_bytes_max: CONTROL_BYTES_MAX,
            timestamps: Timestamps::Create,
            cleanup: Cleanup::Compact,
            // A fresh process reads all of it: what was replaced goes within about a day.
            segment_ms: Some(DAY_MS),
            ..*self.spec(Class::Control)
        }
    }

    /// The name of the topic of what processes tell each other ([`crate::plane::message`]).
    pub fn control_live_topic(&self) -> String {
        format!("{}-control.live", self.topic_prefix)
    }

    /// What it has to be: a word is worth something for seconds, and its age goes by one clock.
    pub fn control_live_spec(&self) -> TopicSpec {
        TopicSpec {
            partitions: 1,
            min_insync_replicas: 1,
            retention_ms: LIVE_RETENTION_MS,
            message_bytes_max: CONTROL_BYTES_MAX,
            timestamps: Timestamps::LogAppend,
            // Without it words would be kept until a segment is full: a gigabyte.
            segment_ms: Some(LIVE_SEGMENT_MS),
            ..*self.spec(Class::Control)
        }
    }

    /// The name of the topic of copies of what is parked ([`TopicPublisher`]).
    pub fn dlq_topic(&self) -> String {
        format!("{}-dlq", self.topic_prefix)
    }

    /// What it has to be: as durable and as long kept as the class `transactional`, in one partition,
    /// so that the copies stand in the order in which they were made. Its retention counts from
    /// then: the record's own time may be long ago.
    pub fn dlq_spec(&self) -> TopicSpec {
        let largest = self.topics.iter().map(|topic| topic.message_bytes_max).max();
        TopicSpec {
            partitions: 1,
            message_bytes_max: largest.unwrap_or_default().saturating_add(DLQ_HEADERS_BYTES),
            timestamps: Timestamps::LogAppend,
            ..*self.spec(Class::Transactional)
        }
    }

    /// All topics and what they have to be: the classes', highest priority first, then the others.
    pub(crate) fn wanted_topics(&self) -> Vec<(String, TopicSpec)> {
        let mut wanted: Vec<_> =
            Class::ALL.map(|class| (self.topic(class), *self.spec(class))).into();
        wanted.extend([
            (self.clock_topic(), self.clock_spec()),
            (self.control_state_topic(), self.control_state_spec()),
            (self.control_live_topic(), self.control_live_spec()),
            (self.dlq_topic(), self.dlq_spec()),
        ]);
        wanted
    }

    /// What the topic of a class has to be.
    pub fn spec(&self, class: Class) -> &TopicSpec {
        &self.topics[class.index()]
    }
}

/// What a topic has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Partitions; one writer each.
    pub partitions: u32,
    /// Replication factor.
    pub replication: u16,
    /// `min.insync.replicas`.
    pub min_insync_replicas: u16,
    /// `retention.ms`.
    pub retention_ms: u64,
    /// `max.message.bytes`.
    pub message_bytes_max: u32,
    /// Whose time its records carry.
    pub timestamps: Timestamps,
    /// What becomes of old records.
    pub cleanup: Cleanup,
    /// `segment.ms`, where it matters: only whole segments are cleaned, and never the newest.
    pub segment_ms: Option<u64>,
}

/// `cleanup.policy`: what becomes of a topic's old records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// They are deleted when `retention.ms` is over.
    Delete,
    /// The last one of each key stays for ever.
    Compact,
}

impl Cleanup {
    /// Kafka's word.
    const fn name(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Compact => "compact",
        }
    }
}

/// `message.timestamp.type`: whose time the records of a topic carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timestamps {
    /// The writer's: an event keeps the time at which the ingress received it.
    Create,
    /// The broker's, when it appended the record.
    LogAppend,
}

impl Timestamps {
    /// Kafka's word.
    const fn name(self) -> &'static str {
        match self {
            Self::Create => "CreateTime",
            Self::LogAppend => "LogAppendTime",
        }
    }
}

/// What an acknowledged record survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The loss of any one failure domain: replication ≥ 3, `min.insync.replicas` ≥ 2.
    Replicated,
    /// Whatever the topic gives: one broker, for development.
    Single,
}

/// How members of a consumer group agree on who owns what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupProtocol {
    /// The members divide it among themselves, cooperatively; members are static (KIP-345): one that is
    /// restarted within its session takes its own place.
    #[default]
    Classic,
    /// The coordinator divides it (KIP-848, brokers from 4.0 on), and says how long a session is.
    /// Members are not static: a newcomer of the same name would be refused, for good, until the session
    /// of the one that died is over.
    Consumer,
}

/// Why Kafka cannot be used as configured, or not now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KafkaError {
    /// A pass-through property that would break a promise; the configuration must change.
    #[error("kafka property {0} is fixed: the promises of the log depend on it")]
    Reserved(String),
    /// librdkafka refuses the configuration.
    #[error("kafka configuration: {0}")]
    Config(String),
    /// The topics are not what was configured: create or change them, or change the configuration.
    #[error("topics do not fit: {0}")]
    Unfit(topics::Misfits),
    /// Kafka cannot be reached or refuses now; it may be tried again.
    #[error("kafka is unavailable: {0}")]
    Unavailable(String),
}

impl KafkaError {
    /// Whether trying again without a change of the configuration or the topics is pointless.
    pub const fn is_permanent(&self) -> bool {
        match self {
            Self::Reserved(_) | Self::Config(_) | Self::Unfit(_) => true,
            Self::Unavailable(_) => false,
        }
    }
}

impl From<rdkafka::error::KafkaError> for KafkaError {
    fn from(error: rdkafka::error::KafkaError) -> Self {
        use rdkafka::error::KafkaError as E;
        match error {
            E::ClientConfig(..) | E::ClientCreation(_) | E::Nul(_) => {
                Self::Config(error.to_string())
            }
            other => Self::Unavailable(other.to_string()),
        }
    }
}
