//! The writing side: one idempotent producer for the process, its poll thread, and its replacement.
//!
//! An append never waits. What librdkafka did not take is refused at once; what it took is settled
//! by its report and by nothing else. An instance that can deliver no more (a fatal error, or no
//! report for too long) is purged, serves every report, and is replaced; nothing is ever sent again
//! by us. The client retries with the same id.

use std::fmt;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, PurgeConfig};

use super::delivery::{self, InFlight, Reports, Traffic};
use super::fitness::Fitness;
use super::progress::Progress;
use super::{KafkaConfig, KafkaError, settings};
use crate::Shutdown;
use crate::log::{AppendError, NewRecord, Ticket};
use crate::position::Class;

/// How long the poll thread waits for a report before it looks at everything else.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Open records and no report for this long: librdkafka has broken its own message time-out
/// ([`settings::MESSAGE_TIMEOUT_MS`], looked at once a second) and will not deliver any more.
const STUCK_AFTER: Duration = Duration::from_millis(settings::MESSAGE_TIMEOUT_MS + 4_000);
/// The longest wait for the reports of a purged instance; a purge answers without the network.
const PURGE_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause before another attempt to make an instance.
const REPLACE_INTERVAL: Duration = Duration::from_secs(1);
/// How long [`Producer::check_topics`] waits for the first answer of the cluster.
const CHECK_TIMEOUT: Duration = Duration::from_secs(6);

/// The writing side of the log on Kafka.
pub struct Producer {
    shared: Arc<Shared>,
    poller: Option<JoinHandle<()>>,
}

struct Shared {
    /// `None` while an instance is being replaced.
    instance: RwLock<Option<Arc<BaseProducer<Reports>>>>,
    topics: [String; Class::ALL.len()],
    traffic: Arc<Traffic>,
    fitness: Arc<Fitness>,
    stop: Shutdown,
}

impl Producer {
    /// Starts the producer. Returns at once: Kafka that is away is waited for in the background,
    /// and until the topics have been seen to fit, appends are refused.
    pub fn start(config: &KafkaConfig) -> Result<Self, KafkaError> {
        let stop = Shutdown::new();
        let fitness = Fitness::watch(config, stop.clone())?;
        // From here on `stop` is cancelled on every way out.
        let guard = stop.clone().drop_guard();
        let producer = Self::over(config, fitness, stop)?;
        guard.disarm();
        Ok(producer)
    }

    fn over(
        config: &KafkaConfig,
        fitness: Arc<Fitness>,
        stop: Shutdown,
    ) -> Result<Self, KafkaError> {
        let traffic = Arc::new(Traffic::default());
        let first = instance(config, &traffic)?;
        let shared = Arc::new(Shared {
            instance: RwLock::new(Some(Arc::new(first))),
            topics: settings::topic_names(config),
            traffic,
            fitness,
            stop,
        });
        let (polled, config) = (Arc::clone(&shared), config.clone());
        let poller = thread::Builder::new()
            .name("kafka-producer".to_owned())
            .spawn(move || polled.poll(&config))
            .map_err(|error| KafkaError::Unavailable(error.to_string()))?;
        Ok(Self { shared, poller: Some(poller) })
    }

    /// Waits a few seconds for the first look at the topics. Topics that do not fit are an error;
    /// Kafka that cannot be reached is not: [`Producer::usable`] says so, and it is tried again.
    pub async fn check_topics(&self) -> Result<(), KafkaError> {
        match self.shared.fitness.first(CHECK_TIMEOUT).await {
            Some(Err(error)) if error.is_permanent() => Err(error),
            None | Some(_) => Ok(()),
        }
    }

    /// See [`crate::log::Log::append`].
    pub fn append(&self, record: &NewRecord<'_>, ticket: Ticket) {
        if let Err((error, ticket)) = self.shared.append(record, ticket) {
            ticket.settle(Err(error));
        }
    }

    /// See [`crate::log::Log::usable`].
    pub fn usable(&self) -> Result<(), String> {
        self.shared.fitness.state()
    }

    /// See [`crate::log::Log::flush`].
    pub async fn flush(&self) {
        // Bounded: what is not settled by then belongs to an instance that is being replaced.
        let _ = tokio::time::timeout(STUCK_AFTER, self.shared.traffic.idle()).await;
    }
}

impl Shared {
    fn append(&self, record: &NewRecord<'_>, ticket: Ticket) -> Result<(), (AppendError, Ticket)> {
        if !self.fitness.is_fit() {
            return Err((AppendError::Unavailable, ticket));
        }
        let instance = self.instance.read();
        let Some(instance) = instance.as_ref() else {
            return Err((AppendError::Unavailable, ticket));
        };
        let headers = OwnedHeaders::new_with_capacity(record.headers.len());
        let headers = record.headers.iter().fold(headers, |headers, (key, value)| {
            headers.insert(Header { key, value: Some(*value) })
        });
        let in_flight = Box::new(InFlight { id: record.id, ticket });
        let message: BaseRecord<'_, [u8], [u8], _> =
            BaseRecord::with_opaque_to(&self.topics[record.id.class.index()], in_flight)
                .partition(record.id.partition.as_i32())
                .key(record.key)
                .payload(record.value)
                .timestamp(record.timestamp.0)
                .headers(headers);
        // Before the send: the report may come before it returns.
        self.traffic.begin();
        instance.send(message).map_err(|(error, message)| {
            self.traffic.end();
            (delivery::not_taken(&error), message.delivery_opaque.ticket)
        })
    }

    fn poll(&self, config: &KafkaConfig) {
        let mut progress = Progress::new(self.traffic.settled(), Instant::now());
        while !self.stop.is_cancelled() {
            let Some(instance) = self.instance.read().clone() else {
                self.replace(config);
                progress = Progress::new(self.traffic.settled(), Instant::now());
                continue;
            };
            instance.poll(POLL_INTERVAL);
            let (settled, open) = (self.traffic.settled(), self.traffic.open());
            let stalled = progress.stalled(settled, open, Instant::now());
            let fatal = instance.client().fatal_error();
            if let Some((code, reason)) = &fatal {
                tracing::error!(%code, reason, "kafka producer failed for good, replacing it");
            } else if stalled > STUCK_AFTER {
                tracing::error!("kafka producer delivers nothing any more, replacing it");
            } else {
                continue;
            }
            drop(instance);
            self.retire();
        }
        self.retire();
    }

    /// Stops sends, and has every record of the instance reported. What was queued was not written;
    /// what was under way may have been.
    fn retire(&self) {
        let Some(instance) = self.instance.write().take() else { return };
        instance.purge(PurgeConfig::default().queue().inflight());
        let deadline = Instant::now() + PURGE_TIMEOUT;
        while instance.in_flight_count() > 0 && Instant::now() < deadline {
            instance.poll(Duration::from_millis(1));
        }
        drop(instance);
        // A report that did not come by now has nobody left to bring it.
        self.traffic.forget();
    }

    fn replace(&self, config: &KafkaConfig) {
        match instance(config, &self.traffic) {
            Ok(fresh) => *self.instance.write() = Some(Arc::new(fresh)),
            Err(error) => {
                tracing::error!(%error, "cannot replace the kafka producer, trying again");
                thread::park_timeout(REPLACE_INTERVAL);
            }
        }
    }
}

fn instance(
    config: &KafkaConfig,
    traffic: &Arc<Traffic>,
) -> Result<BaseProducer<Reports>, KafkaError> {
    let reports = Reports(Arc::clone(traffic));
    Ok(BaseProducer::from_config_and_context(&settings::producer(config)?, reports)?)
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        if let Some(poller) = self.poller.take() {
            // Bounded by a poll and a purge: every ticket is settled when this returns.
            let _ = poller.join();
        }
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("topics", &self.shared.topics)
            .field("traffic", &self.shared.traffic)
            .field("fitness", &self.shared.fitness)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::clock::Millis;
    use crate::log::kafka::{Durability, TopicSpec, native};
    use crate::log::{Acks, Outcome};
    use crate::position::{Partition, PartitionId};

    /// librdkafka's own broker in memory: each instance of the producer has a fresh one.
    fn producer() -> Producer {
        let spec = TopicSpec {
            partitions: 1,
            replication: 1,
            min_insync_replicas: 1,
            retention_ms: 1,
            message_bytes_max: 1_000_000,
        };
        let config = KafkaConfig {
            brokers: "127.0.0.1:1".to_owned(),
            topic_prefix: "events".to_owned(),
            topics: [spec; 3],
            durability: Durability::Single,
            properties: BTreeMap::from([("test.mock.num.brokers".to_owned(), "1".to_owned())]),
        };
        Producer::over(&config, Fitness::proven(), Shutdown::new()).expect("librdkafka starts")
    }

    async fn append(producer: &Producer) -> Outcome {
        let id = PartitionId { class: Class::Control, partition: Partition(0) };
        let record =
            NewRecord { id, timestamp: Millis(1), key: b"acme", value: b"{}", headers: &[] };
        let acks = Acks::new(1);
        producer.append(&record, acks.ticket(0));
        acks.settled().await;
        acks.outcome(0)
    }

    #[tokio::test]
    async fn a_producer_that_fails_for_good_is_replaced_and_nothing_is_sent_again() {
        let producer = producer();
        assert!(append(&producer).await.is_ok());
        let failing = producer.shared.instance.read().clone().expect("one instance");
        native::fail(failing.client());
        // Refused at once, whether the old instance is still in place or none is.
        assert_eq!(append(&producer).await, Err(AppendError::Unavailable));
        drop(failing);
        let deadline = Instant::now() + Duration::from_secs(20);
        while append(&producer).await.is_err() {
            assert!(Instant::now() < deadline, "no new instance came");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        producer.flush().await;
        assert_eq!(producer.shared.traffic.open(), 0);
    }

    #[tokio::test]
    async fn a_dropped_producer_settles_what_it_has() {
        let producer = producer();
        let id = PartitionId { class: Class::Control, partition: Partition(0) };
        let acks = Acks::new(500);
        for index in 0..500 {
            let record =
                NewRecord { id, timestamp: Millis(1), key: b"acme", value: b"{}", headers: &[] };
            producer.append(&record, acks.ticket(index));
        }
        drop(producer);
        let settled = tokio::time::timeout(Duration::from_millis(1), acks.settled()).await;
        assert!(settled.is_ok(), "the drop returns when every ticket is settled");
    }
}
