//! A broker that is killed or hangs, and a producer that fails for good: nothing that was
//! acknowledged is missing, nothing stays open.

use std::time::{Duration, Instant};

use shared::log::kafka::{ProducerMetrics, topics};
use shared::log::{AppendError, Outcome};
use shared::metrics::Registry;

use crate::books::{reconcile, settled, traffic};
use crate::broker::Broker;
use crate::support::{
    append, config_at, create_topics, created, id, producer, scanned, text, until,
};

/// Given up after 30 s without a report, of which `settled` has waited some; this machine may be busy.
const REPLACED_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broker_leaves_every_record_settled_and_no_acknowledgement_false() {
    let mut broker = Broker::start();
    let config = config_at(broker.address(), 1);
    until("the broker answers", async || topics::plan(&config).await.is_ok()).await;
    create_topics(&config).await;
    let producer = producer(&config).await;

    let outcomes = settled(traffic(&producer, &[id(0)], || broker.kill()).await).await;
    let count =
        |wanted: fn(&Outcome) -> bool| outcomes.iter().filter(|it| wanted(&it.outcome)).count();
    let (ok, unavailable, unknown) = (
        count(|it| it.is_ok()),
        count(|it| *it == Err(AppendError::Unavailable)),
        count(|it| *it == Err(AppendError::Unknown)),
    );
    println!("{ok} acknowledged, {unavailable} unavailable, {unknown} unknown");
    assert_eq!(ok + unavailable + unknown, outcomes.len());
    assert!(ok > 0 && unavailable > 0);
    assert!(producer.usable().is_ok(), "a running replica stays usable");

    broker.restart();
    until("the broker is back", async || {
        append(&producer, id(0), &["again".to_owned()]).await[0].is_ok()
    })
    .await;
    reconcile(&outcomes, id(0), &text(&scanned(&config, id(0)).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_hangs_leaves_unknown_what_it_was_sent() {
    let broker = Broker::start();
    let config = config_at(broker.address(), 1);
    until("the broker answers", async || topics::plan(&config).await.is_ok()).await;
    create_topics(&config).await;
    let producer = producer(&config).await;
    let outcomes = settled(traffic(&producer, &[id(0)], || broker.pause()).await).await;
    assert!(outcomes.iter().any(|it| it.outcome.is_ok()));
    let unknown = |it: &Outcome| *it == Err(AppendError::Unknown);
    assert!(outcomes.iter().any(|it| unknown(&it.outcome)), "it was sent");
    let known =
        |it: &Outcome| matches!(it, Ok(_) | Err(AppendError::Unavailable | AppendError::Unknown));
    assert!(outcomes.iter().all(|it| known(&it.outcome)));

    broker.resume();
    until("the broker is back", async || {
        append(&producer, id(0), &["again".to_owned()]).await[0].is_ok()
    })
    .await;
    reconcile(&outcomes, id(0), &text(&scanned(&config, id(0)).await));
}

/// A broker that hangs for longer than a producer is waited for: the instance is given up with what it
/// kept, and the next one serves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_is_stuck_is_replaced() {
    let broker = Broker::start();
    let config = config_at(broker.address(), 1);
    until("the broker answers", async || topics::plan(&config).await.is_ok()).await;
    create_topics(&config).await;
    let (producer, registry) = (producer(&config).await, Registry::new());
    producer.observe(ProducerMetrics::new(&registry));
    let outcomes = settled(traffic(&producer, &[id(0)], || broker.pause()).await).await;
    assert!(outcomes.iter().any(|it| it.outcome.is_ok()));
    let begun = Instant::now();
    while !registry.text().contains("shock_kafka_producer_replaced_total 1") {
        assert!(begun.elapsed() < REPLACED_WITHIN, "the instance is kept");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    until("it is purged as a whole", async || {
        registry.text().contains("shock_kafka_producer_records 0")
    })
    .await;

    broker.resume();
    let again = ["again".to_owned()];
    until("the next one serves", async || append(&producer, id(0), &again).await[0].is_ok()).await;
    reconcile(&outcomes, id(0), &text(&scanned(&config, id(0)).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_fails_for_good_is_replaced_and_the_log_holds_what_was_acknowledged() {
    let config = created(1).await;
    let producer = producer(&config).await;
    let outcomes = settled(traffic(&producer, &[id(0)], || producer.fail()).await).await;
    assert!(outcomes.iter().any(|it| it.outcome.is_ok()));
    assert!(outcomes.iter().any(|it| it.outcome.is_err()), "what is queued is not sent again");
    let again = ["again".to_owned()];
    until("another instance is there", async || append(&producer, id(0), &again).await[0].is_ok())
        .await;
    reconcile(&outcomes, id(0), &text(&scanned(&config, id(0)).await));
}
