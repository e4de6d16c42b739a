//! Records with a timestamp and a partition of one's choice, straight into the topic, each noted in the
//! ledger like a post: what the ingress wrote hours ago, or where a route led before it was changed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use shared::clock::Clock;

use super::scene::partition_of;
use crate::deployment::producers;
use crate::ledger::{Ledger, Outcome};
use crate::load::event;
use crate::records::Topics;

const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);
const CONTENT_TYPE: &str = "application/cloudevents+json; charset=UTF-8";

/// A record's timestamp, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(pub i64);

impl Stamp {
    /// So long before now.
    pub fn ago(time: Duration) -> Self {
        Self(Clock::System.now().0).before(time)
    }

    /// So long before this one.
    pub fn before(self, time: Duration) -> Self {
        Self(self.0 - i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
    }

    /// So long after this one.
    pub fn after(self, time: Duration) -> Self {
        Self(self.0 + i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
    }

    /// The nearest edge of a bucket of this width before this one.
    pub fn edge(self, width: Duration) -> Self {
        let width = i64::try_from(width.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.div_euclid(width) * width)
    }
}

/// Writes to the topic of `transactional`.
pub struct Feed {
    producer: BaseProducer,
    topic: String,
    ledger: Arc<Ledger>,
}

impl Feed {
    /// To a deployment's topic.
    pub fn open(topics: &Topics, ledger: &Arc<Ledger>) -> anyhow::Result<Self> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &topics.brokers)
            .set("acks", "all")
            .set("linger.ms", "5")
            .create()
            .context("a producer")?;
        let topic = format!("{}.transactional", topics.prefix);
        Ok(Self { producer, topic, ledger: Arc::clone(ledger) })
    }

    /// Events `NAME-0` and so on, of each tenant so many, in its partition.
    pub fn write(&self, name: &str, stamp: Stamp, each: u64) -> anyhow::Result<()> {
        for producer in producers() {
            let tenant = producer.tenant;
            let partition = partition_of(&tenant);
            self.write_to(&tenant, partition, name, stamp, each)?;
        }
        Ok(())
    }

    /// Events of one tenant in any partition. Returns when the broker has them. Blocks, for milliseconds.
    pub fn write_to(
        &self,
        tenant: &str,
        partition: u32,
        name: &str,
        stamp: Stamp,
        events: u64,
    ) -> anyhow::Result<()> {
        let headers = || {
            OwnedHeaders::new().insert(Header { key: "content-type", value: Some(CONTENT_TYPE) })
        };
        let mut sent = Vec::new();
        for number in 0..events {
            let (value, posted) = event(tenant, &format!("{name}-{number}"));
            sent.push(self.ledger.sent(vec![posted])?);
            let record = BaseRecord::to(&self.topic)
                .partition(i32::try_from(partition).context("a partition's number")?)
                .key(tenant)
                .payload(&value[..])
                .timestamp(stamp.0)
                .headers(headers());
            self.producer.send(record).map_err(|(error, _)| anyhow!("send: {error}"))?;
        }
        self.producer.flush(FLUSH_TIMEOUT).context("the broker takes them")?;
        sent.into_iter()
            .try_for_each(|request| self.ledger.answered(request, None, vec![Outcome::Accepted]))
    }
}
