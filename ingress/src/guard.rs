//! Between the socket and hyper: reads every request's head before hyper does, and follows its body
//! to know where the next one begins (ADR 14).
//!
//! A head goes on only when it is whole and without a doubt. In the place of one that is refused
//! hyper gets a request of ours, and nothing after it: the refusal is answered as a problem document,
//! behind the answers to what was sent before, and the connection is closed. A body whose chunks are
//! malformed breaks off. Bytes are looked at where hyper reads them; only an unfinished head is kept.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use memchr::memchr_iter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::framing::{self, BYTES_MAX, Body, Chunks};
use crate::pulse::Pulse;
use crate::reject::Reject;
use crate::transport::Transport;

/// What hyper parses in the place of a head that was refused; the service never looks at it.
const SUBSTITUTE: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\n\r\n";
/// The same for a HEAD, whose answer has no content: the sender would read it as another answer.
const SUBSTITUTE_OF_HEAD: &[u8] = b"HEAD / HTTP/1.1\r\nhost: refused\r\n\r\n";
/// How much of an unfinished head is read at a time.
const READ_BYTES: usize = 2048;

/// A stream that hyper reads.
#[derive(Debug)]
pub(crate) struct Guard {
    /// There until this is dropped.
    transport: Option<Transport>,
    pulse: Rc<Pulse>,
    stage: Stage,
    /// Read from the transport, not by hyper.
    held: Vec<u8>,
    /// How many of the held bytes hyper may have.
    passed: usize,
    /// How many of them it has.
    given: usize,
}

/// What the next byte belongs to.
#[derive(Debug)]
enum Stage {
    /// A head, or the pause before it.
    Head,
    /// A body with so many bytes to come.
    Body(u64),
    /// A body in chunks.
    Chunks(Chunks),
    /// Nothing: a head was refused.
    Refused,
    /// Nothing: a body was malformed.
    Broken,
    /// HTTP/2, which frames itself.
    Http2,
}

/// What of some bytes may go on, and why not the rest.
struct Scanned {
    pass: usize,
    rest: Rest,
}

enum Rest {
    /// There is none.
    None,
    /// The beginning of a head.
    Unfinished,
    /// A head with a doubt, and what hyper gets in its place.
    Refused(Reject, &'static [u8]),
    /// A body with one.
    Broken,
}

impl Guard {
    /// Reads HTTP/1; `held` was read already.
    pub fn http1(transport: Transport, pulse: Rc<Pulse>, held: Vec<u8>) -> Self {
        let mut guard = Self {
            transport: Some(transport),
            pulse,
            stage: Stage::Head,
            held,
            passed: 0,
            given: 0,
        };
        if !guard.held.is_empty() {
            guard.scan_held();
        }
        guard
    }

    /// Passes HTTP/2 on as it is.
    pub fn http2(transport: Transport, pulse: Rc<Pulse>, held: Vec<u8>) -> Self {
        let (stage, passed) = (Stage::Http2, held.len());
        Self { transport: Some(transport), pulse, stage, held, passed, given: 0 }
    }

    fn transport(&mut self) -> Pin<&mut Transport> {
        Pin::new(self.transport.as_mut().expect("taken only on drop"))
    }

    /// Gives hyper what was kept from it and may go on.
    fn give(&mut self, into: &mut ReadBuf<'_>) {
        let count = (self.passed - self.given).min(into.remaining());
        into.put_slice(&self.held[self.given..self.given + count]);
        self.given += count;
        if self.given == self.passed {
            // What is left began another head.
            self.held = self.held.split_off(self.passed);
            (self.passed, self.given) = (0, 0);
        }
    }

    fn scan_held(&mut self) {
        let held = std::mem::take(&mut self.held);
        let scanned = scan(&mut self.stage, &self.pulse, &held);
        self.held = held;
        self.passed = scanned.pass;
        self.settle(scanned.rest);
    }

    fn settle(&mut self, rest: Rest) {
        let between = matches!((&rest, &self.stage), (Rest::None, Stage::Head));
        self.pulse.between(between);
        match rest {
            Rest::None => {}
            Rest::Unfinished => self.pulse.head_began(),
            Rest::Refused(reject, substitute) => self.refuse(reject, substitute),
            Rest::Broken => self.stage = Stage::Broken,
        }
    }

    fn refuse(&mut self, reject: Reject, substitute: &[u8]) {
        self.pulse.refuse(reject);
        self.held.truncate(self.passed);
        self.held.extend_from_slice(substitute);
        self.passed = self.held.len();
        self.stage = Stage::Refused;
    }

    /// Reads into hyper's buffer and takes back what may not go on. Whether hyper has something now.
    fn read_through(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        let before = into.filled().len();
        ready!(self.transport().poll_read(cx, into))?;
        let bytes = &into.filled()[before..];
        if bytes.is_empty() {
            self.pulse.end();
            return Poll::Ready(Ok(true));
        }
        let scanned = scan(&mut self.stage, &self.pulse, bytes);
        if matches!(scanned.rest, Rest::Unfinished) {
            self.held = bytes[scanned.pass..].to_vec();
        }
        into.set_filled(before + scanned.pass);
        self.settle(scanned.rest);
        Poll::Ready(Ok(scanned.pass > 0))
    }

    /// Reads on in an unfinished head. Whether hyper has something now: the end.
    fn read_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut bytes = [0; READ_BYTES];
        let mut into = ReadBuf::new(&mut bytes);
        ready!(self.transport().poll_read(cx, &mut into))?;
        if into.filled().is_empty() {
            self.pulse.end();
            return Poll::Ready(Ok(true));
        }
        let searched = self.held.len();
        self.held.extend_from_slice(into.filled());
        // Whoever sends byte by byte must not have the whole head read again for each.
        if may_end(&self.held, searched) || self.held.len() > BYTES_MAX {
            self.scan_held();
        }
        Poll::Ready(Ok(false))
    }
}

/// Follows heads and bodies as far as the bytes go.
fn scan(stage: &mut Stage, pulse: &Pulse, bytes: &[u8]) -> Scanned {
    let mut pass = 0;
    while pass < bytes.len() {
        let rest = &bytes[pass..];
        match stage {
            Stage::Head => match framing::read(rest) {
                Ok(Some(head)) => {
                    pulse.head_passed();
                    pass += head.length;
                    *stage = match head.body {
                        Body::Length(0) => Stage::Head,
                        Body::Length(length) => Stage::Body(length),
                        Body::Chunked => Stage::Chunks(Chunks::new()),
                    };
                }
                Ok(None) => return Scanned { pass, rest: Rest::Unfinished },
                Err(reject) => {
                    return Scanned { pass, rest: Rest::Refused(reject, substitute(rest)) };
                }
            },
            Stage::Body(left) => {
                let taken = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                *left -= taken as u64;
                pass += taken;
                if *left == 0 {
                    *stage = Stage::Head;
                }
            }
            Stage::Chunks(chunks) => match chunks.feed(rest) {
                Ok(taken) => {
                    pass += taken;
                    if chunks.ended() {
                        *stage = Stage::Head;
                    }
                }
                Err(_) => return Scanned { pass, rest: Rest::Broken },
            },
            Stage::Refused | Stage::Broken | Stage::Http2 => pass = bytes.len(),
        }
    }
    Scanned { pass, rest: Rest::None }
}

/// What stands for a head that begins so.
fn substitute(head: &[u8]) -> &'static [u8] {
    if head.trim_ascii_start().starts_with(b"HEAD ") { SUBSTITUTE_OF_HEAD } else { SUBSTITUTE }
}

/// Whether an empty line is there that was not before the first `searched` bytes were followed.
fn may_end(head: &[u8], searched: usize) -> bool {
    let from = searched.saturating_sub(2);
    memchr_iter(b'\n', &head[from..])
        .any(|at| matches!(head[from + at + 1..], [b'\n', ..] | [b'\r', b'\n', ..]))
}

impl AsyncRead for Guard {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let guard = self.get_mut();
        loop {
            if guard.given < guard.passed {
                guard.give(into);
                return Poll::Ready(Ok(()));
            }
            match guard.stage {
                Stage::Http2 => return guard.transport().poll_read(cx, into),
                // The connection is closed behind the answer.
                Stage::Refused => return Poll::Pending,
                Stage::Broken => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                Stage::Head | Stage::Body(_) | Stage::Chunks(_) => {}
            }
            if guard.pulse.is_late() {
                let substitute = substitute(&guard.held);
                guard.held.clear();
                guard.refuse(Reject::HeadTimeout, substitute);
                continue;
            }
            let ready = if guard.held.is_empty() {
                ready!(guard.read_through(cx, into))?
            } else {
                ready!(guard.read_head(cx))?
            };
            if ready {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Guard {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let guard = self.get_mut();
        guard.pulse.flushed(false);
        guard.transport().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let guard = self.get_mut();
        guard.pulse.flushed(false);
        guard.transport().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let guard = self.get_mut();
        ready!(guard.transport().poll_flush(cx))?;
        // hyper flushes the stream only once its own buffer is written out.
        guard.pulse.flushed(true);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().transport().poll_shutdown(cx)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(transport) = self.transport.take() {
            self.pulse.release(transport);
        }
    }
}
