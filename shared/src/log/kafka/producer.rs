//! The writing side: one idempotent producer for the process, the thread that polls it, and its
//! replacement.
//!
//! An append never waits. What librdkafka did not take is refused at once; what it took is settled
//! by its report and by nothing else. An instance that can deliver no more (a fatal error, or no
//! report for too long) is purged, serves every report, and is replaced; nothing is ever sent again
//! by us. The client retries with the same id.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tokio::sync::Notify;

use super::breaker::Gates;
use super::delivery::{self, Lines};
use super::fitness::Fitness;
use super::lane::{self, Boarding, Lanes, Turn};
use super::load::Load;
use super::metrics::ProducerMetrics;
use super::native::Writer;
use super::poller::Poller;
use super::seat::Seats;
use super::slots::Flight;
use super::{KafkaConfig, KafkaError, settings};
use crate::Shutdown;
use crate::log::{AppendError, NewRecord, Ticket};
use crate::position::Class;

/// Open records and no report for this long: librdkafka has broken its own message time-out
/// ([`settings::MESSAGE_TIMEOUT_MS`], looked at once a second) and will not deliver any more.
pub(super) const STUCK_AFTER: Duration =
    Duration::from_millis(settings::MESSAGE_TIMEOUT_MS + 4_000);
/// How long [`Producer::check_topics`] waits for the first answer of the cluster.
const CHECK_TIMEOUT: Duration = Duration::from_secs(6);

/// The writing side of the log on Kafka.
pub struct Producer {
    shared: Arc<Shared>,
    poller: Option<JoinHandle<()>>,
}

/// What the serving threads and the one that polls have in common.
pub(super) struct Shared {
    /// `None` while an instance is being replaced.
    instance: RwLock<Option<Arc<Writer<Lines>>>>,
    topics: [String; Class::ALL.len()],
    /// Records that are not settled, over all instances.
    pub seats: Seats,
    /// How many and how large they are.
    pub load: Load,
    /// Whose turn it is in each partition.
    pub lanes: Lanes,
    /// When a batch takes more records.
    pub boarding: Boarding,
    /// What the breaker lets through.
    pub gates: Gates,
    /// Told when nothing is in flight any more.
    pub idle: Notify,
    /// The poller's own clock: the time that it was there to see, so that a process that was paused
    /// blames no broker for it.
    pub clock_ms: AtomicU64,
    /// Set once the process has a registry.
    pub metrics: OnceLock<ProducerMetrics>,
    fitness: Arc<Fitness>,
    lines: Lines,
    /// Cancelled, the poller settles everything and ends.
    pub stop: Shutdown,
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
        let topics = settings::topic_names(config);
        let client = settings::producer(config)?;
        let settings::Bounds { load, boarding } = settings::bounds(&client)?;
        let lines = Lines::default();
        let first = Writer::new(&client, lines.clone(), &topics)?;
        let partitions = config.topics.map(|topic| topic.partitions);
        let shared = Arc::new(Shared {
            instance: RwLock::new(Some(Arc::new(first))),
            topics,
            seats: Seats::new(),
            load,
            lanes: Lanes::new(partitions),
            boarding,
            gates: Gates::new(partitions),
            idle: Notify::new(),
            clock_ms: AtomicU64::new(0),
            metrics: OnceLock::new(),
            fitness,
            lines,
            stop,
        });
        let poller = Poller::new(Arc::clone(&shared), config.clone(), partitions);
        let poller = thread::Builder::new()
            .name("kafka-producer".to_owned())
            .spawn(move || poller.run())
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

    /// From now on the producer is counted; once.
    pub fn observe(&self, metrics: ProducerMetrics) {
        // A second registry would be a mistake that its duplicate families have shown before.
        let _ = self.shared.metrics.set(metrics);
    }

    /// Makes the instance in use fail for good, as a broken sequence of batches would: for a test
    /// on a real broker, which cannot be made to break one.
    #[cfg(feature = "world")]
    pub fn fail(&self) {
        if let Some(writer) = self.shared.instance() {
            super::native::fail(writer.client());
        }
    }

    /// See [`crate::log::Log::append`].
    pub fn append(&self, record: &NewRecord<'_>, ticket: Ticket) {
        if let Err((error, ticket)) = self.shared.append(record, ticket) {
            ticket.settle(Err(error));
        }
    }

    /// See [`crate::log::Log::attend`].
    pub async fn attend(&self) {
        self.shared.seats.attend().await;
    }

    /// See [`crate::log::Log::usable`].
    pub fn usable(&self) -> Result<(), String> {
        self.shared.fitness.state().map_err(|error| match self.shared.lines.refused() {
            Some(reason) => format!("{error}: {reason}"),
            None => error,
        })
    }

    /// See [`crate::log::Log::flush`].
    pub async fn flush(&self) {
        // Bounded: what is not settled by then belongs to an instance that is being replaced.
        let _ = tokio::time::timeout(STUCK_AFTER, self.shared.idle()).await;
    }
}

impl Shared {
    fn append(&self, record: &NewRecord<'_>, ticket: Ticket) -> Result<(), (AppendError, Ticket)> {
        if !self.fitness.is_fit() || !self.gates.pass(record.id) {
            return Err((AppendError::Unavailable, ticket));
        }
        let instance = self.instance.read();
        let (Some(writer), Some(lane)) = (instance.as_ref(), self.lanes.of(record.id)) else {
            return Err((AppendError::Unavailable, ticket));
        };
        let bytes = lane::size(record);
        if !self.load.take(bytes) {
            return Err((AppendError::Full, ticket));
        }
        let since_ms = self.clock_ms.load(Ordering::Relaxed);
        let flight = Flight { id: record.id, ticket, since_ms, bytes };
        let taken = self.seats.with_own(|seat| {
            // Before the send: the report may come before it returns.
            let word = seat.keep(flight).map_err(|flight| (AppendError::Full, flight.ticket))?;
            let now = Instant::now();
            let mut lane = lane.lock();
            if lane.turn(bytes, &self.boarding, now) == Turn::Later {
                lane.waiting.push(record, word);
                return Ok(());
            }
            writer.produce(record, word).map_err(|code| {
                let flight = seat.release(word).expect("what was not taken is not reported");
                (delivery::not_taken(code), flight.ticket)
            })?;
            lane.boarded(bytes, now);
            Ok(())
        });
        taken.inspect_err(|_| self.load.give_back(1, bytes))
    }

    /// The instance in use.
    pub fn instance(&self) -> Option<Arc<Writer<Lines>>> {
        self.instance.read().clone()
    }

    /// Stops sends for good; the instance, to be emptied.
    pub fn retire(&self) -> Option<Arc<Writer<Lines>>> {
        self.instance.write().take()
    }

    /// Begins to send through a new instance.
    pub fn replace(&self, config: &KafkaConfig) -> Result<(), KafkaError> {
        let fresh = Writer::new(&settings::producer(config)?, self.lines.clone(), &self.topics)?;
        *self.instance.write() = Some(Arc::new(fresh));
        Ok(())
    }

    /// Waits until nothing is in flight.
    async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.load.is_empty() {
                return;
            }
            idle.await;
        }
    }
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
            .field("load", &self.shared.load)
            .field("fitness", &self.shared.fitness)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Instant;

    use super::*;
    use crate::clock::Millis;
    use crate::log::kafka::{Durability, TopicSpec, native};
    use crate::log::{Acks, Outcome};
    use crate::position::{Class, Partition, PartitionId};

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
        let failing = producer.shared.instance().expect("one instance");
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
        assert!(producer.shared.load.is_empty());
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
