//! The contract's table: a request, and how the log behaves, to status, code, header fields and what
//! is in the log. Every refusal that the served document names has a row, or the test fails.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use control::mode::Mode;
use serde_json::Value;
use shared::clock::Millis;
use shared::config::{IngressConfig, KeyState, RateBound, SignatureScheme};
use shared::log::AppendError;
use shared::log::memory::Fault;
use shared::position::Class;
use tokio::task::JoinSet;

use crate::accepted::gzip;
use crate::client::{Answer, Connection, Post};
use crate::fixture::{Fixture, NOW};

const GOOD: &str = r#"{"type":"order.placed","id":"1","data":{"n":1}}"#;
/// 64 MiB of the digit 0 in brotli, 102 bytes.
const BROTLI_BOMB: &str = "cbffff3f002460e2b14072effff8ffff078004401c1680eefd1fffffff00900088c302d0bd\
    ffe3ffff1f001200715800baf77ffcffff034002200e0b40f7fe8fffff7f004800c46101e8defff1ffff0f000980382c\
    00ddfb3ffeffff012001108705a07bff37";
const HOOK: &str = r#"{"repository":{"owner":{"login":"octo"},"full_name":"octo/hello"}}"#;

/// What is sent, and what has to come of it.
struct Row {
    request: Vec<u8>,
    /// How many requests of it, and so answers, come before the one that counts.
    before: usize,
    faults: Vec<Fault>,
    change: fn(&mut IngressConfig),
    load: Load,
    status: u16,
    /// A problem's code; one of a result's, where outcomes differ; none where all is well.
    code: Option<&'static str>,
    /// Fields that have to be there, and what each has to contain.
    fields: &'static [(&'static str, &'static str)],
    /// Records in the log afterwards.
    records: usize,
}

/// What there is to do.
#[derive(Clone, Copy, Debug)]
enum Load {
    /// Little.
    Calm,
    /// No transactional event more.
    Full,
    /// Only what is essential.
    ReadOnly,
}

/// What no client of ours would send.
fn raw(bytes: &[u8], status: u16, code: &'static str) -> Row {
    Row { request: bytes.to_vec(), ..Row::bad(&Post::json(GOOD), status, code) }
}

impl Row {
    fn good(post: &Post, status: u16, records: usize) -> Self {
        let request = post.bytes();
        let (faults, code, fields): (_, _, &[_]) = (Vec::new(), None, &[]);
        let load = Load::Calm;
        Self { request, before: 0, faults, change: |_| {}, load, status, code, fields, records }
    }

    fn bad(post: &Post, status: u16, code: &'static str) -> Self {
        Self { code: Some(code), ..Self::good(post, status, 0) }
    }

    fn with(self, fields: &'static [(&'static str, &'static str)]) -> Self {
        Self { fields, ..self }
    }

    fn failing(fault: Fault, status: u16, code: &'static str, records: usize) -> Self {
        Self { faults: vec![fault], records, ..Self::bad(&Post::json(GOOD), status, code) }
    }

    /// With another `n`, and the data around it.
    fn order(data: &str, status: u16, code: &'static str) -> Self {
        Self::bad(&Post::json(format!(r#"{{"type":"order.placed","data":{data}}}"#)), status, code)
    }

    async fn check(&self) -> Answer {
        let server = Fixture::start_with(self.change);
        match self.load {
            Load::Calm => {}
            Load::Full => server.pin(Class::Transactional, 0.0).await,
            Load::ReadOnly => server.pin_mode(Mode::ReadOnly).await,
        }
        server.log.script(self.faults.clone());
        let mut connection = Connection::open(server.address).await;
        connection.write(&self.request).await;
        for _ in 0..self.before {
            connection.answer().await.expect("an earlier answer");
        }
        let answer = connection.answer().await.expect("an answer");
        let head = String::from_utf8_lossy(&self.request[..self.request.len().min(300)]);
        let text = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, self.status, "{head}\n{text}");
        for (name, part) in self.fields {
            let value = answer.header(name);
            assert!(value.is_some_and(|value| value.contains(part)), "{name} of {head}: {value:?}");
        }
        match self.code {
            Some(code) if answer.status >= 400 => drop(answer.problem(self.status, code)),
            Some(code) => assert!(text.contains(&format!("\"code\":\"{code}\"")), "{head}\n{text}"),
            None => assert!(!text.contains("\"code\""), "{head}\n{text}"),
        }
        assert_eq!(server.log.records().len(), self.records, "{head}");
        // Refused or not: nothing is held any more.
        assert_eq!(server.metric("shock_ingress_inflight_bytes"), 0, "{head}");
        // Whoever stays connected is waited for.
        drop(connection);
        server.stop().await;
        answer
    }
}

fn accepted() -> Vec<Row> {
    let good = || Post::json(GOOD);
    let other = GOOD.replace("\"1\"", "\"2\"");
    let broken = GOOD.replace("\"n\":1", "\"n\":\"x\"");
    let array = |events: &[&str]| Post::json(format!("[{}]", events.join(",")));
    let representation = good().header("prefer", "return=representation");
    let refuse = vec![Fault::Refuse(AppendError::Full)];
    let mixed = array(&[GOOD, &broken]);
    // All of one class and key: none may overtake the one that failed.
    let behind = array(&[GOOD, &other, &broken]);
    vec![
        Row::good(&good(), 202, 1).with(&[("content-type", "application/json")]),
        Row::good(&array(&[GOOD, &other, GOOD]), 202, 2),
        Row::good(&representation, 202, 1).with(&[("preference-applied", "return=representation")]),
        Row::good(&good().to("/v1/events?dryRun=true"), 200, 0),
        Row::good(&Post::webhook("push", "d-1", HOOK), 202, 1),
        Row { code: Some("schema_violation"), ..Row::good(&mixed, 207, 1) },
        Row { code: Some("behind_failed"), faults: refuse, ..Row::good(&behind, 207, 0) }
            .with(&[("retry-after", "")]),
    ]
}

fn heads() -> Vec<Row> {
    let good = || Post::json(GOOD);
    let get = Post { method: "GET", ..good() };
    let many = (0..70).fold(good(), |post, n| post.header(&format!("x-{n}"), "x"));
    let asked = Post { method: "GET", ..Post::json("").to("/v1/schemas/unheard.of") };
    let unsigned = Post::webhook("push", "d-1", HOOK).without("x-hub-signature-256");
    let foreign = GOOD.replace("\"id\"", "\"tenant\":\"other\",\"id\"");
    vec![
        Row::bad(&good().to("/"), 404, "unknown_path"),
        Row::bad(&good().to("/v1/sources/gitlab"), 404, "unknown_source"),
        Row::bad(&asked, 404, "unknown_schema"),
        Row::bad(&get, 405, "method_not_allowed").with(&[("allow", "POST")]),
        Row::bad(&many, 431, "head_too_large"),
        raw(b"POST /v1/events HTTP/1.1\r\nhost: te", 408, "head_timeout"),
        raw(b"POST /v1/events HTTP/1.1\r\n\r\n", 400, "malformed_request"),
        raw(b"CONNECT test:80 HTTP/1.1\r\nhost: test\r\n\r\n", 501, "not_implemented"),
        raw(b"POST /v1/events HTTP/3.0\r\nhost: test\r\n\r\n", 505, "http_version"),
        Row::bad(&good().to("/v1/events?x"), 400, "malformed_request"),
        Row::bad(&good().without("authorization"), 401, "unauthorized")
            .with(&[("www-authenticate", "Bearer")]),
        Row::bad(&unsigned, 401, "signature_invalid").with(&[("www-authenticate", "HMAC-SHA256")]),
        Row::bad(&Post::json(foreign), 403, "tenant_forbidden"),
        Row::bad(&good().header("content-type", "text/csv"), 415, "unsupported_media_type")
            .with(&[("accept", "application/x-ndjson")]),
        Row::bad(&good().header("content-encoding", "compress"), 415, "unsupported_encoding")
            .with(&[("accept-encoding", "zstd")]),
        Row::bad(&good().header("content-encoding", "zstd"), 400, "malformed_encoding"),
    ]
}

fn writers() -> Vec<Row> {
    let good = || Post::json(GOOD);
    let twice = |post: &Post| [post.bytes(), post.bytes()].concat();
    let wrong = good().header("authorization", "Bearer k1.wrong");
    let old = Post::webhook("push", "d-1", HOOK)
        .header("stripe-signature", &format!("t=1,v1={}", "0".repeat(64)));
    let scoped = |code, change| Row { change, ..Row::bad(&good(), 403, code) };
    vec![
        Row {
            change: |config| config.keys[0].state = KeyState::Disabled,
            ..Row::bad(&good(), 401, "key_disabled")
        }
        .with(&[("www-authenticate", "Bearer")]),
        Row {
            change: |config| config.keys[0].not_after = Some(Millis(NOW.0 - 1)),
            ..Row::bad(&good(), 401, "key_expired")
        }
        .with(&[("www-authenticate", "Bearer")]),
        scoped("type_forbidden", |config| config.keys[0].scopes.types = vec!["a".to_owned()]),
        scoped("source_forbidden", |config| config.keys[0].scopes.sources = vec!["a".to_owned()]),
        scoped("class_forbidden", |config| config.keys[0].scopes.classes = vec![Class::Control]),
        Row {
            request: twice(&good()),
            before: 1,
            records: 1,
            change: |config| {
                let once = RateBound { requests_per_s: NonZeroU32::MIN, burst: NonZeroU32::MIN };
                config.keys[0].rate = Some(once);
            },
            ..Row::bad(&good(), 429, "rate_limited")
        }
        .with(&[("ratelimit-policy", "q=1;w=1"), ("ratelimit", "r=0;t=1")]),
        Row {
            request: twice(&wrong),
            before: 1,
            change: |config| config.failed_logins_per_minute = NonZeroU32::MIN,
            ..Row::bad(&wrong, 429, "too_many_failed_logins")
        },
        Row {
            change: |config| {
                let signature = config.sources[0].signature.as_mut().expect("signed");
                signature.scheme = SignatureScheme::Stripe { tolerance: Duration::from_secs(1) };
            },
            ..Row::bad(&old, 401, "signature_expired")
        }
        .with(&[("www-authenticate", "HMAC-SHA256")]),
    ]
}

fn bounds() -> Vec<Row> {
    let filled = |bytes: usize| format!(r#"{{"n":1,"x":"{}"}}"#, "x".repeat(bytes));
    let members: Vec<_> = (0..1001).map(|n| format!("\"m{n}\":0")).collect();
    let nested = format!("{}{}", "[".repeat(99), "]".repeat(99));
    let bomb = Post::json(gzip(&vec![b' '; 64 << 20])).header("content-encoding", "gzip");
    let brotli = Post::json(hex::decode(BROTLI_BOMB).expect("hex digits"));
    let batch = Post::json(format!("[{}]", vec![GOOD; 101].join(",")));
    let crowded =
        Row { change: |config| config.inflight_bytes_max = 10, ..Row::good(&bomb, 503, 0) };
    vec![
        Row::order(&filled(2 << 20), 413, "body_too_large"),
        Row::bad(&bomb, 413, "inflated_too_large"),
        Row::bad(&brotli.header("content-encoding", "br"), 413, "inflated_too_large"),
        Row::bad(
            &Post::json(zstd_bomb()).header("content-encoding", "zstd"),
            413,
            "inflated_too_large",
        ),
        Row::order(&filled(300 << 10), 413, "event_too_large"),
        Row::bad(&batch, 413, "batch_too_large"),
        Row::order(&nested, 413, "json_too_deep"),
        Row::order(&format!("{{{}}}", members.join(",")), 413, "too_many_members"),
        Row { code: Some("overloaded"), request: Post::json(GOOD).bytes(), ..crowded },
    ]
}

/// 64 MiB of zeros in one frame of 2 KiB: blocks that repeat a byte (RFC 8878, 3.1.1.2).
fn zstd_bomb() -> Vec<u8> {
    // No content size, no checksum, a window of 128 KiB: as large as a block may be.
    let mut frame = b"\x28\xb5\x2f\xfd\x00\x38".to_vec();
    for block in 1..=512_u32 {
        let last = u32::from(block == 512);
        let head = (128 << 10) << 3 | 1 << 1 | last;
        frame.extend(&head.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

fn bodies() -> Vec<Row> {
    let raw = |framing: &str, body: &str| {
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\n\
             content-type: application/json\r\n{framing}\r\n\r\n{body}",
            crate::fixture::KEY
        );
        head.into_bytes()
    };
    let slow = raw("content-length: 1000", "{");
    let torn = raw("transfer-encoding: chunked", "zz\r\n");
    let bad = |body: &[u8], code| Row::bad(&Post::json(body), 400, code);
    let twice = br#"{"type":"order.placed","id":"1","id":"2","data":{"n":1}}"#;
    let unnamed = Post::webhook("push", "d-1", HOOK).without("x-github-delivery");
    let unheard = Post::json(r#"{"type":"unheard.of"}"#);
    vec![
        Row { request: slow, status: 408, ..bad(b"", "body_timeout") },
        Row { request: torn, ..bad(b"", "body_incomplete") },
        bad(b"", "empty_body"),
        bad(b"{", "malformed_json"),
        bad(b"\"\xff\"", "malformed_utf8"),
        bad(twice, "duplicate_member"),
        Row::order("\"\\u0000\"", 422, "not_storable"),
        Row::bad(&Post::json("{}"), 422, "invalid_envelope"),
        Row::bad(&unnamed, 422, "attribute_missing"),
        Row::bad(&unheard, 422, "unknown_type"),
        Row::order("{}", 422, "schema_violation"),
    ]
}

fn logs() -> Vec<Row> {
    let refuse = |error, status, code| Row::failing(Fault::Refuse(error), status, code, 0);
    vec![
        refuse(AppendError::TooLarge, 413, "record_too_large"),
        refuse(AppendError::Full, 503, "log_full"),
        refuse(AppendError::Unavailable, 503, "log_unavailable"),
        refuse(AppendError::DiskFull, 503, "disk_full"),
        refuse(AppendError::Unknown, 504, "ack_unknown"),
        Row::failing(Fault::Silent, 504, "ack_unknown", 1),
    ]
}

fn loads() -> Vec<Row> {
    vec![
        Row {
            change: |config| config.control.contract.ceiling_per_s = Some(1.0),
            request: Post::json(GOOD).bytes().repeat(3),
            before: 2,
            records: 2,
            ..Row::bad(&Post::json(GOOD), 429, "over_ceiling")
        }
        .with(&[("ratelimit-policy", "\"tenant\";q=1;w=1"), ("ratelimit", "\"tenant\";r=0")]),
        Row {
            change: |config| config.control.contract.contract_per_s = Some(0.0),
            load: Load::Full,
            ..Row::bad(&Post::json(GOOD), 503, "over_contract")
        },
        Row { load: Load::Full, ..Row::bad(&Post::json(GOOD), 503, "no_capacity") },
        Row { load: Load::ReadOnly, ..Row::bad(&Post::json(GOOD), 503, "mode_closed") }
            .with(&[("shock-mode", "read-only")]),
    ]
}

/// Every code that the served document has for a path.
async fn documented() -> BTreeSet<String> {
    let server = Fixture::start();
    let get = Post { method: "GET", ..Post::json("").to("/openapi.json") };
    let document = get.send(&server).await.json();
    server.stop().await;
    let mut codes = BTreeSet::new();
    for path in document["paths"].as_object().expect("paths").values() {
        let operations = [&path["post"], &path["get"]];
        let responses = operations.into_iter().filter_map(|it| it["responses"].as_object());
        let responses = responses.flatten();
        for (_, response) in responses {
            let schema = &response["content"]["application/problem+json"]["schema"];
            let listed = schema["allOf"][1]["properties"]["code"]["enum"].as_array();
            codes.extend(listed.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
        }
    }
    codes
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_row_by_row() {
    let mut seen = BTreeSet::new();
    let all = [accepted(), heads(), writers(), bounds(), bodies(), loads(), logs()];
    // Each has a server of its own, and what some wait for is time.
    let mut rows = JoinSet::new();
    for row in all.into_iter().flatten() {
        seen.extend(row.code.map(str::to_owned));
        rows.spawn(async move { row.check().await });
    }
    while let Some(checked) = rows.join_next().await {
        checked.expect("the row holds");
    }
    let documented = documented().await;
    assert!(documented.len() > 30, "{documented:?}");
    let missing: Vec<_> = documented.difference(&seen).collect();
    assert!(missing.is_empty(), "refusals without a row: {missing:?}");
    let only_here: Vec<_> = seen.difference(&documented).collect();
    assert_eq!(only_here, ["method_not_allowed", "unknown_path"], "refusals without a document");
}
