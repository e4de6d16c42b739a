//! What a request allocates, counted: the real ingress on the log in memory over a loopback
//! connection, beside bare hyper (reads the body, answers 202) with the very same request bytes.
//!
//! Counted is every thread but those that say otherwise: the client and whoever waits for the server
//! do. What is left is the one thread that serves. One test function, so that nothing else runs.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use ingress::Ingress;
use sha2::{Digest, Sha256};
use shared::Shutdown;
use shared::clock::Clock;
use shared::config::{Config, Purpose, Sources};
use shared::health::Health;
use shared::log::Log;
use shared::log::memory::MemoryLog;
use shared::metrics::Registry;

/// Until pools, buffers and tables have the size that they keep.
const WARM_UP: usize = 2_000;
/// What is counted; a whole number per request, so that nothing rare hides in a mean.
const COUNTED: usize = 500;
const SECRET: &str = "It's a Secret to Everybody";

/// The system's allocator, counting.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static UNCOUNTED: Cell<bool> = const { Cell::new(false) };
}

impl Counting {
    fn count() {
        // A thread that is ending has no thread-locals any more, and serves nobody.
        if !UNCOUNTED.try_with(Cell::get).unwrap_or(true) {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[expect(unsafe_code, reason = "an allocator can be counted only by being one")]
// SAFETY: every call goes on to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count();
        // SAFETY: the caller keeps the contract of `realloc`, and `pointer` is the system's.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, and `pointer` is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One kind of request.
struct Row {
    name: &'static str,
    request: Vec<u8>,
    status: &'static str,
    /// Allocations beyond bare hyper's that are allowed. A refusal words what is wrong.
    beyond_bare: u64,
}

#[test]
fn a_request_allocates_no_more_than_bare_hyper() {
    UNCOUNTED.set(true);
    let directory = tempfile::tempdir().expect("a directory");
    let (ingress, shutdown) = (ingress(directory.path()), Shutdown::new());
    let (address, stop) = (ingress.local_addr(), shutdown.clone());
    let serving = std::thread::spawn(move || {
        UNCOUNTED.set(true);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(ingress.serve(stop))
    });
    let bare = bare();
    for row in rows() {
        let expected = allocations(bare, &row.request, "202");
        let found = allocations(address, &row.request, row.status);
        println!("{}: ingress {found}, bare hyper {expected} allocations per request", row.name);
        assert!(found <= expected + row.beyond_bare, "{}", row.name);
    }
    shutdown.cancel();
    serving.join().expect("no panic").expect("a clean end");
}

fn rows() -> [Row; 5] {
    let event = |id: &str, event_type: &str, data: &str| {
        format!(r#"{{"id":"{id}","type":"{event_type}","subject":"customer/7","data":{data}}}"#)
    };
    let order = r#"{"amount":4200,"currency":"EUR","lines":[1,2,3]}"#;
    let batch: String =
        (0..100).map(|n| event(&format!("e{n}"), "order.paid", order) + "\n").collect();
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

/// Per request of a kept-alive connection, rounded up.
fn allocations(server: SocketAddr, request: &[u8], status: &str) -> u64 {
    let mut stream = TcpStream::connect(server).expect("connects");
    stream.set_nodelay(true).expect("a socket");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    let mut answer = vec![0; 64 * 1024];
    let mut ask = |times: usize| {
        for _ in 0..times {
            stream.write_all(request).expect("sent");
            read_answer(&mut stream, &mut answer, status);
        }
    };
    ask(WARM_UP);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    ask(COUNTED);
    (ALLOCATIONS.load(Ordering::Relaxed) - before).div_ceil(COUNTED as u64)
}

fn read_answer(stream: &mut TcpStream, buffer: &mut [u8], status: &str) {
    let mut length = 0;
    loop {
        let read = stream.read(&mut buffer[length..]).expect("an answer in time");
        assert!(read > 0, "the connection stays open");
        length += read;
        let text = String::from_utf8_lossy(&buffer[..length]);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{text}");
        let field = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let expected = field.map_or(0, |value| value.parse().expect("a length"));
        if body.len() >= expected {
            return;
        }
    }
}

fn ingress(directory: &std::path::Path) -> Ingress {
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let schema = write("strict.json", r#"{"type":"object","required":["n"]}"#);
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
    let log = MemoryLog::keeping(config.router.ids(), 1 << 16);
    let (health, registry) = (Health::new(Clock::System), Arc::new(Registry::new()));
    let (router, log) = (config.router.clone(), Log::Memory(log));
    let bound = Ingress::bind(&config.ingress, router, log, health, &registry, Clock::System);
    bound.expect("binds")
}

/// Bare hyper on a thread of its own, until the process ends.
fn bare() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("an address");
    listener.set_nonblocking(true).expect("a socket");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
            loop {
                let (stream, _) = listener.accept().await.expect("accepts");
                let serving = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(accept));
                tokio::spawn(async move { drop(serving.await) });
            }
        });
    });
    address
}

async fn accept(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await;
    let mut response = Response::new(Full::default());
    *response.status_mut() = hyper::StatusCode::ACCEPTED;
    drop(body);
    Ok(response)
}
