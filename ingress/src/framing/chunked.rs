//! A body in chunks (RFC 9112 section 7.1): where it ends, byte by byte, whatever pieces it comes in.
//!
//! Lines end with CRLF here and with nothing else: inside a body a bare LF is where readers differ.

use crate::reject::Reject;

/// Hex digits of a chunk's size; more would not fit 64 bits.
const SIZE_DIGITS_MAX: u8 = 16;
/// Bytes of extensions of one body; they say nothing to us.
const EXTENSION_BYTES_MAX: usize = 4 * 1024;
/// Bytes of trailers of one body; they say nothing to us.
const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// The reading of one body.
#[derive(Clone, Debug)]
pub(crate) struct Chunks {
    state: State,
    size: u64,
    extension_bytes: usize,
    trailer_bytes: usize,
}

/// What the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Of a size with so many digits so far.
    Size(u8),
    /// Of an extension's name with or without bytes so far.
    Name(Part),
    /// Of its value.
    Value(Part),
    /// Of its value in quotes.
    Quoted,
    /// Behind a backslash in quotes.
    Escaped,
    /// Behind the closing quote.
    Unquoted,
    /// The LF of a size's line.
    SizeEnd,
    /// Data.
    Data,
    /// The CR, then the LF behind data.
    DataCr,
    DataLf,
    /// The first of a trailer's line, or the CR of the last line.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerLf,
    /// The last LF.
    EndLf,
    /// Behind the body.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Empty,
    Begun,
}

impl Chunks {
    /// At the first byte of a body.
    pub const fn new() -> Self {
        Self { state: State::Size(0), size: 0, extension_bytes: 0, trailer_bytes: 0 }
    }

    /// Reads on; how many of the bytes are the body's.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<usize, Reject> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::End {
            if self.state == State::Data {
                let left = bytes.len() - at;
                let taken = usize::try_from(self.size).map_or(left, |size| size.min(left));
                self.size -= taken as u64;
                at += taken;
                if self.size == 0 {
                    self.state = State::DataCr;
                }
            } else {
                self.state = self.step(bytes[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    /// Whether the body has ended.
    pub fn ended(&self) -> bool {
        self.state == State::End
    }

    fn step(&mut self, byte: u8) -> Result<State, Reject> {
        match self.state {
            State::Size(_) | State::SizeEnd | State::DataCr | State::DataLf => self.framing(byte),
            State::Name(_) | State::Value(_) | State::Quoted | State::Escaped | State::Unquoted => {
                self.extension_bytes += 1;
                if self.extension_bytes > EXTENSION_BYTES_MAX {
                    return Err(Reject::Malformed("the chunks' extensions are too long"));
                }
                extension(self.state, byte)
            }
            State::Trailer | State::TrailerName | State::TrailerValue | State::TrailerLf => {
                self.trailer_bytes += 1;
                if self.trailer_bytes > TRAILER_BYTES_MAX {
                    return Err(Reject::Malformed("the trailers are too long"));
                }
                trailer(self.state, byte)
            }
            State::EndLf if byte == b'\n' => Ok(State::End),
            State::EndLf | State::Data | State::End => Err(broken()),
        }
    }

    fn framing(&mut self, byte: u8) -> Result<State, Reject> {
        match (self.state, byte) {
            (State::Size(digits), _) if byte.is_ascii_hexdigit() && digits < SIZE_DIGITS_MAX => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                self.size = (self.size << 4) | u64::from(digit);
                Ok(State::Size(digits + 1))
            }
            (State::Size(1..), b'\r') => Ok(State::SizeEnd),
            (State::Size(1..), b';') => Ok(State::Name(Part::Empty)),
            (State::SizeEnd, b'\n') if self.size == 0 => Ok(State::Trailer),
            (State::SizeEnd, b'\n') => Ok(State::Data),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size(0)),
            _ => Err(broken()),
        }
    }
}

/// `;name`, `;name=token`, `;name="quoted"`; without white space, which is bad and may be refused.
fn extension(state: State, byte: u8) -> Result<State, Reject> {
    let ended = match byte {
        b'\r' => Some(State::SizeEnd),
        b';' => Some(State::Name(Part::Empty)),
        _ => None,
    };
    match (state, ended) {
        (State::Name(Part::Begun) | State::Value(Part::Begun) | State::Unquoted, Some(next)) => {
            Ok(next)
        }
        (State::Name(Part::Begun), None) if byte == b'=' => Ok(State::Value(Part::Empty)),
        (State::Value(Part::Empty), None) if byte == b'"' => Ok(State::Quoted),
        (State::Name(_), None) if is_token(byte) => Ok(State::Name(Part::Begun)),
        (State::Value(_), None) if is_token(byte) => Ok(State::Value(Part::Begun)),
        (State::Quoted, _) if byte == b'"' => Ok(State::Unquoted),
        (State::Quoted, _) if byte == b'\\' => Ok(State::Escaped),
        (State::Quoted | State::Escaped, _) if is_text(byte) => Ok(State::Quoted),
        _ => Err(Reject::Malformed("a chunk's extension is malformed")),
    }
}

fn trailer(state: State, byte: u8) -> Result<State, Reject> {
    match state {
        State::Trailer if byte == b'\r' => Ok(State::EndLf),
        State::Trailer | State::TrailerName if is_token(byte) => Ok(State::TrailerName),
        State::TrailerName if byte == b':' => Ok(State::TrailerValue),
        State::TrailerValue if byte == b'\r' => Ok(State::TrailerLf),
        State::TrailerValue if is_text(byte) => Ok(State::TrailerValue),
        State::TrailerLf if byte == b'\n' => Ok(State::Trailer),
        _ => Err(Reject::Malformed("a trailer is malformed")),
    }
}

const fn broken() -> Reject {
    Reject::Malformed("the chunks are malformed")
}

const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// No control byte but a tab.
const fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_ends_at_its_last_line_in_whatever_pieces() {
        for body in [
            "0\r\n\r\n",
            "5\r\nabcde\r\n0\r\n\r\n",
            "5;a;b=c;d=\"e;\\\"f\"\r\nabcde\r\n000\r\n\r\n",
            "a\r\n0\r\n\r\n01234\r\n0\r\nx: y\r\nContent-Length: 5\r\n\r\n",
        ] {
            let bytes = [body.as_bytes(), b"GET /"].concat();
            let mut whole = Chunks::new();
            assert_eq!(whole.feed(&bytes), Ok(body.len()), "{body:?}");
            assert!(whole.ended());
            let mut pieces = Chunks::new();
            let taken = bytes.iter().map(|byte| pieces.feed(&[*byte]).expect("valid"));
            assert_eq!(taken.sum::<usize>(), body.len(), "{body:?}");
        }
    }

    #[test]
    fn whatever_readers_could_differ_about_is_refused() {
        for body in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "0x5\r\n",
            " 5\r\n",
            "5 \r\n",
            "5\n",
            "5\r\r\n",
            "5\rabcde",
            "00000000000000005\r\n",
            "5;\r\n",
            "5; a\r\n",
            "5;a=\r\n",
            "5;a=\"b\r\n",
            "5;a=\"b\"c\r\n",
            "5;a\n",
            "5;a\0\r\n",
            "5;a\x7f\r\n",
            "5;a=\"\x01\"\r\n",
            "5;;a\r\n",
            "5;a b\r\n",
            "5\r\nabcdef\r\n",
            "5\r\nabcde\n0\r\n\r\n",
            "5\r\nabcde0\r\n\r\n",
            "0\r\n\n",
            "0\r\n x: y\r\n",
            "0\r\nx\r\n",
            "0\r\nx : y\r\n",
            "0\r\nx: y\n\r\n",
            "0\r\nx: \0\r\n",
            "0\r\n: y\r\n",
            "0\r\n\rx",
        ] {
            let fed = Chunks::new().feed(body.as_bytes());
            assert!(matches!(fed, Err(Reject::Malformed(_))), "{body:?}: {fed:?}");
        }
        let long = format!("5;a={}\r\n", "b".repeat(EXTENSION_BYTES_MAX));
        assert!(Chunks::new().feed(long.as_bytes()).is_err());
        let long = format!("0\r\na: {}\r\n\r\n", "b".repeat(TRAILER_BYTES_MAX));
        assert!(Chunks::new().feed(long.as_bytes()).is_err());
    }
}
