//! What is accepted, and the record it becomes: value byte for byte, headers, key, place.

use serde_json::{Value, json};
use shared::config::{JsonProfile, SchemaMode, UnknownType};
use shared::event::Event;
use shared::log::{CONTENT_TYPE_STRUCTURED, Record};
use shared::position::Class;

use crate::client::Post;
use crate::fixture::{Fixture, NOW, NOW_TEXT};

fn headers(record: &Record) -> Vec<(&str, &str)> {
    let text = |value| std::str::from_utf8(value).expect("our headers are texts");
    record.headers.iter().map(|(name, value)| (name.as_str(), text(value))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_structured_event_is_stored_as_it_came() {
    let server = Fixture::start();
    let event = " {\"type\":\"order.placed\" ,\"id\":\"\\u0031\",\n \"time\":\"2026-01-01T00:00:00Z\",\
                 \"data\":{\"n\":1,\"x\":1.50}}\n";
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let post = Post::json(event).header("traceparent", trace).header("tracestate", "a=1");
    let answer = post.send(&server).await;
    assert_eq!((answer.status, answer.json()), (202, json!({"accepted":1,"duplicate":0})));
    let record = server.only_record();
    assert_eq!(record.value, event.trim().as_bytes());
    assert_eq!((record.key.as_ref(), record.timestamp), (b"acme".as_ref(), NOW));
    assert_eq!(
        headers(&record),
        [("content-type", CONTENT_TYPE_STRUCTURED), ("traceparent", trace), ("tracestate", "a=1")]
    );
    assert_eq!(record.position.id.class, Class::Transactional);
    let decoded = Event::decode(&record).expect("the consumer reads it");
    assert_eq!((decoded.id.as_ref(), decoded.event_type.as_ref()), ("1", "order.placed"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_id_is_minted_and_returned() {
    let server = Fixture::start();
    let event = r#"{"type":"metrics.cpu","subject":"host/1","data":{"n":1}}"#;
    let answer = Post::json(event).header("prefer", "return=representation").send(&server).await;
    assert_eq!(answer.status, 202);
    let record = server.only_record();
    let id = answer.json()["minted"][0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(uuid::Uuid::parse_str(&id).expect("a UUID").get_version_num(), 7);
    assert_eq!(headers(&record)[1..], [("ce_id", id.as_str()), ("ce_time", NOW_TEXT)]);
    let position = record.position;
    let expected = json!([{"index":0,"id":id,"status":"accepted","class":"telemetry",
        "partition":position.id.partition.0,"offset":0}]);
    assert_eq!(answer.json()["results"], expected);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_mode_keeps_the_body_and_its_attributes() {
    let server = Fixture::start();
    let answer = Post::json(r#"{ "n": 1 }"#)
        .header("ce-specversion", "1.0")
        .header("ce-id", "b-1")
        .header("ce-type", "order.placed")
        .header("ce-source", "/%C3%A4")
        .header("ce-trace", "t")
        .send(&server)
        .await;
    assert_eq!(answer.status, 202, "{:?}", answer.json());
    let record = server.only_record();
    assert_eq!(record.value, r#"{ "n": 1 }"#);
    assert_eq!(
        headers(&record),
        [
            ("content-type", "application/json"),
            ("ce_specversion", "1.0"),
            ("ce_id", "b-1"),
            ("ce_type", "order.placed"),
            ("ce_source", "/ä"),
            ("ce_time", NOW_TEXT),
            ("ce_trace", "t"),
        ]
    );
    server.stop().await;
}

/// CloudEvents 1.0.2, HTTP binding, 3.1.2: an event may have no data, and then has no type of it.
#[tokio::test(flavor = "multi_thread")]
async fn binary_mode_may_have_no_data() {
    let server = Fixture::start_with(|config| config.schemas.unknown_type = UnknownType::Accept);
    let post = |event_type: &str| {
        let post = Post::json("").without("content-type").header("ce-specversion", "1.0");
        post.header("ce-id", "b-1").header("ce-type", event_type)
    };
    assert_eq!(post("unheard.of").send(&server).await.status, 202);
    let record = server.only_record();
    let decoded = Event::decode(&record).expect("the consumer reads it");
    assert_eq!((decoded.data, decoded.id.as_ref()), ("null", "b-1"));
    // A schema asks for data.
    post("order.placed").send(&server).await.problem(422, "schema_violation");
    server.stop().await;
}

/// Profile `rfc8259`: what PostgreSQL could not hold goes into the log, byte for byte.
#[tokio::test(flavor = "multi_thread")]
async fn every_valid_text_is_accepted_where_the_profile_says_so() {
    let server = Fixture::start_with(|config| config.json_profile = JsonProfile::Rfc8259);
    let texts = [r#""\u0000""#, r#""\ud800""#, "1e400", "1e-99999", r#"{"\udfff":[-1E999]}"#];
    let event = |(id, x): (usize, &&str)| {
        format!(r#"{{"type":"order.placed","id":"{id}","data":{{"n":1,"x":{x}}}}}"#)
    };
    let events: Vec<_> = texts.iter().enumerate().map(event).collect();
    let answer = Post::json(format!("[{}]", events.join(", "))).send(&server).await;
    assert_eq!((answer.status, answer.json()), (202, json!({"accepted":5,"duplicate":0})));
    let records = server.log.records();
    let values: Vec<_> = records.iter().map(|record| record.value.clone()).collect();
    assert_eq!(values, events);
    for record in &records {
        assert!(Event::decode(record).is_ok(), "the consumer reads {:?}", record.value);
    }
    // An identity is a Unicode string in every profile.
    let nameless = r#"{"type":"order.placed","id":"\ud800","data":{"n":1}}"#;
    Post::json(nameless).send(&server).await.problem(422, "invalid_envelope");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_stored_raw_with_what_its_source_says() {
    let server = Fixture::start();
    let body = r#"{"repository": {"owner": {"login":"octo"}, "full_name":"octo/hello"}}"#;
    let answer = Post::webhook("push", "d-1", body).send(&server).await;
    assert_eq!(answer.status, 202, "{:?}", answer.json());
    let record = server.only_record();
    assert_eq!((record.value.as_ref(), record.key.as_ref()), (body.as_bytes(), b"octo".as_ref()));
    assert_eq!(
        headers(&record),
        [
            ("content-type", "application/json"),
            ("ce_specversion", "1.0"),
            ("ce_id", "d-1"),
            ("ce_type", "com.github.push"),
            ("ce_source", "https://github.com"),
            ("ce_subject", "octo/hello"),
            ("ce_time", NOW_TEXT),
        ]
    );
    let decoded = Event::decode(&record).expect("the consumer reads it");
    assert_eq!((decoded.data, decoded.tenant.as_str()), (body, "octo"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shape_and_coding_is_read() {
    let event =
        r#"{"specversion":"1.0","source":"/s","type":"order.placed","id":"1","data":{"n":1}}"#;
    let check = async |content_type: &str, coding: &str, body: Vec<u8>, events: usize| {
        let server = Fixture::start();
        let post = Post::json(body).header("content-type", content_type);
        let answer = post.header("content-encoding", coding).send(&server).await;
        assert_eq!((answer.status, server.log.records().len()), (202, events), "{content_type}");
        assert!(server.log.records().iter().all(|record| record.value.starts_with(b"{\"spec")));
        server.stop().await;
    };
    let plain = || event.as_bytes().to_vec();
    let other = event.replace("\"1\",\"data", "\"2\",\"data");
    check("application/json", "identity", plain(), 1).await;
    check("application/cloudevents+json; charset=utf-8", "identity", plain(), 1).await;
    check("application/cloudevents-batch+json", "identity", format!("[ {event} ]").into(), 1).await;
    check("application/x-ndjson", "identity", format!("{event}\r\n\n{other}").into(), 2).await;
    check("application/json", "gzip", gzip(&plain()), 1).await;
    check("application/json", "deflate", zlib(&plain()), 1).await;
    check("application/json", "zstd", zstd::encode_all(&*plain(), 3).expect("memory"), 1).await;
    check("application/json", "br", brotli(&plain()), 1).await;
}

/// CloudEvents' JSON format has the empty batch as valid in a request; other arrays have to hold one.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_batch_is_accepted_and_says_nothing() {
    let server = Fixture::start();
    let batch = Post::json("[ ]\n").header("content-type", "application/cloudevents-batch+json");
    let answer = batch.send(&server).await;
    assert_eq!((answer.status, answer.json()), (202, json!({"accepted":0,"duplicate":0})));
    let answer = batch.clone().header("prefer", "return=representation").send(&server).await;
    assert_eq!((answer.status, &answer.json()["results"]), (202, &json!([])));
    let answer = batch.clone().to("/v1/events?dryRun=true").send(&server).await;
    let expected = json!({"dry_run":true,"accepted":0,"duplicate":0});
    assert_eq!((answer.status, answer.json()), (200, expected));
    batch
        .header("authorization", "Bearer k1.wrong")
        .send(&server)
        .await
        .problem(401, "unauthorized");
    assert_eq!(server.log.records(), []);
    assert_eq!(server.metric("shock_ingress_events_received_total"), 1, "the one without a key");
    Post::json("[]").send(&server).await.problem(400, "empty_body");
    let none = Post::json("").header("content-type", "application/cloudevents-batch+json");
    none.send(&server).await.problem(400, "empty_body");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn warn_counts_what_enforce_would_refuse() {
    let server = Fixture::start_with(|config| {
        config.schemas.mode = SchemaMode::Warn;
        config.schemas.unknown_type = UnknownType::Accept;
    });
    let events = r#"[{"type":"order.placed","id":"1","data":{}},{"type":"unheard.of","id":"2"}]"#;
    let answer = Post::json(events).send(&server).await;
    assert_eq!((answer.status, server.log.records().len()), (202, 2));
    assert_eq!(server.metric("shock_ingress_schema_warnings_total"), 1);
    server.stop().await;
}

/// A dry run says what would be, and writes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_leaves_no_trace() {
    let server = Fixture::start();
    let dry = async |body: &str| {
        let answer = Post::json(body).to("/v1/events?dryRun=true").send(&server).await;
        (answer.status, answer.json())
    };
    let (status, body) = dry(r#"{"type":"order.placed","data":{"n":1}}"#).await;
    let expected = json!({"dry_run":true,"valid":1,"accepted":0,"duplicate":0});
    assert_eq!((status, body), (200, expected));
    let (status, body) = dry(r#"{"type":"order.placed","data":{}}"#).await;
    assert_eq!((status, &body["code"]), (422, &Value::from("schema_violation")));
    assert_eq!(server.log.records(), []);
    assert_eq!(server.metric("shock_ingress_events_received_total"), 0);
    server.stop().await;
}

/// One uncompressed meta-block and the last, empty one (RFC 7932, 9.2).
fn brotli(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len() - 1).expect("short");
    // A window of 16 bits; not last; four nibbles of length; uncompressed.
    let head = (length << 4) | (1 << 20);
    [&head.to_le_bytes()[..3], bytes, &[0x03]].concat()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}
