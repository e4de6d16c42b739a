//! The breaker on real brokers: what goes to a broker that is gone or hangs is refused at once, what
//! goes to the others goes on, and what was acknowledged is there.

use std::time::{Duration, Instant};

use shared::log::kafka::{Producer, topics};
use shared::log::{Acks, AppendError, Outcome};

use crate::broker::{Broker, brokers, leaders};
use crate::support::{
    PATIENCE, append, config_at, create_topics, id, plain, producer, scanned, text, until,
};

/// The breaker opens after 2 s and is looked at ten times a second; this machine may be busy.
const OPEN_WITHIN: Duration = Duration::from_secs(4);
/// No append of a broker that answers takes that long.
const SERVED_WITHIN: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_partitions_of_a_killed_broker_are_refused_at_once_and_the_others_go_on() {
    let first = Broker::start();
    let config = config_at(first.address(), 2);
    until("the first broker answers", async || topics::plan(&config).await.is_ok()).await;
    let mut second = first.another(2);
    until("both brokers are there", async || brokers(&config.brokers) == 2).await;
    // One replica each: one partition on each broker.
    create_topics(&config).await;
    let producer = producer(&config).await;
    let leader = leaders(&config.brokers, &config.topic(id(0).class));
    let (stays, goes) = if leader[0] == 1 { (id(0), id(1)) } else { (id(1), id(0)) };
    assert!(append(&producer, goes, &["before".to_owned()]).await[0].is_ok());
    assert!(append(&producer, stays, &["before".to_owned()]).await[0].is_ok());

    second.kill();
    let killed = Instant::now();
    let mut open = Vec::new();
    let mut there = vec!["before".to_owned()];
    while !refused_at_once(&producer, goes, &mut open) {
        assert!(killed.elapsed() < OPEN_WITHIN, "the breaker stays closed");
        let value = format!("value-{}", there.len());
        let since = Instant::now();
        assert!(append(&producer, stays, std::slice::from_ref(&value)).await[0].is_ok());
        assert!(since.elapsed() < SERVED_WITHIN, "{:?}", since.elapsed());
        there.push(value);
    }
    for acks in &open {
        tokio::time::timeout(PATIENCE, acks.settled()).await.expect("every ticket is settled");
        assert!(acks.outcome(0).is_err(), "nobody leads the partition");
    }
    let after = ["after".to_owned()];
    until("the others go on", async || append(&producer, stays, &after).await[0].is_ok()).await;
    let log = text(&scanned(&config, stays).await);
    assert_eq!(&log[..there.len()], there);

    second.restart();
    until("it is back", async || append(&producer, goes, &after).await[0].is_ok()).await;
    let log = text(&scanned(&config, goes).await);
    assert_eq!(log.first().map(String::as_str), Some("before"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_hangs_opens_the_breaker_and_an_answer_closes_it() {
    let broker = Broker::start();
    let config = config_at(broker.address(), 1);
    until("the broker answers", async || topics::plan(&config).await.is_ok()).await;
    create_topics(&config).await;
    let producer = producer(&config).await;
    assert!(append(&producer, id(0), &["before".to_owned()]).await[0].is_ok());

    broker.pause();
    let paused = Instant::now();
    let mut open = Vec::new();
    while !refused_at_once(&producer, id(0), &mut open) {
        assert!(paused.elapsed() < OPEN_WITHIN, "the breaker stays closed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut outcomes: Vec<Outcome> = Vec::new();
    for acks in &open {
        tokio::time::timeout(PATIENCE, acks.settled()).await.expect("every ticket is settled");
        outcomes.push(acks.outcome(0));
    }
    assert!(outcomes.iter().all(Result::is_err), "{outcomes:?}");
    assert!(outcomes.contains(&Err(AppendError::Unknown)), "it was sent");
    producer.flush().await;

    broker.resume();
    until("it is back", async || append(&producer, id(0), &["after".to_owned()]).await[0].is_ok())
        .await;
    let log = text(&scanned(&config, id(0)).await);
    assert_eq!(log.first().map(String::as_str), Some("before"));
    assert_eq!(log.last().map(String::as_str), Some("after"));
}

/// Appends one record; whether it was refused before the call returned. Otherwise its acks are kept.
fn refused_at_once(
    producer: &Producer,
    id: shared::position::PartitionId,
    open: &mut Vec<Acks>,
) -> bool {
    let acks = Acks::new(1);
    producer.append(&plain(id, b"value"), acks.ticket(0));
    if acks.outcome(0) == Err(AppendError::Unavailable) {
        return true;
    }
    open.push(acks);
    false
}
