//! Reads every record of the Kafka topics, from outside: an own consumer without a group.
//!
//! It commits nothing and joins nothing, so the pipeline cannot notice it. What a record is, is
//! decoded here once more (CloudEvents Kafka binding 1.0.2), on purpose not with the pipeline's code.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::{Message, Offset, TopicPartitionList};
use serde::Deserialize;

use crate::canonical;
use crate::ledger::Identity;
use crate::verify::LogRecord;

/// For metadata and watermarks.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// For reading all topics to their ends.
const READ_DEADLINE: Duration = Duration::from_secs(120);

/// Where an event says nothing of its source.
const SOURCE_DEFAULT: &str = "/";

/// The topics of one deployment.
#[derive(Clone, Debug)]
pub struct Topics {
    /// `bootstrap.servers`.
    pub brokers: String,
    /// Topics are named `<prefix>.<class>`.
    pub prefix: String,
}

impl Topics {
    /// Reads all records that are in the log now. Blocks; call it where blocking is allowed.
    pub fn read(&self) -> anyhow::Result<Vec<LogRecord>> {
        let consumer = self.consumer()?;
        let mut open = self.ends(&consumer)?;
        let mut assignment = TopicPartitionList::new();
        for (topic, partition, from, _) in &open {
            assignment
                .add_partition_offset(topic, *partition, Offset::Offset(*from))
                .context("a partition")?;
        }
        consumer.assign(&assignment).context("assign")?;
        let started = Instant::now();
        let mut records = Vec::new();
        while !open.is_empty() {
            if started.elapsed() > READ_DEADLINE {
                bail!("reading the topics took more than {READ_DEADLINE:?}; missing: {open:?}");
            }
            let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
            let message = message.context("read a record")?;
            let own = |(topic, partition, _, _): &(String, i32, i64, i64)| {
                topic == message.topic() && *partition == message.partition()
            };
            let Some(index) = open.iter().position(own) else { continue };
            let end = open[index].3;
            if message.offset() < end {
                records.push(self.record(&message));
            }
            if message.offset() + 1 >= end {
                open.swap_remove(index);
            }
        }
        Ok(records)
    }

    fn consumer(&self) -> anyhow::Result<BaseConsumer> {
        ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            // librdkafka asks for a group's name; without subscribe and commit it is never used.
            .set("group.id", "outside-checker")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("check.crcs", "true")
            .create()
            .context("a consumer")
    }

    /// How many records were ever appended: the sum of all partitions' ends. Blocks.
    pub fn appended(&self) -> anyhow::Result<i64> {
        let consumer = self.consumer()?;
        Ok(self.ends(&consumer)?.iter().map(|(_, _, _, end)| end).sum())
    }

    /// Partitions that hold something: topic, partition, first offset, end.
    fn ends(&self, consumer: &BaseConsumer) -> anyhow::Result<Vec<(String, i32, i64, i64)>> {
        let metadata = consumer.fetch_metadata(None, ASK_TIMEOUT).context("metadata")?;
        let prefix = format!("{}.", self.prefix);
        let mut ends = Vec::new();
        for topic in metadata.topics().iter().filter(|topic| topic.name().starts_with(&prefix)) {
            for partition in topic.partitions() {
                let (low, high) = consumer
                    .fetch_watermarks(topic.name(), partition.id(), ASK_TIMEOUT)
                    .with_context(|| format!("watermarks of {}", topic.name()))?;
                if low < high {
                    ends.push((topic.name().to_owned(), partition.id(), low, high));
                }
            }
        }
        Ok(ends)
    }

    fn record(&self, message: &BorrowedMessage<'_>) -> LogRecord {
        let class = message.topic().strip_prefix(&self.prefix).unwrap_or(message.topic());
        let value = message.payload().unwrap_or_default();
        LogRecord {
            identity: identity(message, value),
            partition: format!("{}/{}", class.trim_start_matches('.'), message.partition()),
            offset: message.offset(),
            value: canonical::of_bytes(value),
        }
    }
}

/// The members of a structured event that make its identity.
#[derive(Default, Deserialize)]
struct Inner {
    id: Option<String>,
    source: Option<String>,
}

fn identity(message: &BorrowedMessage<'_>, value: &[u8]) -> Option<Identity> {
    let header = |name: &str| {
        let mut headers = message.headers()?.iter();
        let found = headers.find(|header| header.key == name)?.value?;
        String::from_utf8(found.to_vec()).ok()
    };
    let key = std::str::from_utf8(message.key()?).ok()?;
    let tenant = key.split('/').next()?.to_owned();
    // Binary mode: the value is the data, and has no attributes.
    let inner = match header("ce_specversion") {
        Some(_) => Inner::default(),
        None => serde_json::from_slice(value).ok()?,
    };
    let source = inner.source.or_else(|| header("ce_source"));
    Some(Identity {
        tenant,
        source: source.unwrap_or_else(|| SOURCE_DEFAULT.to_owned()),
        id: inner.id.or_else(|| header("ce_id"))?,
    })
}
