//! The schema of a type, for those who post it.

use serde_json::json;
use shared::config::SchemaEntry;
use shared::tenant::TenantId;

use crate::client::{Answer, Post};
use crate::fixture::{Fixture, key};

async fn get(server: &Fixture, path: &str, key: &str) -> Answer {
    let get = Post { method: "GET", ..Post::json("").to(path) };
    get.header("authorization", &format!("Bearer {key}")).send(server).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_reads_the_schemas_of_what_it_may_write() {
    let own = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(own.path(), r#"{"type":"string"}"#).expect("written");
    let server = Fixture::start_with(|config| {
        let entry = |event_type: &str, tenant: &str| SchemaEntry {
            event_type: event_type.to_owned(),
            file: own.path().to_owned(),
            tenant: TenantId::parse(tenant).ok(),
        };
        let entries = &mut config.schemas.entries;
        entries.extend([entry("order.placed", "globex"), entry("own/type a", "globex")]);
        let mut other = key("k2", "other");
        other.scopes.tenant = TenantId::parse("globex").ok();
        let mut narrow = key("k3", "third");
        narrow.scopes.types = vec!["metrics.*".to_owned()];
        config.keys.extend([other, narrow]);
    });
    let placed = get(&server, "/v1/schemas/order.placed", "k1.secret").await;
    assert_eq!((placed.status, &placed.json()["required"]), (200, &json!(["n"])));
    assert_eq!(placed.header("content-type"), Some("application/schema+json"));
    let etag = placed.header("etag").expect("a validator");
    let again = Post { method: "GET", ..Post::json("").to("/v1/schemas/order.placed") };
    let again = again.header("if-none-match", etag).send(&server).await;
    assert_eq!((again.status, again.body.len()), (304, 0));

    let own = get(&server, "/v1/schemas/order.placed", "k2.other").await;
    assert_eq!(
        own.json(),
        json!({"type":"string"}),
        "a tenant's own stands before the one for all"
    );
    let coded = get(&server, "/v1/schemas/own%2Ftype%20a", "k2.other").await;
    assert_eq!(coded.status, 200);
    let path = "/v1/schemas/own%2Ftype%20a";
    get(&server, path, "k1.secret").await.problem(404, "unknown_schema");
    get(&server, "/v1/schemas/%ff", "k1.secret").await.problem(404, "unknown_schema");
    get(&server, "/v1/schemas/order.placed", "k3.third").await.problem(403, "type_forbidden");
    get(&server, "/v1/schemas/order.placed", "k1.wrong").await.problem(401, "unauthorized");
    let post = Post::json("").to("/v1/schemas/order.placed").send(&server).await;
    post.problem(405, "method_not_allowed");
    assert_eq!(post.header("allow"), Some("GET, HEAD, OPTIONS"));
    assert_eq!(server.metric("shock_ingress_events_received_total"), 0, "nothing is in the books");
    server.stop().await;
}

/// Keys are not guessed here any faster than where events are posted.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_are_counted_here_too() {
    let server = Fixture::start_with(|config| {
        config.failed_logins_per_minute = std::num::NonZeroU32::MIN;
    });
    let wrong = async || get(&server, "/v1/schemas/order.placed", "k1.wrong").await;
    wrong().await.problem(401, "unauthorized");
    wrong().await.problem(429, "too_many_failed_logins");
    server.stop().await;
}
