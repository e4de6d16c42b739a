//! The smallest question that shows a broker at work: Kafka's Metadata request, version 1, for
//! no topic. Asked over a plain socket, so that xtask needs no Kafka client.
//!
//! Request: `size:i32 api_key:i16=3 version:i16=1 correlation:i32 client_id:i16=-1 topics:i32=0`.
//! Response: `size:i32 correlation:i32 brokers:i32 {id:i32 host:str port:i32 rack:nullable str}…`
//! (all big-endian; `str` is an i16 length and that many bytes, -1 for null).

use std::{
    io::{Error, ErrorKind, Read, Result, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

const WAIT_MAX: Duration = Duration::from_secs(2);
/// Three brokers need about 100 bytes; whatever answers more is no broker of ours.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const CORRELATION: i32 = 7;

/// The node ids of the brokers that the broker at the loopback's `port` tells its clients of.
pub fn broker_ids(port: u16) -> Result<Vec<i32>> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, WAIT_MAX)?;
    stream.set_read_timeout(Some(WAIT_MAX))?;
    stream.set_write_timeout(Some(WAIT_MAX))?;
    stream.write_all(&request())?;
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let size = usize::try_from(i32::from_be_bytes(size)).map_err(|_| malformed())?;
    if size > ANSWER_BYTES_MAX {
        return Err(malformed());
    }
    let mut answer = vec![0; size];
    stream.read_exact(&mut answer)?;
    parse(&answer).ok_or_else(malformed)
}

fn request() -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(3_i16.to_be_bytes());
    body.extend(1_i16.to_be_bytes());
    body.extend(CORRELATION.to_be_bytes());
    body.extend((-1_i16).to_be_bytes());
    body.extend(0_i32.to_be_bytes());
    let size = i32::try_from(body.len()).expect("the request is 14 bytes");
    [&size.to_be_bytes(), body.as_slice()].concat()
}

fn parse(mut answer: &[u8]) -> Option<Vec<i32>> {
    if take_i32(&mut answer)? != CORRELATION {
        return None;
    }
    let brokers = take_i32(&mut answer)?;
    let mut ids = Vec::new();
    for _ in 0..brokers {
        ids.push(take_i32(&mut answer)?);
        skip_string(&mut answer)?;
        take_i32(&mut answer)?;
        skip_string(&mut answer)?;
    }
    Some(ids)
}

fn take_i32(bytes: &mut &[u8]) -> Option<i32> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(i32::from_be_bytes(*head))
}

fn skip_string(bytes: &mut &[u8]) -> Option<()> {
    let (head, rest) = bytes.split_first_chunk()?;
    // -1 is null: nothing follows.
    let length = usize::try_from(i16::from_be_bytes(*head)).unwrap_or(0);
    *bytes = rest.get(length..)?;
    Some(())
}

fn malformed() -> Error {
    Error::new(ErrorKind::InvalidData, "not an answer to a Metadata request")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(CORRELATION.to_be_bytes());
        bytes.extend(2_i32.to_be_bytes());
        for (id, rack) in [(1_i32, None), (3, Some("r1"))] {
            bytes.extend(id.to_be_bytes());
            bytes.extend(9_i16.to_be_bytes());
            bytes.extend(b"127.0.0.1");
            bytes.extend(29_092_i32.to_be_bytes());
            bytes.extend(rack.map_or(-1_i16, |_| 2).to_be_bytes());
            bytes.extend(rack.unwrap_or_default().as_bytes());
        }
        bytes.extend(1_i32.to_be_bytes());
        bytes
    }

    #[test]
    fn brokers_are_read_with_and_without_a_rack() {
        assert_eq!(parse(&answer()), Some(vec![1, 3]));
    }

    #[test]
    fn a_cut_or_foreign_answer_is_refused() {
        let whole = answer();
        // The last four bytes are the controller's id, which is not read.
        for end in 0..whole.len() - 4 {
            assert_eq!(parse(&whole[..end]), None, "cut at {end}");
        }
        assert_eq!(parse(b"HTTP/1.1 400 Bad Request\r\n\r\n"), None);
    }

    #[test]
    fn the_request_is_as_the_protocol_says() {
        assert_eq!(request(), [0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 7, 0xff, 0xff, 0, 0, 0, 0]);
    }
}
