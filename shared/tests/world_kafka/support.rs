//! What the tests share: the services, topics of their own, records in and out.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use shared::clock::Millis;
use shared::log::kafka::{
    Cleanup, Durability, Group, GroupProtocol, KafkaConfig, PartitionReader, Producer, Scanner,
    Timestamps, TopicSpec, topics,
};
use shared::log::{Acks, Change, NewRecord, Outcome, ReadBounds, ReadError, Record};
use shared::position::{Class, Offset, Partition, PartitionId};

/// What may take long on a busy machine, and still fails in the end.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const BOUNDS: ReadBounds =
    ReadBounds { records_max: 1_000, bytes_max: 1 << 20, wait: Duration::from_millis(200) };

pub fn services() -> serde_json::Value {
    let path = std::env::var("SHOCK_SERVICES")
        .expect("SHOCK_SERVICES is the path of services.json: run `cargo xtask services up`");
    let text = std::fs::read_to_string(path).expect("services.json is readable");
    serde_json::from_str(&text).expect("services.json is JSON")
}

/// A configuration with a prefix that nobody else has; its topics are not there yet.
pub fn config(partitions: u32) -> KafkaConfig {
    let brokers = services()["kafka"].as_str().expect("services.json names kafka").to_owned();
    config_at(brokers, partitions)
}

pub fn config_at(brokers: String, partitions: u32) -> KafkaConfig {
    // Ten years: the records of the tests carry a time of 2023, and a broker that has run for half a
    // minute deletes what is older than its topic keeps.
    let spec = TopicSpec {
        partitions,
        replication: 1,
        min_insync_replicas: 1,
        retention_ms: 315_360_000_000,
        message_bytes_max: 100_000,
        timestamps: Timestamps::Create,
        cleanup: Cleanup::Delete,
        segment_ms: None,
    };
    KafkaConfig {
        brokers,
        topic_prefix: format!("t{}", uuid::Uuid::now_v7().simple()),
        topics: [spec; 3],
        durability: Durability::Single,
        group_protocol: GroupProtocol::Classic,
        properties: BTreeMap::from([
            ("session.timeout.ms".to_owned(), "6000".to_owned()),
            ("heartbeat.interval.ms".to_owned(), "500".to_owned()),
        ]),
    }
}

/// The same, with its topics created.
pub async fn created(partitions: u32) -> KafkaConfig {
    let config = config(partitions);
    create_topics(&config).await;
    config
}

pub async fn create_topics(config: &KafkaConfig) {
    let plan = topics::plan(config).await.expect("kafka answers");
    topics::apply(config, &plan).await.expect("topics are created");
    until("the topics are there", async || {
        topics::plan(config).await.is_ok_and(|plan| plan.fits())
    })
    .await;
}

pub async fn producer(config: &KafkaConfig) -> Producer {
    let producer = Producer::start(config).expect("the configuration is good");
    producer.check_topics().await.expect("the topics fit");
    until("the producer is usable", async || producer.usable().is_ok()).await;
    producer
}

pub fn id(partition: u32) -> PartitionId {
    PartitionId { class: Class::Transactional, partition: Partition(partition) }
}

/// Appends values to a partition and waits for all of them.
pub async fn append(producer: &Producer, id: PartitionId, values: &[String]) -> Vec<Outcome> {
    let acks = Acks::new(values.len());
    for (index, value) in values.iter().enumerate() {
        producer.append(&plain(id, value.as_bytes()), acks.ticket(index));
    }
    tokio::time::timeout(PATIENCE, acks.settled()).await.expect("every ticket is settled");
    (0..values.len()).map(|index| acks.outcome(index)).collect()
}

pub fn plain(id: PartitionId, value: &[u8]) -> NewRecord<'_> {
    NewRecord { id, timestamp: Millis(1_700_000_000_000), key: b"acme", value, headers: &[] }
}

pub fn values(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("value-{n}")).collect()
}

pub fn offsets(outcomes: &[Outcome]) -> Vec<i64> {
    outcomes.iter().map(|outcome| outcome.expect("acknowledged").offset.0).collect()
}

/// Everything a partition holds.
pub async fn scanned(config: &KafkaConfig, id: PartitionId) -> Vec<Record> {
    let scanner = Scanner::connect(config, "look").expect("the configuration is good");
    tokio::task::spawn_blocking(move || {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut records = Vec::new();
            let scanned = scanner.scan(id, Offset(0), Offset(i64::MAX), &mut |record| {
                records.push(record.clone());
                ControlFlow::Continue(())
            });
            match scanned {
                Ok(()) => return records,
                // A broker that is just back may not know its partitions yet.
                Err(ReadError::Unavailable(_)) if Instant::now() < deadline => {}
                Err(error) => panic!("the partition can be read: {error}"),
            }
        }
    })
    .await
    .expect("the scan does not panic")
}

pub fn text(records: &[Record]) -> Vec<String> {
    records.iter().map(|it| String::from_utf8_lossy(&it.value).into_owned()).collect()
}

/// Reads until so many records have come.
pub async fn read(reader: &mut PartitionReader, count: usize) -> Vec<Record> {
    let mut records = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while records.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} records came", records.len());
        reader.read(&BOUNDS, &mut records).await.expect("the partition is ours");
    }
    records
}

/// The next change, which has to come.
pub async fn next(group: &mut Group) -> Change {
    tokio::time::timeout(PATIENCE, group.next())
        .await
        .expect("a change comes")
        .expect("the group has not ended")
}

/// The next change, which has to be an assignment.
pub async fn assigned(group: &mut Group) -> Vec<PartitionId> {
    match next(group).await {
        Change::Assigned(ids) => ids,
        other => panic!("an assignment was expected, not {other:?}"),
    }
}

/// Leaves, giving everything back at once.
pub async fn leave(mut group: Group) -> Duration {
    let since = Instant::now();
    group.leave();
    while let Some(change) = tokio::time::timeout(PATIENCE, group.next()).await.expect("it ends") {
        drop(change);
    }
    since.elapsed()
}

/// Asks again and again until it is so.
pub async fn until<F: Future<Output = bool>>(what: &str, mut is: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !is().await {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
