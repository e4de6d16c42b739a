//! The reference of every CPU figure: a hyper server that reads the body and answers 202.
//!
//! It checks, parses and keeps nothing. Whatever the ingress costs beyond it is the price of what the
//! ingress does.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// The listener at `address`, and where it really is.
pub async fn bind(address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("bind {address}"))?;
    let address = listener.local_addr().context("the listener's address")?;
    Ok((listener, address))
}

/// Serves until the process ends.
pub async fn serve(listener: TcpListener) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await.context("accept")?;
        stream.set_nodelay(true).context("nodelay")?;
        let connection =
            http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(accept));
        // A connection's end is the client's business.
        tokio::spawn(async move { drop(connection.await) });
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
