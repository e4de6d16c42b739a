//! On librdkafka's own broker in memory: each instance of the producer has a fresh one.

use std::time::Instant;

use super::*;
use crate::clock::Millis;
use crate::log::kafka::{Cleanup, Durability, GroupProtocol, Timestamps, TopicSpec, native};
use crate::log::{Acks, Outcome};
use crate::position::{Class, Partition, PartitionId};

const ID: PartitionId = PartitionId { class: Class::Control, partition: Partition(0) };
/// Longer than anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn producer(properties: &[(&str, &str)]) -> Producer {
    let spec = TopicSpec {
        partitions: 1,
        replication: 1,
        min_insync_replicas: 1,
        retention_ms: 1,
        message_bytes_max: 1_000_000,
        timestamps: Timestamps::Create,
        cleanup: Cleanup::Delete,
        segment_ms: None,
    };
    let properties = properties.iter().chain(&[("test.mock.num.brokers", "1")]);
    let config = KafkaConfig {
        brokers: "127.0.0.1:1".to_owned(),
        topic_prefix: "events".to_owned(),
        topics: [spec; 3],
        durability: Durability::Single,
        group_protocol: GroupProtocol::Classic,
        properties: properties.map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
    };
    Producer::over(&config, Fitness::proven(), Shutdown::new()).expect("librdkafka starts")
}

fn append_to(producer: &Producer, value: &[u8], ticket: Ticket) {
    let record = NewRecord { id: ID, timestamp: Millis(1), key: b"acme", value, headers: &[] };
    producer.append(&record, ticket);
}

async fn append(producer: &Producer) -> Outcome {
    let acks = Acks::new(1);
    append_to(producer, b"{}", acks.ticket(0));
    settled(&acks).await
}

async fn settled(acks: &Acks) -> Outcome {
    tokio::time::timeout(PATIENCE, acks.settled()).await.expect("every ticket is settled");
    acks.outcome(0)
}

#[tokio::test]
async fn a_producer_that_fails_for_good_is_replaced_and_nothing_is_sent_again() {
    let producer = producer(&[]);
    assert!(append(&producer).await.is_ok());
    let failing = producer.shared.instance().expect("one instance");
    native::fail(failing.client());
    // Refused at once, whether the old instance is still in place or none is.
    assert_eq!(append(&producer).await, Err(AppendError::Unavailable));
    drop(failing);
    let deadline = Instant::now() + PATIENCE;
    while append(&producer).await.is_err() {
        assert!(Instant::now() < deadline, "no new instance came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    producer.flush().await;
    assert!(producer.shared.load.is_empty());
}

#[tokio::test]
async fn a_dropped_producer_settles_what_it_has() {
    let producer = producer(&[]);
    let acks = Acks::new(500);
    for index in 0..500 {
        append_to(&producer, b"{}", acks.ticket(index));
    }
    drop(producer);
    let settled = tokio::time::timeout(Duration::from_millis(1), acks.settled()).await;
    assert!(settled.is_ok(), "the drop returns when every ticket is settled");
}

#[tokio::test]
async fn a_partition_that_is_slower_than_its_load_is_no_silent_broker() {
    // One record a batch, and a broker that takes its time over each, but answers.
    let producer = producer(&[("batch.size", "1024")]);
    assert!(append(&producer).await.is_ok());
    let writer = producer.shared.instance().expect("one instance");
    let broker = writer.client().mock_cluster().expect("a broker in memory");
    broker.broker_round_trip_time(1, Duration::from_millis(700)).expect("it can be slow");
    let acks = Acks::new(6);
    let value = vec![b'x'; 900];
    for index in 0..6 {
        append_to(&producer, &value, acks.ticket(index));
    }
    tokio::time::timeout(PATIENCE, acks.settled()).await.expect("every ticket is settled");
    let refused: Vec<_> = (0..6).filter(|index| acks.outcome(*index).is_err()).collect();
    assert_eq!(refused, [0; 0], "all of them waited for their turn, the last for over 2 s");
}

#[tokio::test]
async fn records_of_one_batch_are_not_parted_by_their_time_outs() {
    // So long a linger that the second record joins the first one's batch most of a second later.
    let producer = producer(&[("linger.ms", "1800")]);
    assert!(append(&producer).await.is_ok());
    let writer = producer.shared.instance().expect("one instance");
    let broker = writer.client().mock_cluster().expect("a broker in memory");
    broker.broker_down(1).expect("it can be away");
    let (first, second) = (Acks::new(1), Acks::new(1));
    append_to(&producer, b"first", first.ticket(0));
    tokio::time::sleep(Duration::from_millis(800)).await;
    append_to(&producer, b"second", second.ticket(0));

    // The first one's time is over, the second one's is not, and the broker is back.
    assert_eq!(settled(&first).await, Err(AppendError::Unknown), "it may still land");
    broker.broker_up(1).expect("it can be back");
    if let Ok(position) = settled(&second).await {
        assert_eq!(position.offset.0, 2, "behind the first one, which nobody waited for");
    }
    let deadline = Instant::now() + PATIENCE;
    let third = loop {
        match append(&producer).await {
            Ok(position) => break position.offset.0,
            Err(AppendError::Unavailable) => {
                assert!(Instant::now() < deadline, "the broker stays refused");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("nothing is sent before the broker answers: {error}"),
        }
    };
    assert_eq!(third, 3, "behind the one before the outage and both of the batch");
}
