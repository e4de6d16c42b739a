//! The suite: what a consumer promises, written once and run on every store.
//!
//! The log is the memory log; the store is real. Nothing here sleeps to wait: [`Bench::until`] asks
//! for a condition with a deadline.

mod ahead;
pub mod base;
pub mod cases;
mod deaths;
mod dlq;
mod failures;
pub mod handlers;
mod ids;
mod load;
mod order;
mod outbox;
mod ownership;
pub mod projections;
mod receiver;
mod recovery;

use std::sync::Arc;
use std::time::Duration;

use consumer::handler::Handled;
use consumer::outbox::Sinks;
use consumer::store::SchemaError;
use consumer::{Consumer, ConsumerError, Store};
use shared::clock::{Clock, Millis};
use shared::config::{ConsumerConfig, ControlConfig, OnPoison, ProjectionsConfig, SinkConfig};
use shared::health::Health;
use shared::log::memory::MemoryLog;
use shared::log::{Acks, NewRecord, Subscription};
use shared::metrics::Registry;
use shared::position::{Class, Partition, PartitionId};
use shared::route::Router;
use shared::{Process, Shutdown};
use tokio::task::JoinHandle;

use self::base::Base;

/// Noon of some day: far from a bucket's edge.
pub const NOON: Millis = Millis(1_750_075_200_000);
/// The deduplication window of the suite.
pub const WINDOW: Duration = Duration::from_secs(3_600);
/// The instance that runs unless a case names another.
pub const INSTANCE: &str = "consumer-0";

/// The partition most cases use.
pub const FIRST: PartitionId = PartitionId { class: Class::Transactional, partition: Partition(0) };
/// Its neighbour.
pub const SECOND: PartitionId =
    PartitionId { class: Class::Transactional, partition: Partition(1) };

/// A log, a store and a clock.
pub struct Bench {
    pub base: Base,
    pub log: MemoryLog,
    pub clock: Clock,
    pub config: ConsumerConfig,
    pub projections: ProjectionsConfig,
    pub sinks: Vec<SinkConfig>,
    pub handled: Option<Handled>,
}

/// A consumer that runs.
pub struct Running {
    pub registry: Arc<Registry>,
    pub health: Health,
    shutdown: Shutdown,
    task: JoinHandle<Result<(), ConsumerError>>,
}

impl Bench {
    pub async fn new(base: Base) -> Self {
        base.store().await.migrate().await.expect("migrates");
        Self {
            base,
            log: MemoryLog::new([FIRST, SECOND]),
            clock: Clock::manual(NOON),
            config: ConsumerConfig {
                pipeline: base::PIPELINE.to_owned(),
                instance: INSTANCE.to_owned(),
                batch_records_max: 16,
                batch_bytes_max: 1 << 20,
                poll_wait: Duration::from_millis(20),
                dedupe_window: WINDOW,
                retry_backoff_min: Duration::from_millis(1),
                retry_backoff_max: Duration::from_millis(20),
                retries_max: 2,
                parked_tries_max: 3,
                parked_retry_min: Duration::from_secs(3_600),
                parked_retry_max: Duration::from_secs(3_600),
                parked_retry_factor: 1,
                on_poison: OnPoison::Skip,
                storm_percent: 50,
                storm_records: 1_000,
                drain_timeout: Duration::from_secs(5),
                filter_bytes_max: 1 << 20,
                rate_per_s_max: None,
                dlq_mirror: true,
                // The cases stand at a time of their own; a database goes by the real one.
                clock_skew_max: Duration::MAX,
                control: ControlConfig::default(),
            },
            projections: ProjectionsConfig::default(),
            sinks: Vec::new(),
            handled: None,
        }
    }

    /// A store handle of its own, with the projections and the sinks.
    pub async fn store(&self) -> Result<Store, SchemaError> {
        let store = self.base.store().await.with_projections(&self.projections)?;
        let sinks = Sinks::connect(&self.sinks, None).expect("webhooks only");
        let log = || shared::log::Log::Memory(self.log.clone());
        Ok(store.with_sinks(match &self.handled {
            Some(_) => sinks.with_log(log(), Self::router()),
            None => sinks,
        }))
    }

    /// Makes the tables of the projections.
    pub async fn migrate(&self) -> Result<(), SchemaError> {
        self.store().await?.migrate().await
    }

    pub fn router() -> Router {
        Router::new([1, 2, 1], Vec::new())
    }

    pub fn consumer(&self, store: Store, process: &Process) -> Consumer {
        let subscription = Subscription::Memory(self.log.subscribe());
        let consumer = Consumer::new(&self.config, store, subscription, Self::router(), process);
        match &self.handled {
            Some(handled) => consumer.handled(handled),
            None => consumer,
        }
    }

    /// Starts a consumer with a store handle of its own.
    pub async fn start(&self) -> Running {
        self.start_in(Process::alone(self.clock.clone())).await
    }

    /// The same in a given process.
    pub async fn start_in(&self, process: Process) -> Running {
        let store = self.store().await.expect("statements that change rows");
        Running::of(self.consumer(store, &process), process, Shutdown::new())
    }

    /// Runs a consumer until everything in the log is applied.
    pub async fn drain(&self) -> Running {
        let running = self.start().await;
        self.until_drained().await;
        running
    }

    /// Drops runs, their workers with them, after ever more turns of the scheduler, as kills do: each time
    /// at another await point of the way.
    pub async fn crashes(&self, step: u32, runs: u32) {
        for turns in (1..runs).map(|n| step * n * n) {
            let process = Process::alone(self.clock.clone());
            let store = self.store().await.expect("statements that change rows");
            let consumer = self.consumer(store, &process);
            let crash = async {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                ended = consumer.run(Shutdown::new()) => panic!("ended by itself: {ended:?}"),
                () = crash => {}
            }
        }
    }

    pub async fn until_drained(&self) {
        self.until("the position is the log's end", async || {
            let positions = self.base.positions().await;
            [FIRST, SECOND].into_iter().all(|id| {
                let end = self.log.range(id).expect("memory is readable").1;
                end.0 == 0 || positions.get(&id) == Some(&end.0)
            })
        })
        .await;
    }

    /// Waits for a condition, at most 30 s.
    pub async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while !holds().await {
            assert!(tokio::time::Instant::now() < deadline, "not in 30 s: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Appends one record.
    pub fn append(&self, id: PartitionId, at: Millis, key: &str, value: &str) {
        let acks = Acks::new(1);
        let record = NewRecord {
            id,
            timestamp: at,
            key: key.as_bytes(),
            value: value.as_bytes(),
            headers: &[],
        };
        shared::log::Log::Memory(self.log.clone()).append(&record, acks.ticket(0));
        acks.outcome(0).expect("appended");
    }

    /// Appends an event of tenant `acme`.
    pub fn event(&self, id: PartitionId, at: Millis, event_id: &str, data: i64) {
        let value = format!(r#"{{"id":"{event_id}","type":"order.paid","data":{{"n":{data}}}}}"#);
        self.append(id, at, "acme", &value);
    }

    /// Appends `count` distinct events.
    pub fn events(&self, id: PartitionId, prefix: &str, count: usize) {
        for n in 0..count {
            self.event(id, NOON, &format!("{prefix}-{n}"), n as i64);
        }
    }

    pub async fn count(&self, sql: &str) -> i64 {
        self.base.count(sql).await
    }
}

impl Running {
    /// Runs it in a given process.
    pub fn of(consumer: Consumer, process: Process, shutdown: Shutdown) -> Self {
        let task = tokio::spawn(consumer.run(shutdown.clone()));
        let Process { registry, health, .. } = process;
        Self { registry, health, shutdown, task }
    }

    /// The value of a metric's line, 0 where it is absent.
    pub fn metric(&self, line: &str) -> i64 {
        let text = self.registry.text();
        let found = text.lines().find_map(|one| one.strip_prefix(line)?.strip_prefix(' '));
        found.map_or(0, |value| value.parse::<f64>().expect("a number") as i64)
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.expect("does not panic").expect("stops well");
    }

    pub async fn ended(self) -> Result<(), ConsumerError> {
        self.task.await.expect("does not panic")
    }
}
