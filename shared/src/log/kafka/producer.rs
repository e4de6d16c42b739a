//! The writing side: one idempotent producer for the process, the thread that polls it, and its
//! replacement.
//!
//! An append never waits. What librdkafka did not take is refused at once; what it took is settled
//! by its report, or told to be unknown when its time is over, and then still keeps its place: a
//! record is given up together with all others of its instance, so that no later one overtakes it.
//! An instance that can deliver no more (a fatal error, no report for too long, or a record that was
//! never reported) is purged, serves every report, and is replaced; nothing is ever sent again by us.
//! The client retries with the same id.

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
use super::lane::{self, Boarding, Lanes, Moment, Turn};
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

/// Whoever flushes has been told of every record by then: its time, and a second to look.
const FLUSH_MAX: Duration = Duration::from_millis(settings::MESSAGE_TIMEOUT_MS + 1_000);
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
        if let Err((error, Some(ticket))) = self.shared.append(record, ticket) {
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
        // Bounded: what is not reported by then was told to be unknown, and nobody waits for it.
        let _ = tokio::time::timeout(FLUSH_MAX, self.shared.idle()).await;
    }
}

impl Shared {
    /// Takes a record, or says why not and gives its ticket back.
    fn append(
        &self,
        record: &NewRecord<'_>,
        ticket: Ticket,
    ) -> Result<(), (AppendError, Option<Ticket>)> {
        let ticket = Some(ticket);
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
        let now = Moment { at: Instant::now(), clock_ms: self.clock_ms.load(Ordering::Relaxed) };
        let flight = Flight { id: record.id, ticket, since_ms: now.clock_ms, bytes };
        let taken = self.seats.with_own(|seat| {
            // Before the send: the report may come before it returns.
            let word = seat.keep(flight).map_err(|flight| (AppendError::Full, flight.ticket))?;
            let mut lane = lane.lock();
            let taken = match lane.turn(bytes, &self.boarding, now) {
                Turn::Now => writer.produce(record, word).map_err(delivery::not_taken),
                Turn::Full => Err(AppendError::Full),
                Turn::Later => {
                    lane.waiting.push(record, word, now.clock_ms);
                    return Ok(());
                }
            };
            taken.map_err(|error| {
                let flight = seat.release(word).expect("what was not taken is not reported");
                (error, flight.ticket)
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
mod tests;
