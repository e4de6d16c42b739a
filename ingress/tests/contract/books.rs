//! The books: received = accepted + duplicate + rejected + limited + shed + failed + unknown,
//! whatever happens.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use shared::config::{KeyConfig, RateBound};
use shared::log::AppendError;
use shared::log::memory::Fault;

use crate::client::{Connection, Post};
use crate::fixture::{Fixture, key};

fn event(id: u32, n: &str) -> String {
    format!(r#"{{"type":"order.placed","id":"{id}","data":{{"n":{n}}}}}"#)
}

/// The outcome counters by label.
fn outcomes(server: &Fixture) -> BTreeMap<String, u64> {
    let text = server.registry.text();
    let prefix = "shock_ingress_event_outcomes_total{outcome=\"";
    let lines = text.lines().filter_map(|line| line.strip_prefix(prefix)?.split_once("\"} "));
    lines.map(|(name, count)| (name.to_owned(), count.parse().expect("a count"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_books_balance() {
    let server = Fixture::start_with(|config| {
        let once = RateBound { requests_per_s: NonZeroU32::MIN, burst: NonZeroU32::MIN };
        config.keys.push(KeyConfig { rate: Some(once), ..key("k2", "other") });
    });
    let batch = |events: &[String]| Post::json(format!("[{}]", events.join(",")));
    // 3 accepted, 1 duplicate, 1 rejected.
    let mixed = [event(1, "1"), event(2, "2"), event(1, "1"), event(3, "\"x\""), event(4, "4")];
    batch(&mixed).send(&server).await;
    // 1 accepted, 1 limited.
    for id in [12, 13] {
        let slow = Post::json(event(id, "1")).header("authorization", "Bearer k2.other");
        slow.send(&server).await;
    }
    // 4 rejected: three requests that never became events, and one event.
    Post::json("{").send(&server).await;
    Post::json("").without("authorization").send(&server).await;
    Post::json(event(5, "5")).to("/nowhere").send(&server).await;
    Post::json(event(5, "\"x\"")).send(&server).await;
    // 1 accepted, 2 failed, in one request.
    server.log.script([Fault::Pass, Fault::Refuse(AppendError::Full)]);
    batch(&[event(6, "6"), event(7, "7"), event(8, "8")]).send(&server).await;
    // 1 unknown.
    server.log.script([Fault::Silent]);
    Post::json(event(9, "9")).send(&server).await;
    // 1 unknown: whoever sent it does not wait for the answer.
    server.log.script([Fault::Silent]);
    let mut gone = Connection::open(server.address).await;
    gone.write(&Post::json(event(10, "10")).bytes()).await;
    let deadline = Instant::now() + Duration::from_secs(5);
    while server.log.records().len() < 7 && Instant::now() < deadline {
        tokio::task::yield_now().await;
    }
    drop(gone);
    // Rehearsed only: in no book.
    Post::json(event(11, "11")).to("/v1/events?dryRun=true").send(&server).await;

    let expected = [("accepted", 5), ("duplicate", 1), ("failed", 2), ("rejected", 5)];
    let expected = expected.into_iter().chain([("limited", 1), ("shed", 0), ("unknown", 2)]);
    let expected: BTreeMap<_, _> = expected.map(|(name, n)| (name.to_owned(), n)).collect();
    while outcomes(&server) != expected && Instant::now() < deadline {
        tokio::task::yield_now().await;
    }
    let found = outcomes(&server);
    assert_eq!(found, expected);
    let received = server.metric("shock_ingress_events_received_total");
    assert_eq!(received, found.values().sum::<u64>());
    let refused = server.metric("shock_ingress_events_refused_total");
    assert_eq!(refused, received - found["accepted"] - found["duplicate"]);
    // accepted ≤ records ≤ accepted + unknown.
    let records = server.log.records().len() as u64;
    assert!((found["accepted"]..=found["accepted"] + found["unknown"]).contains(&records));
    server.stop().await;
}
