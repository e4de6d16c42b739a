//! Parked rows over HTTP: what the admin port answers, to whom, and what it refuses.

use std::net::SocketAddr;
use std::sync::Arc;

use consumer::dlq::{self, Dlq};
use serde_json::{Value, json};
use shared::health::Health;
use shared::metrics::Registry;
use shared::{Shutdown, admin};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::suite::base::Base;
use super::suite::{Bench, FIRST, NOON};

const JSON: &str = "application/json";

/// Two that are no events, one that the store refuses, and the port.
async fn port() -> (Bench, SocketAddr) {
    let bench = Bench::new(Base::sqlite().await).await;
    bench.base.refuse_type("refuse.me").await;
    for value in ["{", "[", r#"{"id":"bad","type":"refuse.me","data":{"secret":1}}"#] {
        bench.append(FIRST, NOON, "acme", value);
    }
    bench.drain().await.stop().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    let routes = admin::routes(Arc::new(Registry::new()), Health::new(bench.clock.clone()))
        .merge(dlq::routes(Dlq::new(bench.base.store().await, bench.clock.clone())));
    tokio::spawn(admin::serve(listener, routes, Shutdown::new()));
    (bench, address)
}

/// The status and the body of an answer.
async fn send(port: SocketAddr, line: &str, content_type: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(port).await.expect("connects");
    let request = format!(
        "{line} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: {content_type}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("sends");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok()).expect("a status");
    (status, serde_json::from_str(body).unwrap_or_else(|_| json!(body)))
}

async fn get(port: SocketAddr, path: &str) -> (u16, Value) {
    send(port, &format!("GET {path}"), JSON, "").await
}

async fn post(port: SocketAddr, path: &str, body: Value) -> (u16, Value) {
    send(port, &format!("POST {path}"), JSON, &body.to_string()).await
}

#[tokio::test]
async fn a_list_shows_no_payload_and_a_row_shows_all() {
    let (_bench, port) = port().await;
    let (status, page) = get(port, "/dlq?limit=2").await;
    assert_eq!((status, page["rows"].as_array().map(Vec::len)), (200, Some(2)));
    let next = page["next"].as_str().expect("there is more").replace('@', "%40");
    let (status, rest) = get(port, &format!("/dlq?limit=2&after={next}")).await;
    assert_eq!((status, &rest["next"], &rest["rows"][1]), (200, &Value::Null, &Value::Null));
    assert_eq!(rest["rows"][0]["id"], "bad");
    assert!(!page.to_string().contains("secret") && !rest.to_string().contains("secret"));

    let (status, whole) = get(port, "/dlq/row?place=transactional/0%402").await;
    assert_eq!(status, 200);
    assert_eq!(whole[0]["value"], r#"{"id":"bad","type":"refuse.me","data":{"secret":1}}"#);
    assert_eq!(whole[0]["key"], "acme");
    let (_, summary) = get(port, "/dlq/summary?reason=value_not_json").await;
    assert_eq!((&summary["groups"][0]["count"], &summary["groups"][1]), (&json!(2), &Value::Null));
}

#[tokio::test]
async fn what_is_mistyped_or_not_there_is_refused() {
    let (bench, port) = port().await;
    let named = |filter: Value| json!({"filter": filter, "by": "ops", "why": "a test"});
    for (path, expected) in [
        ("/dlq?tenent=acme", 400),
        ("/dlq?limit=many", 400),
        ("/dlq?after=here", 400),
        ("/dlq?state=gone", 400),
        ("/dlq/row?place=transactional/0", 400),
        ("/dlq/row?place=transactional/0%4099", 404),
        ("/dlq/redrive", 405),
    ] {
        assert_eq!(get(port, path).await.0, expected, "{path}");
    }
    for (body, expected) in [
        (named(json!({"tenent": "acme"})), 422),
        (named(json!({})), 400),
        (named(json!({"tenant": "zeta"})), 404),
        (json!({"filter": {"tenant": "acme"}, "by": "ops"}), 400),
        (json!({"all": true, "why": "a test"}), 400),
    ] {
        let (status, problem) = post(port, "/dlq/drop", body.clone()).await;
        assert_eq!(status, expected, "{body}: {problem}");
    }
    // What a page in a browser can send anywhere without being asked.
    let all = r#"{"all":true,"by":"ops","why":"a test"}"#;
    assert_eq!(send(port, "POST /dlq/drop", "text/plain", all).await.0, 415);
    assert_eq!(bench.count("select count(*) from audit").await, 0);
    assert_eq!(bench.count("select count(*) from parked where state = 'dropped'").await, 0);
}

#[tokio::test]
async fn an_action_is_done_and_audited() {
    let (bench, port) = port().await;
    let ask = json!({"filter": {"reason": "value_not_json"}, "by": "ops", "why": "no events"});
    let (status, done) = post(port, "/dlq/drop", ask).await;
    assert_eq!((status, &done["changed"], &done["next"]), (200, &json!(2), &Value::Null));
    assert_eq!(bench.count("select count(*) from parked where state = 'dropped'").await, 2);
    let ask = json!({"all": true, "rate_per_s": 5, "by": "ops", "why": "mended"});
    let (status, done) = post(port, "/dlq/redrive", ask).await;
    assert_eq!((status, &done["changed"]), (200, &json!(1)));
    let (status, audit) = get(port, "/dlq/audit?limit=1").await;
    assert_eq!((status, &audit[0]["action"], &audit[1]), (200, &json!("redrive"), &Value::Null));
    assert_eq!(audit[0]["filter"], json!({"all": true, "rate_per_s": 5.0}));
    let (_, older) = get(port, &format!("/dlq/audit?before={}", audit[0]["id"])).await;
    assert_eq!((&older[0]["author"], &older[0]["reason"]), (&json!("ops"), &json!("no events")));
}

/// Each call has a place; one more is refused at once, and the port stays there for the probes.
#[tokio::test]
async fn only_so_many_calls_run_at_a_time() {
    let (bench, port) = port().await;
    let held = bench.base.hold().await;
    let ask = json!({"filter": {"reason": "value_not_json"}, "by": "ops", "why": "a test"});
    let calls: Vec<_> = (0..dlq::CALLS_MAX)
        .map(|_| {
            let ask = ask.clone();
            // A look of ours may be in a place just then.
            tokio::spawn(async move {
                loop {
                    match post(port, "/dlq/redrive", ask.clone()).await.0 {
                        503 => {}
                        status => return status,
                    }
                }
            })
        })
        .collect();
    bench.until("all places are taken", async || get(port, "/dlq").await.0 == 503).await;
    let (status, problem) = post(port, "/dlq/drop", ask).await;
    assert_eq!(status, 503);
    assert!(problem["error"].as_str().expect("a text").contains("4 calls"), "{problem}");
    assert_eq!(get(port, "/livez").await.0, 200);
    held.release().await;
    for call in calls {
        assert_eq!(call.await.expect("does not panic"), 200);
    }
    assert_eq!(get(port, "/dlq").await.0, 200);
}

/// A name may be as long as an event: a list shows its beginning, the row all of it.
#[tokio::test]
async fn long_names_are_cut_in_a_list() {
    let (bench, port) = port().await;
    let id = "ü".repeat(10_000);
    let value = format!(r#"{{"id":"{id}","type":"refuse.me"}}"#);
    bench.append(FIRST, NOON, "acme", &value);
    bench.drain().await.stop().await;
    let (_, page) = get(port, "/dlq?place=transactional/0%403").await;
    let shown = page["rows"][0]["id"].as_str().expect("an id");
    assert!(shown == format!("{}…", "ü".repeat(256)), "{} characters", shown.chars().count());
    let (_, whole) = get(port, "/dlq/row?place=transactional/0%403").await;
    assert_eq!(whole[0]["id"], Value::String(id));
}
