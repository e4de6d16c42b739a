//! Records for the consumer, straight into a topic: what the ingress would have written.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rand::distr::Alphanumeric;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use shared::position::Class;
use shared::route::Router;
use tokio::task::JoinHandle;

use crate::load::EVENT_BYTES;
use crate::records::Topics;

/// What the events' texts are cut from.
const TEXT_BYTES: usize = 4 << 20;

/// How long the broker may take for what was handed over.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(120);

/// Tenants that are tried until each partition has one.
const NAMES_MAX: u32 = 100_000;

/// What is written.
#[derive(Clone, Copy, Debug)]
pub struct Feed {
    /// Partitions of the topic.
    pub partitions: u32,
    /// Records of each partition.
    pub records: u64,
    /// The number of the first one; every event has its own.
    pub first: u64,
    /// How many of a hundred repeat the id of an earlier one.
    pub repeated_percent: u64,
    /// The size of an event.
    pub bytes: usize,
    /// What the events are.
    pub kind: Kind,
}

/// What happens in an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An order was paid.
    Order,
    /// Money goes from one account to another, of [`ACCOUNTS`]; some have far more of it than others.
    Transfer,
}

/// Accounts of a tenant.
pub const ACCOUNTS: u32 = 10_000;

impl Feed {
    /// So many events of the usual size.
    pub fn of(partitions: u32, records: u64, first: u64) -> Self {
        let (bytes, kind) = (EVENT_BYTES, Kind::Order);
        Self { partitions, records, first, repeated_percent: 0, bytes, kind }
    }

    /// Writes them, and returns when the broker has them. Blocks.
    pub fn write(&self, topics: &Topics, class: Class) -> anyhow::Result<()> {
        let writer = Writer::open(topics, class, self.partitions)?;
        for number in self.first..self.first + self.records {
            writer.write(self, number)?;
        }
        writer.producer.flush(FLUSH_TIMEOUT).context("the broker takes them")
    }

    /// Every hundred, so many have the ids of those just before them.
    fn value(&self, number: u64, partition: i32, text: &str) -> String {
        let at = number % 100;
        let id = match at >= 100 - self.repeated_percent {
            true => number - self.repeated_percent,
            false => number,
        };
        let what = match self.kind {
            Kind::Order => format!(r#""order.paid","source":"/bench","data":{{"n":{id}"#),
            Kind::Transfer => format!(
                r#""account.transfer","source":"/bench","data":{{"from":"a-{}","to":"a-{}","amount":{}"#,
                account(2 * id),
                account(2 * id + 1),
                id % 97
            ),
        };
        let head = format!(r#"{{"id":"b-{partition}-{id}","type":{what},"text":""#);
        let length = self.bytes.saturating_sub(head.len() + 3);
        // Far from where its neighbours were taken: a batch compresses as events do, and no better.
        let spread =
            id.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(partition.unsigned_abs()) << 32;
        let from = (spread % (text.len() - length) as u64) as usize;
        format!("{head}{}\"}}}}", &text[from..from + length])
    }
}

/// Writes to every partition of one topic.
pub struct Writer {
    producer: BaseProducer,
    topic: String,
    keys: Vec<String>,
    text: String,
}

impl Writer {
    /// To the topic of a class.
    pub fn open(topics: &Topics, class: Class, partitions: u32) -> anyhow::Result<Self> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &topics.brokers)
            .set("linger.ms", "5")
            .set("batch.size", "1000000")
            .set("compression.type", "lz4")
            .set("queue.buffering.max.messages", "500000")
            .set("queue.buffering.max.kbytes", "262144")
            .create()
            .context("a producer")?;
        let topic = format!("{}.{class}", topics.prefix);
        Ok(Self { producer, topic, keys: keys(class, partitions)?, text: text() })
    }

    /// One event to each partition.
    pub fn write(&self, feed: &Feed, number: u64) -> anyhow::Result<()> {
        let content_type = Header { key: "content-type", value: Some(CONTENT_TYPE) };
        let headers = OwnedHeaders::new().insert(content_type);
        for (partition, key) in (0..).zip(&self.keys) {
            let value = feed.value(number, partition, &self.text);
            let mut record = BaseRecord::to(&self.topic)
                .partition(partition)
                .key(key)
                .payload(&value)
                .headers(headers.clone());
            while let Err((error, back)) = self.producer.send(record) {
                if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                    bail!("{error}");
                }
                self.producer.poll(Duration::from_millis(10));
                record = back;
            }
        }
        self.producer.poll(Duration::ZERO);
        Ok(())
    }
}

/// One of the accounts: half of the draws are of a sixteenth of them.
fn account(draw: u64) -> u32 {
    let mixed = draw.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let uniform = (mixed >> 11) as f64 / (1_u64 << 53) as f64;
    (f64::from(ACCOUNTS) * uniform.powi(4)) as u32
}

/// Events at a steady pace in the background.
pub struct Trickle {
    stop: Sender<()>,
    feeding: JoinHandle<anyhow::Result<()>>,
}

impl Trickle {
    /// One for each partition of these classes, again and again.
    pub fn start(topics: &Topics, classes: &[Class], partitions: u32, every: Duration) -> Self {
        let (topics, classes) = (topics.clone(), classes.to_vec());
        let (stop, stopped) = channel();
        let feeding = tokio::task::spawn_blocking(move || {
            let open = |class| Writer::open(&topics, class, partitions);
            let writers: Vec<_> = classes.into_iter().map(open).collect::<Result<_, _>>()?;
            let feed = Feed::of(partitions, u64::MAX, 0);
            let (begun, mut number) = (Instant::now(), 0);
            loop {
                // The pace is the feed's, however long a write takes.
                let due = begun + every * number;
                let wait = due.saturating_duration_since(Instant::now());
                if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                    return Ok(());
                }
                writers.iter().try_for_each(|writer| writer.write(&feed, u64::from(number)))?;
                number += 1;
            }
        });
        Self { stop, feeding }
    }

    /// Ends it.
    pub async fn stop(self) -> anyhow::Result<()> {
        drop(self.stop);
        self.feeding.await.context("the feed")?
    }
}

/// Letters and digits by the dozen.
fn text() -> String {
    let mut random = StdRng::seed_from_u64(1);
    (0..TEXT_BYTES).map(|_| char::from(random.sample(Alphanumeric))).collect()
}

const CONTENT_TYPE: &str = "application/cloudevents+json; charset=UTF-8";

/// A tenant for each partition, as routing sends them.
fn keys(class: Class, partitions: u32) -> anyhow::Result<Vec<String>> {
    let router = Router::new([partitions; 3], Vec::new());
    let mut keys = vec![None; partitions as usize];
    let mut missing = keys.len();
    for number in 0..NAMES_MAX {
        let name = format!("t{number}");
        let place = router.partition(class, name.as_bytes()).partition.0 as usize;
        if keys[place].is_none() {
            keys[place] = Some(name);
            missing -= 1;
        }
        if missing == 0 {
            break;
        }
    }
    keys.into_iter().collect::<Option<_>>().context("a tenant for each partition")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn events_have_their_size_and_three_of_ten_repeat_an_earlier_one() {
        let feed = Feed { repeated_percent: 30, ..Feed::of(1, 1_000, 500) };
        let mut ids = BTreeSet::new();
        let mut repeated = 0;
        let source = text();
        for number in 500..1_500 {
            let text = feed.value(number, 0, &source);
            assert_eq!(text.len(), EVENT_BYTES);
            let value: Value = serde_json::from_str(&text).expect("JSON");
            repeated += usize::from(!ids.insert(value["id"].to_string()));
        }
        assert_eq!((ids.len(), repeated), (700, 300));
    }

    #[test]
    fn transfers_are_events_of_two_accounts_and_some_have_most_of_them() {
        let feed = Feed { kind: Kind::Transfer, ..Feed::of(1, 10_000, 0) };
        let (mut busy, source) = (0, text());
        let mut seen = BTreeSet::new();
        for number in 0..10_000 {
            let value: Value = serde_json::from_str(&feed.value(number, 0, &source)).expect("JSON");
            for side in ["from", "to"] {
                let account = value["data"][side].as_str().and_then(|name| name.strip_prefix("a-"));
                let account: u32 = account.and_then(|name| name.parse().ok()).expect("an account");
                assert!(account < ACCOUNTS);
                busy += u32::from(account < ACCOUNTS / 16);
                seen.insert(account);
            }
        }
        assert!((9_000..11_000).contains(&busy), "{busy} of 20,000");
        assert!(seen.len() > 3_000, "{}", seen.len());
    }

    #[test]
    fn every_partition_has_a_tenant() {
        let keys = keys(Class::Transactional, 32).expect("found");
        let router = Router::new([32; 3], Vec::new());
        for (number, key) in (0..).zip(&keys) {
            let id = router.partition(Class::Transactional, key.as_bytes());
            assert_eq!(id.partition.0, number);
        }
    }
}
