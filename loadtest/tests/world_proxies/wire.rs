//! A client without a library: bytes go out as they are, and every answer that comes back is counted.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than a front takes for an answer, or for closing behind it.
pub const LONG: Duration = Duration::from_secs(10);

/// Behind an answer: when the next bytes may go. What comes later is counted all the same.
pub const QUIET: Duration = Duration::from_millis(100);

/// One connection, and what came back on it.
pub struct Wire {
    stream: TcpStream,
    received: Vec<u8>,
    /// The status of every final answer.
    pub statuses: Vec<u16>,
    /// Whether the other side has closed it.
    pub closed: bool,
}

impl Wire {
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| address.to_string())?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::new(), statuses: Vec::new(), closed: false })
    }

    /// Sends the bytes, and reads until nothing has come for so long behind an answer.
    pub async fn exchange(&mut self, bytes: &[u8], quiet: Duration) -> anyhow::Result<()> {
        let before = self.statuses.len();
        // A front that has refused already may have closed: the answer says so.
        if self.stream.write_all(bytes).await.is_err() {
            self.closed = true;
        }
        let mut piece = [0; 16 << 10];
        loop {
            let patience = if self.statuses.len() > before { quiet } else { LONG };
            match tokio::time::timeout(patience, self.stream.read(&mut piece)).await {
                Err(_) => return Ok(()),
                Ok(Ok(0) | Err(_)) => {
                    self.closed = true;
                    return self.take_answers();
                }
                Ok(Ok(count)) => {
                    self.received.extend_from_slice(&piece[..count]);
                    self.take_answers()?;
                }
            }
        }
    }

    fn take_answers(&mut self) -> anyhow::Result<()> {
        while let Some((status, bytes)) = answer(&self.received, self.closed)? {
            self.received.drain(..bytes);
            if status >= 200 || status == 101 {
                self.statuses.push(status);
            }
        }
        Ok(())
    }
}

/// The first whole answer: its status and its length.
fn answer(bytes: &[u8], closed: bool) -> anyhow::Result<Option<(u16, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(head) = response
        .parse(bytes)
        .with_context(|| format!("no answer: {}", String::from_utf8_lossy(bytes)))?
    else {
        return Ok(None);
    };
    let status = response.code.context("a status")?;
    let field = |name: &str| {
        let field = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        field.map(|field| String::from_utf8_lossy(field.value).trim().to_owned())
    };
    if field("transfer-encoding").is_some() {
        bail!("an answer in chunks: none of the answers asked for is that long");
    }
    let length = match field("content-length") {
        Some(length) => length.parse::<usize>().context("Content-Length of an answer")?,
        None if status < 200 || status == 204 => 0,
        // Its end is the connection's.
        None if closed => bytes.len() - head,
        None => return Ok(None),
    };
    Ok((bytes.len() >= head + length).then_some((status, head + length)))
}
