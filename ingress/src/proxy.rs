//! The PROXY protocol, versions 1 and 2, as HAProxy's specification has it: who a load balancer's
//! client is, said before the first byte of the client's own.
//!
//! Only where it is configured, and only from the networks that may say so.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

/// The longest header of version 1, with its CRLF.
const TEXT_BYTES_MAX: usize = 107;
/// The longest header of version 2 that is taken: addresses and a few hundred bytes of extensions.
const BINARY_BYTES_MAX: usize = 1024;
/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, command, family and length.
const BINARY_PREFIX: usize = 16;
/// Senders write the header in one piece; where it comes in more, it is looked at again after this.
const PAUSE: Duration = Duration::from_millis(5);

/// A header: its bytes, and the client it names. None: the proxy speaks for itself (a health check).
type Header = (usize, Option<IpAddr>);

/// What begins the connection is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Malformed;

/// Reads the header and nothing behind it.
pub(crate) async fn read(socket: &mut TcpStream) -> io::Result<Option<IpAddr>> {
    let mut bytes = [0; BINARY_BYTES_MAX];
    loop {
        let seen = socket.peek(&mut bytes).await?;
        match header(&bytes[..seen]) {
            Ok(Some((length, client))) => {
                socket.read_exact(&mut bytes[..length]).await?;
                return Ok(client);
            }
            Ok(None) if seen == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(None) => sleep(PAUSE).await,
            Err(Malformed) => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// The header that `bytes` begins with; `None` where more is needed.
fn header(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(byte, expected)| byte == expected);
    if begins(SIGNATURE) {
        return binary(bytes);
    }
    if begins(b"PROXY ") { text(bytes) } else { Err(Malformed) }
}

fn text(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let Some(end) = memchr::memchr(b'\n', bytes) else {
        return if bytes.len() < TEXT_BYTES_MAX { Ok(None) } else { Err(Malformed) };
    };
    let line = bytes[..end].strip_suffix(b"\r").filter(|_| end < TEXT_BYTES_MAX);
    let line = std::str::from_utf8(line.ok_or(Malformed)?).map_err(|_| Malformed)?;
    let mut words = line.split(' ').skip(1);
    let family = words.next();
    let client = words.next().unwrap_or_default();
    let client = match family {
        Some("UNKNOWN") => None,
        Some("TCP4") => Some(IpAddr::V4(client.parse().map_err(|_| Malformed)?)),
        Some("TCP6") => Some(IpAddr::V6(client.parse().map_err(|_| Malformed)?)),
        Some(_) | None => return Err(Malformed),
    };
    // The proxy's own address and both ports.
    if client.is_some() && words.count() != 3 {
        return Err(Malformed);
    }
    Ok(Some((end + 1, client)))
}

fn binary(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let Some(prefix) = bytes.first_chunk::<BINARY_PREFIX>() else { return Ok(None) };
    let length = BINARY_PREFIX + usize::from(u16::from_be_bytes([prefix[14], prefix[15]]));
    if length > BINARY_BYTES_MAX {
        return Err(Malformed);
    }
    let Some(addresses) = bytes.get(BINARY_PREFIX..length) else { return Ok(None) };
    let client = match (prefix[12], prefix[13] >> 4) {
        // LOCAL, or a family that has no address.
        (0x20, _) | (0x21, 0 | 3) => None,
        (0x21, 1) if addresses.len() >= 12 => {
            Some(Ipv4Addr::from(*addresses.first_chunk().ok_or(Malformed)?).into())
        }
        (0x21, 2) if addresses.len() >= 36 => {
            Some(Ipv6Addr::from(*addresses.first_chunk().ok_or(Malformed)?).into())
        }
        _ => return Err(Malformed),
    };
    Ok(Some((length, client)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version_2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).expect("short").to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, addresses].concat()
    }

    #[test]
    fn headers() {
        let check = |bytes: &[u8], client: Option<&str>| {
            let client = client.map(|client| client.parse().expect("an address"));
            let with_more = [bytes, b"POST"].concat();
            assert_eq!(header(&with_more), Ok(Some((bytes.len(), client))), "{bytes:?}");
            for end in 0..bytes.len() {
                assert_eq!(header(&bytes[..end]), Ok(None), "{end} of {bytes:?}");
            }
        };
        check(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 80\r\n", Some("192.0.2.1"));
        check(b"PROXY TCP6 2001:db8::1 ::1 1 80\r\n", Some("2001:db8::1"));
        check(b"PROXY UNKNOWN\r\n", None);
        let four = [192, 0, 2, 1, 192, 0, 2, 2, 0, 1, 0, 80];
        check(&version_2(0x21, 0x11, &four), Some("192.0.2.1"));
        check(&version_2(0x21, 0x11, &[&four[..], &[4, 0, 1, 0]].concat()), Some("192.0.2.1"));
        let mut six = [0; 36];
        (six[0], six[1], six[15]) = (0x20, 0x01, 1);
        check(&version_2(0x21, 0x21, &six), Some("2001::1"));
        check(&version_2(0x20, 0x00, &[]), None);
        check(&version_2(0x21, 0x00, &[]), None);
    }

    #[test]
    fn what_is_none() {
        for bytes in [
            &b"POST / HTTP/1.1\r\n"[..],
            b"PROXY TCP4 192.0.2.1\r\n",
            b"PROXY TCP4 2001:db8::1 ::1 1 80\r\n",
            b"PROXY UDP4 192.0.2.1 192.0.2.2 1 80\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 80\n",
            &[b"PROXY UNKNOWN ", &[b'a'; 200][..]].concat(),
            &version_2(0x31, 0x11, &[0; 12]),
            &version_2(0x22, 0x11, &[0; 12]),
            &version_2(0x21, 0x11, &[0; 11]),
            &version_2(0x21, 0x21, &[0; 12]),
            &version_2(0x21, 0x41, &[0; 36]),
            &version_2(0x21, 0x11, &[0; 2000]),
        ] {
            assert_eq!(header(bytes), Err(Malformed), "{bytes:?}");
        }
    }
}
