//! The request line (RFC 9112 section 3): method, target in one of its forms, version.

use std::net::Ipv6Addr;

use memchr::{memchr, memrchr};

use crate::reject::Reject;

/// What of a request line others have to agree with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestLine<'l> {
    /// The authority of a target in absolute form.
    pub authority: Option<&'l [u8]>,
    /// HTTP/1.1, which needs a Host; otherwise HTTP/1.0.
    pub http_11: bool,
}

/// What may stand in a path and a query as it is (RFC 3986 section 3.3); `%` with two digits beside.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let others = b"-._~!$&'()*+,;=:@/?%";
    let mut index = 0;
    while index < 256 {
        plain[index] = (index as u8).is_ascii_alphanumeric();
        index += 1;
    }
    index = 0;
    while index < others.len() {
        plain[others[index] as usize] = true;
        index += 1;
    }
    plain
};

/// Reads a request line.
pub(super) fn request_line(line: &[u8]) -> Result<RequestLine<'_>, Reject> {
    let parts = memchr(b' ', line).zip(memrchr(b' ', line)).filter(|(first, last)| first < last);
    let Some((first, last)) = parts else {
        return Err(Reject::Malformed("the request line is not METHOD TARGET VERSION"));
    };
    let (method, target) = (&line[..first], &line[first + 1..last]);
    let http_11 = match &line[last + 1..] {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(Reject::HttpVersion);
        }
        _ => return Err(Reject::Malformed("the request line ends with no HTTP version")),
    };
    if method == b"CONNECT" {
        return Err(Reject::NotImplemented("this is no proxy: CONNECT is not implemented"));
    }
    let authority = match target {
        [b'/', ..] => {
            path(target)?;
            None
        }
        b"*" if method == b"OPTIONS" => None,
        _ => Some(absolute(target)?),
    };
    Ok(RequestLine { authority, http_11 })
}

/// The authority of a target in absolute form.
fn absolute(target: &[u8]) -> Result<&[u8], Reject> {
    let refused = || Reject::Malformed("the target is neither a path nor an http URI");
    let colon = memchr(b':', target).ok_or_else(refused)?;
    let scheme = &target[..colon];
    let is_http = scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https");
    let rest = target[colon..].strip_prefix(b"://").filter(|_| is_http).ok_or_else(refused)?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    if !authority_is_valid(authority) {
        return Err(Reject::Malformed(
            "the target's authority is not a host with an optional port",
        ));
    }
    path(rest)?;
    Ok(authority)
}

fn path(path: &[u8]) -> Result<(), Reject> {
    if !path.iter().all(|byte| PLAIN[usize::from(*byte)]) {
        return Err(Reject::Malformed("the target holds a character that no URI holds"));
    }
    let mut rest = path;
    while let Some(percent) = memchr(b'%', rest) {
        rest = &rest[percent + 1..];
        let digits = rest.first_chunk::<2>().filter(|two| two.iter().all(u8::is_ascii_hexdigit));
        match digits {
            None => return Err(Reject::Malformed("a percent sign stands without two hex digits")),
            // NUL to US, and DEL: nothing that is written into a path on purpose.
            Some([b'0' | b'1', _] | [b'7', b'f' | b'F']) => {
                return Err(Reject::Malformed("the target holds a coded control character"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// A host and an optional port (RFC 3986 section 3.2), without user information. Names are held to
/// what DNS and container networks use: whatever else the grammar allows is a doubt.
pub(crate) fn authority_is_valid(authority: &[u8]) -> bool {
    let (host_is_valid, port) = match authority {
        [b'[', rest @ ..] => {
            let Some(end) = memchr(b']', rest) else { return false };
            let literal = std::str::from_utf8(&rest[..end]).unwrap_or_default();
            (literal.parse::<Ipv6Addr>().is_ok(), &rest[end + 1..])
        }
        _ => {
            let (host, port) =
                authority.split_at(memchr(b':', authority).unwrap_or(authority.len()));
            let named =
                |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
            (!host.is_empty() && host.iter().all(named), port)
        }
    };
    let port_is_valid = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    host_is_valid && port_is_valid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_in_their_forms() {
        let check = |line: &str, authority: Option<&str>, http_11: bool| {
            let expected = RequestLine { authority: authority.map(str::as_bytes), http_11 };
            assert_eq!(request_line(line.as_bytes()), Ok(expected), "{line}");
        };
        check("POST /v1/events?dryRun=true HTTP/1.1", None, true);
        check("GET /%7ea/b;c=d HTTP/1.0", None, false);
        check("OPTIONS * HTTP/1.1", None, true);
        check("GET http://a:80/b HTTP/1.1", Some("a:80"), true);
        check("GET HTTPS://[::1]?q HTTP/1.1", Some("[::1]"), true);
    }

    #[test]
    fn anything_else_is_refused() {
        for line in [
            "GET",
            "GET /",
            "GET  HTTP/1.1",
            "GET / HTTP/1.1 ",
            " / HTTP/1.1x",
            "GET / http/1.1",
            "GET / HTTP/11",
            "GET /a b HTTP/1.1",
            "GET * HTTP/1.1",
            "GET a HTTP/1.1",
            "GET a:80 HTTP/1.1",
            "GET ftp://a/ HTTP/1.1",
            "GET http:/a HTTP/1.1",
            "GET http://u@a/ HTTP/1.1",
            "GET http:///b HTTP/1.1",
            "GET /#a HTTP/1.1",
            "GET /\u{e9} HTTP/1.1",
            "GET /\"a HTTP/1.1",
            "GET /%0 HTTP/1.1",
            "GET /%zz HTTP/1.1",
            "GET /%00 HTTP/1.1",
            "GET /%0d%0aa HTTP/1.1",
            "GET /%7F HTTP/1.1",
            "GET /\\a HTTP/1.1",
        ] {
            let read = request_line(line.as_bytes());
            assert!(matches!(read, Err(Reject::Malformed(_))), "{line}: {read:?}");
        }
        assert_eq!(request_line(b"GET / HTTP/2.0"), Err(Reject::HttpVersion));
        let connect = request_line(b"CONNECT a:80 HTTP/1.1");
        assert!(matches!(connect, Err(Reject::NotImplemented(_))), "{connect:?}");
    }

    #[test]
    fn authorities() {
        let check = |text: &str, valid: bool| {
            assert_eq!(authority_is_valid(text.as_bytes()), valid, "{text}");
        };
        for good in ["a", "a.b-c_d", "a:80", "a:", "127.0.0.1:8080", "[::1]", "[::1]:65535"] {
            check(good, true);
        }
        for bad in [
            "", ":80", "a:b", "a:800000", "a,b", "u@a", "a/b", "a b", "[::1", "[a]", "[::1]a",
            "::1", "a:80:80", "\u{e9}", "a%00",
        ] {
            check(bad, false);
        }
    }
}
