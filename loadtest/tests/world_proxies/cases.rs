//! The table: requests whose end two readers could see in different places. Each holds an inner request,
//! and says how many requests the client has framed with it at most.

use loadtest::deployment::producers;
use serde_json::json;

/// Bytes for one connection.
pub struct Case {
    pub name: String,
    /// How many requests they are at most; in one there is none but the outer.
    pub framed: usize,
    pub bytes: Vec<u8>,
    prefix: String,
}

impl Case {
    /// The id of the event in one of the case's requests.
    pub fn id(&self, role: &str) -> String {
        format!("{}-{role}", self.prefix)
    }
}

/// How many requests the bytes are at most: to the ingress, which ends the connection at any doubt, and
/// to a proxy, which may mend what it reads and then frames it anew.
type Framed = [usize; 2];

/// The inner request is the outer one's body, or stands behind what has to end the connection.
const ONE: Framed = [1, 1];
/// The inner request follows the outer one.
const TWO: Framed = [2, 2];
/// It follows what a proxy may mend.
const MENDED: Framed = [1, 2];
/// And something follows that is no request.
const MENDED_AND_REST: Framed = [1, 3];

/// The front that is none.
pub const DIRECT: &str = "direct";

/// Where the inner request stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inner {
    /// In the chunk's data; Content-Length ends before it.
    InChunk,
    /// Behind the last chunk; Content-Length holds it.
    BehindChunks,
}

/// The cases as they are sent through one front.
pub fn cases(front: &str) -> Vec<Case> {
    let mut table = Table { front: front.to_owned(), cases: Vec::new() };
    table.both_lengths();
    table.codings();
    table.lengths();
    table.chunks();
    table.targets_and_hosts();
    table.connections();
    table.cases
}

/// A request that is accepted, with these fields.
pub fn post(id: &str, fields: &str) -> Vec<u8> {
    let body = event(id);
    request("POST /v1/events HTTP/1.1", &format!("Host: a\r\n{fields}{}", length(&body)), &body)
}

fn event(id: &str) -> String {
    json!({"id": id, "type": "order.paid", "data": {}}).to_string()
}

/// The fields end in CRLF.
fn request(line: &str, fields: &str, body: &str) -> Vec<u8> {
    let key = &producers()[0].key;
    format!(
        "{line}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n\
         {fields}\r\n{body}"
    )
    .into_bytes()
}

fn length(body: &str) -> String {
    format!("Content-Length: {}\r\n", body.len())
}

fn chunked(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n0\r\n\r\n", data.len())
}

struct Table {
    front: String,
    cases: Vec<Case>,
}

impl Table {
    /// Adds a case whose bytes are made of the outer event and the inner request.
    fn add(&mut self, name: &str, framed: Framed, bytes: impl FnOnce(&str, &str) -> Vec<u8>) {
        let prefix = format!("{}-{}", self.front, self.cases.len());
        let inner = String::from_utf8(post(&format!("{prefix}-inner"), "")).expect("it is text");
        let bytes = bytes(&event(&format!("{prefix}-outer")), &inner);
        let framed = framed[usize::from(self.front != DIRECT)];
        self.cases.push(Case { name: name.escape_debug().to_string(), framed, bytes, prefix });
    }

    fn add_post(
        &mut self,
        name: &str,
        framed: Framed,
        parts: impl FnOnce(&str, &str) -> (String, String),
    ) {
        self.add(name, framed, |outer, inner| {
            let (fields, body) = parts(outer, inner);
            request("POST /v1/events HTTP/1.1", &format!("Host: a\r\n{fields}"), &body)
        });
    }

    /// Transfer-Encoding overrides Content-Length and ends the connection (section 6.3). What a proxy takes
    /// for another field leaves the length as it is: then the inner request stands behind it.
    fn both_lengths(&mut self) {
        for (coding, is_field) in [
            ("Transfer-Encoding: chunked", true),
            ("transfer-encoding:CHUNKED", true),
            ("Transfer-Encoding:\tchunked\t", true),
            ("Transfer-Encoding : chunked", false),
            ("Transfer-Encoding: xchunked", true),
            ("Transfer-Encoding: identity", true),
            ("Transfer-Encoding: chunked, identity", true),
            ("Transfer-Encoding: identity, chunked", true),
            ("Transfer-Encoding: \u{b}chunked", true),
            ("Transfer-Encoding: \"chunked\"", true),
            ("Transfer-Encoding:\r\n chunked", true),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x", true),
            ("X: a\nTransfer-Encoding: chunked", true),
            ("X: a\r\n Transfer-Encoding: chunked", false),
            ("X: a\rTransfer-Encoding: chunked", false),
            ("Transfer_Encoding: chunked", false),
        ] {
            for inner in [Inner::InChunk, Inner::BehindChunks] {
                let place = if inner == Inner::InChunk { "CL short" } else { "CL long" };
                let framed = match (is_field, inner) {
                    (false, Inner::InChunk) => MENDED_AND_REST,
                    _ => ONE,
                };
                self.add_post(&format!("{coding}, {place}"), framed, |outer, second| {
                    let (body, length) = match inner {
                        Inner::InChunk => {
                            let body = chunked(&format!("{outer}{second}"));
                            let length = body.find(second).expect("it is in there");
                            (body, length)
                        }
                        Inner::BehindChunks => {
                            let body = format!("{}{second}", chunked(outer));
                            let length = body.len();
                            (body, length)
                        }
                    };
                    (format!("Content-Length: {length}\r\n{coding}\r\n"), body)
                });
            }
        }
    }

    fn codings(&mut self) {
        for (coding, framed) in [
            ("chunked", TWO),
            ("chunked, chunked", ONE),
            ("gzip, chunked", TWO),
            ("chunked, gzip", ONE),
            ("chunked;a=b", ONE),
            ("", ONE),
        ] {
            let name = format!("Transfer-Encoding: {coding}");
            self.add_post(&name, framed, |outer, inner| {
                (format!("{name}\r\n"), format!("{}{inner}", chunked(outer)))
            });
        }
        self.add("HTTP/1.0 with Transfer-Encoding", ONE, |outer, inner| {
            let fields = "Host: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n";
            let body = format!("{}{inner}", chunked(outer));
            request("POST /v1/events HTTP/1.0", fields, &body)
        });
    }

    fn lengths(&mut self) {
        for value in
            ["{s}\r\nContent-Length: {l}", "{l}\r\nContent-Length: {s}", "{s}, {l}", "+{l}", "{l},"]
        {
            self.add_post(&format!("Content-Length: {value}"), ONE, |outer, inner| {
                let long = outer.len() + inner.len();
                let value = value.replace("{s}", &outer.len().to_string());
                let value = value.replace("{l}", &long.to_string());
                (format!("Content-Length: {value}\r\n"), format!("{outer}{inner}"))
            });
        }
        self.add_post("the inner request in the body", ONE, |outer, inner| {
            let body = format!("{outer}{inner}");
            (length(&body), body)
        });
        self.add_post("the inner request behind it", TWO, |outer, inner| {
            (length(outer), format!("{outer}{inner}"))
        });
        self.add("a GET with the inner request as body", ONE, |_, inner| {
            request("GET /v1/events HTTP/1.1", &format!("Host: a\r\n{}", length(inner)), inner)
        });
    }

    /// `S` is the size in hex. A chunk that is malformed ends the connection.
    fn chunks(&mut self) {
        for (name, line, framed) in [
            ("a chunk's extension", "S;a=\"b\"\r\n", TWO),
            ("an extension ends in LF", "S;a\n", MENDED),
            ("an extension holds CR", "S;a\rb\r\n", ONE),
            ("a chunk's line ends in LF", "S\n", MENDED),
            ("a space behind the size", "S \r\n", MENDED),
            ("a size of 0x", "0xS\r\n", ONE),
            ("a size of 17 digits", "10000000000000S\r\n", ONE),
            ("a size of 2^64 more", "100000000000000S\r\n", ONE),
            ("a negative size", "-S\r\n", ONE),
        ] {
            self.add_post(name, framed, |outer, inner| {
                let size = format!("{:03x}", outer.len());
                let body = format!("{}{outer}\r\n0\r\n\r\n{inner}", line.replace('S', &size));
                ("Transfer-Encoding: chunked\r\n".to_owned(), body)
            });
        }
        for (name, end, framed) in [
            ("no CRLF behind the data", "0\r\n\r\n", ONE),
            ("two bytes behind the data", "XX0\r\n\r\n", ONE),
            ("framing fields as trailers", "\r\n0\r\nContent-Length: 9\r\nHost: b\r\n\r\n", TWO),
            ("Transfer-Encoding as trailer", "\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n", TWO),
            ("a folded trailer", "\r\n0\r\nX: a\r\n b\r\n\r\n", MENDED),
            ("the trailers end in LF", "\r\n0\r\n\n", MENDED),
        ] {
            self.add_post(name, framed, |outer, inner| {
                let body = format!("{:x}\r\n{outer}{end}{inner}", outer.len());
                ("Transfer-Encoding: chunked\r\n".to_owned(), body)
            });
        }
    }

    fn targets_and_hosts(&mut self) {
        for (name, line, hosts, framed) in [
            ("an absolute target", "POST http://a/v1/events HTTP/1.1", "Host: a\r\n", TWO),
            (
                "an absolute target, another Host",
                "POST http://b/v1/events HTTP/1.1",
                "Host: a\r\n",
                MENDED,
            ),
            ("two Hosts", "POST /v1/events HTTP/1.1", "Host: a\r\nHost: b\r\n", ONE),
            ("no Host", "POST /v1/events HTTP/1.1", "", MENDED),
            ("a folded Host", "POST /v1/events HTTP/1.1", "Host:\r\n a\r\n", MENDED),
            ("a Host with a user", "POST /v1/events HTTP/1.1", "Host: u@a\r\n", MENDED),
        ] {
            self.add(name, framed, |outer, inner| {
                let fields = format!("{hosts}{}", length(outer));
                request(line, &fields, &format!("{outer}{inner}"))
            });
        }
    }

    /// Fields that are for one connection only, and must not take the framing with them.
    fn connections(&mut self) {
        for (fields, framed) in [
            ("Connection: close", ONE),
            ("Connection: close, keep-alive", ONE),
            ("Connection: keep-alive", TWO),
            ("Expect: 100-continue", TWO),
            ("Expect: 200-ok", TWO),
            ("Connection: Upgrade\r\nUpgrade: websocket", TWO),
            (
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk",
                TWO,
            ),
        ] {
            self.add_post(fields, framed, |outer, inner| {
                (format!("{fields}\r\n{}", length(outer)), format!("{outer}{inner}"))
            });
        }
        for fields in [
            "Connection: content-length",
            "Connection: host, content-length",
            "Expect: 100-continue",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk",
        ] {
            self.add_post(&format!("{fields}, in the body"), ONE, |outer, inner| {
                let body = format!("{outer}{inner}");
                (format!("{fields}\r\n{}", length(&body)), body)
            });
        }
        self.add_post("Connection: transfer-encoding", ONE, |outer, inner| {
            let fields = "Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n";
            (fields.to_owned(), chunked(&format!("{outer}{inner}")))
        });
        for (name, fields, framed) in
            [("HTTP/1.0", "", ONE), ("HTTP/1.0 keep-alive", "Connection: keep-alive\r\n", TWO)]
        {
            self.add(name, framed, |outer, inner| {
                let fields = format!("Host: a\r\n{fields}{}", length(outer));
                request("POST /v1/events HTTP/1.0", &fields, &format!("{outer}{inner}"))
            });
        }
    }
}
