//! One connection of the load generator: writes prepared bytes, reads answers, never blocks and
//! never opens itself again. A request at a time.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, ensure};

use super::template::Template;

/// Answers to what benches post are small; a longer one is not what was expected.
const ANSWER_BYTES_MAX: usize = 4 * 1024;
/// Fields of an answer's head.
const FIELDS_MAX: usize = 32;

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is no whole answer yet.
    Pending,
    /// It is answered.
    Answered {
        /// With this status.
        status: u16,
        /// The server closes the connection behind it.
        last: bool,
    },
    /// The server has closed the connection instead.
    Closed,
}

/// A connection with its own copy of the request it sends.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    template: Template,
    written: usize,
    answer: Box<[u8]>,
    read: usize,
}

impl Wire {
    /// Connects, waiting for it; from then on nothing waits.
    pub fn open(address: SocketAddr, template: Template) -> anyhow::Result<Self> {
        let stream =
            TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true).context("nodelay")?;
        stream.set_nonblocking(true).context("nonblocking")?;
        let answer = vec![0; ANSWER_BYTES_MAX].into_boxed_slice();
        // Nothing is begun: a socket that can be written to is no reason to send.
        let written = template.bytes().len();
        Ok(Self { stream, template, written, answer, read: 0 })
    }

    /// The socket, to be waited for.
    pub const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Begins to send a request whose events are numbered from `first` on; the number after them.
    pub fn send(&mut self, first: u64) -> anyhow::Result<u64> {
        self.template.number(first);
        (self.written, self.read) = (0, 0);
        // One that is closed already is found by the next advance.
        self.write()?;
        Ok(first + self.template.count())
    }

    /// Connects again, after the server has closed the connection.
    pub fn reopen(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        *self = Self::open(address, self.template.clone())?;
        Ok(())
    }

    /// Goes on as far as the socket lets it.
    pub fn advance(&mut self) -> anyhow::Result<Progress> {
        if !self.write()? {
            return Ok(Progress::Closed);
        }
        loop {
            let space = &mut self.answer[self.read..];
            ensure!(!space.is_empty(), "an answer of more than {ANSWER_BYTES_MAX} bytes");
            match (&self.stream).read(space) {
                Ok(0) => return Ok(Progress::Closed),
                Ok(length) => self.read += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Progress::Pending);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if gone(error.kind()) => return Ok(Progress::Closed),
                Err(error) => return Err(error).context("read an answer"),
            }
            let progress = answered(&self.answer[..self.read])?;
            if progress != Progress::Pending {
                return Ok(progress);
            }
        }
    }

    /// Whether the other end is still there.
    fn write(&mut self) -> anyhow::Result<bool> {
        while let Some(rest @ [_, ..]) = self.template.bytes().get(self.written..) {
            match (&self.stream).write(rest) {
                Ok(length) => self.written += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if gone(error.kind()) => return Ok(false),
                Err(error) => return Err(error).context("write a request"),
            }
        }
        Ok(true)
    }
}

/// The other end closed the connection, politely or not.
fn gone(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

/// Whether this is one whole answer. One of an unknown length is an error.
fn answered(bytes: &[u8]) -> anyhow::Result<Progress> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = head.parse(bytes).context("an answer's head")? else {
        return Ok(Progress::Pending);
    };
    let announced = head.headers.iter().find(|f| f.name.eq_ignore_ascii_case("content-length"));
    let announced = announced.context("an answer without content-length")?;
    let announced = std::str::from_utf8(announced.value).context("content-length")?;
    let body: usize = announced.trim().parse().context("content-length")?;
    if bytes.len() < length + body {
        return Ok(Progress::Pending);
    }
    let said = || String::from_utf8_lossy(bytes).into_owned();
    ensure!(bytes.len() == length + body, "more than one answer to one request: {}", said());
    let status = head.code.context("an answer without a status")?;
    let last = head.headers.iter().any(|field| {
        field.name.eq_ignore_ascii_case("connection") && field.value.eq_ignore_ascii_case(b"close")
    });
    Ok(Progress::Answered { status, last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_answer_counts() {
        let whole = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}";
        for length in 0..whole.len() {
            let progress = answered(&whole[..length]).expect("nothing wrong yet");
            assert_eq!(progress, Progress::Pending, "{length}");
        }
        let accepted = Progress::Answered { status: 202, last: false };
        assert_eq!(answered(whole).expect("a 202"), accepted);
        let refused = b"HTTP/1.1 503 No\r\ncontent-length: 0\r\nConnection: close\r\n\r\n";
        let last = Progress::Answered { status: 503, last: true };
        assert_eq!(answered(refused).expect("a 503"), last);
        assert!(answered(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\nHTTP").is_err());
        assert!(answered(b"HTTP/1.1 202 Accepted\r\n\r\n").is_err());
    }
}
