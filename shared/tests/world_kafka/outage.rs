//! A broker that is killed: nothing that was acknowledged is missing, nothing stays open.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use shared::log::kafka::topics;
use shared::log::{Acks, AppendError, Outcome};

use crate::broker::Broker;
use crate::support::{
    PATIENCE, append, config_at, create_topics, id, plain, producer, scanned, text, until, values,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broker_leaves_every_record_settled_and_no_acknowledgement_false() {
    let mut broker = Broker::start();
    let config = config_at(broker.address(), 1);
    until("the broker answers", async || topics::plan(&config).await.is_ok()).await;
    create_topics(&config).await;
    let producer = producer(&config).await;

    let mut sent: Vec<(String, Acks, Instant)> = Vec::new();
    let begun = Instant::now();
    let mut killed = false;
    while begun.elapsed() < Duration::from_secs(4) {
        for _ in 0..20 {
            let (value, acks) = (format!("value-{}", sent.len()), Acks::new(1));
            producer.append(&plain(id(0), value.as_bytes()), acks.ticket(0));
            sent.push((value, acks, Instant::now()));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        if !killed && begun.elapsed() > Duration::from_secs(2) {
            broker.kill();
            killed = true;
        }
    }
    let outcomes = settled(sent).await;
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
    until("the broker is back", async || append(&producer, id(0), &values(0..1)).await[0].is_ok())
        .await;
    let log = text(&scanned(&config, id(0)).await);
    let there: BTreeSet<&String> = log.iter().collect();
    for (value, outcome) in &outcomes {
        match outcome {
            Ok(position) => assert_eq!(&log[position.offset.0 as usize], value),
            Err(AppendError::Unavailable) => {
                assert!(value == "value-0" || !there.contains(value), "{value} was refused");
            }
            Err(_) => {}
        }
    }
}

/// Waits for each record's outcome, and for none longer than its time.
async fn settled(sent: Vec<(String, Acks, Instant)>) -> Vec<(String, Outcome)> {
    let mut outcomes = Vec::with_capacity(sent.len());
    for (value, acks, since) in sent {
        tokio::time::timeout(PATIENCE, acks.settled()).await.expect("every ticket is settled");
        assert!(since.elapsed() < Duration::from_secs(14), "{:?}", since.elapsed());
        outcomes.push((value, acks.outcome(0)));
    }
    outcomes
}
