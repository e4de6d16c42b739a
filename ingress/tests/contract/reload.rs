//! Keys, sources and schemas replaced while requests are in flight.

use std::time::Duration;

use shared::clock::Millis;
use shared::config::{KeyState, SchemaMode, UnknownType};

use crate::client::{Connection, Post};
use crate::fixture::{Fixture, NOW, key};

const GOOD: &str = r#"{"type":"order.placed","id":"1","data":{"n":1}}"#;

fn with_key(key: &str) -> Post {
    Post::json(GOOD).header("authorization", &format!("Bearer {key}"))
}

/// A request that has been authenticated, and whose body has not been sent.
async fn waiting(server: &Fixture, post: &Post) -> (Connection, Vec<u8>) {
    let bytes = post.clone().header("expect", "100-continue").bytes();
    let (head, body) = bytes.split_at(bytes.len() - post.body.len());
    let mut connection = Connection::open(server.address).await;
    connection.write(head).await;
    // Nobody is asked for a body before the key is known to be right.
    assert_eq!(connection.answer().await.expect("an answer").status, 100);
    (connection, body.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_keeps_what_it_began_with() {
    let server = Fixture::start_with(|config| config.body_timeout = Duration::from_secs(9));
    let (mut old, rest) = waiting(&server, &with_key("k1.secret")).await;

    let mut config = server.config.clone();
    config.keys = vec![key("k2", "other"), key("k3", "third")];
    // The type that the request in flight posts is no longer one that is known.
    config.schemas.entries.retain(|entry| entry.event_type != "order.placed");
    config.sources.clear();
    server.reload.apply(&config).expect("loads");
    assert_eq!(server.metric("shock_ingress_keys"), 2);
    assert_eq!(server.metric("shock_ingress_schemas"), 1);
    assert_eq!(server.metric("shock_ingress_sources"), 0);

    with_key("k1.secret").send(&server).await.problem(401, "unauthorized");
    with_key("k2.other").send(&server).await.problem(422, "unknown_type");
    Post::webhook("push", "d-1", "{}").send(&server).await.problem(404, "unknown_source");
    let cpu = GOOD.replace("order.placed", "metrics.cpu");
    let new = Post { body: cpu.into_bytes(), ..with_key("k3.third") };
    assert_eq!(new.send(&server).await.status, 202);

    old.write(&rest).await;
    assert_eq!(old.answer().await.expect("an answer").status, 202);
    assert_eq!(server.log.records().len(), 2);
    // The connection outlives the key; what it asks for next does not.
    old.write(&with_key("k1.secret").bytes()).await;
    old.answer().await.expect("an answer").problem(401, "unauthorized");
    server.stop().await;
}

/// Disabled, made active with an end, and ended, without a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_disabled_and_ends_while_it_is_in_use() {
    let server = Fixture::start();
    let mut config = server.config.clone();
    assert_eq!(with_key("k1.secret").send(&server).await.status, 202);
    config.keys[0].state = KeyState::Disabled;
    server.reload.apply(&config).expect("loads");
    with_key("k1.secret").send(&server).await.problem(401, "key_disabled");
    with_key("k1.wrong").send(&server).await.problem(401, "unauthorized");
    (config.keys[0].state, config.keys[0].not_after) = (KeyState::Active, Some(NOW));
    server.reload.apply(&config).expect("loads");
    assert_eq!(with_key("k1.secret").send(&server).await.status, 202);
    config.keys[0].not_after = Some(Millis(NOW.0 - 1));
    server.reload.apply(&config).expect("loads");
    let problem = with_key("k1.secret").send(&server).await.problem(401, "key_expired");
    assert_eq!(problem["detail"], "it was over at 2026-01-02T03:04:05.677Z");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_does_not_compile_changes_nothing() {
    let server = Fixture::start();
    let mut config = server.config.clone();
    config.keys = vec![key("k2", "other")];
    std::fs::write(&config.schemas.entries[1].file, r#"{"type":"strange"}"#).expect("written");
    let error = server.reload.apply(&config).expect_err("it is no schema").to_string();
    assert!(error.contains("order.json") && error.contains("strange"), "{error}");
    assert_eq!(with_key("k1.secret").send(&server).await.status, 202);
    with_key("k2.other").send(&server).await.problem(401, "unauthorized");

    std::fs::write(&config.schemas.entries[1].file, "{}").expect("written");
    config.schemas.unknown_type = UnknownType::Accept;
    config.schemas.mode = SchemaMode::Warn;
    server.reload.apply(&config).expect("loads");
    assert_eq!(with_key("k2.other").send(&server).await.status, 202);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_not_asked_for_a_body() {
    let server = Fixture::start();
    for post in
        [with_key("k1.wrong"), Post::webhook("push", "d-1", "{}").without("x-hub-signature-256")]
    {
        let bytes = post.clone().header("expect", "100-continue").bytes();
        let mut connection = Connection::open(server.address).await;
        connection.write(&bytes[..bytes.len() - post.body.len()]).await;
        assert_eq!(connection.answer().await.expect("an answer").status, 401);
    }
    server.stop().await;
}
