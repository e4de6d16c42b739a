//! Admission: limits, ceilings, contracts, modes; what they refuse, and what they leave alone.

use std::time::Duration;

use control::mode::Mode;
use control::outage::Flow;
use control::tick::Reason;
use shared::config::{Enforcement, WebhookUrl};
use shared::log::AppendError;
use shared::log::memory::Fault;
use shared::plane::Live;
use shared::plane::message::{Limits, PartitionLimit, PartitionReport, Report};
use shared::plane::state::{Change, Setting, Subject};
use shared::position::{Class, PartitionId};
use shared::tenant::TenantId;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::Post;
use crate::fixture::Fixture;

const ORDER: &str = r#"{"type":"order.placed","data":{"n":1}}"#;
const CPU: &str = r#"{"type":"metrics.cpu","data":{"n":1}}"#;

fn batch(event: &str, count: usize) -> Post {
    Post::json(format!("[{}]", vec![event; count].join(",")))
}

fn acme() -> TenantId {
    TenantId::parse("acme").expect("a valid name")
}

/// Where acme's events of a class go.
fn place(server: &Fixture, class: Class) -> PartitionId {
    server.router.partition(class, acme().as_bytes())
}

/// The owner of a partition says a limit.
fn say_limit(
    server: &Fixture,
    id: PartitionId,
    (epoch, seq): (u64, u64),
    limit_per_s: Option<f64>,
) {
    server.plane.publish(Live::Limits(Limits {
        partitions: vec![PartitionLimit {
            place: id.into(),
            epoch,
            seq,
            limit_per_s,
            reason: Reason::Limiting,
            signal_s: 1.0,
            setpoint_s: 0.4,
            drain_s: 1.0,
            capacity_per_s: 1_000.0,
            p: 0.0,
            i: 0.0,
            d: 0.0,
            u: 1.0,
            lower_classes_share: 1.0,
        }],
    }));
}

/// The owner of a partition says the same again and again until it is in effect.
async fn hear_limit(server: &Fixture, id: PartitionId, epoch: u64, limit_per_s: f64) {
    let shown = format!("{}{limit_per_s}", limit_of(id));
    for seq in 1..100 {
        say_limit(server, id, (epoch, seq), Some(limit_per_s));
        let deadline = tokio::time::Instant::now() + Duration::from_millis(200);
        while tokio::time::Instant::now() < deadline {
            if server.registry.text().contains(&shown) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    panic!("the limit is never in effect");
}

/// The owner of a partition says that it works.
fn say_report(server: &Fixture, id: PartitionId, flow: Flow) {
    server.plane.publish(Live::Report(Report {
        partitions: vec![PartitionReport {
            place: id.into(),
            epoch: 1,
            flow,
            backlog: 0,
            age_s: 0.0,
            capacity_per_s: 1_000.0,
            arrived_per_s: 0.0,
            applied_per_s: 0.0,
            downstream_p99_s: 0.0,
            room: None,
        }],
    }));
}

fn limit_of(id: PartitionId) -> String {
    let (class, partition) = (id.class, id.partition.0);
    format!("shock_ingress_limit_per_s{{class=\"{class}\",partition=\"{partition}\"}} ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_closes_its_own_partition_and_no_other() {
    let server = Fixture::start();
    let orders = place(&server, Class::Transactional);
    // An operator's: it stays in effect for as long as the test takes.
    server.set(Subject::Partition(orders), Setting::Limit { limit_per_s: 0.0 }).await;
    server.shows(|text| text.contains(&format!("{}0", limit_of(orders)))).await;
    Post::json(ORDER).send(&server).await.problem(503, "no_capacity");
    assert_eq!(Post::json(CPU).send(&server).await.status, 202);
    let subject = Subject::Partition(orders);
    server.plane.change(Change { subject, entry: None }).await.expect("taken");
    server.shows(|text| !text.contains(&limit_of(orders))).await;
    assert_eq!(Post::json(ORDER).send(&server).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_limit_changes_nothing() {
    let server = Fixture::start();
    let id = place(&server, Class::Transactional);
    hear_limit(&server, id, 5, 1_000.0).await;
    let poison = [
        ((5, 102), Some(f64::NAN)),
        ((5, 103), Some(-1.0)),
        ((5, 104), Some(1_000_000.0)),
        ((u64::MAX, 0), Some(900.0)),
        ((4, 9), Some(900.0)),
    ];
    let before = server.metric("shock_ingress_limits_ignored_total");
    for (n, (at, limit)) in (before + 1..).zip(poison) {
        say_limit(&server, id, at, limit);
        server.metric_reaches("shock_ingress_limits_ignored_total", n).await;
        // Its time may be over meanwhile: then there is none.
        let text = server.registry.text();
        let shown = text.lines().find_map(|line| line.strip_prefix(&limit_of(id)));
        assert!(shown.is_none_or(|limit| limit == "1000"), "{at:?} {limit:?}: {shown:?}");
    }
    hear_limit(&server, id, 6, 1_100.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_over_its_limit_keeps_its_front() {
    // 5 a second, and two seconds of them at once.
    let server = Fixture::start_with(|config| {
        config.control.contract.ceiling_per_s = Some(5.0);
    });
    let answer = batch(ORDER, 15).send(&server).await;
    assert_eq!(answer.status, 207);
    let summary = answer.json();
    assert_eq!((&summary["accepted"], &summary["retry"]), (&10.into(), &5.into()), "{summary}");
    let results = summary["results"].as_array().expect("results");
    let code = |index: usize| results[index]["code"].as_str();
    assert_eq!((code(9), code(10)), (None, Some("over_ceiling")));
    assert!((11..15).all(|index| code(index) == Some("behind_failed")), "{results:?}");
    assert_eq!(server.log.records().len(), 10);
    // All of the next batch agree: 429, though most of it stands behind its first.
    batch(ORDER, 3).send(&server).await.problem(429, "over_ceiling");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_s_refusal_gives_back_what_was_taken() {
    let server = Fixture::start_with(|config| {
        config.control.contract.ceiling_per_s = Some(1.0);
    });
    server.log.script(vec![Fault::Refuse(AppendError::Full); 5]);
    for _ in 0..5 {
        Post::json(ORDER).send(&server).await.problem(503, "log_full");
    }
    assert_eq!(Post::json(ORDER).send(&server).await.status, 202);
    assert_eq!(Post::json(ORDER).send(&server).await.status, 202);
    Post::json(ORDER).send(&server).await.problem(429, "over_ceiling");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_refuses_nothing_and_counts_what_it_would() {
    let server = Fixture::start_with(|config| config.control.enforcement = Enforcement::Shadow);
    server.pin(Class::Transactional, 0.0).await;
    server.pin_mode(Mode::Survival).await;
    assert_eq!(batch(ORDER, 3).send(&server).await.status, 202);
    assert_eq!(server.metric("shock_ingress_shadow_shed_total"), 3);
    assert_eq!(server.metric("shock_ingress_shed_total"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_keeps_the_essential() {
    let server = Fixture::start_with(|config| {
        config.control.essential.types = vec!["order.*".to_owned()];
    });
    let get = Post { method: "GET", ..Post::json("") }.to("/v1/mode");
    assert_eq!(get.send(&server).await.json()["mode"], "normal");
    assert_eq!(get.send(&server).await.header("shock-mode"), None);
    server.pin_mode(Mode::ReadOnly).await;
    assert_eq!(Post::json(ORDER).send(&server).await.status, 202);
    let answer = Post::json(CPU).send(&server).await;
    answer.problem(503, "mode_closed");
    assert_eq!(answer.header("shock-mode"), Some("read-only"));
    let mode = get.send(&server).await.json();
    assert_eq!((&mode["mode"], &mode["essential_only"]), (&"read-only".into(), &true.into()));
    let counted = "shock_ingress_shed_total{level=\"4\",step=\"mode\"} 1";
    assert!(server.registry.text().contains(counted), "{}", server.registry.text());
    // Mixed: what is essential goes in, of another key than what is not.
    let mixed = Post::json(format!("[{ORDER},{CPU},{ORDER},{CPU}]")).send(&server).await;
    assert_eq!((mixed.status, &mixed.json()["accepted"]), (207, &2.into()));
    server.plane.change(Change { subject: Subject::Mode, entry: None }).await.expect("taken");
    server.shows(|text| text.contains("shock_ingress_mode{mode=\"normal\"} 1")).await;
    assert_eq!(Post::json(CPU).send(&server).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mode_that_keeps_nothing_of_a_key_refuses_before_the_body() {
    let server = Fixture::start();
    server.pin_mode(Mode::ReadOnly).await;
    // It would be 400, were it read.
    Post::json("{").send(&server).await.problem(503, "mode_closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_s_word_on_a_tenant_is_obeyed_at_once() {
    let server = Fixture::start();
    assert_eq!(Post::json(ORDER).send(&server).await.status, 202);
    let ceiling = |rate| Setting::Tenant { contract_per_s: None, ceiling_per_s: Some(rate) };
    server.set(Subject::Tenant(acme()), ceiling(0.0)).await;
    let refused = async || Post::json(ORDER).send(&server).await.status == 429;
    let obeyed = async {
        while !refused().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), obeyed).await.expect("obeyed");
    // The clock passes the end of what was set.
    server.clock.advance(10_001);
    let open = async {
        while refused().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), open).await.expect("its time is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_is_no_want_of_capacity() {
    let server = Fixture::start();
    server.pin(Class::Transactional, 0.0).await;
    for _ in 0..8 {
        let refused = Post::json(ORDER).send(&server).await;
        refused.problem(503, "no_capacity");
        let after = refused.header("retry-after").expect("a wait").parse::<u32>();
        assert!(after.expect("seconds") >= 10, "not before the pin ends");
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    let text = server.registry.text();
    let by_pin = |line: &&str| line.contains("shed_total{") && line.contains("step=\"pin\"");
    let counts = text.lines().filter(by_pin).filter_map(|line| line.rsplit(' ').next());
    let refused: u64 = counts.map(|count| count.parse::<u64>().expect("a count")).sum();
    assert_eq!(refused, 8, "{text}");
    assert!(text.contains("shock_ingress_mode{mode=\"normal\"} 1"), "three seconds of refusals");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ceiling_of_less_than_one_is_no_closed_door() {
    let server = Fixture::start_with(|config| {
        config.control.contract.ceiling_per_s = Some(0.3);
    });
    assert_eq!(Post::json(ORDER).send(&server).await.status, 202);
    let refused = Post::json(ORDER).send(&server).await;
    let problem = refused.problem(429, "over_ceiling");
    assert_eq!(problem["detail"], "the ceiling is 0.3 events/s");
    assert_eq!(refused.header("ratelimit-policy"), Some("\"tenant\";q=1;w=4"));
    let again = async {
        while Post::json(ORDER).send(&server).await.status != 202 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), again).await.expect("after three seconds");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_owner_leaves_a_floor_where_the_lag_is_bounded() {
    let server = Fixture::start_with(|config| {
        use control::level::Class as LoopClass;
        use control::profile::Profile;
        config.control.policies = LoopClass::ALL.map(|class| Profile::BoundedLag.policy(class));
        config.control.unit_per_s = 1.0;
    });
    let id = place(&server, Class::Transactional);
    say_report(&server, id, Flow::Running);
    let floor = format!(
        "shock_ingress_limit_source{{class=\"transactional\",partition=\"{}\",source=\"floor\"}} 1",
        id.partition.0
    );
    server.shows(|text| text.contains(&floor)).await;
    // One event in twenty seconds is what is left.
    let refused = batch(ORDER, 2).send(&server).await;
    assert!(refused.status == 207 || refused.status == 503, "{}", refused.status);
    let after = refused.header("retry-after").expect("a wait").parse::<u32>().expect("seconds");
    assert!(after >= 10, "not before the group has another owner: {after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_told_of_the_mode_until_it_hears() {
    let hook = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/token", hook.local_addr().expect("bound"));
    let server = Fixture::start_with(|config| {
        config.control.webhook_url = Some(WebhookUrl::new(url.clone()));
    });
    server.pin_mode(Mode::Survival).await;
    // The first time it fails.
    for (status, expected) in [("500", "failed"), ("204", "told")] {
        let (mut stream, _) = hook.accept().await.expect("called");
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            stream.read_buf(&mut request).await.expect("a request");
        }
        let request = String::from_utf8(request).expect("text");
        assert!(request.starts_with("POST /token HTTP/1.1\r\n"), "{request}");
        let (_, body) = request.split_once("\r\n\r\n").expect("a body");
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!((&body["mode"], &body["from"]), (&"survival".into(), &"normal".into()));
        let answer =
            format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.expect("answered");
        let counted = format!("shock_ingress_mode_webhook_total{{outcome=\"{expected}\"}} 1");
        server.shows(|text| text.contains(&counted)).await;
    }
    assert!(!server.registry.text().contains("token"));
}
