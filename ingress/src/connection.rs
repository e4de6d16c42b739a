//! One connection, from its first byte to its last: who it is from, TLS, and the protocol it speaks.
//!
//! Most connections are silent most of the time, so what one holds then is what counts: its socket and
//! this task. hyper, with its buffers, is there while something is asked, and a second longer.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use shared::config::ProxyProtocol;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::accept::{Counted, trusts};
use crate::core::Shared;
use crate::deadlines::{Closing, Ended, until_ended};
use crate::framing;
use crate::guard::Guard;
use crate::metrics::Refused;
use crate::peer::Peer;
use crate::proxy;
use crate::pulse::Pulse;
use crate::serve::{self, Connected};
use crate::tls;
use crate::transport::Transport;

/// hyper's read buffer: a whole head, and bodies in pieces that are worth a system call.
const BUFFER_BYTES_MAX: usize = 2 * framing::BYTES_MAX;
/// What HTTP/2 begins with (RFC 9113 section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What is read at once to tell the protocols apart: most first requests whole.
const FIRST_BYTES: usize = 2048;
/// Streams of one HTTP/2 connection (Envoy's edge guide).
const STREAMS_MAX: u32 = 100;
/// Flow control windows of HTTP/2, per stream and connection (Envoy's edge guide).
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Streams that may be reset before they were looked at (rapid reset), and that we reset ourselves.
const PENDING_RESETS_MAX: usize = 20;
const LOCAL_RESETS_MAX: usize = 100;
/// HTTP/2's own question whether the other end lives, and how long it has for an answer. Nobody can
/// answer in the middle of a head (RFC 9113, 6.10), so both together bound an unfinished one.
const PING: Duration = Duration::from_secs(5);
/// What a sender sends behind our last answer is read for so long, and so many bytes of it: closing
/// on unread bytes would reset the connection and take the answer with it.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// Runs what HTTP/2 spawns on the thread it is on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnThread;

impl<F: Future + 'static> hyper::rt::Executor<F> for OnThread {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoken {
    Http1,
    Http2,
}

/// Serves a connection until it ends.
pub(crate) async fn run(
    mut counted: Counted,
    mut socket: TcpStream,
    from: IpAddr,
    closing: Rc<Closing>,
) {
    let core = Rc::clone(&counted.core);
    // Boxed, as all that a connection needs for a moment only: its task is as large as its largest part.
    let opened = Box::pin(async {
        let from = sender(&mut counted, &mut socket, from).await?;
        secure(&counted, socket, from).await
    });
    let (transport, peer, spoken) = match opened.await {
        Ok(opened) => opened,
        Err(reason) => return core.shared.metrics.refused(reason),
    };
    let mut transport = transport;
    let Some((spoken, held)) = sniff(&core.shared, &mut transport, spoken, &closing).await else {
        return Box::pin(linger(transport)).await;
    };
    let connected = Rc::new(Connected::new(core, peer, Pulse::new(Instant::now())));
    let mut asked = Some((transport, held));
    while let Some((transport, held)) = asked {
        // Boxed, so that none of it is kept while the connection rests.
        asked = match Box::pin(serve(&connected, transport, spoken, held, &closing)).await {
            Ended::Resting => rest(&connected, &closing).await,
            Ended::Closed => None,
        };
    }
    if let Some(transport) = connected.pulse.take_open() {
        Box::pin(linger(transport)).await;
    }
}

/// Whom the connection is from: the other end, or whom the proxy there speaks for.
async fn sender(
    counted: &mut Counted,
    socket: &mut TcpStream,
    from: IpAddr,
) -> Result<IpAddr, Refused> {
    let edge = &counted.core.shared.config.edge;
    if edge.proxy_protocol == ProxyProtocol::Off {
        return Ok(from);
    }
    if !trusts(&counted.core.shared, from) {
        return Err(Refused::Proxy);
    }
    let read = timeout(edge.handshake_timeout, proxy::read(socket)).await;
    let Ok(Ok(client)) = read else { return Err(Refused::Proxy) };
    let Some(client) = client else { return Ok(from) };
    counted.place(client)?;
    Ok(client)
}

/// TLS, where the listener has a certificate; and what was agreed on there.
async fn secure(
    counted: &Counted,
    socket: TcpStream,
    from: IpAddr,
) -> Result<(Transport, Peer, Option<Spoken>), Refused> {
    let shared = &counted.core.shared;
    let Some(tls) = &shared.tls else {
        return Ok((Transport::Plain(socket), Peer::new(from, Box::default()), None));
    };
    let handshake = Box::pin(tls.acceptor().accept(socket));
    let stream = match timeout(shared.config.edge.handshake_timeout, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a handshake failed");
            return Err(Refused::Handshake);
        }
        Err(_) => return Err(Refused::Handshake),
    };
    let session = stream.get_ref().1;
    let spoken = match session.alpn_protocol() {
        Some(b"h2") => Some(Spoken::Http2),
        Some(_) => Some(Spoken::Http1),
        None => None,
    };
    let peer = Peer::new(from, tls::client_names(session));
    Ok((Transport::Tls(Box::new(stream)), peer, spoken))
}

/// Waits for the first bytes and tells the protocols apart where TLS has not; nothing of hyper's is
/// held for a connection that is silent.
async fn sniff(
    shared: &Shared,
    transport: &mut Transport,
    spoken: Option<Spoken>,
    closing: &Closing,
) -> Option<(Spoken, Vec<u8>)> {
    let mut held = Vec::new();
    let mut deadline = Instant::now() + shared.config.edge.idle_timeout;
    loop {
        // Whoever has said nothing when all is to end is waiting for nothing.
        let read = tokio::select! {
            biased;
            read = timeout_at(deadline, first_bytes(transport, &mut held)) => read,
            () = closing.told() => return None,
        };
        match read {
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) => return None,
            Err(_) if held.is_empty() => {
                shared.metrics.connections_idle.inc();
                return None;
            }
            Err(_) => {
                shared.metrics.connections_silent.inc();
                return None;
            }
        }
        let known = held.len().min(PREFACE.len());
        let spoken = match spoken {
            Some(spoken) => spoken,
            None if held[..known] != PREFACE[..known] => Spoken::Http1,
            None if known == PREFACE.len() => Spoken::Http2,
            None => {
                deadline = deadline.min(Instant::now() + shared.config.head_timeout);
                continue;
            }
        };
        held.shrink_to_fit();
        return Some((spoken, held));
    }
}

/// Reads what comes first. While nothing comes no buffer is held.
async fn first_bytes(transport: &mut Transport, held: &mut Vec<u8>) -> io::Result<usize> {
    poll_fn(|cx| {
        let mut bytes = [0; FIRST_BYTES];
        let mut into = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut *transport).poll_read(cx, &mut into))?;
        held.extend_from_slice(into.filled());
        Poll::Ready(Ok(into.filled().len()))
    })
    .await
}

/// Waits for the next request without hyper. None: the connection is to end; its stream is where
/// hyper would have left it.
async fn rest(connected: &Connected, closing: &Closing) -> Option<(Transport, Vec<u8>)> {
    let shared = &connected.core.shared;
    let since = connected.pulse.rests_since()?;
    let mut transport = connected.pulse.take_resting()?;
    let mut held = Vec::new();
    let idle = since + shared.config.edge.idle_timeout;
    let deadline = idle.min(connected.old);
    shared.metrics.connections_resting.inc();
    let read = tokio::select! {
        biased;
        read = timeout_at(deadline, first_bytes(&mut transport, &mut held)) => Some(read),
        () = closing.told() => None,
    };
    shared.metrics.connections_resting.dec();
    match read {
        Some(Ok(Ok(1..))) => return Some((transport, held)),
        // The sender has closed.
        Some(Ok(Ok(0) | Err(_))) => return None,
        Some(Err(_)) if deadline == idle => shared.metrics.connections_idle.inc(),
        Some(Err(_)) | None => {}
    }
    connected.pulse.release(transport);
    None
}

/// Serves the protocol.
async fn serve(
    connected: &Rc<Connected>,
    transport: Transport,
    spoken: Spoken,
    held: Vec<u8>,
    closing: &Closing,
) -> Ended {
    let service = service_fn(|request| {
        let connected = Rc::clone(connected);
        async move { Ok::<_, Infallible>(serve::answer(&connected, request).await) }
    });
    let pulse = Rc::clone(&connected.pulse);
    let ended = match spoken {
        Spoken::Http1 => {
            let io = TokioIo::new(Guard::http1(transport, pulse, held));
            let serving = pin!(http1_builder().serve_connection(io, service));
            until_ended(serving, connected, closing).await
        }
        Spoken::Http2 => {
            let io = TokioIo::new(Guard::http2(transport, pulse, held));
            let serving = pin!(http2_builder().serve_connection(io, service));
            until_ended(serving, connected, closing).await
        }
    };
    ended.unwrap_or_else(|error| {
        tracing::debug!(%error, "a connection ended badly");
        Ended::Closed
    })
}

fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .max_buf_size(BUFFER_BYTES_MAX)
        // Whoever has said all and closed its half still waits for the answer.
        .half_close(true)
        .keep_alive(true)
        // On, hyper keeps an answer back while bytes of a next request are there, and drops it with
        // the connection where those bytes are no request.
        .pipeline_flush(false);
    builder
}

fn http2_builder() -> http2::Builder<OnThread> {
    let mut builder = http2::Builder::new(OnThread);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(LOCAL_RESETS_MAX)
        .max_header_list_size(u32::try_from(framing::BYTES_MAX).unwrap_or(u32::MAX))
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    builder
}

/// Ends our side and reads what the other still sends, within bounds.
async fn linger(mut transport: Transport) {
    let until_closed = async {
        let mut bytes = [0; 4096];
        let mut read = 0;
        // Of TLS as well: an end that is not said there may be an attacker's.
        let _ = transport.shutdown().await;
        let mut socket = transport.into_socket();
        while read < LINGER_BYTES {
            match socket.read(&mut bytes).await {
                Ok(count @ 1..) => read += count,
                Ok(0) | Err(_) => return,
            }
        }
    };
    // Whoever is still there after that has had its answer.
    let _ = timeout(LINGER_TIME, until_closed).await;
}
