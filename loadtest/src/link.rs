//! A stretch of network that a test can hold: a TCP proxy that passes bytes on, or keeps those of the
//! client until they are released. What was sent is never lost and never reordered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// One read; a larger message takes several.
const READ_BYTES: usize = 64 * 1024;

/// A link to one server. Dropping it leaves open connections as they are.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    held: watch::Sender<bool>,
    waiting_bytes: Arc<AtomicU64>,
}

impl Link {
    /// Listens on loopback and passes every connection on to `server` (HOST:PORT).
    pub async fn to(server: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("bind the link")?;
        let address = listener.local_addr().context("the link's address")?;
        let (held, is_held) = watch::channel(false);
        let waiting_bytes = Arc::new(AtomicU64::new(0));
        let (server, waiting) = (server.to_owned(), Arc::clone(&waiting_bytes));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(upstream) = TcpStream::connect(&server).await else { continue };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = upstream.into_split();
                let (is_held, waiting) = (is_held.clone(), Arc::clone(&waiting));
                tokio::spawn(pass(from_client, to_server, Some((is_held, waiting))));
                tokio::spawn(pass(from_server, to_client, None));
            }
        });
        Ok(Self { address, held, waiting_bytes })
    }

    /// Where a client reaches the server through this link.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on what clients send waits here.
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    /// What waits is passed on, and everything after it.
    pub fn release(&self) {
        self.held.send_replace(false);
    }

    /// How many bytes of the clients wait here.
    pub fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes.load(Ordering::Relaxed)
    }
}

/// Copies one direction until either side ends; a held direction waits before it writes.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut gate: Option<(watch::Receiver<bool>, Arc<AtomicU64>)>,
) {
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if let Some((is_held, waiting)) = &mut gate {
            waiting.fetch_add(length as u64, Ordering::Relaxed);
            let open = is_held.wait_for(|held| !held).await.is_ok();
            waiting.fetch_sub(length as u64, Ordering::Relaxed);
            if !open {
                return;
            }
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
    // The other side learns of the end; an error means that it knows.
    drop(to.shutdown().await);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wait::{Seen, wait_until};

    #[tokio::test]
    async fn what_is_held_arrives_when_released() -> anyhow::Result<()> {
        let server = TcpListener::bind("127.0.0.1:0").await?;
        let link = Link::to(&server.local_addr()?.to_string()).await?;
        let mut client = TcpStream::connect(link.address()).await?;
        let (mut served, _) = server.accept().await?;
        link.hold();
        client.write_all(b"ping").await?;
        wait_until("four bytes to wait", Duration::from_secs(5), async || {
            let waiting = link.waiting_bytes();
            Ok(if waiting == 4 { Seen::There(()) } else { Seen::NotYet(waiting.to_string()) })
        })
        .await?;
        let mut buffer = [0; 4];
        served.write_all(b"pong").await?;
        client.read_exact(&mut buffer).await?;
        assert_eq!(&buffer, b"pong", "the server's side is not held");
        link.release();
        served.read_exact(&mut buffer).await?;
        assert_eq!((&buffer, link.waiting_bytes()), (b"ping", 0));
        Ok(())
    }
}
