//! The reference of every CPU figure: a hyper server that reads the body and answers 202.
//!
//! It checks, parses and keeps nothing. It runs as the ingress does, a single-threaded runtime and a
//! listener per core: hyper on tokio's work-stealing runtime costs more, and would flatter us.
//! Whatever the ingress costs beyond this server is the price of what the ingress does.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::task::LocalSet;

/// Connections that may wait for a thread, as at the ingress.
const BACKLOG: i32 = 1024;

/// What it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    /// The cheapest that hyper has: figures are compared with it.
    Http1,
    /// HTTP/1 and HTTP/2 on one port, told apart by their first bytes as at the ingress: conformance is
    /// compared with it.
    Both,
}

/// Starts so many threads that serve until the process ends; where they listen.
pub fn start(
    address: SocketAddr,
    threads: usize,
    protocols: Protocols,
) -> anyhow::Result<SocketAddr> {
    let first = listen(address).with_context(|| format!("bind {address}"))?;
    let bound = first.local_addr().context("the listener's address")?;
    let mut listeners = vec![first];
    for _ in 1..threads {
        listeners.push(listen(bound).with_context(|| format!("bind {bound}"))?);
    }
    for (number, listener) in listeners.into_iter().enumerate() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new()
            .name(format!("bare-{number}"))
            .spawn(move || LocalSet::new().block_on(&runtime, serve(listener, protocols)))?;
    }
    Ok(bound)
}

/// The kernel divides the connections among the listeners of one port.
fn listen(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

async fn serve(listener: std::net::TcpListener, protocols: Protocols) -> std::io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (io, service) = (TokioIo::new(stream), service_fn(accept));
        // A connection's end is the client's business.
        match protocols {
            Protocols::Http1 => {
                let connection = http1::Builder::new().serve_connection(io, service);
                tokio::task::spawn_local(async move { drop(connection.await) });
            }
            Protocols::Both => {
                tokio::task::spawn_local(async move {
                    let builder = auto::Builder::new(TokioExecutor::new());
                    drop(builder.serve_connection(io, service).await);
                });
            }
        }
    }
}

async fn accept(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = match request.into_body().collect().await {
        Ok(_) => StatusCode::ACCEPTED,
        Err(_) => StatusCode::BAD_REQUEST,
    };
    Ok(response)
}
