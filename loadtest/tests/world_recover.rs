//! A partition whose records were deleted before they were applied stands still until `shock ctl
//! recover` says where it goes on; `shock ctl replay` reads again without a second effect; and what
//! somebody does to the group's offsets in Kafka moves nothing, and is said.

mod fixture;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, ensure};
use loadtest::admin::metric;
use loadtest::deployment::{Cluster, Deployment, Settings};
use loadtest::records::Topics;
use loadtest::wait::{Seen, wait_until};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use shared::Shutdown;
use shared::clock::Clock;

/// Events per load.
const EVENTS: u64 = 400;

const DEADLINE: Duration = Duration::from_secs(60);
const KAFKA_TIMEOUT: Duration = Duration::from_secs(10);

const SIGNED: [&str; 4] = ["--by", "ops", "--why", "a test"];

#[tokio::test(flavor = "multi_thread")]
async fn records_deleted_unread_halt_until_an_operator_says_where_to_go_on() -> anyhow::Result<()> {
    let run = fixture::Run::new("recover")?;
    let mut cluster = run.cluster(&Settings::default(), 1).await?;
    let before = post(&run, &cluster, "before").await?;
    cluster.effects().wait_for(before, DEADLINE).await?;
    cluster.consumer_stop(0).await?;
    let deleted = post(&run, &cluster, "deleted").await?;
    let cut = truncate(cluster.topics()).await?;
    let after = post(&run, &cluster, "after").await?;

    cluster.consumer_up(0).await?;
    let admin = cluster.consumer_admin(0)?;
    wait_until("the cut partitions to halt", DEADLINE, async || {
        let halted = metric(admin, "shock_consumer_halted").await?;
        Ok(if halted >= cut as f64 { Seen::There(()) } else { Seen::NotYet(format!("{halted}")) })
    })
    .await?;
    let seen = cluster.ctl(&["ctl", "recover"]).await?;
    println!("{seen}");
    let lines = seen.lines().filter(|line| line.contains("deleted from the log before they were"));
    assert_eq!(lines.count(), cut, "{seen}");
    assert_eq!(cluster.effects().count().await?, before, "looking moves nothing");

    let mut recover = vec!["ctl", "recover", "--to", "earliest", "--apply"];
    recover.extend(SIGNED);
    let moved = cluster.ctl(&recover).await?;
    println!("{moved}");
    assert_eq!(moved.lines().filter(|line| line.contains("are LOST")).count(), cut, "{moved}");
    // The consumer was not told: it sees it in the database.
    cluster.effects().wait_for(before + after, DEADLINE).await?;
    wait_until("nothing to stand still", DEADLINE, async || {
        let halted = metric(admin, "shock_consumer_halted").await?;
        Ok(if halted == 0.0 { Seen::There(()) } else { Seen::NotYet(format!("{halted}")) })
    })
    .await?;

    let effects = cluster.effects().read().await?;
    let ids: BTreeSet<_> = effects.iter().map(|effect| &effect.identity).collect();
    assert_eq!((ids.len(), effects.len() as u64), (effects.len(), before + after));
    assert!(effects.iter().all(|effect| !effect.identity.id.starts_with("deleted")));
    assert_eq!(deleted, EVENTS);
    Deployment::Cluster(Box::new(cluster)).stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_has_no_second_effect_and_a_reset_group_moves_nothing() -> anyhow::Result<()> {
    let run = fixture::Run::new("replay")?;
    let mut cluster = run.cluster(&Settings::default(), 1).await?;
    let first = post(&run, &cluster, "first").await?;
    cluster.effects().wait_for(first, DEADLINE).await?;
    let time = Clock::System.now().rfc3339();
    let second = post(&run, &cluster, "second").await?;
    cluster.effects().wait_for(first + second, DEADLINE).await?;

    let mut replay = vec!["ctl", "replay", "transactional", "--from-time", &time];
    replay.extend(SIGNED);
    let moved = cluster.ctl(&replay).await?;
    println!("{moved}");
    // Every record of the second load comes again, and is known.
    duplicates(&cluster, second).await?;

    cluster.consumer_stop(0).await?;
    let reset = reset_group(cluster.topics()).await?;
    assert!(reset > 0);
    cluster.consumer_up(0).await?;
    let third = post(&run, &cluster, "third").await?;
    cluster.effects().wait_for(first + second + third, DEADLINE).await?;
    let consumer = cluster.consumer(0)?;
    wait_until("the reset to be said", DEADLINE, async || {
        let log = consumer.log_text()?;
        let said = log.matches("offsets were changed by somebody else").count();
        Ok(if said == 1 { Seen::There(()) } else { Seen::NotYet(format!("{said} times")) })
    })
    .await?;
    assert_eq!(metric(cluster.consumer_admin(0)?, "shock_consumer_duplicates_total").await?, 0.0);

    let accepted = first + second + third;
    let deployment = Deployment::Cluster(Box::new(cluster));
    let findings = deployment.reconcile(&run.ledger).await?.clean()?;
    assert_eq!(findings.effects as u64, accepted);
    deployment.stop().await
}

async fn duplicates(cluster: &Cluster, count: u64) -> anyhow::Result<()> {
    let admin = cluster.consumer_admin(0)?;
    wait_until(format!("{count} duplicates"), DEADLINE, async || {
        let found = metric(admin, "shock_consumer_duplicates_total").await?;
        Ok(if found == count as f64 { Seen::There(()) } else { Seen::NotYet(format!("{found}")) })
    })
    .await
}

/// Posts as fast as it is accepted; how many were.
async fn post(run: &fixture::Run, cluster: &Cluster, name: &str) -> anyhow::Result<u64> {
    let mut load = run.load(cluster.target(), 2_000);
    load.name = name.to_owned();
    load.events_max = Some(EVENTS);
    load.run(&Shutdown::new()).await?.all_accepted()
}

/// The partitions of transactional with their ends, where they have records.
fn ends(topics: &Topics, consumer: &BaseConsumer) -> anyhow::Result<Vec<(i32, i64)>> {
    let topic = format!("{}.transactional", topics.prefix);
    let metadata = consumer.fetch_metadata(Some(&topic), KAFKA_TIMEOUT).context("metadata")?;
    let partitions = metadata.topics()[0].partitions().iter();
    let mut ends = Vec::new();
    for partition in partitions {
        let (_, end) = consumer.fetch_watermarks(&topic, partition.id(), KAFKA_TIMEOUT)?;
        ends.extend((end > 0).then_some((partition.id(), end)));
    }
    Ok(ends)
}

fn client(topics: &Topics, group: &str) -> anyhow::Result<BaseConsumer> {
    ClientConfig::new()
        .set("bootstrap.servers", &topics.brokers)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .create()
        .context("a consumer")
}

/// Deletes all that is in the topic, as retention would; in how many partitions.
async fn truncate(topics: &Topics) -> anyhow::Result<usize> {
    let topics = topics.clone();
    let asked = topics.clone();
    let ends = tokio::task::spawn_blocking(move || ends(&asked, &client(&asked, "outside")?));
    let ends = ends.await??;
    let topic = format!("{}.transactional", topics.prefix);
    let mut list = TopicPartitionList::new();
    for (partition, end) in &ends {
        list.add_partition_offset(&topic, *partition, Offset::Offset(*end)).context("an offset")?;
    }
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &topics.brokers).create().context("admin")?;
    let deleted = admin.delete_records(&list, &AdminOptions::new()).await.context("delete")?;
    for element in deleted.elements() {
        element.error().with_context(|| format!("partition {}", element.partition()))?;
    }
    Ok(ends.len())
}

/// Puts the group's offsets to the beginning, as Kafka's own tools do while nobody is a member; of how
/// many partitions.
async fn reset_group(topics: &Topics) -> anyhow::Result<usize> {
    let topics = topics.clone();
    let reset = tokio::task::spawn_blocking(move || {
        let consumer = client(&topics, &format!("{}.shock", topics.prefix))?;
        let ends = ends(&topics, &consumer)?;
        let topic = format!("{}.transactional", topics.prefix);
        let mut list = TopicPartitionList::new();
        for (partition, _) in &ends {
            list.add_partition_offset(&topic, *partition, Offset::Offset(0))
                .context("an offset")?;
        }
        consumer.commit(&list, CommitMode::Sync).context("commit")?;
        ensure!(!ends.is_empty(), "the topic is empty");
        Ok(ends.len())
    });
    reset.await?
}
