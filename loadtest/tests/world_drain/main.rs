//! `SIGTERM` under load, on both logs, in the clear, under TLS and over HTTP/2: every request that was
//! sent is answered, or its connection says in good order that it was not taken; no connection is
//! reset, and every 202 is in the log.

mod door;
#[path = "../fixture/mod.rs"]
mod fixture;
mod http1;
mod http2;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, ensure};
use loadtest::wait::{Seen, wait_until};
use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::door::Door;

const CONNECTIONS: usize = 64;

/// So many are accepted before the signal: every connection is in the middle of its work.
const ACCEPTED_BEFORE: usize = 4 * CONNECTIONS;

const DEADLINE: Duration = Duration::from_secs(30);

/// How a connection ended.
enum End {
    /// The server said that it closes: `Connection: close`, or GOAWAY.
    Announced,
    /// Closed in the place of an answer: the request was on its way when the server stopped reading.
    Unread,
}

/// The ids that were answered 202.
#[derive(Clone, Default)]
struct Accepted(Arc<Mutex<BTreeSet<String>>>);

impl Accepted {
    fn note(&self, id: String) {
        assert!(self.0.lock().expect("no panic").insert(id), "an id is sent once");
    }

    fn count(&self) -> usize {
        self.0.lock().expect("no panic").len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_clear_on_the_embedded_log() -> anyhow::Result<()> {
    embedded("drain", &Door::in_the_clear()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn under_tls_on_the_embedded_log() -> anyhow::Result<()> {
    embedded("drain-tls", &Door::under_tls(b"http/1.1")?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_2_on_the_embedded_log() -> anyhow::Result<()> {
    embedded("drain-h2", &Door::under_tls(b"h2")?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_clear_on_kafka() -> anyhow::Result<()> {
    kafka("drain-kafka", &Door::in_the_clear()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_2_on_kafka() -> anyhow::Result<()> {
    kafka("drain-kafka-h2", &Door::under_tls(b"h2")?).await
}

async fn embedded(name: &str, door: &Door) -> anyhow::Result<()> {
    let run = fixture::Run::new(name)?;
    let mut dev = run.embedded(&door.settings()).await?;
    let accepted = Accepted::default();
    let process = dev.process()?;
    under_load(door, dev.target().get(), &accepted, || process.signal(Signal::TERM)).await?;
    dev.ended().await?;
    // What was logged but not applied yet is applied after the start on the same directory.
    dev.up().await?;
    dev.effects().wait_for(accepted.count() as u64, DEADLINE).await?;
    let effects = dev.effects().count().await?;
    ensure!(effects == accepted.count() as u64, "{effects} effects of {}", accepted.count());
    dev.stop().await
}

async fn kafka(name: &str, door: &Door) -> anyhow::Result<()> {
    let run = fixture::Run::new(name)?;
    let mut cluster = run.cluster(&door.settings(), 0).await?;
    let accepted = Accepted::default();
    let process = cluster.ingress()?;
    let server = cluster.target().get();
    under_load(door, server, &accepted, || process.signal(Signal::TERM)).await?;
    cluster.ingress_ended().await?;
    let records = cluster.records().await?;
    let logged: BTreeSet<String> =
        records.into_iter().filter_map(|record| Some(record.identity?.id)).collect();
    let accepted = accepted.0.lock().expect("no panic").clone();
    ensure!(logged == accepted, "{} records of {} answers 202", logged.len(), accepted.len());
    cluster.stop().await
}

/// Posts over many connections, sends the signal in the middle, and sees how each connection ends.
#[expect(clippy::print_stdout, reason = "what was seen, for whoever reads the test's output")]
async fn under_load(
    door: &Door,
    server: SocketAddr,
    accepted: &Accepted,
    signal: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut connections = JoinSet::new();
    for number in 0..CONNECTIONS {
        let (door, accepted) = (door.clone(), accepted.clone());
        connections.spawn(async move {
            let ended = tokio::time::timeout(DEADLINE, door.keep_busy(server, number, &accepted));
            ended.await.context("it was never closed")?.with_context(|| format!("{number}"))
        });
    }
    wait_until("accepted events", DEADLINE, async || {
        let seen = accepted.count();
        Ok(if seen >= ACCEPTED_BEFORE { Seen::There(()) } else { Seen::NotYet(seen.to_string()) })
    })
    .await?;
    signal()?;
    let (mut announced, mut unread) = (0, 0);
    while let Some(ended) = connections.join_next().await {
        match ended?? {
            End::Announced => announced += 1,
            End::Unread => unread += 1,
        }
    }
    let accepted = accepted.count();
    println!(
        "{accepted} accepted; {announced} closes announced, {unread} before the request was read"
    );
    ensure!(announced > 0, "no answer said that the connection closes");
    Ok(())
}
