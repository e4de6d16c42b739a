//! The control plane: what consumers, ingress replicas and operators tell each other about load.
//!
//! Two kinds of words. [`Live`] ones (reports, limits, demands) are worth something for seconds: they
//! are published without waiting and may be lost. [`state`] is what operators have set (modes, pins,
//! overrides): the last word on each subject stands until it is replaced or its time is over, and a
//! fresh process knows all of it before it is ready.
//!
//! On Kafka these are the topics `PREFIX-control.live` and `PREFIX-control.state`; in one process words
//! go from hand to hand. Nothing here decides anything.

mod board;
mod decode;
mod ears;
mod local;
pub mod message;
mod metrics;
mod remote;
pub mod routes;
pub mod state;
pub mod wish;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, watch};

pub use self::board::Row;
use self::ears::Ears;
pub use self::local::FileError;
use self::local::Local;
pub use self::message::Live;
pub use self::metrics::PlaneMetrics;
use self::remote::Remote;
use self::state::{Change, State};
use crate::clock::Clock;
use crate::health::Health;
use crate::log::kafka::{KafkaConfig, KafkaError};
use crate::metrics::Registry;

/// A word that was heard.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Who said it: unique among the processes of an installation.
    pub from: Arc<str>,
    /// When we heard it.
    pub at: Instant,
    /// How old it was then: the time from its sending, as far as clocks can tell; never negative.
    pub age: Duration,
    /// What was said.
    pub live: Live,
}

/// Why a change of the state was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PlaneError {
    /// It may be tried again.
    #[error("the control plane is unavailable: {0}")]
    Unavailable(String),
}

/// A hold on the control plane; all clones are one.
#[derive(Clone, Debug)]
pub struct Plane(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    from: Arc<str>,
    ears: Arc<Ears>,
    transport: Transport,
}

#[derive(Debug)]
enum Transport {
    Local(Local),
    Kafka(Box<Remote>),
}

impl Plane {
    /// Within one process. State is kept nowhere else.
    pub fn local(from: &str, clock: Clock) -> Self {
        let ears = Ears::new(clock, PlaneMetrics::new(&Registry::new()), State::default());
        Self::of(from, Arc::new(ears), Transport::Local(Local::nowhere()))
    }

    /// Within one process, the state in a file of a directory that is this process's own. Registers
    /// the metrics.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn kept(
        from: &str,
        clock: Clock,
        directory: &Path,
        registry: &Registry,
    ) -> Result<Self, FileError> {
        let (local, state) = Local::open(directory)?;
        let ears = Ears::new(clock, PlaneMetrics::new(registry), state);
        Ok(Self::of(from, Arc::new(ears), Transport::Local(local)))
    }

    /// On Kafka, which may be away. Registers the metrics; the process is not ready before the state
    /// was read once. `from` has to be nobody else's.
    ///
    /// # Errors
    /// librdkafka refuses the configuration.
    pub fn kafka(
        from: &str,
        config: &KafkaConfig,
        clock: Clock,
        health: &Health,
        registry: &Registry,
    ) -> Result<Self, KafkaError> {
        let metrics = PlaneMetrics::new(registry);
        let ears = Arc::new(Ears::new(clock.clone(), metrics, State::default()));
        let remote = Remote::start(from, config, clock, health, &ears)?;
        Ok(Self::of(from, ears, Transport::Kafka(Box::new(remote))))
    }

    fn of(from: &str, ears: Arc<Ears>, transport: Transport) -> Self {
        Self(Arc::new(Inner { from: Arc::from(from), ears, transport }))
    }

    /// Who we are to the others.
    pub fn name(&self) -> &str {
        &self.0.from
    }

    /// Says something to everybody who listens, ourselves included. Never waits; it may be lost.
    pub fn publish(&self, live: Live) {
        let Inner { from, ears, transport } = &*self.0;
        ears.metrics.published.with_label_values(&[live.kind()]).inc();
        match transport {
            Transport::Local(_) => ears.hear(Heard {
                from: Arc::clone(from),
                at: Instant::now(),
                age: Duration::ZERO,
                live,
            }),
            Transport::Kafka(remote) => remote.publish(from, live, ears),
        }
    }

    /// What is said from now on (on Kafka: from five seconds ago on).
    pub fn listen(&self) -> broadcast::Receiver<Arc<Heard>> {
        self.0.ears.live.subscribe()
    }

    /// What was said of each partition in the last half minute, for people.
    pub fn rows(&self) -> Vec<Row> {
        self.0.ears.board.rows(Instant::now())
    }

    /// What operators have set, now and whenever it changes. Entries whose time is over are still in
    /// it: ask [`State`] with the time.
    pub fn state(&self) -> watch::Receiver<Arc<State>> {
        self.0.ears.state.subscribe()
    }

    /// Sets or removes an entry; returns when this process has it in effect.
    ///
    /// # Errors
    /// Nothing was changed, as far as is known.
    pub async fn change(&self, change: Change) -> Result<(), PlaneError> {
        self.change_all(vec![change]).await
    }

    /// The same with several, in their order.
    ///
    /// # Errors
    /// As far as is known, not all of them were changed.
    pub async fn change_all(&self, changes: Vec<Change>) -> Result<(), PlaneError> {
        if changes.is_empty() {
            return Ok(());
        }
        match &self.0.transport {
            Transport::Local(local) => local.change(changes, &self.0.ears).await,
            Transport::Kafka(remote) => remote.change(changes).await,
        }
    }

    /// The time by which entries end.
    pub fn clock(&self) -> &Clock {
        &self.0.ears.clock
    }
}
