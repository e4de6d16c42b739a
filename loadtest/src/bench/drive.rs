//! Drives an HTTP server as fast as it answers: a fixed number of requests over a fixed number of
//! kept-alive connections. Keeps no ledger, so that the client costs as little as it can.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use tokio::task::JoinSet;

use crate::client::{Connection, Target};

/// What is posted over and over.
#[derive(Clone, Debug)]
pub struct Drive {
    /// The server.
    pub address: SocketAddr,
    /// `/v1/events`.
    pub path: String,
    /// Headers of every request.
    pub headers: Vec<(&'static str, String)>,
    /// How many connections.
    pub connections: u32,
}

impl Drive {
    /// Posts `requests` bodies; `body(n)` makes the n-th. Every answer has to be 202.
    pub async fn run(
        &self,
        requests: u64,
        body: impl Fn(u64) -> Bytes + Send + Sync + 'static,
    ) -> anyhow::Result<Duration> {
        let (next, body) = (Arc::new(AtomicU64::new(0)), Arc::new(body));
        let mut connections = JoinSet::new();
        let started = Instant::now();
        for _ in 0..self.connections {
            let (drive, next, body) = (self.clone(), Arc::clone(&next), Arc::clone(&body));
            connections.spawn(async move {
                let mut connection = Connection::new(Target::new(drive.address));
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= requests {
                        return anyhow::Ok(());
                    }
                    drive.post(&mut connection, body(number)).await?;
                }
            });
        }
        while let Some(ended) = connections.join_next().await {
            ended.context("a connection's task")??;
        }
        Ok(started.elapsed())
    }

    async fn post(&self, connection: &mut Connection, body: Bytes) -> anyhow::Result<()> {
        let mut request = Request::post(&self.path);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(body)).context("a valid request")?;
        let answer = connection.send(request).await.answer()?;
        ensure!(
            answer.status().as_u16() == 202,
            "{} {}",
            answer.status(),
            String::from_utf8_lossy(answer.body())
        );
        Ok(())
    }
}
