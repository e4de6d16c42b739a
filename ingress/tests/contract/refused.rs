//! Every bad input: a problem document with its code, and nothing in the log.

use serde_json::json;

use crate::accepted::gzip;
use crate::client::{Answer, Post};
use crate::fixture::Fixture;

const GOOD: &str = r#"{"type":"order.placed","id":"1","data":{"n":1}}"#;

fn order(data: &str) -> String {
    format!(r#"{{"type":"order.placed","id":"1","data":{data}}}"#)
}

async fn check(server: &Fixture, post: Post, status: u16, code: &str) -> Answer {
    let answer = post.send(server).await;
    answer.problem(status, code);
    assert_eq!(server.log.records(), [], "{code}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_bodies() {
    let server = Fixture::start();
    let members: Vec<_> = (0..1001).map(|n| format!("\"m{n}\":0")).collect();
    let members = order(&format!("{{{}}}", members.join(",")));
    let bomb = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let bodies: &[(&[u8], u16, &str)] = &[
        (b"", 400, "empty_body"),
        (b"  ", 400, "malformed_json"),
        (b"[]", 400, "empty_body"),
        (b"{", 400, "malformed_json"),
        (b"{\"type\":\"order.placed\",}", 400, "malformed_json"),
        (b"{\"type\":\"\xff\"}", 400, "malformed_utf8"),
        (b"nonsense", 400, "malformed_json"),
        (b"7", 422, "invalid_envelope"),
        (b"{}", 422, "invalid_envelope"),
        (br#"{"type":7}"#, 422, "invalid_envelope"),
        (br#"{"type":"order.placed","id":null}"#, 422, "invalid_envelope"),
        (br#"{"type":"order.placed","time":"noon"}"#, 422, "invalid_envelope"),
        (br#"{"type":"order.placed","id":"1","id":"2","data":{"n":1}}"#, 400, "duplicate_member"),
        (br#"{"type":"order.placed","type":"x","data":{"n":1}}"#, 400, "duplicate_member"),
        (br#"{"type":"unheard.of","id":"1"}"#, 422, "unknown_type"),
        (br#"{"type":"order.placed","tenant":"other","data":{"n":1}}"#, 403, "tenant_forbidden"),
        (bomb.as_bytes(), 413, "json_too_deep"),
        (members.as_bytes(), 413, "too_many_members"),
    ];
    for (body, status, code) in bodies {
        check(&server, Post::json(body), *status, code).await;
    }
    let lines = Post::json(format!("\x0c{GOOD}\n")).without("content-type");
    let lines = lines.header("content-type", "application/x-ndjson");
    check(&server, lines, 400, "malformed_json").await;
    let twice = Post::json(GOOD).header("Content-Type", "text/plain");
    check(&server, twice, 400, "malformed_request").await;
    let data = [
        ("\"\\u0000\"", "not_storable"),
        ("\"\\ud800\"", "not_storable"),
        ("1e999", "not_storable"),
        ("{}", "schema_violation"),
        ("null", "schema_violation"),
    ];
    for (data, code) in data {
        check(&server, Post::json(order(data)), 422, code).await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_are_named_with_what_was_seen() {
    let server = Fixture::start();
    let filled = |bytes: usize| order(&format!("{{\"n\":1,\"x\":\"{}\"}}", "x".repeat(bytes)));
    let answer = check(&server, Post::json(filled(2 << 20)), 413, "body_too_large").await;
    let problem = answer.json();
    assert_eq!((&problem["bound"], &problem["limit"]), (&json!("body_bytes_max"), &json!(1 << 20)));
    assert!(problem["observed"].as_u64() > Some(2 << 20));
    check(&server, Post::json(filled(300 << 10)), 413, "event_too_large").await;
    let batch = format!("[{}]", vec![GOOD; 101].join(","));
    check(&server, Post::json(batch), 413, "batch_too_large").await;
    let lines = Post::json(vec![GOOD; 101].join("\n"));
    check(&server, lines.header("content-type", "application/x-ndjson"), 413, "batch_too_large")
        .await;
    let coded = |body: &[u8]| Post::json(body).header("content-encoding", "gzip");
    check(&server, coded(&gzip(&vec![b' '; 64 << 20])), 413, "inflated_too_large").await;
    check(&server, coded(GOOD.as_bytes()), 400, "malformed_encoding").await;
    let many = (0..70).fold(Post::json(GOOD), |post, n| post.header(&format!("x-{n}"), "x"));
    check(&server, many, 431, "head_too_large").await;
    let long = Post::json(GOOD).header("x-long", &"x".repeat(40 << 10));
    check(&server, long, 431, "head_too_large").await;
    assert_eq!(server.metric("shock_ingress_inflight_bytes"), 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_refused_before_the_body() {
    let server = Fixture::start();
    let good = || Post::json(GOOD);
    for key in ["", "Bearer k1.wrong", "Bearer k2.secret", "Bearer secret", "Basic azE6c2VjcmV0"] {
        let answer = check(&server, good().header("authorization", key), 401, "unauthorized").await;
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    check(&server, good().without("authorization"), 401, "unauthorized").await;
    check(&server, good().to("/v2/events"), 404, "unknown_path").await;
    check(&server, good().to("/v1/sources/gitlab"), 404, "unknown_source").await;
    for query in ["dryrun=1", "dryRun=yes", "dryRun=true&dryRun=false", "dryRun=true&x"] {
        let post = good().to(&format!("/v1/events?{query}"));
        check(&server, post, 400, "malformed_request").await;
    }
    let get = Post { method: "GET", ..good() };
    let answer = check(&server, get, 405, "method_not_allowed").await;
    assert_eq!(answer.header("allow"), Some("POST, OPTIONS"));
    for media_type in ["text/plain", "application/xml", "application/json; charset=latin1", ""] {
        let post = good().header("content-type", media_type);
        let answer = check(&server, post, 415, "unsupported_media_type").await;
        assert!(answer.header("accept").is_some_and(|types| types.contains("x-ndjson")));
    }
    for coding in ["compress", "gzip, gzip", "zstd, br", "nonsense"] {
        let post = good().header("content-encoding", coding);
        let answer = check(&server, post, 415, "unsupported_encoding").await;
        assert_eq!(answer.header("accept-encoding"), Some("gzip, zstd, br, deflate"));
    }
    let batch = good().header("content-type", "application/cloudevents-batch+json");
    check(&server, batch, 400, "malformed_request").await;
    let structured = good().header("content-type", "application/cloudevents+json");
    check(&server, structured, 422, "invalid_envelope").await;
    let binary = good().header("ce-specversion", "1.0");
    check(&server, binary, 422, "invalid_envelope").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_that_are_not_what_their_source_says() {
    let server = Fixture::start();
    let body = r#"{"repository":{"owner":{"login":"octo"},"full_name":"octo/hello"}}"#;
    let good = || Post::webhook("push", "d-1", body);
    let wrong = crate::fixture::signature(b"another body");
    for value in [wrong.as_str(), "sha256=", "sha256=zz", "sha1=00", ""] {
        let post = good().header("x-hub-signature-256", value);
        let answer = check(&server, post, 401, "signature_invalid").await;
        assert!(answer.header("www-authenticate").is_some_and(|how| how.starts_with("HMAC")));
    }
    check(&server, good().without("x-hub-signature-256"), 401, "signature_invalid").await;
    check(&server, good().without("x-github-delivery"), 422, "attribute_missing").await;
    check(&server, good().without("x-github-event"), 422, "attribute_missing").await;
    check(&server, Post::webhook("push", "d-1", "{}"), 422, "attribute_missing").await;
    let nobody = r#"{"repository":{"owner":{"login":"no tenant"}}}"#;
    check(&server, Post::webhook("push", "d-1", nobody), 422, "attribute_missing").await;
    let twice = r#"{"repository":{"owner":{"login":"a"}},"repository":{"owner":{"login":"b"}}}"#;
    check(&server, Post::webhook("push", "d-1", twice), 400, "duplicate_member").await;
    let delivered = Post::webhook("push", "d-1", r#"{"repository":{"owner":{"login":"a"}}}"#);
    let delivered = delivered.header("X-GitHub-Delivery", "d-2");
    check(&server, delivered, 400, "duplicate_member").await;
    let form = good().header("content-type", "application/x-www-form-urlencoded");
    let answer = check(&server, form, 415, "unsupported_media_type").await;
    assert!(answer.json()["detail"].as_str().is_some_and(|hint| hint.contains("application/json")));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn violations_are_listed_without_values() {
    let server = Fixture::start();
    let answer =
        check(&server, Post::json(order(r#"{"n":"secret"}"#)), 422, "schema_violation").await;
    let error = &answer.json()["errors"][0];
    assert_eq!(error["pointer"], "/data/n");
    assert_eq!(error["keyword"], "type");
    assert_eq!(error["schema_pointer"], "/properties/n/type");
    assert!(!String::from_utf8_lossy(&answer.body).contains("secret"));
    server.stop().await;
}
