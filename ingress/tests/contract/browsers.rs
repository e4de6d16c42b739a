//! Requests without events: OPTIONS, preflights, the contract's document; and what CORS adds.

use crate::client::{Answer, Post};
use crate::fixture::Fixture;

const EVENT: &str = r#"{"type":"order.placed","id":"1","data":{"n":1}}"#;
const APP: &str = "https://app.example.com";

async fn ask(
    server: &Fixture,
    method: &'static str,
    path: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let post = Post { method, path: path.to_owned(), headers: Vec::new(), body: Vec::new() };
    let add = |post: Post, (name, value): &(&str, &str)| post.header(name, value);
    headers.iter().fold(post, add).send(server).await
}

#[tokio::test(flavor = "multi_thread")]
async fn options_say_what_a_path_takes() {
    let server = Fixture::start();
    let answer = ask(&server, "OPTIONS", "/v1/events", &[]).await;
    assert_eq!((answer.status, answer.header("allow")), (204, Some("POST, OPTIONS")));
    assert!(answer.header("accept-post").is_some_and(|types| types.contains("cloudevents-batch")));
    let answer = ask(&server, "OPTIONS", "/openapi.json", &[]).await;
    assert_eq!((answer.status, answer.header("allow")), (204, Some("GET, HEAD, OPTIONS")));
    ask(&server, "OPTIONS", "/nowhere", &[]).await.problem(404, "unknown_path");
    let gitlab = ask(&server, "OPTIONS", "/v1/sources/gitlab", &[]).await;
    gitlab.problem(404, "unknown_source");
    // Neither an event nor a refusal of one.
    assert_eq!(server.metric("shock_ingress_events_received_total"), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cors_is_off_unless_configured() {
    let server = Fixture::start();
    let post = Post::json(EVENT).header("origin", APP);
    for answer in [
        post.send(&server).await,
        ask(
            &server,
            "OPTIONS",
            "/v1/events",
            &[("origin", APP), ("access-control-request-method", "POST")],
        )
        .await,
    ] {
        let cors =
            |(name, _): &&(String, String)| name.starts_with("access-control") || name == "vary";
        assert_eq!(answer.headers.iter().find(cors), None);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_origin_may_post() {
    let server = Fixture::start_with(|config| config.cors_origins = vec![APP.to_owned()]);
    let preflight = |origin: &'static str| {
        [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "Authorization, content-type, ce-type, cookie"),
        ]
    };
    let answer = ask(&server, "OPTIONS", "/v1/events", &preflight(APP)).await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some(APP));
    assert_eq!(
        answer.header("access-control-allow-headers"),
        Some("Authorization, content-type, ce-type")
    );
    assert_eq!(answer.header("access-control-allow-methods"), Some("POST, OPTIONS"));
    assert_eq!(answer.header("access-control-max-age"), Some("600"));
    let other = ask(&server, "OPTIONS", "/v1/events", &preflight("https://evil.example")).await;
    assert_eq!(other.header("access-control-allow-origin"), None);
    assert!(other.headers.contains(&("vary".to_owned(), "origin".to_owned())));
    // A refusal is readable too: the script has to know why.
    for key in [crate::fixture::KEY, "Bearer wrong"] {
        let answer = Post::json(EVENT).header("authorization", key).header("origin", APP);
        let answer = answer.send(&server).await;
        assert_eq!(answer.header("access-control-allow-origin"), Some(APP));
        assert_eq!(answer.header("vary"), Some("origin"));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
    server.stop().await;
    let server = Fixture::start_with(|config| config.cors_origins = vec!["*".to_owned()]);
    let answer = Post::json(EVENT).header("origin", APP).send(&server).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_served_and_validated() {
    let server = Fixture::start();
    let answer = ask(&server, "GET", "/openapi.json", &[]).await;
    assert_eq!((answer.status, answer.json()["openapi"].as_str()), (200, Some("3.1.0")));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let etag = answer.header("etag").expect("an etag").to_owned();
    let again = ask(&server, "GET", "/openapi.json", &[("if-none-match", &etag)]).await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    let stale = ask(&server, "GET", "/openapi.json", &[("if-none-match", "\"x\"")]).await;
    assert_eq!(stale.status, 200);
    let problem = Post::json(EVENT).to("/openapi.json").send(&server).await;
    assert_eq!(problem.header("allow"), Some("GET, HEAD, OPTIONS"));
    problem.problem(405, "method_not_allowed");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_well_formed_request_id_comes_back() {
    let server = Fixture::start();
    let check = async |id: &str, status, expected| {
        let body = if status == 202 { EVENT } else { "{" };
        let answer = Post::json(body).header("x-request-id", id).send(&server).await;
        assert_eq!((answer.status, answer.header("x-request-id")), (status, expected));
    };
    check("req-1.a/b:c", 202, Some("req-1.a/b:c")).await;
    check("req-1.a/b:c", 400, Some("req-1.a/b:c")).await;
    check("<script>", 202, None).await;
    check(&"x".repeat(129), 202, None).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preference_that_was_honoured_is_named() {
    let server = Fixture::start();
    let check = async |prefer: &str, expected, results| {
        let answer = Post::json(EVENT).header("prefer", prefer).send(&server).await;
        assert_eq!(answer.header("preference-applied"), expected, "{prefer}");
        assert_eq!(answer.json()["results"].is_array(), results, "{prefer}");
    };
    check("return=representation", Some("return=representation"), true).await;
    check("return=minimal", Some("return=minimal"), false).await;
    check("return=minimal, return=representation", Some("return=minimal"), false).await;
    check("respond-async", None, false).await;
    server.stop().await;
}
