//! The ingress as a whole: bound first, then served by one thread per core until shutdown.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use shared::config::IngressConfig;
use shared::health::{Health, Heartbeat};
use shared::log::Log;
use shared::plane::Plane;
use shared::route::Router;
use shared::{Process, Shutdown};
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use crate::accept;
use crate::admission::{steer, tell};
use crate::core::{Core, Shared};
use crate::listener;
use crate::schema::SchemaError;
use crate::tls::TlsError;

/// The condition of readiness that the log sets.
const CONDITION: &str = "log";
/// How often a log that was not usable yet is asked again.
const USABLE_POLL: Duration = Duration::from_millis(200);
/// A thread that has been silent for longer is stuck.
const BEAT_DEADLINE: Duration = Duration::from_secs(10);

/// An ingress with its listeners open; nothing is accepted until [`Ingress::serve`].
#[derive(Debug)]
pub struct Ingress {
    shared: Arc<Shared>,
    health: Health,
    plane: Plane,
    address: SocketAddr,
    listeners: Vec<TcpListener>,
}

/// Replaces keys, sources and schemas of a running ingress. All clones are one.
#[derive(Clone, Debug)]
pub struct Reload(Arc<Shared>);

impl Reload {
    /// Loads them and puts them in effect for every request that begins from now on; a set that does
    /// not load as a whole changes nothing. Reads and compiles schemas: not for a serving thread.
    pub fn apply(&self, config: &IngressConfig) -> Result<(), SchemaError> {
        self.0.live.reload(config)?;
        self.0.admission.reload(&config.control);
        Ok(())
    }
}

/// Why an ingress cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A schema file.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// A file of TLS.
    #[error("ingress.tls: {0}")]
    Tls(#[from] TlsError),
    /// The address.
    #[error("ingress.listen {address}: {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
}

/// Why an ingress ended although nobody asked it to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A thread or its runtime could not be started.
    #[error("an ingress thread cannot be started: {0}")]
    Start(#[from] io::Error),
    /// A thread panicked; the others were drained.
    #[error("an ingress thread panicked")]
    Panicked,
}

impl Ingress {
    /// Loads schemas and sources, then opens the listeners.
    pub fn bind(
        config: &IngressConfig,
        router: Router,
        log: Log,
        process: &Process,
    ) -> Result<Self, BindError> {
        let shared = Arc::new(Shared::load(config, router, log, process)?);
        let health = process.health.clone();
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if config.threads == 0 { cores() } else { config.threads };
        let (address, listeners) = listener::bind(config.listen, threads)
            .map_err(|error| BindError::Listen { address: config.listen, error })?;
        health.set(CONDITION, shared.log.usable());
        Ok(Self { shared, health, plane: process.plane.clone(), address, listeners })
    }

    /// Where it listens; with port 0, the port it got.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What producers reach it by.
    pub fn url(&self) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// What replaces its keys, sources and schemas while it serves.
    pub fn reload(&self) -> Reload {
        Reload(Arc::clone(&self.shared))
    }

    /// Serves until `shutdown`, drains, flushes the log. Blocks nothing: the threads are its own.
    pub async fn serve(self, shutdown: Shutdown) -> Result<(), ServeError> {
        // A thread that cannot start or panics takes the others down in good order.
        let own = shutdown.child_token();
        let mut threads = Vec::with_capacity(self.listeners.len());
        let mut started = Ok(());
        for (number, listener) in self.listeners.into_iter().enumerate() {
            let heartbeat = self.health.heartbeat(format!("ingress-{number}"), BEAT_DEADLINE);
            let shared = Arc::clone(&self.shared);
            match Thread::start(number, shared, listener, own.clone(), heartbeat) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    own.cancel();
                    started = Err(ServeError::Start(error));
                    break;
                }
            }
        }
        tokio::spawn(self.shared.watermark.clone().watch(own.clone()));
        let steering = self.health.heartbeat("admission", BEAT_DEADLINE);
        let plane = self.plane;
        tokio::spawn(tell(Arc::clone(&self.shared), plane.clone(), own.clone()));
        tokio::spawn(steer(Arc::clone(&self.shared), plane, steering, own.clone()));
        if let Some(tls) = &self.shared.tls {
            tokio::spawn(Arc::clone(tls).watch(own.clone()));
        }
        watch(&self.shared.log, &self.health, &own).await;
        own.cancelled().await;
        self.health.drain();
        let mut ended = Ok(());
        for thread in threads {
            ended = ended.and(thread.join().await);
        }
        self.shared.log.flush().await;
        started.and(ended)
    }
}

/// Ready once the log has been usable; later its absence is a 503, not a missing replica.
async fn watch(log: &Log, health: &Health, shutdown: &Shutdown) {
    while !shutdown.is_cancelled() {
        let usable = log.usable();
        let done = usable.is_ok();
        health.set(CONDITION, usable);
        if done {
            return;
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(USABLE_POLL) => {}
        }
    }
}

/// One of the serving threads.
struct Thread {
    handle: JoinHandle<()>,
    /// Resolves, with an error, when the thread has dropped its end.
    ended: oneshot::Receiver<()>,
}

impl Thread {
    fn start(
        number: usize,
        shared: Arc<Shared>,
        listener: TcpListener,
        shutdown: Shutdown,
        heartbeat: Heartbeat,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let (end, ended) = oneshot::channel();
        let handle =
            std::thread::Builder::new().name(format!("ingress-{number}")).spawn(move || {
                let _end: oneshot::Sender<()> = end;
                // However this thread ends, the ingress ends with it.
                let _guard = shutdown.clone().drop_guard();
                let attended = Arc::clone(&shared);
                let core = Rc::new(Core::new(shared));
                let serving = accept::serve(core, listener, shutdown, heartbeat);
                let tasks = LocalSet::new();
                tasks.spawn_local(async move { attended.log.attend().await });
                tasks.block_on(&runtime, serving);
            })?;
        Ok(Self { handle, ended })
    }

    async fn join(self) -> Result<(), ServeError> {
        // Only ever an error: the sender is dropped, never used.
        let _ = self.ended.await;
        self.handle.join().map_err(|_| ServeError::Panicked)
    }
}
