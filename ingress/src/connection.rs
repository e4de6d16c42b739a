//! A thread's connections: accepted, served with an edge server's bounds, drained.
//!
//! Bare hyper times nothing without a timer, and its version detection not even then: a connection
//! that shows no whole head in time is closed here.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use shared::Shutdown;
use shared::health::Heartbeat;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use crate::core::{Core, Shared};
use crate::head::FIELD_BYTES_MAX;
use crate::peer::Peer;
use crate::pipeline;

/// A connection is closed between two requests when it is this old, so that load spreads over
/// threads and replicas; up to a tenth more, so that they do not all come back together.
const AGE_MAX: Duration = Duration::from_secs(300);
/// hyper's own bound on a head lies above ours: what is between gets a problem document.
const HEAD_BYTES_HARD_MAX: usize = 2 * FIELD_BYTES_MAX;
/// The same for the number of fields.
const FIELDS_HARD_MAX: usize = 128;
/// Streams of one HTTP/2 connection (Envoy's edge guide).
const STREAMS_MAX: u32 = 100;
/// Flow control windows of HTTP/2, per stream and connection (Envoy's edge guide).
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Streams that may be reset before they were looked at (rapid reset).
const PENDING_RESETS_MAX: usize = 20;
/// A drain takes an accept queue for empty after this long without a connection.
const QUIET: Duration = Duration::from_millis(100);
/// A full table of file descriptors is looked at again after this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often the thread says that it lives.
const BEAT: Duration = Duration::from_secs(1);

/// Runs what HTTP/2 spawns on the thread it is on.
#[derive(Clone, Copy, Debug)]
struct OnThread;

impl<F: Future + 'static> hyper::rt::Executor<F> for OnThread {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// A thread's whole life: accept and serve until `shutdown`, then drain.
pub(crate) async fn serve(
    core: Rc<Core>,
    listener: TcpListener,
    shutdown: Shutdown,
    heartbeat: Heartbeat,
) {
    let close = Shutdown::new();
    let mut connections = JoinSet::new();
    let mut beat = tokio::time::interval(BEAT);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => start(&mut connections, &core, stream, from.ip(), &close),
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
    // Closing a listener resets what waits in its queue.
    while Instant::now() < accept_deadline {
        let Ok(accepted) = timeout(QUIET, listener.accept()).await else { break };
        if let Ok((stream, from)) = accepted {
            start(&mut connections, &core, stream, from.ip(), &close);
        }
        heartbeat.beat();
    }
    drop(listener);
    close.cancel();
    loop {
        tokio::select! {
            ended = connections.join_next() => if ended.is_none() { break },
            _ = beat.tick() => heartbeat.beat(),
            () = tokio::time::sleep_until(deadline) => {
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
struct Counted(Rc<Core>);

impl Counted {
    fn open(core: &Rc<Core>) -> Option<Self> {
        let shared = &core.shared;
        let before = shared.connections.fetch_add(1, Ordering::Relaxed);
        shared.metrics.connections.inc();
        let counted = Self(Rc::clone(core));
        if before < shared.config.connections_max {
            return Some(counted);
        }
        shared.metrics.connections_refused.inc();
        None
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.shared.connections.fetch_sub(1, Ordering::Relaxed);
        self.0.shared.metrics.connections.dec();
    }
}

fn start(
    connections: &mut JoinSet<()>,
    core: &Rc<Core>,
    stream: TcpStream,
    from: IpAddr,
    close: &Shutdown,
) {
    let Some(counted) = Counted::open(core) else { return };
    let prepared = stream
        .set_nodelay(true)
        .and_then(|()| bound_answers(&stream, core.shared.config.body_timeout));
    if let Err(error) = prepared {
        tracing::debug!(%error, "a connection has gone already");
        return;
    }
    let peer = Peer::new(from, Box::default());
    connections.spawn_local(connection(counted, Rc::new(peer), stream, close.clone()));
}

/// Whoever takes nothing of its answers for as long as a body may take is closed: hyper waits for
/// room in the socket without end. Where the system does not offer it, only `connections_max` bounds.
fn bound_answers(stream: &TcpStream, time_max: Duration) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(stream).set_tcp_user_timeout(Some(time_max))?;
    #[cfg(not(target_os = "linux"))]
    let _ = (stream, time_max);
    Ok(())
}

async fn connection(counted: Counted, peer: Rc<Peer>, stream: TcpStream, close: Shutdown) {
    let shared = &counted.0.shared;
    let asked = Rc::new(Cell::new(false));
    let service = service_fn(|request| {
        asked.set(true);
        let (core, peer) = (Rc::clone(&counted.0), Rc::clone(&peer));
        async move { Ok::<_, Infallible>(pipeline::handle(&core, &peer, request).await) }
    });
    let builder = builder(shared);
    let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut silent = std::pin::pin!(sleep(shared.config.head_timeout));
    let mut old = std::pin::pin!(sleep(AGE_MAX.mul_f64(rand::random_range(1.0..1.1))));
    let (mut watched, mut open) = (true, true);
    loop {
        tokio::select! {
            biased;
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error, "a connection ended badly");
                }
                return;
            }
            () = close.cancelled(), if open => {
                open = false;
                serving.as_mut().graceful_shutdown();
            }
            () = silent.as_mut(), if watched => {
                watched = false;
                if !asked.get() {
                    shared.metrics.connections_silent.inc();
                    return;
                }
            }
            () = old.as_mut(), if open => {
                open = false;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

fn builder(shared: &Shared) -> Builder<OnThread> {
    let mut builder = Builder::new(OnThread);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.config.head_timeout)
        .max_headers(FIELDS_HARD_MAX)
        .max_buf_size(HEAD_BYTES_HARD_MAX)
        .half_close(false)
        .keep_alive(true)
        // On, hyper keeps an answer back while bytes of a next request are there, and drops it with
        // the connection where those bytes are no request.
        .pipeline_flush(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_header_list_size(u32::try_from(FIELD_BYTES_MAX).unwrap_or(u32::MAX))
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}
