//! A log that refuses, goes silent or lies low: 503 where nothing was written, 504 where nobody
//! knows, and never 202.

use serde_json::Value;
use shared::log::AppendError;
use shared::log::memory::Fault;

use crate::client::Post;
use crate::fixture::Fixture;

const EVENT: &str = r#"{"type":"order.placed","id":"1","data":{"n":1}}"#;

fn batch(ids: &[&str]) -> String {
    let events: Vec<_> =
        ids.iter().map(|id| EVENT.replace("\"1\"", &format!("\"{id}\""))).collect();
    format!("[{}]", events.join(","))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_has_its_status() {
    let server = Fixture::start();
    let check = async |fault, status, code: &str, records: usize| {
        server.log.script([fault]);
        Post::json(EVENT).send(&server).await.problem(status, code);
        assert_eq!(server.log.records().len(), records, "{code}");
    };
    check(Fault::Refuse(AppendError::Full), 503, "log_full", 0).await;
    check(Fault::Refuse(AppendError::Unavailable), 503, "log_unavailable", 0).await;
    check(Fault::Refuse(AppendError::DiskFull), 503, "disk_full", 0).await;
    check(Fault::Refuse(AppendError::TooLarge), 413, "record_too_large", 0).await;
    check(Fault::Refuse(AppendError::Unknown), 504, "ack_unknown", 0).await;
    check(Fault::Silent, 504, "ack_unknown", 1).await;
    assert_eq!(Post::json(EVENT).send(&server).await.status, 202);
    server.stop().await;
}

/// "Retry with the same id" needs the id, also where we gave it.
#[tokio::test(flavor = "multi_thread")]
async fn a_504_returns_the_ids_we_gave() {
    let server = Fixture::start();
    let nameless = EVENT.replace("\"id\":\"1\",", "");
    for (body, events) in [(nameless.clone(), 1), (format!("[{nameless},{nameless}]"), 2)] {
        server.log.script(vec![Fault::Silent; events]);
        let before = server.log.records().len();
        let problem = Post::json(&body).send(&server).await.problem(504, "ack_unknown");
        let minted: Vec<_> = problem["minted"].as_array().expect("ids").iter().collect();
        let records = server.log.records().split_off(before);
        assert_eq!(minted.len(), records.len());
        for (index, (minted, record)) in minted.into_iter().zip(&records).enumerate() {
            let id = minted["id"].as_str().map(str::as_bytes);
            assert_eq!(
                (minted["index"].as_u64(), id),
                (Some(index as u64), record.header("ce_id"))
            );
        }
    }
    server.log.script([Fault::Refuse(AppendError::Full)]);
    let problem = Post::json(nameless).send(&server).await.problem(503, "log_full");
    assert_eq!(problem.get("minted"), None);
    server.stop().await;
}

fn outcomes(body: &Value) -> Vec<(&str, Option<&str>)> {
    let results = body["results"].as_array().expect("results").iter();
    results.map(|one| (one["status"].as_str().expect("a status"), one["code"].as_str())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_overtakes_what_the_log_refused() {
    let server = Fixture::start();
    server.log.script([Fault::Pass, Fault::Refuse(AppendError::Full)]);
    let answer = Post::json(batch(&["1", "2", "3", "2", "1"])).send(&server).await;
    assert_eq!(answer.status, 207);
    assert!(answer.header("retry-after").is_some());
    // The second "2" repeats one that is not in the log: it is no duplicate of anything there.
    let expected = [
        ("accepted", None),
        ("retry", Some("log_full")),
        ("retry", Some("behind_failed")),
        ("retry", Some("log_full")),
        ("duplicate", None),
    ];
    assert_eq!(outcomes(&answer.json()), expected);
    assert_eq!(server.log.records().len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_partitions_go_on() {
    let server = Fixture::start();
    server.log.script([Fault::Refuse(AppendError::Unavailable)]);
    let telemetry = EVENT.replace("order.placed", "metrics.cpu").replace("\"1\"", "\"2\"");
    let answer = Post::json(format!("[{EVENT},{telemetry}]")).send(&server).await;
    let expected = [("retry", Some("log_unavailable")), ("accepted", None)];
    assert_eq!((answer.status, outcomes(&answer.json())), (207, expected.to_vec()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_nothing_took_is_one_503() {
    let server = Fixture::start();
    server.log.script([Fault::Refuse(AppendError::Full)]);
    let answer = Post::json(batch(&["1", "2", "3"])).send(&server).await;
    answer.problem(503, "log_full");
    assert_eq!(server.log.records(), []);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_ack_inside_a_batch_is_unknown_for_that_event_only() {
    let server = Fixture::start();
    server.log.script([Fault::Pass, Fault::Silent, Fault::Pass]);
    let answer = Post::json(batch(&["1", "2", "3"])).send(&server).await;
    let expected = [("accepted", None), ("retry", Some("ack_unknown")), ("accepted", None)];
    assert_eq!((answer.status, outcomes(&answer.json())), (207, expected.to_vec()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_in_flight_are_bounded() {
    let server = Fixture::start_with(|config| config.inflight_bytes_max = 100);
    assert_eq!(Post::json(EVENT).send(&server).await.status, 202);
    let large = EVENT.replace("\"n\":1", &format!("\"n\":1,\"x\":\"{}\"", "x".repeat(100)));
    Post::json(large).send(&server).await.problem(503, "overloaded");
    assert_eq!(server.metric("shock_ingress_inflight_bytes"), 0);
    server.stop().await;
}
