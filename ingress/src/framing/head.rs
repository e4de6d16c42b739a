//! A request's head: its end, and the framing of the body behind it.

use memchr::memchr;

use super::target::{self, RequestLine};
use crate::reject::{Bound, Reject};

/// The most bytes of a head, from the request line to the empty line.
pub(crate) const BYTES_MAX: usize = 32 * 1024;
/// The most fields of a head.
const FIELDS_MAX: usize = 64;
/// Empty lines before a request line; RFC 9112 section 2.2 asks to ignore at least one.
const LEADING_LINES_MAX: usize = 4;
/// Digits of a length: less than 2⁶³, whatever the digits.
const LENGTH_DIGITS_MAX: usize = 18;

/// A whole head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its bytes, up to the body's first.
    pub length: usize,
    /// What follows.
    pub body: Body,
}

/// How a body is framed (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// So many bytes; 0 where nothing says otherwise.
    Length(u64),
    /// In chunks.
    Chunked,
}

/// The fields that decide about framing.
#[derive(Debug, Default)]
struct Fields<'h> {
    count: usize,
    host: Option<&'h [u8]>,
    length: Option<u64>,
    chunked: bool,
}

/// Reads the head that `bytes` begins with; `None` where its end is not there yet.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<Head>, Reject> {
    let mut lines = Lines { bytes, at: 0 };
    let mut leading = 0;
    let first = loop {
        match lines.next() {
            None => return unfinished(bytes),
            Some([]) if leading == LEADING_LINES_MAX => {
                return Err(Reject::Malformed("empty lines stand before the request line"));
            }
            Some([]) => leading += 1,
            Some(line) => break line,
        }
    };
    let request = target::request_line(first)?;
    let mut fields = Fields::default();
    loop {
        match lines.next() {
            None => return unfinished(bytes),
            Some([]) => break,
            Some(line) => fields.add(line)?,
        }
    }
    if lines.at > BYTES_MAX {
        return Err(too_large(lines.at));
    }
    let body = fields.body(&request)?;
    Ok(Some(Head { length: lines.at, body }))
}

fn unfinished(bytes: &[u8]) -> Result<Option<Head>, Reject> {
    if bytes.len() > BYTES_MAX { Err(too_large(bytes.len())) } else { Ok(None) }
}

const fn too_large(bytes: usize) -> Reject {
    bound("head bytes", BYTES_MAX, bytes)
}

const fn bound(name: &'static str, limit: usize, observed: usize) -> Reject {
    Reject::HeadTooLarge(Bound { name, limit, observed: Some(observed) })
}

/// Lines without their ends. A bare LF ends one as CRLF does (RFC 9112 section 2.2), and hyper's
/// parser takes it so too.
struct Lines<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Lines<'b> {
    fn next(&mut self) -> Option<&'b [u8]> {
        let rest = &self.bytes[self.at..];
        let end = memchr(b'\n', rest)?;
        self.at += end + 1;
        let line = &rest[..end];
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

impl<'h> Fields<'h> {
    fn add(&mut self, line: &'h [u8]) -> Result<(), Reject> {
        self.count += 1;
        if self.count > FIELDS_MAX {
            return Err(bound("header fields", FIELDS_MAX, self.count));
        }
        if matches!(line[0], b' ' | b'\t') {
            return Err(Reject::Malformed("a header field is folded or begins with white space"));
        }
        let Some(colon) = memchr(b':', line) else {
            return Err(Reject::Malformed("a header field has no colon"));
        };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        match name.last() {
            None => return Err(Reject::Malformed("a header field has no name")),
            Some(b' ' | b'\t') => {
                return Err(Reject::Malformed("white space stands before a header field's colon"));
            }
            Some(_) => {}
        }
        match name.len() {
            4 if is(name, b"host") => self.host(trimmed(value)),
            14 if is(name, b"content-length") => self.content_length(name, trimmed(value)),
            17 if is(name, b"transfer-encoding") => self.transfer_encoding(name, trimmed(value)),
            _ => Ok(()),
        }
    }

    fn host(&mut self, value: &'h [u8]) -> Result<(), Reject> {
        if self.host.is_some() {
            return Err(Reject::Malformed("Host stands there twice"));
        }
        if !target::authority_is_valid(value) {
            return Err(Reject::Malformed("Host is not a host with an optional port"));
        }
        self.host = Some(value);
        Ok(())
    }

    fn content_length(&mut self, name: &[u8], value: &[u8]) -> Result<(), Reject> {
        aliased(name)?;
        if self.length.is_some() {
            return Err(Reject::Malformed("Content-Length stands there twice"));
        }
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        if !digits || value.len() > LENGTH_DIGITS_MAX {
            return Err(Reject::Malformed("Content-Length is not one number"));
        }
        self.length = Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')));
        Ok(())
    }

    fn transfer_encoding(&mut self, name: &[u8], value: &[u8]) -> Result<(), Reject> {
        aliased(name)?;
        if self.chunked {
            return Err(Reject::Malformed("Transfer-Encoding stands there twice"));
        }
        if value.eq_ignore_ascii_case(b"chunked") {
            self.chunked = true;
            return Ok(());
        }
        let last = value.rsplit(|byte| *byte == b',').next().unwrap_or_default();
        let others = value.len() - last.len();
        let repeated = value[..others].windows(7).any(|part| part.eq_ignore_ascii_case(b"chunked"));
        if trimmed(last).eq_ignore_ascii_case(b"chunked") && !repeated {
            return Err(Reject::NotImplemented("no transfer coding but chunked is undone"));
        }
        Err(Reject::Malformed("Transfer-Encoding is not chunked, once and last"))
    }

    fn body(&self, request: &RequestLine<'_>) -> Result<Body, Reject> {
        match (self.host, request.authority) {
            (None, _) if request.http_11 => return Err(Reject::Malformed("Host is missing")),
            (Some(host), Some(authority)) if !host.eq_ignore_ascii_case(authority) => {
                return Err(Reject::Malformed("the target's authority and Host differ"));
            }
            _ => {}
        }
        match (self.chunked, self.length) {
            (true, Some(_)) => {
                Err(Reject::Malformed("Content-Length stands beside Transfer-Encoding"))
            }
            (true, None) if !request.http_11 => {
                Err(Reject::Malformed("HTTP/1.0 has no Transfer-Encoding"))
            }
            (true, None) => Ok(Body::Chunked),
            (false, length) => Ok(Body::Length(length.unwrap_or(0))),
        }
    }
}

/// Whether this is the name, or what gateways that write `_` for `-` would take for it.
fn is(name: &[u8], wanted: &[u8]) -> bool {
    let one = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    name.iter().map(one).eq(wanted.iter().copied())
}

fn aliased(name: &[u8]) -> Result<(), Reject> {
    if name.contains(&b'_') {
        return Err(Reject::Malformed("a framing field's name is written with an underscore"));
    }
    Ok(())
}

/// Without the optional white space around it (RFC 9110 section 5.6.3).
fn trimmed(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    &value[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(fields: &str) -> Result<Option<Head>, Reject> {
        read(format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n").as_bytes())
    }

    #[test]
    fn a_head_ends_at_its_empty_line_and_frames_its_body() {
        let check = |bytes: &str, length: usize, body: Body| {
            assert_eq!(read(bytes.as_bytes()), Ok(Some(Head { length, body })), "{bytes:?}");
        };
        check("GET / HTTP/1.1\r\nhost: a\r\n\r\n", 27, Body::Length(0));
        check("GET / HTTP/1.1\r\nhost: a\r\n\r\nGET /", 27, Body::Length(0));
        check("GET / HTTP/1.1\nHost:a\n\n", 23, Body::Length(0));
        check("\r\n\nGET / HTTP/1.0\r\n\r\n", 21, Body::Length(0));
        let body = Body::Length(5);
        check("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: \t05 \r\n\r\n", 50, body);
        check(
            "POST / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
            56,
            Body::Chunked,
        );
    }

    #[test]
    fn an_unfinished_head_is_waited_for_up_to_its_bound() {
        let whole = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n";
        for end in 0..whole.len() {
            assert_eq!(read(&whole.as_bytes()[..end]), Ok(None), "{end}");
        }
        let endless = format!("GET / HTTP/1.1\r\nx: {}", "a".repeat(BYTES_MAX));
        assert!(matches!(read(endless.as_bytes()), Err(Reject::HeadTooLarge(_))));
        assert!(matches!(with(&"x: 1\r\n".repeat(64)), Err(Reject::HeadTooLarge(_))));
        assert!(matches!(with(&"x: 1\r\n".repeat(63)), Ok(Some(_))));
    }

    #[test]
    fn a_doubt_about_the_framing_is_a_refusal() {
        let malformed = |fields: &str| {
            let read = with(fields);
            assert!(matches!(read, Err(Reject::Malformed(_))), "{fields:?}: {read:?}");
        };
        for length in ["", "+5", "-5", "5, 5", "5 5", "0x5", "5;", "9999999999999999999", "5\u{b2}"]
        {
            malformed(&format!("content-length: {length}\r\n"));
        }
        for coding in [
            "",
            "identity",
            "chunked, identity",
            "chunked, chunked",
            "xchunked",
            "chunked;q=1",
            "\"chunked\"",
            "chunked,",
            "gzip",
        ] {
            malformed(&format!("transfer-encoding: {coding}\r\n"));
        }
        malformed("content-length: 5\r\ncontent-length: 5\r\n");
        malformed("content-length: 5\r\ntransfer-encoding: chunked\r\n");
        malformed("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n");
        malformed("transfer_encoding: chunked\r\n");
        malformed("Content_Length: 5\r\n");
        malformed("host: a\r\n");
        malformed(" x: folded\r\n");
        malformed("x : 1\r\n");
        malformed("x\r\n");
        malformed(": 1\r\n");
        let unknown = with("transfer-encoding: gzip, chunked\r\n");
        assert!(matches!(unknown, Err(Reject::NotImplemented(_))));
    }
}
