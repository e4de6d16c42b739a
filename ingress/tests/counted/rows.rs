//! The requests whose allocations are counted, and the ingress that answers them.

use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use ingress::Ingress;
use sha2::{Digest, Sha256};
use shared::Process;
use shared::clock::Clock;
use shared::config::{Config, Purpose, Sources};
use shared::log::Log;
use shared::route::Router;

const SECRET: &str = "It's a Secret to Everybody";

/// One kind of request.
pub struct Row {
    /// What it is.
    pub name: &'static str,
    /// Its bytes.
    pub request: Vec<u8>,
    /// What answers it.
    pub status: &'static str,
    /// Allocations beyond bare hyper's that are allowed. A refusal words what is wrong.
    pub beyond_bare: u64,
}

/// Every kind.
pub fn rows() -> [Row; 7] {
    let event = |id: &str, event_type: &str, data: &str| {
        format!(r#"{{"id":"{id}","type":"{event_type}","subject":"customer/7","data":{data}}}"#)
    };
    let order = r#"{"amount":4200,"currency":"EUR","lines":[1,2,3]}"#;
    let batch: String =
        (0..100).map(|n| event(&format!("e{n}"), "order.paid", order) + "\n").collect();
    let checked: String =
        (0..100).map(|n| event(&format!("e{n}"), "order.checked", order) + "\n").collect();
    let unnamed = r#"{"type":"order.paid","data":{"amount":1}}"#;
    let key = "authorization: Bearer k1.secret";
    let json = "content-type: application/json";
    let lines = "content-type: application/x-ndjson";
    [
        Row {
            name: "one event",
            request: post("/v1/events", &[key, json], &event("1", "order.paid", order)),
            status: "202",
            beyond_bare: 0,
        },
        Row {
            name: "one event without an id",
            request: post("/v1/events", &[key, json], unnamed),
            status: "202",
            beyond_bare: 0,
        },
        Row {
            name: "NDJSON of 100",
            request: post("/v1/events", &[key, lines], &batch),
            status: "202",
            beyond_bare: 0,
        },
        Row {
            name: "one event, its schema checked",
            request: post("/v1/events", &[key, json], &event("1", "order.checked", order)),
            status: "202",
            beyond_bare: 0,
        },
        Row {
            name: "NDJSON of 100, their schema checked",
            request: post("/v1/events", &[key, lines], &checked),
            status: "202",
            beyond_bare: 0,
        },
        Row { name: "a signed webhook", request: webhook(), status: "202", beyond_bare: 0 },
        Row {
            name: "an event that its schema refuses",
            request: post("/v1/events", &[key, json], &event("1", "strict", "{}")),
            status: "422",
            beyond_bare: 60,
        },
    ]
}

fn webhook() -> Vec<u8> {
    let body =
        r#"{"action":"opened","repository":{"full_name":"acme/x","owner":{"login":"acme"}}}"#;
    let mut hmac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length");
    hmac.update(body.as_bytes());
    let signature = hex::encode(hmac.finalize().into_bytes());
    let headers = [
        "content-type: application/json",
        "x-github-event: issues",
        "x-github-delivery: 72d3162e-cc78-11e3-81ab-4c9367dc0958",
        &format!("x-hub-signature-256: sha256={signature}"),
    ];
    post("/v1/sources/github", &headers, body)
}

fn post(path: &str, headers: &[&str], body: &str) -> Vec<u8> {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: test\r\n{headers}content-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// The ingress on a log, with one serving thread.
pub fn ingress(directory: &Path, log: impl FnOnce(&Router) -> Log) -> Ingress {
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let schema = write("strict.json", r#"{"type":"object","required":["n"]}"#);
    let order = write(
        "order.json",
        r#"{
            "type": "object", "required": ["amount", "currency", "lines"],
            "additionalProperties": false,
            "properties": {
                "amount": {"type": "integer", "minimum": 0},
                "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
                "lines": {"type": "array", "maxItems": 100, "items": {"type": "integer", "minimum": 1}}
            }
        }"#,
    );
    let digest = hex::encode(Sha256::digest("secret"));
    let config = format!(
        r#"
[ingress]
listen = "127.0.0.1:0"
threads = 1
[schemas]
unknown_type = "accept"
[[schema]]
type = "strict"
file = {schema:?}
[[schema]]
type = "order.checked"
file = {order:?}
[[key]]
id = "k1"
tenant = "acme"
secret_sha256 = "{digest}"
[source.github]
source = "https://github.com"
id = "header:x-github-delivery"
type = "header:x-github-event"
tenant = ["pointer:/repository/owner/login"]
entity = ["pointer:/repository/full_name"]
[source.github.signature]
scheme = "hmac-sha256"
header = "x-hub-signature-256"
prefix = "sha256="
secret_env = "GITHUB_WEBHOOK_SECRET"
"#
    );
    let sources = Sources {
        files: vec![write("shock.toml", &config)],
        env: vec![("GITHUB_WEBHOOK_SECRET".to_owned(), SECRET.to_owned())],
        ..Sources::default()
    };
    let config = Config::load(&sources, Purpose::Ingress).expect("a valid configuration");
    let (router, log) = (config.router.clone(), log(&config.router));
    let bound = Ingress::bind(&config.ingress, router, log, &Process::alone(Clock::System));
    bound.expect("binds")
}
