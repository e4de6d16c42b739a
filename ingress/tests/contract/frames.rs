//! HTTP/2 by hand: a client that sends exactly the frames it is told to, also those that no client
//! library would (RFC 9113, HPACK without compression).

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// A write that takes longer waits for a server that does not read.
const BLOCKED: Duration = Duration::from_millis(500);

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;

pub const NOTHING: u8 = 0;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// Of HTTP/2's settings: none, so that every answer's head is whole.
const HEADER_TABLE_SIZE: u16 = 1;

pub const REFUSED_STREAM: u32 = 7;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field: literal, not indexed, not Huffman coded (RFC 7541, 6.2.2).
pub fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        let mut length = text.len();
        if length < 127 {
            bytes.push(length as u8);
        } else {
            bytes.push(127);
            length -= 127;
            while length >= 128 {
                bytes.push((length % 128) as u8 | 128);
                length /= 128;
            }
            bytes.push(length as u8);
        }
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

/// The fields of a request.
pub fn fields(of: &[(&str, &str)]) -> Vec<u8> {
    of.iter().flat_map(|(name, value)| field(name, value)).collect()
}

impl Frame {
    /// The number at `at` of the payload.
    pub fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }

    /// The status of an answer's head, which begins with it, behind the first head's word that there is
    /// no dynamic table: static name 8, Huffman coded.
    pub fn status(&self) -> u16 {
        let fields = self.payload.strip_prefix(&[0x20]).unwrap_or(&self.payload);
        match *fields {
            [0x08, 0x82, 0x10, 0x05, ..] => 202,
            [0x08, 0x83, 0x68, 0x0f, 0x7f, ..] => 408,
            [0x08, 0x83, 0x69, 0x90, 0xff, ..] => 431,
            [0x88, ..] => 200,
            _ => panic!("a status that no test here expects: {:x?}", self.payload),
        }
    }
}

/// One connection.
pub struct Wire(TcpStream);

impl Wire {
    /// With settings of its own: pairs of identifier and value.
    pub async fn open(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut wire = Self(TcpStream::connect(address).await.expect("connects"));
        let settings: Vec<u8> = [(HEADER_TABLE_SIZE, 0)]
            .iter()
            .chain(settings)
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        wire.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        wire.write(&frame(SETTINGS, NOTHING, 0, &settings)).await;
        wire
    }

    /// Sends bytes; whether they all went, which they do not where the server has closed or does not
    /// read.
    pub async fn write(&mut self, bytes: &[u8]) -> bool {
        matches!(timeout(BLOCKED, self.0.write_all(bytes)).await, Ok(Ok(())))
    }

    /// The next frame of one of these kinds; none where the server has closed.
    pub async fn next(&mut self, kinds: &[u8]) -> Option<Frame> {
        let read = async {
            loop {
                let frame = self.read().await?;
                if kinds.contains(&frame.kind) {
                    return Some(frame);
                }
            }
        };
        timeout(PATIENCE, read).await.expect("a frame or the end, in time")
    }

    async fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], stream, payload })
    }
}
