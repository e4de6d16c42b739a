//! A thread's connections: accepted within their bounds, drained.
//!
//! Closing a listener resets what waits in its queue, so a drain empties the queue first.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shared::Shutdown;
use shared::config::ProxyProtocol;
use shared::health::Heartbeat;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::addresses::Place;
use crate::connection;
use crate::core::{Core, Shared};
use crate::deadlines::Closing;
use crate::metrics::Refused;

/// A drain takes an accept queue for empty after this long without a connection.
const QUIET: Duration = Duration::from_millis(100);
/// A full table of file descriptors is looked at again after this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often the thread says that it lives.
const BEAT: Duration = Duration::from_secs(1);

/// A thread's whole life: accept and serve until `shutdown`, then drain.
pub(crate) async fn serve(
    core: Rc<Core>,
    listener: TcpListener,
    shutdown: Shutdown,
    heartbeat: Heartbeat,
) {
    let closing = Rc::new(Closing::default());
    let mut connections = JoinSet::new();
    let mut beat = tokio::time::interval(BEAT);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, from)) => start(&mut connections, &core, socket, from.ip(), &closing),
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => report(ended),
            _ = beat.tick() => heartbeat.beat(),
            () = shutdown.cancelled() => break,
        }
    }
    let drain_timeout = core.shared.config.drain_timeout;
    let deadline = Instant::now() + drain_timeout;
    // Senders that come back without a pause must not take the time in which others finish.
    let accept_deadline = deadline - drain_timeout / 2;
    core.shared.draining.store(true, Ordering::Relaxed);
    while Instant::now() < accept_deadline {
        let Ok(accepted) = timeout(QUIET, listener.accept()).await else { break };
        if let Ok((socket, from)) = accepted {
            start(&mut connections, &core, socket, from.ip(), &closing);
        }
        heartbeat.beat();
    }
    drop(listener);
    closing.begin();
    loop {
        tokio::select! {
            ended = connections.join_next() => if ended.is_none() { break },
            _ = beat.tick() => heartbeat.beat(),
            () = sleep_until(deadline) => {
                tracing::warn!(connections = connections.len(), "connections outlived the drain");
                break;
            }
        }
    }
}

/// A panic is a bug of ours; it costs its connection, not the thread.
fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}

/// One of the open connections; counted while it lives.
pub(crate) struct Counted {
    /// The thread's part of the ingress.
    pub core: Rc<Core>,
    place: Option<Place>,
}

impl Counted {
    fn open(core: &Rc<Core>, from: IpAddr) -> Result<Self, Refused> {
        let shared = &core.shared;
        let before = shared.connections.fetch_add(1, Ordering::Relaxed);
        shared.metrics.connections.inc();
        let mut counted = Self { core: Rc::clone(core), place: None };
        if before >= shared.connections_max {
            return Err(Refused::Connections);
        }
        // A proxy's connections are its clients': they are counted when it has said whose they are.
        if shared.config.edge.proxy_protocol == ProxyProtocol::Off && !trusts(shared, from) {
            counted.place(from)?;
        }
        Ok(counted)
    }

    /// Counts it as one of the address's.
    pub fn place(&mut self, address: IpAddr) -> Result<(), Refused> {
        self.place = Some(self.core.shared.addresses.take(address).ok_or(Refused::Address)?);
        Ok(())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.core.shared.connections.fetch_sub(1, Ordering::Relaxed);
        self.core.shared.metrics.connections.dec();
    }
}

/// Whether the address is that of a proxy that may speak for others.
pub(crate) fn trusts(shared: &Shared, address: IpAddr) -> bool {
    shared.config.edge.trusted_networks.iter().any(|network| network.contains(address))
}

fn start(
    connections: &mut JoinSet<()>,
    core: &Rc<Core>,
    socket: TcpStream,
    from: IpAddr,
    closing: &Rc<Closing>,
) {
    let counted = match Counted::open(core, from) {
        Ok(counted) => counted,
        Err(reason) => return core.shared.metrics.refused(reason),
    };
    let prepared = socket
        .set_nodelay(true)
        .and_then(|()| bound_answers(&socket, core.shared.config.body_timeout));
    if let Err(error) = prepared {
        tracing::debug!(%error, "a connection has gone already");
        return;
    }
    connections.spawn_local(connection::run(counted, socket, from, Rc::clone(closing)));
}

/// Whoever takes nothing of its answers for as long as a body may take is closed: hyper waits for
/// room in the socket without end. Where the system does not offer it, only `connections_max` bounds.
fn bound_answers(socket: &TcpStream, time_max: Duration) -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(socket).set_tcp_user_timeout(Some(time_max))?;
    #[cfg(not(target_os = "linux"))]
    let _ = (socket, time_max);
    Ok(())
}
