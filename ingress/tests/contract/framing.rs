//! Framing over raw sockets: whatever two readers of the same bytes could disagree about is refused
//! and the connection closed, and nothing of it is in the log. The cases are RFC 9110's, 9112's and
//! 9113's.

use std::collections::BTreeSet;

use crate::client::{Connection, Post};
use crate::fixture::{Fixture, KEY};

const EVENT: &str = r#"{"type":"order.placed","id":"1","data":{"n":1}}"#;

/// A request that is accepted but for what `line` and `fields` do to it; the fields end in CRLF.
fn request(line: &str, fields: &[u8], body: &[u8]) -> Vec<u8> {
    let begin = format!("{line}\r\nauthorization: {KEY}\r\ncontent-type: application/json\r\n");
    [begin.as_bytes(), fields, b"\r\n", body].concat()
}

/// With this request line, and a host and a length as they should be.
fn with_line(line: &str) -> Vec<u8> {
    request(
        line,
        format!("host: a\r\ncontent-length: {}\r\n", EVENT.len()).as_bytes(),
        EVENT.as_bytes(),
    )
}

/// With these fields beside a length.
fn with_fields(fields: impl AsRef<[u8]>) -> Vec<u8> {
    let length = format!("content-length: {}\r\n", EVENT.len());
    let fields = [fields.as_ref(), length.as_bytes()].concat();
    request("POST /v1/events HTTP/1.1", &fields, EVENT.as_bytes())
}

/// With these fields beside a host, and this body.
fn with_body(fields: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let fields = format!("host: a\r\n{fields}");
    request("POST /v1/events HTTP/1.1", fields.as_bytes(), body.as_ref())
}

fn chunked(body: impl AsRef<[u8]>) -> Vec<u8> {
    with_body("transfer-encoding: chunked\r\n", body)
}

/// RFC 9112 section 3: method SP target SP version.
fn request_lines() -> Vec<Vec<u8>> {
    let event = "/v1/events";
    let lines = [
        format!("POST  {event} HTTP/1.1"),
        format!("POST {event}  HTTP/1.1"),
        format!("POST\t{event} HTTP/1.1"),
        format!("POST {event}\tHTTP/1.1"),
        format!(" POST {event} HTTP/1.1"),
        format!("POST {event} HTTP/1.1 "),
        format!("POST {event}"),
        "POST".to_owned(),
        format!("{event} HTTP/1.1"),
        format!("PO ST {event} HTTP/1.1"),
        format!("PO\x01ST {event} HTTP/1.1"),
        format!("P(ST {event} HTTP/1.1"),
        format!("POST {event} http/1.1"),
        format!("POST {event} HTTP/1"),
        format!("POST {event} HTTP/1.1.1"),
        format!("POST {event} HTTP/11"),
        format!("POST {event} HTTP/ 1.1"),
        format!("POST {event} HTTP/1.2"),
        format!("POST {event} HTTP/0.9"),
        format!("POST {event} HTTP/2.0"),
        format!("POST {event} HTTP/3.0"),
        format!("POST {event} XTTP/1.1"),
        "POST v1/events HTTP/1.1".to_owned(),
        "POST * HTTP/1.1".to_owned(),
        "GET * HTTP/1.1".to_owned(),
        "OPTIONS ** HTTP/1.1".to_owned(),
        "CONNECT a:80 HTTP/1.1".to_owned(),
        format!("CONNECT {event} HTTP/1.1"),
        "POST a:80 HTTP/1.1".to_owned(),
        format!("POST {event}#fragment HTTP/1.1"),
        format!("POST {event}?a b HTTP/1.1"),
        format!("POST {event}\" HTTP/1.1"),
        format!("POST {event}<> HTTP/1.1"),
        format!("POST {event}{{}} HTTP/1.1"),
        format!("POST {event}|^` HTTP/1.1"),
        "POST \\v1\\events HTTP/1.1".to_owned(),
        format!("POST {event}\u{e9} HTTP/1.1"),
        format!("POST {event}\0 HTTP/1.1"),
        format!("POST {event}\x7f HTTP/1.1"),
        format!("POST {event}% HTTP/1.1"),
        format!("POST {event}%4 HTTP/1.1"),
        format!("POST {event}%zz HTTP/1.1"),
        format!("POST {event}%00 HTTP/1.1"),
        format!("POST {event}%0d%0aa: HTTP/1.1"),
        format!("POST http://b{event} HTTP/1.1"),
        format!("POST http://a:81{event} HTTP/1.1"),
        format!("POST http://u@a{event} HTTP/1.1"),
        format!("POST http://{event} HTTP/1.1"),
        format!("POST http:/a{event} HTTP/1.1"),
        format!("POST ftp://a{event} HTTP/1.1"),
        format!("POST //a{event}\\ HTTP/1.1"),
        format!("POST {event}\rHTTP/1.1"),
        format!("POST {event} HTTP/1.1\r"),
        format!("\r\n\r\n\r\n\r\n\r\nPOST {event} HTTP/1.1"),
    ];
    let mut cases: Vec<_> = lines.iter().map(|line| with_line(line)).collect();
    // Overlong UTF-8 of a slash.
    cases.push(b"POST /v1\xc0\xafevents HTTP/1.1\r\nhost: a\r\n\r\n".to_vec());
    cases.push(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec());
    cases.push(b"{\"type\":\"a\"}\n".to_vec());
    cases
}

/// RFC 9112 section 3.2 and RFC 9110 section 7.2.
fn hosts() -> Vec<Vec<u8>> {
    let hosts = [
        "",
        "host:\r\n",
        "host: \r\n",
        "host: a\r\nhost: a\r\n",
        "host: a\r\nhost: b\r\n",
        "host: a\r\nHOST: a\r\n",
        "host: a, b\r\n",
        "host: a b\r\n",
        "host: u@a\r\n",
        "host: u:p@a\r\n",
        "host: a/b\r\n",
        "host: http://a\r\n",
        "host: a?b\r\n",
        "host: a#b\r\n",
        "host: a:b\r\n",
        "host: a:80:80\r\n",
        "host: a:999999\r\n",
        "host: :80\r\n",
        "host: [::1\r\n",
        "host: ::1\r\n",
        "host: [a]\r\n",
        "host: [::1]a\r\n",
        "host: a\\b\r\n",
        "host: \"a\"\r\n",
        "host: a%00\r\n",
        "host: \u{e9}\r\n",
        "host : a\r\n",
        "host\t: a\r\n",
        " host: a\r\n",
        "x: 1\r\n host: a\r\n",
    ];
    hosts.iter().map(with_fields).collect()
}

/// RFC 9112 sections 6.1 to 6.3.
fn lengths_and_codings() -> Vec<Vec<u8>> {
    let n = EVENT.len();
    let lengths = [
        format!("+{n}"),
        format!("-{n}"),
        format!("{n}, {n}"),
        format!("{n},{n}"),
        format!("{n} {n}"),
        format!("0x{n:x}"),
        format!("{n}."),
        format!("{n}.0"),
        format!("{n};"),
        format!("\"{n}\""),
        format!("{n}a"),
        format!("a{n}"),
        format!("{n},"),
        format!(",{n}"),
        String::new(),
        " ".to_owned(),
        "1e1".to_owned(),
        format!("{n}\u{b}"),
        "18446744073709551616".to_owned(),
        "99999999999999999999999999".to_owned(),
        "-0".to_owned(),
        format!("{n}\0"),
        "NaN".to_owned(),
    ];
    let length = |value: &String| with_body(&format!("content-length: {value}\r\n"), EVENT);
    let mut cases: Vec<_> = lengths.iter().map(length).collect();
    let chunks = format!("{n:x}\r\n{EVENT}\r\n0\r\n\r\n");
    for coding in [
        "",
        "identity",
        "gzip",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, identity",
        "chunked, chunked",
        "chunked,chunked",
        "identity, chunked",
        "xchunked",
        "chunkedx",
        "chunked;q=1",
        "\"chunked\"",
        "chunked,",
        ",chunked",
        "'chunked'",
        "chunk\0ed",
        "chunked\u{b}",
        "cow",
        "trailers, chunked",
        "\u{b}chunked",
        "[chunked]",
    ] {
        cases.push(with_body(&format!("transfer-encoding: {coding}\r\n"), &chunks));
    }
    for fields in [
        format!("content-length: {n}\r\ncontent-length: {n}\r\n"),
        format!("content-length: {n}\r\ncontent-length: 0\r\n"),
        format!("content-length: 0\r\nContent-Length: {n}\r\n"),
        format!("content-length: {n}\r\ntransfer-encoding: chunked\r\n"),
        format!("transfer-encoding: chunked\r\ncontent-length: {n}\r\n"),
        "transfer-encoding: chunked\r\nContent-Length: 0\r\n".to_owned(),
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n".to_owned(),
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n".to_owned(),
        "transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n".to_owned(),
        "transfer_encoding: chunked\r\n".to_owned(),
        format!("content_length: {n}\r\n"),
        "transfer-encoding : chunked\r\n".to_owned(),
        "transfer-encoding\t: chunked\r\n".to_owned(),
        " transfer-encoding: chunked\r\n".to_owned(),
        "transfer-encoding:\r\n chunked\r\n".to_owned(),
        "x: 1\r\n transfer-encoding: chunked\r\n".to_owned(),
        format!("content-length : {n}\r\n"),
        format!("content-length:\r\n\t{n}\r\n"),
        "\rtransfer-encoding: chunked\r\n".to_owned(),
        "x: a\rtransfer-encoding: chunked\r\n".to_owned(),
        "transfer-encoding\0: chunked\r\n".to_owned(),
    ] {
        cases.push(with_body(&fields, &chunks));
    }
    let line = "POST /v1/events HTTP/1.0";
    cases.push(request(line, b"host: a\r\ntransfer-encoding: chunked\r\n", chunks.as_bytes()));
    cases
}

/// RFC 9110 section 5 and RFC 9112 section 5.
fn fields() -> Vec<Vec<u8>> {
    let mut cases = Vec::new();
    for byte in (0..0x20_u8).chain([0x7f]).filter(|byte| !b"\t\r\n".contains(byte)) {
        cases.push(with_fields([b"host: a\r\nx: a", &[byte][..], b"b\r\n"].concat()));
    }
    for byte in b"\0\x01\x7f \t\"(),/;<=>?@[\\]{}\xe9".iter() {
        cases.push(with_fields([b"host: a\r\nx", &[*byte][..], b"y: a\r\n"].concat()));
    }
    for text in [
        "x\r\n",
        ": a\r\n",
        " x: a\r\n",
        "\tx: a\r\n",
        "x : a\r\n",
        "x\t: a\r\n",
        "x: a\r\n b\r\n",
        "x: a\r\n\tb\r\n",
        "x: a\rb\r\n",
        "x: a\r\r\n",
        "\r: a\r\n",
        "x\r: a\r\n",
    ] {
        cases.push(with_fields(format!("host: a\r\n{text}")));
    }
    cases.push(with_fields(format!("host: a\r\n{}", "x: a\r\n".repeat(61))));
    cases.push(with_fields(format!("host: a\r\nx: {}\r\n", "a".repeat(32 << 10))));
    cases.push(with_fields(format!("host: a\r\n{}: a\r\n", "x".repeat(32 << 10))));
    cases.push(with_line(&format!("POST /v1/events?{} HTTP/1.1", "a".repeat(32 << 10))));
    cases
}

/// RFC 9112 section 7.1.
fn chunks() -> Vec<Vec<u8>> {
    let n = EVENT.len();
    let (x, end) = (format!("{n:x}"), "\r\n0\r\n\r\n");
    let lines = [
        format!("{x} \r\n"),
        format!(" {x}\r\n"),
        format!("\t{x}\r\n"),
        format!("{x}\t\r\n"),
        format!("0x{x}\r\n"),
        format!("+{x}\r\n"),
        format!("-{x}\r\n"),
        format!("{x}\n"),
        format!("{x}\r\r\n"),
        format!("{x}\r"),
        format!("{x},\r\n"),
        format!("{x}.\r\n"),
        format!("{x}g\r\n"),
        format!("00000000000000000{x}\r\n"),
        format!("10000000000000000{x}\r\n"),
        format!("{x};\r\n"),
        format!("{x}; a\r\n"),
        format!("{x};a=\r\n"),
        format!("{x};;a\r\n"),
        format!("{x};a\n"),
        format!("{x};a\rb\r\n"),
        format!("{x};a\0\r\n"),
        format!("{x};a\x01\r\n"),
        format!("{x};a\x7f\r\n"),
        format!("{x};a=\"b\r\n"),
        format!("{x};a=\"b\"c\r\n"),
        format!("{x};a=\"\x02\"\r\n"),
        format!("{x};a=\"\n\"\r\n"),
        format!("{x};{}\r\n", "a".repeat(5000)),
        "\r\n".to_owned(),
        format!("\r\n{x}\r\n"),
        String::new(),
    ];
    let mut cases: Vec<_> =
        lines.iter().map(|line| chunked(format!("{line}{EVENT}{end}"))).collect();
    for body in [
        format!("{x}\r\n{EVENT}\n0\r\n\r\n"),
        format!("{x}\r\n{EVENT}0\r\n\r\n"),
        format!("{x}\r\n{EVENT}X\r\n0\r\n\r\n"),
        format!("{x}\r\n{EVENT}\r\r\n0\r\n\r\n"),
        format!("{:x}\r\n{EVENT}\r\n0\r\n\r\n", n - 1),
        format!("{x}\r\n{EVENT}\r\n0\n\n"),
        format!("{x}\r\n{EVENT}\r\n0\r\n\n"),
        format!("{x}\r\n{EVENT}\r\n0\r\n\rX"),
        format!("{x}\r\n{EVENT}\r\n0\r\nX\r\n\r\n"),
        format!("{x}\r\n{EVENT}\r\n0\r\n x: a\r\n\r\n"),
        format!("{x}\r\n{EVENT}\r\n0\r\nx : a\r\n\r\n"),
        format!("{x}\r\n{EVENT}\r\n0\r\nx: a\n\r\n"),
        format!("{x}\r\n{EVENT}\r\n0\r\nx: a\r\n b\r\n\r\n"),
        format!("{x}\r\n{EVENT}\r\n0\r\nx: \0\r\n\r\n"),
        format!("{x}\r\n{EVENT}\r\n0\r\n: a\r\n\r\n"),
        format!("{x}\r\n{EVENT}\r\n0;\r\n\r\n"),
        format!("{x}\r\n{EVENT}\r\n-0\r\n\r\n"),
        format!("{x}\r\n{EVENT}\r\nPOST / HTTP/1.1\r\n\r\n"),
        format!("{x}\r\n{EVENT}\r\n0\r\nx: {}\r\n\r\n", "a".repeat(9000)),
    ] {
        cases.push(chunked(body));
    }
    cases
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_refused_and_their_connections_closed() {
    let server = Fixture::start();
    let cases = [request_lines(), hosts(), lengths_and_codings(), fields(), chunks()].concat();
    assert!(cases.iter().collect::<BTreeSet<_>>().len() >= 240, "{}", cases.len());
    for case in &cases {
        let shown = String::from_utf8_lossy(&case[..case.len().min(400)]);
        // What follows in the same piece is another request to whoever takes the first for shorter.
        let smuggled = Post::json(EVENT.replace("\"1\"", "\"smuggled\"")).bytes();
        let mut connection = Connection::open(server.address).await;
        connection.write(&[case, &smuggled[..]].concat()).await;
        let answer = connection.answer().await.unwrap_or_else(|| panic!("no answer to {shown:?}"));
        assert!(matches!(answer.status, 400 | 431 | 501 | 505), "{} to {shown:?}", answer.status);
        assert!(connection.answer().await.is_none(), "a second answer to {shown:?}");
        assert_eq!(server.log.records(), [], "a record of {shown:?}");
    }
    server.stop().await;
}

/// What the RFCs allow, and one thing that they allow a server to let pass: a bare LF.
#[tokio::test(flavor = "multi_thread")]
async fn well_formed_requests_are_accepted_one_after_the_other() {
    let server = Fixture::start();
    let n = EVENT.len();
    let bare: Vec<u8> = with_line("POST /v1/events HTTP/1.1");
    let bare = String::from_utf8(bare).expect("text").replace("\r\n", "\n").into_bytes();
    let chunks = format!(
        "{n:x};a;b=c;d=\"e\\\"\"\r\n{EVENT}\r\n000\r\nContent-Length: 1\r\nhost: x\r\n\r\n"
    );
    let requests = [
        with_line("POST /v1/events HTTP/1.1"),
        [b"\r\n\r\n", &with_line("POST /v1/events HTTP/1.1")[..]].concat(),
        bare,
        with_line("POST http://a/v1/events HTTP/1.1"),
        with_line("POST HTTP://A/v1/events?dryRun=false HTTP/1.1"),
        with_body(&format!("content-length:\t00{n} \r\n"), EVENT),
        chunked(&chunks),
        with_fields("HOST:\ta:80\t\r\n"),
        with_fields("host: [2001:db8::1]:8080\r\nx:\r\nx: \u{e9}\r\n"),
        with_body("transfer-encoding: \tCHUNKED\r\n", &chunks),
    ];
    for byte_by_byte in [false, true] {
        let mut connection = Connection::open(server.address).await;
        for request in &requests {
            let pieces = if byte_by_byte { request.chunks(1) } else { request.chunks(usize::MAX) };
            for piece in pieces {
                connection.write(piece).await;
            }
            let answer = connection.answer().await.expect("an answer");
            assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(request));
        }
        connection.write(&requests.concat()).await;
        for request in &requests {
            let answer = connection.answer().await.expect("an answer");
            assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(request));
        }
    }
    assert_eq!(server.log.records().len(), 4 * requests.len());
    server.stop().await;
}

/// The refusal comes behind the answers to what was sent before, and says what is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_waits_its_turn_and_is_a_problem_document() {
    let server = Fixture::start();
    let good = with_line("POST /v1/events HTTP/1.1");
    for (bad, status, code) in [
        (with_fields(""), 400, "malformed_request"),
        (with_fields(format!("host: a\r\n{}", "x: a\r\n".repeat(64))), 431, "head_too_large"),
        (with_line("POST / HTTP/2.0"), 505, "http_version"),
        (with_body("transfer-encoding: gzip, chunked\r\n", ""), 501, "not_implemented"),
        (b"POST /v1/events HTTP/1.1\r\nhost: a\r\nx".to_vec(), 408, "head_timeout"),
    ] {
        let mut connection = Connection::open(server.address).await;
        connection.write(&[&good[..], &good, &bad].concat()).await;
        for _ in 0..2 {
            assert_eq!(connection.answer().await.expect("an answer").status, 202);
        }
        let answer = connection.answer().await.expect("an answer");
        answer.problem(status, code);
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(connection.answer().await.is_none(), "closed");
    }
    server.stop().await;
}
