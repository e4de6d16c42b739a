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
    /// `content-type`.
    pub content_type: &'static str,
    /// Keys, `ID.SECRET`; requests take turns, so that the tenants' partitions share the work.
    pub keys: Vec<String>,
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
                    drive.post(&mut connection, number, body(number)).await?;
                }
            });
        }
        while let Some(ended) = connections.join_next().await {
            ended.context("a connection's task")??;
        }
        Ok(started.elapsed())
    }

    async fn post(
        &self,
        connection: &mut Connection,
        number: u64,
        body: Bytes,
    ) -> anyhow::Result<()> {
        let key = &self.keys[number as usize % self.keys.len()];
        let request = Request::post(&self.path)
            .header("host", "localhost")
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", self.content_type)
            .body(Full::new(body))
            .context("a valid request")?;
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
