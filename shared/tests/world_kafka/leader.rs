//! Three brokers with three replicas each: a leader is killed, and no acknowledgement turns out false.

use std::collections::BTreeMap;

use shared::log::kafka::{Durability, topics};

use crate::books::{reconcile, settled, traffic};
use crate::broker::{Broker, brokers, leaders};
use crate::support::{append, config_at, create_topics, id, producer, scanned, text, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_followed_by_a_replica_that_has_all_that_was_acknowledged() {
    let first = Broker::start();
    let mut config = config_at(first.address(), 3);
    until("the first broker answers", async || topics::plan(&config).await.is_ok()).await;
    let mut others = BTreeMap::from([2, 3].map(|node| (node, first.another(node))));
    until("all brokers are there", async || brokers(&config.brokers) == 3).await;
    config.durability = Durability::Replicated;
    for topic in &mut config.topics {
        (topic.replication, topic.min_insync_replicas) = (3, 2);
    }
    create_topics(&config).await;
    let producer = producer(&config).await;
    let ids = [id(0), id(1), id(2)];
    // The first node is the only controller and stays.
    let leading = leaders(&config.brokers, &config.topic(ids[0].class));
    let led = leading.into_iter().find(|node| *node != 1).expect("three leaders");
    let victim = others.get_mut(&led).expect("it runs");

    let outcomes = settled(traffic(&producer, &ids, || victim.kill()).await).await;
    assert!(outcomes.iter().any(|it| it.outcome.is_ok()));
    // The killed one stays down: two of three replicas are enough, for its partitions too.
    for id in ids {
        let again = ["again".to_owned()];
        until("every partition goes on", async || append(&producer, id, &again).await[0].is_ok())
            .await;
        reconcile(&outcomes, id, &text(&scanned(&config, id).await));
    }
}
