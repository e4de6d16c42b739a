//! The supervisor: one worker per assigned partition, started and stopped as the log says.
//!
//! It holds the membership and no partition's state, and waits for nothing that may wait for it.
//! Revoke: stop, wait for the running statement, tell the log. Lost: stop, wait for nothing. A worker
//! that is fenced while the log still says that the partition is ours claims it again after a pause;
//! one that halts stays down until its partition is assigned again, or an operator moves its position;
//! the others go on.

mod moves;

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use shared::config::{ConsumerConfig, ControlConfig};
use shared::health::Health;
use shared::log::{Change, Subscription};
use shared::plane::Plane;
use shared::position::PartitionId;
use shared::route::Router;
use shared::skew::{Other, Skew};
use shared::{Process, Shutdown};
use tokio::sync::{mpsc, watch};
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use self::moves::Moves;
use crate::backoff::Backoff;
use crate::bucket::Width;
use crate::clocks;
use crate::expiry;
use crate::failure::StoreError;
use crate::filter;
use crate::handler::Handled;
use crate::load::keep::keep;
use crate::load::{Load, controller, reporter};
use crate::log_limit::LogLimits;
use crate::metrics::Metrics;
use crate::mirror::{self, Mirror};
use crate::outbox::relay;
use crate::store::postgres::STATEMENT_TIMEOUT;
use crate::store::{SchemaError, Store};
use crate::worker::{AheadBytes, End, Flags, Request, Shared, Worker, due};

/// Requests that wait for the supervisor; a worker has at most one.
const REQUESTS_MAX: usize = 64;

/// How often the supervisor comes round when nothing changes.
const TICK: Duration = Duration::from_secs(1);

/// The pause before a fenced worker's partition is claimed again, in drains, and the least a drain
/// counts for. With the default drain of 5 s it is longer than a session in the group (10 s): a
/// member that has lost its session hears that first.
const CLAIM_PAUSE_DRAINS: u32 = 3;
const DRAIN_MIN: Duration = Duration::from_secs(1);

/// Every reason of a halt, as its metric names it.
const HALT_REASONS: [&str; 7] =
    ["log_gap", "statement", "progress_vanished", "unparkable", "poison", "poison_storm", "panic"];

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
    plane: Plane,
    requests: (mpsc::Sender<Request>, mpsc::Receiver<Request>),
    /// What operators have moved.
    moves: (mpsc::Sender<Moves>, mpsc::Receiver<Moves>),
    /// What the log has assigned to us, and what becomes of it.
    partitions: HashMap<PartitionId, Stay>,
    workers: JoinSet<End>,
    /// How load is limited; the workers hold the other end.
    control: Reload,
    /// Where parked rows are mirrored to.
    mirror: Option<Mirror>,
    /// The store's schema is ours: claims may begin.
    checked: bool,
    leaving: bool,
}

/// Replaces what may change while a consumer runs: how load is limited.
#[derive(Clone, Debug)]
pub struct Reload(watch::Sender<ControlConfig>);

impl Reload {
    /// Puts it in effect, all of it at once.
    pub fn apply(&self, control: &ControlConfig) {
        self.0.send_replace(control.clone());
    }
}

/// What becomes of an assigned partition.
#[derive(Debug)]
enum Stay {
    /// No worker before this instant; `None` until the store is checked.
    Waiting(Option<Instant>),
    /// A worker has it.
    Running(Running),
    /// It stands still until it is assigned again.
    Halted,
}

#[derive(Debug)]
struct Running {
    stop: watch::Sender<bool>,
    task: task::AbortHandle,
    /// An operator has moved its position: it is claimed again at once.
    moved: bool,
}

impl Consumer {
    /// A consumer that has not begun. Registers its metrics.
    pub fn new(
        config: &ConsumerConfig,
        store: Store,
        subscription: Subscription,
        router: Router,
        process: &Process,
    ) -> Self {
        let Process { clock, health, registry, plane } = process;
        let health = health.clone();
        health.set("store", Err("not checked yet".to_owned()));
        let (control, followed) = watch::channel(config.control.clone());
        let shared = Shared {
            control: followed,
            config: config.clone(),
            store,
            router,
            clock: clock.clone(),
            metrics: Metrics::new(registry),
            log_limits: LogLimits::default(),
            width: Width::of_window(config.dedupe_window),
            skew: Skew::new(Other::Database, config.clock_skew_max, registry, &health),
            load: Load::new(config),
            due: Flags::default(),
            strayed: Flags::default(),
            suspects: Arc::default(),
            ahead: AheadBytes::default(),
            handler: None,
        };
        Self {
            shared: Arc::new(shared),
            subscription,
            health,
            plane: plane.clone(),
            requests: mpsc::channel(REQUESTS_MAX),
            moves: mpsc::channel(1),
            partitions: HashMap::new(),
            workers: JoinSet::new(),
            control: Reload(control),
            mirror: None,
            checked: false,
            leaving: false,
        }
    }

    /// Mirrors what is parked, too.
    pub fn mirrored(mut self, mirror: Mirror) -> Self {
        self.mirror = Some(mirror);
        self
    }

    /// With effects in Rust. What follows from events needs a store whose sinks have the log
    /// ([`crate::outbox::Sinks::with_log`]).
    pub fn handled(mut self, handled: &Handled) -> Self {
        let shared = Arc::get_mut(&mut self.shared).expect("nothing runs yet");
        shared.handler = Some(handled.clone());
        self
    }

    /// What replaces the configuration of a consumer that runs.
    pub fn reload(&self) -> Reload {
        self.control.clone()
    }

    /// Consumes until `shutdown`, then gives every partition back. Ends early only where the store's
    /// schema is not this program's; a database that is away is waited for.
    pub async fn run(mut self, shutdown: Shutdown) -> Result<(), ConsumerError> {
        let heartbeat = self.health.heartbeat("consumer", silence_max(&self.shared.config));
        // Beside the log's changes, not before them: a rebalance must not wait for a database, and
        // what was taken away meanwhile must not be claimed when the database is back.
        let mut check = pin!(check(Arc::clone(&self.shared), self.health.clone()));
        let mut clocks = pin!(clocks::watch(Arc::clone(&self.shared)));
        let mut due = pin!(due::watch(Arc::clone(&self.shared)));
        let mut tasks = self.control_loop();
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
                checked = &mut check, if !self.checked && !self.leaving => {
                    checked?;
                    self.checked = true;
                    tasks.spawn(self.expiry());
                    if self.shared.config.filter_bytes_max > 0 {
                        tasks.spawn(self.filter());
                    }
                    if let Some(mirror) = self.mirror.take() {
                        tasks.spawn(self.relay(mirror));
                    }
                    for sink in self.shared.store.sinks().iter() {
                        let (shared, sink) = (Arc::clone(&self.shared), Arc::clone(sink));
                        let restarts = shared.metrics.load.restarts.with_label_values(&["sink"]);
                        let send = move || relay::run(Arc::clone(&shared), Arc::clone(&sink));
                        tasks.spawn(keep("sink", restarts, send));
                    }
                }
                Some(request) = self.requests.1.recv() => self.answer(request),
                Some(moves) = self.moves.1.recv() => self.follow_moves(&moves),
                Some(ended) = self.workers.join_next_with_id() => self.ended(ended),
                never = &mut clocks => match never {},
                never = &mut due => match never {},
                _ = tick.tick() => {}
            }
            self.start_due();
        }
        let left: Vec<_> = self.partitions.keys().copied().collect();
        self.drain(&left).await;
        if self.checked {
            let deadline = Instant::now() + self.shared.config.drain_timeout;
            self.shared.store.sinks().finish(deadline).await;
        }
        if self.leaving { Ok(()) } else { Err(ConsumerError::Expelled) }
    }

    /// The tasks that tell what is measured, what is allowed and what was moved: each may die without
    /// the others, and all without us. They end with the set.
    fn control_loop(&self) -> JoinSet<Infallible> {
        let restarts = |task| self.shared.metrics.load.restarts.with_label_values(&[task]);
        let (shared, plane) = (Arc::clone(&self.shared), self.plane.clone());
        let report = move || reporter::run(Arc::clone(&shared), plane.clone());
        let (shared, plane) = (Arc::clone(&self.shared), self.plane.clone());
        let control = move || controller::run(Arc::clone(&shared), plane.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(keep("reporter", restarts("reporter"), report));
        tasks.spawn(keep("controller", restarts("controller"), control));
        tasks.spawn(moves::watch(Arc::clone(&self.shared), self.moves.0.clone()));
        tasks
    }

    /// The task that forgets ids; it writes, so the store has to be checked.
    fn expiry(&self) -> impl Future<Output = Infallible> + Send + use<> {
        let shared = Arc::clone(&self.shared);
        let restarts = shared.metrics.load.restarts.with_label_values(&["expiry"]);
        keep("expiry", restarts, move || expiry::run(Arc::clone(&shared)))
    }

    /// The task that keeps a filter of the bucket before; it seals buckets, so the store has to be
    /// checked.
    fn filter(&self) -> impl Future<Output = Infallible> + Send + use<> {
        let shared = Arc::clone(&self.shared);
        let restarts = shared.metrics.load.restarts.with_label_values(&["filter"]);
        keep("filter", restarts, move || filter::run(Arc::clone(&shared)))
    }

    /// The task that copies parked rows; it writes, so the store has to be checked.
    fn relay(&self, mirror: Mirror) -> impl Future<Output = Infallible> + Send + use<> {
        let shared = Arc::clone(&self.shared);
        let restarts = shared.metrics.load.restarts.with_label_values(&["mirror"]);
        keep("mirror", restarts, move || mirror::run(Arc::clone(&shared), mirror.clone()))
    }

    async fn follow(&mut self, change: Change) {
        match change {
            Change::Assigned(ids) => {
                info!(partitions = ids.len(), "partitions assigned");
                for id in ids {
                    self.forget(id);
                    if let Some(Stay::Running(previous)) =
                        self.partitions.insert(id, Stay::Waiting(None))
                    {
                        // One writer per partition: the log assigned it twice without a revoke.
                        previous.task.abort();
                    }
                }
            }
            Change::Revoked(ids, drained) => {
                info!(partitions = ids.len(), "partitions revoked");
                self.drain(&ids).await;
                drop(drained);
            }
            Change::Lost(ids) => {
                warn!(partitions = ids.len(), "partitions lost");
                self.cut_loose(&ids);
            }
        }
    }

    /// Starts a worker for every partition whose time has come. What is assigned while we leave is
    /// given back unclaimed.
    fn start_due(&mut self) {
        if !self.checked || self.leaving {
            return;
        }
        let now = Instant::now();
        let due = |stay: &Stay| match stay {
            Stay::Waiting(until) => until.is_none_or(|until| until <= now),
            Stay::Running(_) | Stay::Halted => false,
        };
        for (id, stay) in self.partitions.iter_mut().filter(|(_, stay)| due(stay)) {
            let (stop, stopped) = watch::channel(false);
            let silence_max = silence_max(&self.shared.config);
            let heartbeat = self.health.heartbeat(format!("worker {id}"), silence_max);
            let requests = self.requests.0.clone();
            let worker = Worker::new(*id, Arc::clone(&self.shared), requests, stopped, heartbeat);
            let task = self.workers.spawn(worker.run());
            *stay = Stay::Running(Running { stop, task, moved: false });
        }
    }

    /// Stops these workers and waits for their running statements; one that does not end in time is
    /// dropped, and its statement's outcome is the next owner's to find in the row.
    async fn drain(&mut self, ids: &[PartitionId]) {
        for id in ids {
            if let Some(Stay::Running(running)) = self.partitions.get(id) {
                running.stop.send_replace(true);
            }
        }
        let deadline = Instant::now() + self.shared.config.drain_timeout;
        while ids.iter().any(|id| matches!(self.partitions.get(id), Some(Stay::Running(_)))) {
            match tokio::time::timeout_at(deadline, self.workers.join_next_with_id()).await {
                Ok(Some(ended)) => self.ended(ended),
                Ok(None) => break,
                Err(_) => {
                    warn!("a worker did not stop in time, dropping it");
                    break;
                }
            }
        }
        self.let_go(ids);
    }

    /// Stops these workers and waits for none. A running statement is fenced or harmless; it may end,
    /// so that the fence's answer is counted, and is dropped when a drain's time is over.
    fn cut_loose(&mut self, ids: &[PartitionId]) {
        for id in ids {
            if let Some(Stay::Running(Running { stop, task, .. })) = self.partitions.remove(id) {
                stop.send_replace(true);
                let patience = self.shared.config.drain_timeout;
                tokio::spawn(async move {
                    tokio::time::sleep(patience).await;
                    task.abort();
                });
            }
            self.forget(*id);
        }
    }

    /// These are not ours any more: whoever owns them says whether they stand still.
    fn let_go(&mut self, ids: &[PartitionId]) {
        for id in ids {
            if let Some(Stay::Running(running)) = self.partitions.remove(id) {
                running.task.abort();
            }
            self.forget(*id);
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
        let is_its = |stay: &Stay| matches!(stay, Stay::Running(one) if one.task.id() == task);
        let found = self.partitions.iter().find(|(_, stay)| is_its(stay)).map(|(id, _)| *id);
        let Some(id) = found else { return };
        let moved = matches!(self.partitions.get(&id), Some(Stay::Running(one)) if one.moved);
        let stay = match ended {
            Ok((_, End::Stopped | End::Fenced)) if moved => {
                info!(partition = %id, "its position was moved by an operator, claiming it again");
                Stay::Waiting(None)
            }
            Ok((_, End::Stopped)) => {
                debug!(partition = %id, "worker stopped");
                self.again()
            }
            Ok((_, End::Revoked)) => {
                // The change that says so comes with the next turn, and is logged once for all.
                debug!(partition = %id, "the log took the partition away");
                self.again()
            }
            Ok((_, End::Fenced)) => self.again(),
            Ok((_, End::Halted(halt))) => {
                self.set_halted(id, halt.reason());
                error!(partition = %id, reason = halt.reason(), %halt, "partition halted");
                Stay::Halted
            }
            Err(error) => {
                self.set_halted(id, "panic");
                error!(partition = %id, %error, "a worker panicked, its partition is halted");
                Stay::Halted
            }
        };
        self.partitions.insert(id, stay);
    }

    /// As long as the log says that the partition is ours, nobody else will take it: the claim that
    /// fenced us may have been a late one of a former owner. The log tells us before the pause is
    /// over where we are that former owner.
    fn again(&self) -> Stay {
        let pause = CLAIM_PAUSE_DRAINS * self.shared.config.drain_timeout.max(DRAIN_MIN);
        Stay::Waiting(Some(Instant::now() + pause))
    }

    fn set_halted(&self, id: PartitionId, reason: &str) {
        let number = id.partition.0.to_string();
        let labels = &[id.class.name(), number.as_str(), reason];
        self.shared.metrics.halted.with_label_values(labels).set(1);
    }

    /// What is known of a partition is for whoever has it next to say.
    fn forget(&self, id: PartitionId) {
        self.shared.load.gauges.forget(id);
        let number = id.partition.0.to_string();
        for reason in HALT_REASONS {
            // Not set for most reasons, and that is no error.
            let _ = self.shared.metrics.halted.remove_label_values(&[
                id.class.name(),
                number.as_str(),
                reason,
            ]);
        }
    }
}

/// Checks the store, however long it is away.
async fn check(shared: Arc<Shared>, health: Health) -> Result<(), ConsumerError> {
    let config = &shared.config;
    let mut backoff = Backoff::new(config.retry_backoff_min, config.retry_backoff_max);
    let heartbeat = health.heartbeat("store check", silence_max(config));
    loop {
        heartbeat.beat();
        let checked = async {
            shared.store.check().await?;
            shared.store.settle(shared.width).await?;
            // Before the first batch: what a clock that is off has parked stays parked.
            clocks::compare(&shared).await.map_err(SchemaError::from)
        };
        let checked = match tokio::time::timeout(STATEMENT_TIMEOUT, checked).await {
            Ok(checked) => checked,
            Err(_) => Err(StoreError::timed_out().into()),
        };
        let Err(error) = checked else {
            health.set("store", Ok(()));
            return Ok(());
        };
        health.set("store", Err(error.to_string()));
        if !error.is_transient() {
            return Err(error.into());
        }
        warn!(%error, "the store cannot be checked, trying again");
        tokio::time::sleep(backoff.next_wait()).await;
    }
}

/// The longest a loop may be silent: a statement and a wait, with room for a slow machine.
fn silence_max(config: &ConsumerConfig) -> Duration {
    let round = STATEMENT_TIMEOUT + config.retry_backoff_max + config.poll_wait;
    2 * (round + config.drain_timeout)
}
