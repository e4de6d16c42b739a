//! Many events in one request: their order, their duplicates, and answers that differ.

use serde_json::{Value, json};

use crate::client::Post;
use crate::fixture::Fixture;

fn event(id: &str, n: &str) -> String {
    format!(r#"{{"type":"order.placed","id":"{id}","data":{{"n":{n}}}}}"#)
}

fn statuses(answer: &Value) -> Vec<&str> {
    let results = answer["results"].as_array().expect("results");
    results.iter().map(|one| one["status"].as_str().expect("a status")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_appended_in_its_order_byte_for_byte() {
    let server = Fixture::start();
    let events: Vec<_> = (0..100).map(|n| event(&n.to_string(), &n.to_string())).collect();
    let answer = Post::json(format!("[{}]", events.join(" ,\n"))).send(&server).await;
    assert_eq!((answer.status, answer.json()), (202, json!({"accepted":100,"duplicate":0})));
    let values: Vec<_> = server.log.records().into_iter().map(|record| record.value).collect();
    assert_eq!(values, events);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_that_differ_are_told_apart() {
    for shape in ["application/json", "application/x-ndjson"] {
        let server = Fixture::start();
        let events = [
            event("1", "1"),
            event("2", "\"x\""),
            event("1", "1"),
            r#"{"type":"unheard.of","id":"4"}"#.to_owned(),
            r#"{"type":"order.placed","data":{"n":5}}"#.to_owned(),
        ];
        let body = match shape {
            "application/json" => format!("[{}]", events.join(",")),
            _ => events.join("\n"),
        };
        let post = Post::json(body).header("content-type", shape);
        let answer = post.header("prefer", "return=representation").send(&server).await;
        let body = answer.json();
        assert_eq!(answer.status, 207, "{body}");
        let expected = ["accepted", "rejected", "duplicate", "rejected", "accepted"];
        assert_eq!(statuses(&body), expected);
        let counts = ["accepted", "duplicate", "rejected"].map(|name| body[name].as_u64());
        assert_eq!(counts, [Some(2), Some(1), Some(2)]);
        let results = &body["results"];
        assert_eq!(results[1]["code"], "schema_violation");
        assert_eq!((&results[1]["id"], &results[1]["retryable"]), (&json!("2"), &json!(false)));
        assert_eq!(results[1]["errors"][0]["pointer"], "/data/n");
        assert_eq!(results[3]["code"], "unknown_type");
        assert_eq!(results[4]["offset"], 1);
        assert_eq!(results[4]["id"], body["minted"][0]["id"]);
        assert_eq!((answer.header("retry-after"), server.log.records().len()), (None, 2));
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_line_or_element_does_not_spoil_the_others() {
    let server = Fixture::start();
    let lines = [event("1", "1"), "{broken".to_owned(), event("2", "\"\\u0000\"")].join("\n");
    let post = Post::json(lines).header("content-type", "application/x-ndjson");
    let answer = post.send(&server).await.json();
    assert_eq!(statuses(&answer), ["accepted", "rejected", "rejected"]);
    assert_eq!(answer["results"][1]["code"], "malformed_json");
    assert_eq!(answer["results"][2]["code"], "not_storable");
    // The parser refuses the whole text for its lone surrogate; the contract does not.
    let elements = format!("[{}, {}]", event("3", "3"), event("4", "\"\\ud800\""));
    let answer = Post::json(elements).send(&server).await.json();
    assert_eq!(statuses(&answer), ["accepted", "rejected"]);
    assert_eq!(answer["results"][1]["code"], "not_storable");
    let values: Vec<_> = server.log.records().into_iter().map(|record| record.value).collect();
    assert_eq!(values, [event("1", "1"), event("3", "3")]);
    server.stop().await;
}

/// No source and the default source are one identity to the consumer.
#[tokio::test(flavor = "multi_thread")]
async fn an_absent_source_repeats_the_default_one() {
    let server = Fixture::start();
    let named = event("1", "1").replace("\"id\"", "\"source\":\"/\",\"id\"");
    let answer = Post::json(format!("[{},{named}]", event("1", "1"))).send(&server).await;
    assert_eq!((answer.status, answer.json()), (202, json!({"accepted":1,"duplicate":1})));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_agrees_has_one_problem() {
    let server = Fixture::start();
    let body = format!("[{},{}]", event("1", "\"x\""), event("2", "null"));
    let problem = Post::json(body).send(&server).await.problem(422, "schema_violation");
    let places: Vec<_> = problem["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|one| (one["index"].as_u64(), one["pointer"].as_str()))
        .collect();
    assert_eq!(places, [(Some(0), Some("/data/n")), (Some(1), Some("/data/n"))]);
    assert_eq!(server.log.records(), []);
    server.stop().await;
}
