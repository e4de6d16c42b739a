//! One connection of the load generator: writes prepared bytes, reads answers, never blocks and
//! never opens itself again. A request at a time.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, bail, ensure};

use super::template::Template;

/// Answers to what benches post are small; a longer one is not what was expected.
const ANSWER_BYTES_MAX: usize = 4 * 1024;
/// Fields of an answer's head.
const FIELDS_MAX: usize = 32;

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
        Ok(Self { stream, template, written: 0, answer, read: 0 })
    }

    /// The socket, to be waited for.
    pub const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Begins to send a request whose events are numbered from `first` on; the number after them.
    pub fn send(&mut self, first: u64) -> anyhow::Result<u64> {
        self.template.number(first);
        (self.written, self.read) = (0, 0);
        self.write()?;
        Ok(first + self.template.count())
    }

    /// Goes on as far as the socket lets it; whether the answer is here, and it is 202.
    pub fn advance(&mut self) -> anyhow::Result<bool> {
        self.write()?;
        loop {
            let space = &mut self.answer[self.read..];
            ensure!(!space.is_empty(), "an answer of more than {ANSWER_BYTES_MAX} bytes");
            match (&self.stream).read(space) {
                Ok(0) => bail!("the server closed the connection"),
                Ok(length) => self.read += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("read an answer"),
            }
            if answered(&self.answer[..self.read])? {
                return Ok(true);
            }
        }
    }

    fn write(&mut self) -> anyhow::Result<()> {
        while let Some(rest @ [_, ..]) = self.template.bytes().get(self.written..) {
            match (&self.stream).write(rest) {
                Ok(length) => self.written += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("write a request"),
            }
        }
        Ok(())
    }
}

/// Whether this is one whole answer. Anything but a 202 of a known length is an error.
fn answered(bytes: &[u8]) -> anyhow::Result<bool> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = head.parse(bytes).context("an answer's head")? else {
        return Ok(false);
    };
    let announced = head.headers.iter().find(|f| f.name.eq_ignore_ascii_case("content-length"));
    let announced = announced.context("an answer without content-length")?;
    let announced = std::str::from_utf8(announced.value).context("content-length")?;
    let body: usize = announced.trim().parse().context("content-length")?;
    if bytes.len() < length + body {
        return Ok(false);
    }
    let said = || String::from_utf8_lossy(bytes).into_owned();
    ensure!(head.code == Some(202), "not a 202: {}", said());
    ensure!(bytes.len() == length + body, "more than one answer to one request: {}", said());
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::answered;

    #[test]
    fn only_a_whole_202_counts() {
        let whole = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}";
        for length in 0..whole.len() {
            assert!(!answered(&whole[..length]).expect("nothing wrong yet"), "{length}");
        }
        assert!(answered(whole).expect("a 202"));
        assert!(answered(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\nHTTP").is_err());
        assert!(answered(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n").is_err());
        assert!(answered(b"HTTP/1.1 202 Accepted\r\n\r\n").is_err());
    }
}
