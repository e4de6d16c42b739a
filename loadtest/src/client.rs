//! A producer's connection: HTTP/1.1, kept alive, opened again when it is gone.
//!
//! It says honestly what it knows of a request: answered, surely not sent, or unknown. It never sends
//! a request twice on its own.

use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Longer than the ingress's own deadline (10 s): whoever waits this long has no answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// On loopback a connection is taken at once or never.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Where the ingress is now. It moves when a process is started again; all clones are one.
#[derive(Clone, Debug)]
pub struct Target(Arc<RwLock<SocketAddr>>);

impl Target {
    /// A target at `address`.
    pub fn new(address: SocketAddr) -> Self {
        Self(Arc::new(RwLock::new(address)))
    }

    /// Where it is.
    pub fn get(&self) -> SocketAddr {
        *self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Moves it.
    pub fn set(&self, address: SocketAddr) {
        *self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner) = address;
    }
}

/// What is known of a request.
#[derive(Debug)]
pub enum Reply {
    /// It was answered, and the answer was read to its end.
    Answered(Response<Bytes>),
    /// No byte of it left: connecting failed, or the connection was closed before.
    NotSent(String),
    /// It may have arrived: the connection broke, or the answer did not come in time.
    Unknown(String),
}

impl Reply {
    /// The status, where there is an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Answered(response) => Some(response.status().as_u16()),
            Self::NotSent(_) | Self::Unknown(_) => None,
        }
    }

    /// The answer, or what happened instead as an error.
    pub fn answer(self) -> anyhow::Result<Response<Bytes>> {
        match self {
            Self::Answered(response) => Ok(response),
            Self::NotSent(why) => anyhow::bail!("the request could not be sent: {why}"),
            Self::Unknown(why) => anyhow::bail!("no answer: {why}"),
        }
    }
}

/// One connection to a [`Target`].
#[derive(Debug)]
pub struct Connection {
    target: Target,
    open: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    /// Not opened yet: the first request does.
    pub fn new(target: Target) -> Self {
        Self { target, open: None }
    }

    /// Sends one request and waits for its answer.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Reply {
        let mut sender = match self.ready().await {
            Ok(sender) => sender,
            Err(why) => return Reply::NotSent(why),
        };
        let exchange = async {
            let response = match sender.try_send_request(request).await {
                Ok(response) => response,
                Err(mut error) => {
                    let unsent = error.take_message().is_some();
                    let why = error.into_error().to_string();
                    return if unsent { Reply::NotSent(why) } else { Reply::Unknown(why) };
                }
            };
            let (parts, body) = response.into_parts();
            match body.collect().await {
                Ok(body) => Reply::Answered(Response::from_parts(parts, body.to_bytes())),
                Err(error) => Reply::Unknown(error.to_string()),
            }
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, exchange).await {
            Ok(reply) => {
                if matches!(reply, Reply::Answered(_)) {
                    self.open = Some(sender);
                }
                reply
            }
            Err(_) => Reply::Unknown(format!("no answer in {ANSWER_TIMEOUT:?}")),
        }
    }

    /// The open connection if it takes another request, otherwise a new one.
    async fn ready(&mut self) -> Result<SendRequest<Full<Bytes>>, String> {
        if let Some(mut sender) = self.open.take()
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        let address = self.target.get();
        let connect = async {
            let stream = TcpStream::connect(address).await.map_err(|e| e.to_string())?;
            stream.set_nodelay(true).map_err(|e| e.to_string())?;
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())
        };
        let (sender, connection) = tokio::time::timeout(CONNECT_TIMEOUT, connect)
            .await
            .map_err(|_| format!("connecting to {address} took more than {CONNECT_TIMEOUT:?}"))?
            .map_err(|why| format!("{address}: {why}"))?;
        // Its error is the request's error, reported there.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}
