//! A broker that is killed: nothing that was acknowledged is missing, nothing stays open.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use shared::log::kafka::{Producer, topics};
use shared::log::{Acks, AppendError, Outcome};

use crate::broker::Broker;
use crate::support::{
    PATIENCE, append, config_at, create_topics, id, plain, producer, scanned, text, until,
};

/// librdkafka's message time-out, 8 s, is looked at once a second; and this machine may be busy.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broker_leaves_every_record_settled_and_no_acknowledgement_false() {
    let mut broker = Broker::start();
    let config = config_at(broker.address(), 1);
    until("the broker answers", async || topics::plan(&config).await.is_ok()).await;
    create_topics(&config).await;
    let producer = producer(&config).await;

    let outcomes = settled(traffic(&producer, || broker.kill()).await).await;
    let count = |wanted: fn(&Outcome) -> bool| outcomes.iter().filter(|(_, it)| wanted(it)).count();
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
    reconcile(&outcomes, &text(&scanned(&config, id(0)).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_hangs_leaves_unknown_what_it_was_sent() {
    let broker = Broker::start();
    let config = config_at(broker.address(), 1);
    until("the broker answers", async || topics::plan(&config).await.is_ok()).await;
    create_topics(&config).await;
    let producer = producer(&config).await;
    let outcomes = settled(traffic(&producer, || broker.pause()).await).await;
    assert!(outcomes.iter().any(|(_, it)| it.is_ok()));
    assert!(outcomes.iter().any(|(_, it)| *it == Err(AppendError::Unknown)), "it was sent");
    let known =
        |it: &Outcome| matches!(it, Ok(_) | Err(AppendError::Unavailable | AppendError::Unknown));
    assert!(outcomes.iter().all(|(_, it)| known(it)));

    broker.resume();
    until("the broker is back", async || {
        append(&producer, id(0), &["again".to_owned()]).await[0].is_ok()
    })
    .await;
    reconcile(&outcomes, &text(&scanned(&config, id(0)).await));
}

/// Four seconds of records, with the outage in the middle.
async fn traffic(producer: &Producer, outage: impl FnOnce()) -> Vec<(String, Acks, Instant)> {
    let mut sent = Vec::new();
    let begun = Instant::now();
    let mut outage = Some(outage);
    while begun.elapsed() < Duration::from_secs(4) {
        for _ in 0..20 {
            let (value, acks) = (format!("value-{}", sent.len()), Acks::new(1));
            producer.append(&plain(id(0), value.as_bytes()), acks.ticket(0));
            sent.push((value, acks, Instant::now()));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        if begun.elapsed() > Duration::from_secs(2)
            && let Some(outage) = outage.take()
        {
            outage();
        }
    }
    sent
}

/// What was acknowledged stands where it was said to; what was refused is not there; nothing is
/// there twice.
fn reconcile(outcomes: &[(String, Outcome)], log: &[String]) {
    let there: BTreeSet<&String> = log.iter().filter(|it| it.starts_with("value-")).collect();
    assert_eq!(there.len(), log.iter().filter(|it| it.starts_with("value-")).count());
    for (value, outcome) in outcomes {
        match outcome {
            Ok(position) => assert_eq!(&log[position.offset.0 as usize], value),
            Err(AppendError::Unavailable) => assert!(!there.contains(value), "{value}: refused"),
            Err(_) => {}
        }
    }
}

/// Waits for each record's outcome, and for none longer than its time.
async fn settled(sent: Vec<(String, Acks, Instant)>) -> Vec<(String, Outcome)> {
    let mut outcomes = Vec::with_capacity(sent.len());
    for (value, acks, since) in sent {
        tokio::time::timeout(PATIENCE, acks.settled()).await.expect("every ticket is settled");
        assert!(since.elapsed() < SETTLED_WITHIN, "{:?}", since.elapsed());
        outcomes.push((value, acks.outcome(0)));
    }
    outcomes
}
