//! The cases about sinks: what has its effect is sent at least once, with the same id each time, and in
//! order where order is kept, whatever the receiver, the consumer and the store do meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use consumer::outbox::target::{HEADER_OUTBOX_ID, Target};
use consumer::outbox::{Sink, Sinks};
use shared::config::{SinkConfig, SinkOrder, SinkTarget, WebhookConfig, WebhookUrl};
use shared::log::memory::PublisherMemory;
use shared::log::{Publisher, Unpublished};
use shared::{Process, Shutdown};

use super::base::Base;
use super::receiver::{Deed, Receiver, SECRET};
use super::{Bench, FIRST, NOON, SECOND};

const OUTBOX: &str = "select count(*) from pipeline.outbox";
const DEAD: &str = "select count(*) from pipeline.outbox where state = 'dead'";
const EVENTS: &str = "select count(*) from pipeline.events";

fn webhook(receiver: &Receiver) -> SinkConfig {
    SinkConfig {
        name: "crm".to_owned(),
        types: vec!["order.*".to_owned()],
        class: None,
        order: SinkOrder::Entity,
        target: SinkTarget::Webhook(WebhookConfig {
            url: WebhookUrl::new(receiver.url()),
            secrets: vec![SECRET.to_vec()],
            concurrency: 8,
            connect_timeout: Duration::from_millis(500),
            timeout: Duration::from_millis(700),
        }),
        retry_backoff_min: Duration::from_millis(20),
        retry_backoff_max: Duration::from_millis(200),
        age_max: None,
        rows_max: 1_000_000,
    }
}

async fn bench(base: Base) -> (Bench, Receiver) {
    let mut bench = Bench::new(base).await;
    // Waits have to pass.
    let clock = bench.clock.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(10)).await;
            clock.advance(10);
        }
    });
    let receiver = Receiver::start().await;
    bench.sinks = vec![webhook(&receiver)];
    (bench, receiver)
}

/// The n-th event of an entity.
fn order(bench: &Bench, entity: &str, n: usize) {
    let value = format!(
        r#"{{"id":"{entity}-{n}","type":"order.paid","subject":"{entity}","data":{{"n":{n}}}}}"#
    );
    bench.append(FIRST, NOON, "acme", &value);
}

async fn until_sent(bench: &Bench) {
    bench.until("the outbox is empty", async || bench.count(OUTBOX).await == 0).await;
}

/// In the order of their first acknowledgement, each id once.
fn first_acknowledged(receiver: &Receiver, entity: &str) -> Vec<String> {
    let mut seen = Vec::new();
    for got in receiver.got() {
        let id = got.id();
        if got.status == 200 && got.event["subject"] == entity && !seen.contains(&id) {
            seen.push(id);
        }
    }
    seen
}

fn in_order(entity: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{entity}-{n}")).collect()
}

pub async fn what_has_its_effect_is_sent_once_and_signed(base: Base) {
    let (bench, receiver) = bench(base).await;
    for n in 0..30 {
        order(&bench, ["a", "b", "c"][n % 3], n / 3);
        order(&bench, ["a", "b", "c"][n % 3], n / 3);
    }
    bench.append(FIRST, NOON, "acme", r#"{"id":"x","type":"other.thing"}"#);
    bench.append(SECOND, NOON, "umbrella", r#"{"id":"a-0","type":"order.paid","trace":"t"}"#);
    bench.append(SECOND, NOON, "umbrella", "{");
    let running = bench.drain().await;
    until_sent(&bench).await;
    let got = receiver.got();
    assert_eq!(got.len(), 31, "each once, and no other");
    for entity in ["a", "b", "c"] {
        assert_eq!(first_acknowledged(&receiver, entity), in_order(entity, 10));
    }
    let other = got.iter().find(|one| one.event["tenant"] == "umbrella").expect("it was sent");
    assert_eq!(
        other.event,
        serde_json::json!({
            "specversion": "1.0", "id": "a-0", "source": "/", "type": "order.paid",
            "time": NOON.rfc3339(), "datacontenttype": "application/json", "tenant": "umbrella",
            "trace": "t", "data": null,
        })
    );
    let ids: std::collections::BTreeSet<_> = got.iter().map(|one| &one.message_id).collect();
    assert_eq!(ids.len(), 31, "tenants apart");
    assert_eq!(running.metric(r#"shock_sink_sent_total{sink="crm"}"#), 31);
    assert!(!running.registry.text().contains("T0KEN"));
    running.stop().await;

    // Read again from the start, nothing has an effect, and nothing is sent.
    bench.base.sql("update pipeline.progress set next_offset = 0").await;
    bench.drain().await.stop().await;
    assert_eq!((bench.count(OUTBOX).await, receiver.got().len()), (0, 31));
}

pub async fn what_fails_is_tried_again_and_not_overtaken(base: Base) {
    let (bench, receiver) = bench(base).await;
    receiver.does(|got, nth| match (got.event["subject"].as_str(), nth) {
        (Some("a"), 0..3) => Deed::Answer(503),
        (Some("b"), 0) => Deed::Hang,
        (Some("c"), 0) => Deed::Die,
        _ => Deed::Answer(200),
    });
    for n in 0..6 {
        for entity in ["a", "b", "c"] {
            order(&bench, entity, n);
        }
    }
    // What goes well keeps the breaker closed.
    for n in 0..60 {
        order(&bench, "d", n);
    }
    let running = bench.drain().await;
    until_sent(&bench).await;
    for entity in ["a", "b", "c"] {
        assert_eq!(first_acknowledged(&receiver, entity), in_order(entity, 6));
    }
    assert_eq!(first_acknowledged(&receiver, "d"), in_order("d", 60));
    let acknowledged = receiver.acknowledged();
    assert!(acknowledged.values().all(|times| *times == 1), "{acknowledged:?}");
    // Each event of `a` three times in vain, and none while one before it was tried.
    let of_a: Vec<_> =
        receiver.got().iter().map(|got| got.id()).filter(|id| id.starts_with('a')).collect();
    let expected: Vec<_> = in_order("a", 6).iter().flat_map(|id| vec![id.clone(); 4]).collect();
    assert_eq!(of_a, expected);
    // One message, one id.
    let mut ids: BTreeMap<String, String> = BTreeMap::new();
    for got in receiver.got() {
        assert_eq!(ids.entry(got.id()).or_insert(got.message_id.clone()), &got.message_id);
    }
    for (reason, least) in [("status_5xx", 18), ("timeout", 6), ("connection", 6)] {
        let line = format!(r#"shock_sink_failed_total{{sink="crm",reason="{reason}"}}"#);
        let swapped = format!(r#"shock_sink_failed_total{{reason="{reason}",sink="crm"}}"#);
        let failed = running.metric(&line).max(running.metric(&swapped));
        assert!(failed >= least, "{reason}: {failed}");
    }
    running.stop().await;
}

pub async fn a_receiver_that_died_gets_what_waited(base: Base) {
    let (bench, receiver) = bench(base).await;
    for n in 0..20 {
        order(&bench, "a", n);
        order(&bench, "b", n);
    }
    receiver.die().await;
    let running = bench.drain().await;
    assert_eq!(bench.count(EVENTS).await, 40, "no batch waits for a receiver");
    let failed = |running: &super::Running| {
        let text = running.registry.text();
        text.lines()
            .filter(|line| line.starts_with("shock_sink_failed_total"))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum::<f64>()
    };
    bench.until("it was tried", async || failed(&running) >= 1.0).await;
    receiver.live().await;
    until_sent(&bench).await;
    for entity in ["a", "b"] {
        assert_eq!(first_acknowledged(&receiver, entity), in_order(entity, 20));
    }
    running.stop().await;
}

pub async fn what_a_receiver_refuses_is_dead_and_stays(base: Base) {
    let (bench, receiver) = bench(base).await;
    receiver.does(|got, _| match got.id().as_str() {
        "a-1" => Deed::Answer(422),
        _ => Deed::Answer(200),
    });
    for n in 0..4 {
        order(&bench, "a", n);
    }
    let running = bench.drain().await;
    bench.until("one is left", async || bench.count(OUTBOX).await == 1).await;
    assert_eq!(first_acknowledged(&receiver, "a"), ["a-0", "a-2", "a-3"]);
    let dead = bench.base.texts("select state || ' ' || reason from pipeline.outbox").await;
    assert_eq!(dead, ["dead status 422"]);
    assert_eq!(running.metric(r#"shock_sink_dead_total{sink="crm"}"#), 1);
    assert_eq!(receiver.got().len(), 4, "it is asked once");

    // What an operator puts back is sent.
    receiver.does(|_, _| Deed::Answer(200));
    running.stop().await;
    bench.base.sql("update pipeline.outbox set state = 'waiting', next_try_at = null").await;
    let running = bench.start().await;
    until_sent(&bench).await;
    assert_eq!(receiver.acknowledged().len(), 4);
    running.stop().await;
}

/// Twenty events die of a wrong URL; what follows waits until it is right.
pub async fn refusals_without_end_are_no_deaths(base: Base) {
    let (bench, receiver) = bench(base).await;
    receiver.does(|_, _| Deed::Answer(404));
    for n in 0..60 {
        order(&bench, &format!("e{n}"), 0);
    }
    let running = bench.drain().await;
    let opened = r#"shock_sink_breaker{sink="crm"}"#;
    bench.until("it gives up for a while", async || running.metric(opened) == 2).await;
    assert_eq!((bench.count(DEAD).await, bench.count(OUTBOX).await), (20, 60));
    running.stop().await;
}

pub async fn a_receiver_that_asks_for_a_pause_gets_it(base: Base) {
    let (bench, receiver) = bench(base).await;
    let asked = std::sync::Arc::new(parking_lot::Mutex::new(None));
    let (began, noted) = (std::time::Instant::now(), asked.clone());
    receiver.does(move |_, _| {
        let mut noted = noted.lock();
        match *noted {
            None => {
                *noted = Some(began.elapsed());
                Deed::Ask(429, 2)
            }
            Some(_) => Deed::Answer(200),
        }
    });
    // One after the other: nothing is under way beside the one that is told to wait.
    let SinkTarget::Webhook(webhook) = &bench.sinks[0].target else { unreachable!("it is one") };
    let mut webhook = webhook.clone();
    webhook.concurrency = 1;
    let mut bench = bench;
    bench.sinks[0].target = SinkTarget::Webhook(webhook);
    order(&bench, "a", 0);
    let running = bench.drain().await;
    bench.until("it asked", async || asked.lock().is_some()).await;
    order(&bench, "b", 0);
    until_sent(&bench).await;
    let waited = began.elapsed() - asked.lock().expect("it asked");
    assert!(waited >= Duration::from_secs(2), "{waited:?}");
    assert_eq!(receiver.got().len(), 3);
    running.stop().await;
}

pub async fn a_full_sink_makes_its_writers_wait_and_loses_nothing(base: Base) {
    let (mut bench, receiver) = bench(base).await;
    bench.sinks[0].rows_max = 5;
    // Seldom enough for the breaker.
    bench.sinks[0].retry_backoff_min = Duration::from_secs(6);
    bench.sinks[0].retry_backoff_max = Duration::from_secs(6);
    receiver.does(|_, _| Deed::Answer(503));
    for n in 0..8 {
        order(&bench, "a", n);
    }
    let running = bench.drain().await;
    let full = r#"shock_sink_full{sink="crm"}"#;
    bench.until("it is full", async || running.metric(full) == 1).await;
    order(&bench, "a", 8);
    // Where no event goes there, nobody waits.
    bench.append(SECOND, NOON, "umbrella", r#"{"id":"x","type":"other.thing"}"#);
    bench.until("the other is applied", async || bench.count(EVENTS).await == 9).await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(bench.count(EVENTS).await, 9, "the ninth order waits in the log");
    receiver.does(|_, _| Deed::Answer(200));
    bench.until_drained().await;
    until_sent(&bench).await;
    assert_eq!(first_acknowledged(&receiver, "a"), in_order("a", 9));
    running.stop().await;
}

pub async fn only_what_is_applied_is_sent(base: Base) {
    let (mut bench, receiver) = bench(base).await;
    bench.config.retries_max = 0;
    bench.base.refuse_type("order.bad").await;
    order(&bench, "a", 0);
    bench.append(FIRST, NOON, "acme", r#"{"id":"bad","type":"order.bad","subject":"a"}"#);
    order(&bench, "a", 1);
    let running = bench.drain().await;
    until_sent(&bench).await;
    assert_eq!(first_acknowledged(&receiver, "a"), ["a-0", "a-1"]);
    // Its retry has the effect, and so it is sent.
    bench.base.allow_type("order.bad").await;
    bench.redrive().await;
    bench.until("it is sent", async || receiver.acknowledged().contains_key("bad")).await;
    until_sent(&bench).await;
    assert_eq!(receiver.got().len(), 3);
    running.stop().await;
}

/// Dropped after ever more turns of the scheduler, as a killed process is: nothing is lost, and ids stay.
pub async fn a_crash_at_any_step_loses_no_delivery(base: Base) {
    let (mut bench, receiver) = bench(base).await;
    bench.config.batch_records_max = 3;
    for n in 0..40 {
        order(&bench, ["a", "b"][n % 2], n / 2);
    }
    bench.crashes(6, 30).await;
    let running = bench.drain().await;
    bench.redrive().await;
    bench.until("all are applied", async || bench.count(EVENTS).await == 40).await;
    until_sent(&bench).await;
    assert_eq!(receiver.acknowledged().len(), 40);
    let mut ids: BTreeMap<String, String> = BTreeMap::new();
    for got in receiver.got() {
        assert_eq!(ids.entry(got.id()).or_insert(got.message_id.clone()), &got.message_id);
    }
    running.stop().await;
}

pub async fn a_topic_gets_them_in_order_and_named(base: Base) {
    let mut bench = Bench::new(base).await;
    let receiver = Receiver::start().await;
    let topic = PublisherMemory::default();
    let unavailable = Unpublished::Unavailable("a test".to_owned());
    topic.script([unavailable.clone(), unavailable]);
    topic.script([Unpublished::TooLarge]);
    let config =
        SinkConfig { target: SinkTarget::Kafka { topic: "out".to_owned() }, ..webhook(&receiver) };
    for n in 0..10 {
        order(&bench, "a", n);
    }
    bench.config.batch_records_max = 1;
    let process = Process::alone(bench.clock.clone());
    let sink = Sink::new(config, Target::Topic(Publisher::Memory(topic.clone())));
    let store = bench.base.store().await.with_sinks(Sinks::of(vec![sink]));
    let shutdown = Shutdown::new();
    let task = tokio::spawn(bench.consumer(store, &process).run(shutdown.clone()));
    bench.until_drained().await;
    bench.until("all but one are written", async || topic.published().len() == 9).await;
    bench.until("one is left", async || bench.count(OUTBOX).await == 1).await;
    shutdown.cancel();
    task.await.expect("does not panic").expect("stops well");
    let reasons = bench.base.texts("select state || ' ' || reason from pipeline.outbox").await;
    assert_eq!(reasons, ["dead too_large"]);
    let written = topic.published();
    let values: Vec<_> = written.iter().map(|one| one.value.clone()).collect();
    let all: Vec<_> = bench.log.records().into_iter().map(|one| one.value).collect();
    let kept: Vec<_> = all.iter().filter(|value| values.contains(value)).cloned().collect();
    assert_eq!(values, kept, "verbatim, in the log's order");
    for one in &written {
        assert_eq!(one.key.as_ref(), b"acme");
        let (name, id) = one.headers.last().expect("a header");
        assert_eq!(name, HEADER_OUTBOX_ID);
        assert!(id.starts_with(b"msg_"), "{id:?}");
    }
}
