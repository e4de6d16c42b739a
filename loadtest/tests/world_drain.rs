//! `SIGTERM` under load: every request that was sent is answered, or its connection is closed before it
//! was read; no connection is reset, and every 202 is in the log.

mod fixture;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use loadtest::deployment::{Settings, producers};
use loadtest::load::event;
use loadtest::wait::{Seen, wait_until};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const CONNECTIONS: usize = 64;

/// So many are accepted before the signal: every connection is in the middle of its work.
const ACCEPTED_BEFORE: usize = 4 * CONNECTIONS;

const DEADLINE: Duration = Duration::from_secs(30);

/// How a connection ended.
enum End {
    /// The last answer said `Connection: close`.
    Announced,
    /// Closed in the place of an answer: the request was on its way when the server stopped reading.
    Unread,
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_reset_and_no_202_is_lost() -> anyhow::Result<()> {
    let run = fixture::Run::new("drain")?;
    let mut dev = run.embedded(&Settings::default()).await?;
    let accepted = Arc::new(AtomicUsize::new(0));
    let mut connections = JoinSet::new();
    for number in 0..CONNECTIONS {
        let (server, accepted) = (dev.target().get(), Arc::clone(&accepted));
        connections.spawn(async move {
            let ended =
                tokio::time::timeout(DEADLINE, post_until_closed(server, number, &accepted));
            ended.await.context("it was never closed")?.with_context(|| format!("{number}"))
        });
    }
    wait_until("accepted events", DEADLINE, async || {
        let seen = accepted.load(Ordering::Relaxed);
        Ok(if seen >= ACCEPTED_BEFORE { Seen::There(()) } else { Seen::NotYet(seen.to_string()) })
    })
    .await?;
    dev.process()?.signal(Signal::TERM)?;
    let (mut announced, mut unread) = (0, 0);
    while let Some(ended) = connections.join_next().await {
        match ended?? {
            End::Announced => announced += 1,
            End::Unread => unread += 1,
        }
    }
    dev.ended().await?;
    let accepted = accepted.load(Ordering::Relaxed);
    println!(
        "{accepted} accepted; {announced} closes announced, {unread} before the request was read"
    );
    ensure!(announced > 0, "no answer said that the connection closes");
    // What was logged but not applied yet is applied after the start on the same directory.
    dev.up().await?;
    dev.effects().wait_for(accepted as u64, DEADLINE).await?;
    let effects = dev.effects().count().await?;
    ensure!(effects == accepted as u64, "{effects} effects of {accepted} answers 202");
    dev.stop().await
}

/// Keeps one connection busy until the server closes it. Any error of the connection is one.
async fn post_until_closed(
    server: SocketAddr,
    connection: usize,
    accepted: &AtomicUsize,
) -> anyhow::Result<End> {
    let mut stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let producer = &producers()[connection % producers().len()];
    for number in 0.. {
        let (body, _) = event(&producer.tenant, &format!("drain-{connection}-{number}"));
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            producer.key,
            body.len()
        );
        match stream.write_all(&[head.as_bytes(), &body].concat()).await {
            // The server had closed, cleanly, before this request left.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(End::Unread),
            written => written.context("write")?,
        }
        let Some(answer) = read_answer(&mut stream).await? else { return Ok(End::Unread) };
        ensure!(answer.starts_with("http/1.1 202 "), "{answer}");
        accepted.fetch_add(1, Ordering::Relaxed);
        if answer.contains("connection: close") {
            return Ok(End::Announced);
        }
    }
    bail!("the numbers ended")
}

/// The head of a whole answer in lower case; nothing where the connection was closed instead.
async fn read_answer(stream: &mut TcpStream) -> anyhow::Result<Option<String>> {
    let mut received = Vec::new();
    loop {
        if stream.read_buf(&mut received).await.context("read")? == 0 {
            ensure!(received.is_empty(), "half an answer: {}", received.escape_ascii());
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&received).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        if body.len() >= length.context("a length")?.trim().parse::<usize>()? {
            return Ok(Some(head.to_owned()));
        }
    }
}
