//! `shock ctl events find` says what became of an event: applied, pending, parked, or unknown.

mod fixture;

use std::time::Duration;

use anyhow::Context;
use loadtest::deployment::{Cluster, Deployment, Settings};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use shared::Shutdown;

const EFFECTS_DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn every_fate_is_told() -> anyhow::Result<()> {
    let run = fixture::Run::new("find")?;
    let mut cluster = run.cluster(&Settings::default(), 1).await?;
    post(&run, &cluster, "before").await?;
    cluster.effects().wait_for(1, EFFECTS_DEADLINE).await?;
    expect(&cluster, "before-0", &["applied", "transactional", "offset"]).await?;
    expect(&cluster, "no-such-event", &["unknown"]).await?;

    foreign_record(&cluster).await?;
    post(&run, &cluster, "behind-foreign").await?;
    cluster.effects().wait_for(2, EFFECTS_DEADLINE).await?;
    expect(&cluster, "foreign", &["parked", "reason", "transactional", "offset"]).await?;

    cluster.consumer_kill(0).await?;
    post(&run, &cluster, "after").await?;
    expect(&cluster, "after-0", &["pending", "transactional", "offset"]).await?;
    cluster.consumer_up(0).await?;
    cluster.effects().wait_for(3, EFFECTS_DEADLINE).await?;
    expect(&cluster, "after-0", &["applied"]).await?;
    let tail = cluster.ctl(&["ctl", "events", "tail", "-n", "1"]).await?;
    assert!(tail.contains("after-0") && !tail.contains("before-0"), "{tail}");
    Deployment::Cluster(Box::new(cluster)).stop().await
}

/// One event of tenant acme, the id ends in -0.
async fn post(run: &fixture::Run, cluster: &Cluster, name: &str) -> anyhow::Result<()> {
    let mut load = run.load(cluster.target(), 1_000);
    load.name = name.to_owned();
    load.connections = 1;
    load.events_max = Some(1);
    let accepted = load.run(&Shutdown::new()).await?.all_accepted()?;
    anyhow::ensure!(accepted == 1, "{accepted} posts of one event");
    Ok(())
}

async fn expect(cluster: &Cluster, id: &str, words: &[&str]) -> anyhow::Result<()> {
    let said = cluster.ctl(&["ctl", "events", "find", "acme", id]).await?;
    let said_lower = said.to_lowercase();
    for word in words {
        anyhow::ensure!(said_lower.contains(word), "find {id} has to say `{word}`: {said}");
    }
    Ok(())
}

/// What a foreign writer may put into the topic, past the ingress: an event that `jsonb` refuses.
async fn foreign_record(cluster: &Cluster) -> anyhow::Result<()> {
    let topics = cluster.topics();
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &topics.brokers)
        .set("acks", "all")
        // Java's partitioner, so that the record is where the tenant's records are.
        .set("partitioner", "murmur2_random")
        .create()
        .context("a producer")?;
    let topic = format!("{}.transactional", topics.prefix);
    let value = r#"{"id":"foreign","type":"order.paid","data":"\u0000"}"#;
    let record: FutureRecord<'_, str, str> = FutureRecord::to(&topic).key("acme").payload(value);
    let sent = producer.send(record, EFFECTS_DEADLINE).await;
    sent.map(drop).map_err(|(error, _)| error).context("the foreign record")
}
