//! The control plane: what consumers, ingress replicas and operators tell each other about load.
//!
//! Two kinds of words. [`Live`] ones (reports, limits, demands) are worth something for seconds: they
//! are published without waiting and may be lost. [`state`] is what operators have set (modes, pins,
//! overrides): the last word on each subject stands until it is replaced or its time is over, and a
//! fresh process knows all of it before it is ready.
//!
//! On Kafka these are the topics `PREFIX-control.live` and `PREFIX-control.state`; in one process words
//! go from hand to hand. Nothing here decides anything.

mod local;
pub mod message;
pub mod state;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, watch};

use self::local::Local;
pub use self::message::Live;
use self::state::{Change, State};
use crate::clock::Clock;

/// Words that a slow listener may be behind; older ones are lost to it.
const BEHIND_MAX: usize = 4_096;

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
    live: broadcast::Sender<Arc<Heard>>,
    state: watch::Sender<Arc<State>>,
    clock: Clock,
    transport: Transport,
}

#[derive(Debug)]
enum Transport {
    Local(Local),
}

impl Plane {
    /// Within one process. State is kept nowhere else.
    pub fn local(from: &str, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            from: Arc::from(from),
            live: broadcast::Sender::new(BEHIND_MAX),
            state: watch::Sender::new(Arc::new(State::default())),
            clock,
            transport: Transport::Local(Local),
        }))
    }

    /// Who we are to the others.
    pub fn name(&self) -> &str {
        &self.0.from
    }

    /// Says something to everybody who listens, ourselves included. Never waits; it may be lost.
    pub fn publish(&self, live: Live) {
        match &self.0.transport {
            Transport::Local(Local) => {
                let heard = Heard {
                    from: Arc::clone(&self.0.from),
                    at: Instant::now(),
                    age: Duration::ZERO,
                    live,
                };
                // Nobody listens: nobody misses it.
                let _ = self.0.live.send(Arc::new(heard));
            }
        }
    }

    /// What is said from now on (on Kafka: from five seconds ago on).
    pub fn listen(&self) -> broadcast::Receiver<Arc<Heard>> {
        self.0.live.subscribe()
    }

    /// What operators have set, now and whenever it changes. Entries whose time is over are still in
    /// it: ask [`State`] with the time.
    pub fn state(&self) -> watch::Receiver<Arc<State>> {
        self.0.state.subscribe()
    }

    /// Sets or removes an entry; returns when this process has it in effect.
    ///
    /// # Errors
    /// Nothing was changed, as far as is known.
    pub async fn change(&self, change: Change) -> Result<(), PlaneError> {
        match &self.0.transport {
            Transport::Local(Local) => {
                self.0.state.send_modify(|state| *state = Arc::new(state.with(change)));
                Ok(())
            }
        }
    }

    /// The time by which entries end.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }
}
