//! The supervisor: one worker per assigned partition, started and stopped as the log says.
//!
//! It holds the membership and no partition's state. Revoke: stop, wait for the running statement,
//! tell the log. Lost: stop, wait for nothing. A worker that halts stays down until its partition is
//! assigned again; the others go on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use shared::Shutdown;
use shared::clock::Clock;
use shared::config::ConsumerConfig;
use shared::health::Health;
use shared::log::{Change, Subscription};
use shared::metrics::Registry;
use shared::position::PartitionId;
use shared::route::Router;
use tokio::sync::{mpsc, watch};
use tokio::task::{self, JoinError, JoinSet};
use tracing::{error, info, warn};

use crate::backoff::Backoff;
use crate::bucket::Width;
use crate::metrics::Metrics;
use crate::store::postgres::STATEMENT_TIMEOUT;
use crate::store::{SchemaError, Store};
use crate::worker::{End, Request, Shared, Worker};

/// Requests that wait for the supervisor; a worker has at most one.
const REQUESTS_MAX: usize = 64;

/// How often the supervisor comes round when nothing changes.
const TICK: Duration = Duration::from_secs(5);

/// Why the consumer cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    /// The store is not one this program may write to.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The log let us go although nobody asked it to: another member of the same name took over.
    #[error(
        "the membership in the consumer group ended; is another consumer running with the same \
         consumer.instance?"
    )]
    Expelled,
}

/// The consuming side of one process.
#[derive(Debug)]
pub struct Consumer {
    shared: Arc<Shared>,
    subscription: Subscription,
    health: Health,
    requests: (mpsc::Sender<Request>, mpsc::Receiver<Request>),
    running: HashMap<PartitionId, Running>,
    workers: JoinSet<End>,
    leaving: bool,
}

#[derive(Debug)]
struct Running {
    stop: watch::Sender<bool>,
    task: task::AbortHandle,
}

impl Consumer {
    /// A consumer that has not begun. Registers its metrics.
    pub fn new(
        config: &ConsumerConfig,
        store: Store,
        subscription: Subscription,
        router: Router,
        health: Health,
        registry: &Registry,
        clock: Clock,
    ) -> Self {
        health.set("store", Err("not checked yet".to_owned()));
        let shared = Shared {
            config: config.clone(),
            store,
            router,
            clock,
            metrics: Metrics::new(registry),
            width: Width::of_window(config.dedupe_window),
        };
        Self {
            shared: Arc::new(shared),
            subscription,
            health,
            requests: mpsc::channel(REQUESTS_MAX),
            running: HashMap::new(),
            workers: JoinSet::new(),
            leaving: false,
        }
    }

    /// Consumes until `shutdown`, then gives every partition back. Ends early only where the store's
    /// schema is not this program's; a database that is away is waited for.
    pub async fn run(mut self, shutdown: Shutdown) -> Result<(), ConsumerError> {
        let heartbeat = self.health.heartbeat("consumer", self.silence_max());
        self.prepare(&shutdown).await?;
        let mut tick = tokio::time::interval(TICK);
        loop {
            heartbeat.beat();
            tokio::select! {
                () = shutdown.cancelled(), if !self.leaving => {
                    self.leaving = true;
                    self.subscription.leave();
                }
                change = self.subscription.next() => match change {
                    Some(change) => self.follow(change).await,
                    None => break,
                },
                Some(request) = self.requests.1.recv() => self.answer(request),
                Some(ended) = self.workers.join_next_with_id() => self.ended(ended),
                _ = tick.tick() => {}
            }
        }
        let left: Vec<_> = self.running.keys().copied().collect();
        self.drain(&left).await;
        if self.leaving { Ok(()) } else { Err(ConsumerError::Expelled) }
    }

    /// Checks the store, however long it is away.
    async fn prepare(&mut self, shutdown: &Shutdown) -> Result<(), ConsumerError> {
        let config = &self.shared.config;
        let mut backoff = Backoff::new(config.retry_backoff_min, config.retry_backoff_max);
        let heartbeat = self.health.heartbeat("store check", self.silence_max());
        loop {
            heartbeat.beat();
            let checked = match self.shared.store.check().await {
                Ok(()) => self.shared.store.settle(self.shared.width).await,
                Err(error) => Err(error),
            };
            let error = match checked {
                Ok(()) => {
                    self.health.set("store", Ok(()));
                    return Ok(());
                }
                Err(error) => error,
            };
            self.health.set("store", Err(error.to_string()));
            if !error.is_transient() {
                return Err(error.into());
            }
            warn!(%error, "the store cannot be checked, trying again");
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(backoff.next_wait()) => {}
            }
        }
    }

    async fn follow(&mut self, change: Change) {
        match change {
            // What is assigned while we leave is given back unclaimed.
            Change::Assigned(_) if self.leaving => {}
            Change::Assigned(ids) => {
                info!(partitions = ids.len(), "partitions assigned");
                for id in ids {
                    self.start(id);
                }
            }
            Change::Revoked(ids, drained) => {
                info!(partitions = ids.len(), "partitions revoked");
                self.drain(&ids).await;
                drop(drained);
            }
            Change::Lost(ids) => {
                warn!(partitions = ids.len(), "partitions lost");
                for id in &ids {
                    // The running statement is fenced or harmless; waiting for it helps nobody.
                    if let Some(running) = self.running.remove(id) {
                        running.task.abort();
                    }
                }
            }
        }
    }

    fn start(&mut self, id: PartitionId) {
        let (stop, stopped) = watch::channel(false);
        let heartbeat = self.health.heartbeat(format!("worker {id}"), self.silence_max());
        let requests = self.requests.0.clone();
        let worker = Worker::new(id, Arc::clone(&self.shared), requests, stopped, heartbeat);
        let task = self.workers.spawn(worker.run());
        self.clear_halted(id);
        if let Some(previous) = self.running.insert(id, Running { stop, task }) {
            // One writer per partition: the log assigned it twice without a revoke.
            previous.task.abort();
        }
    }

    /// Stops these workers and waits for their running statements; one that does not end in time is
    /// dropped, and its statement's outcome is the next owner's to find in the row.
    async fn drain(&mut self, ids: &[PartitionId]) {
        for id in ids {
            if let Some(running) = self.running.get(id) {
                running.stop.send_replace(true);
            }
        }
        let deadline = tokio::time::Instant::now() + self.shared.config.drain_timeout;
        while ids.iter().any(|id| self.running.contains_key(id)) {
            match tokio::time::timeout_at(deadline, self.workers.join_next_with_id()).await {
                Ok(Some(ended)) => self.ended(ended),
                Ok(None) => break,
                Err(_) => {
                    warn!("a worker did not stop in time, dropping it");
                    break;
                }
            }
        }
        for id in ids {
            if let Some(running) = self.running.remove(id) {
                running.task.abort();
            }
        }
    }

    /// Passes a worker's request on. The answers are waited for elsewhere: the log gives none while
    /// it waits for us to hand partitions back. A worker that was stopped meanwhile hears none.
    fn answer(&self, request: Request) {
        match request {
            Request::FirstPosition(id, reply) => {
                let asked = self.subscription.first_position(id);
                tokio::spawn(async move { reply.send(asked.await) });
            }
            Request::Start(id, from, reply) => {
                let asked = self.subscription.start(id, from);
                tokio::spawn(async move { reply.send(asked.await) });
            }
        }
    }

    fn ended(&mut self, ended: Result<(task::Id, End), JoinError>) {
        let task = match &ended {
            Ok((task, _)) => *task,
            Err(error) => error.id(),
        };
        let Some(id) =
            self.running.iter().find(|(_, running)| running.task.id() == task).map(|(id, _)| *id)
        else {
            return;
        };
        self.running.remove(&id);
        match ended {
            Ok((_, End::Stopped)) => info!(partition = %id, "worker stopped"),
            Ok((_, End::Revoked)) => warn!(partition = %id, "the log took the partition away"),
            Ok((_, End::Fenced)) => {
                self.shared.metrics.fenced.inc();
                warn!(partition = %id, "fenced: another writer has claimed the partition");
            }
            Ok((_, End::Halted(halt))) => {
                self.set_halted(id, halt.reason());
                error!(partition = %id, reason = halt.reason(), %halt, "partition halted");
            }
            Err(error) => {
                self.set_halted(id, "panic");
                error!(partition = %id, %error, "a worker panicked, its partition is halted");
            }
        }
    }

    fn set_halted(&self, id: PartitionId, reason: &str) {
        let number = id.partition.0.to_string();
        let labels = &[id.class.name(), number.as_str(), reason];
        self.shared.metrics.halted.with_label_values(labels).set(1);
    }

    fn clear_halted(&self, id: PartitionId) {
        let number = id.partition.0.to_string();
        for reason in ["log_gap", "statement", "progress_vanished", "unparkable", "panic"] {
            // Not set for most reasons, and that is no error.
            let _ = self.shared.metrics.halted.remove_label_values(&[
                id.class.name(),
                number.as_str(),
                reason,
            ]);
        }
    }

    /// The longest a loop may be silent: a statement and a wait, with room for a slow machine.
    fn silence_max(&self) -> Duration {
        let config = &self.shared.config;
        let round = STATEMENT_TIMEOUT + config.retry_backoff_max + config.poll_wait;
        2 * (round + config.drain_timeout)
    }
}
