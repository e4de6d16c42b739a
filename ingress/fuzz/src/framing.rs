//! How many requests there are in these bytes, by RFC 9112 at its strictest: an independent opinion,
//! on which the ingress must never improve.

/// Fields of a head; more is a doubt.
const FIELDS_MAX: usize = 128;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framed {
    /// Requests that are there, head and body: whether each is a HEAD, whose answer has no body.
    pub whole: Vec<bool>,
    /// Whether bytes follow that are no whole request, or of which one cannot be sure: they may get
    /// one answer, which closes the connection.
    pub open: bool,
}

/// Counts.
pub fn frame(mut bytes: &[u8]) -> Framed {
    let mut whole = Vec::new();
    loop {
        // RFC 9112, 2.2: empty lines before a request line are skipped.
        while let Some(rest) = bytes.strip_prefix(b"\r\n").or(bytes.strip_prefix(b"\n")) {
            bytes = rest;
        }
        if bytes.is_empty() {
            return Framed { whole, open: false };
        }
        let Some((length, is_head)) = request(bytes) else { return Framed { whole, open: true } };
        whole.push(is_head);
        bytes = &bytes[length..];
    }
}

/// The length of the first request, head and body, and whether it is a HEAD; `None` where it is not
/// whole or not sure.
fn request(bytes: &[u8]) -> Option<(usize, bool)> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Request::new(&mut fields);
    let Ok(httparse::Status::Complete(length)) = head.parse(bytes) else { return None };
    if head.method == Some("CONNECT") {
        return None;
    }
    let values = |name: &str| {
        let named = head.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| field.value).collect::<Vec<_>>()
    };
    let body = &bytes[length..];
    let body_length = match (&values("transfer-encoding")[..], &values("content-length")[..]) {
        ([], []) => 0,
        ([], [text]) => {
            let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
            let text = std::str::from_utf8(text).ok().filter(|_| digits)?;
            text.parse::<usize>().ok().filter(|length| *length <= body.len())?
        }
        ([coding], []) if coding.eq_ignore_ascii_case(b"chunked") && head.version == Some(1) => {
            chunked(body)?
        }
        _ => return None,
    };
    Some((length + body_length, head.method == Some("HEAD")))
}

/// The length of a chunked body, trailers included.
fn chunked(body: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let (line, after) = line(body, at)?;
        let digits = line.split(|byte| matches!(byte, b';' | b' ' | b'\t')).next()?;
        let digits = std::str::from_utf8(digits).ok()?;
        let size = usize::from_str_radix(digits, 16).ok()?;
        at = after;
        if size == 0 {
            break;
        }
        let end = at.checked_add(size)?;
        at = body.get(end..)?.starts_with(b"\r\n").then_some(end + 2)?;
    }
    loop {
        let (line, after) = line(body, at)?;
        at = after;
        if line.is_empty() {
            return Some(at);
        }
    }
}

/// The line that begins at `at`, and where the next one does.
fn line(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = bytes.get(at..)?;
    let length = rest.iter().position(|byte| *byte == b'\n')?;
    let line = rest[..length].strip_suffix(b"\r").unwrap_or(&rest[..length]);
    Some((line, at + length + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted() {
        let check = |bytes: &str, whole, open| {
            let framed = frame(bytes.as_bytes());
            assert_eq!((framed.whole.len(), framed.open), (whole, open), "{bytes}");
        };
        let get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        assert_eq!(frame(b"HEAD / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n").whole, [true, false]);
        check("", 0, false);
        check(get, 1, false);
        check(&format!("\r\n{get}{get}GET"), 2, true);
        let post = |fields: &str, body: &str| format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n{body}");
        check(&post("content-length: 3", &format!("abc{get}")), 2, false);
        check(&post("content-length: 3", "ab"), 0, true);
        check(&post("content-length: 3\r\ncontent-length: 3", "abc"), 0, true);
        check(&post("content-length: +3", "abc"), 0, true);
        let chunks = "3;x=y\r\nabc\r\n0\r\nt: v\r\n\r\n";
        check(&post("Transfer-Encoding: Chunked", &format!("{chunks}{get}")), 2, false);
        check(&post("transfer-encoding: chunked\r\ncontent-length: 3", chunks), 0, true);
        check(&post("transfer-encoding: chunked", "3\r\nabcd\r\n0\r\n\r\n"), 0, true);
    }
}
