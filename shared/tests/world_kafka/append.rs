//! What is appended is there, as it was given; what is not taken says why.

use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use shared::clock::Millis;
use shared::log::kafka::{Producer, Scanner};
use shared::log::{Acks, AppendError, NewRecord};
use shared::position::{Class, Offset, PartitionId, Position};
use shared::route::Router;

use crate::support::{
    PATIENCE, append, config, config_at, created, id, offsets, plain, producer, scanned, text,
    values,
};

#[tokio::test]
async fn a_record_comes_back_as_it_was_given() {
    let config = created(2).await;
    let producer = producer(&config).await;
    let value: Vec<u8> = (0..=255).cycle().take(9_000).collect();
    let record = NewRecord {
        id: id(1),
        timestamp: Millis(1_712_345_678_901),
        key: b"acme/cart-\xff",
        value: &value,
        headers: &[("content-type", b"application/json"), ("ce_id", b""), ("ce_id", b"\x00\xfe")],
    };
    let acks = Acks::new(1);
    producer.append(&record, acks.ticket(0));
    acks.settled().await;
    assert_eq!(acks.outcome(0), Ok(Position { id: id(1), offset: Offset(0) }));

    let [read] = &scanned(&config, id(1)).await[..] else { panic!("one record") };
    assert_eq!(
        (read.position, read.timestamp),
        (acks.outcome(0).expect("acked"), record.timestamp)
    );
    assert_eq!((&read.key[..], &read.value[..]), (record.key, record.value));
    let headers: Vec<(&str, &[u8])> =
        read.headers.iter().map(|(name, value)| (name.as_str(), &value[..])).collect();
    assert_eq!(headers, record.headers);
    assert!(scanned(&config, id(0)).await.is_empty());
}

#[tokio::test]
async fn order_is_kept_and_offsets_tell_it() {
    let config = created(1).await;
    let producer = producer(&config).await;
    let values = values(0..5_000);
    let outcomes = append(&producer, id(0), &values).await;
    assert_eq!(offsets(&outcomes), (0..5_000).collect::<Vec<_>>());
    assert_eq!(text(&scanned(&config, id(0)).await), values);

    let scanner = Scanner::connect(&config, "look").expect("the configuration is good");
    let range = tokio::task::spawn_blocking(move || scanner.range(id(0))).await;
    assert_eq!(range.expect("no panic"), Ok((Offset(0), Offset(5_000))));
}

#[tokio::test]
async fn a_flush_waits_for_every_ticket() {
    let config = created(1).await;
    let producer = producer(&config).await;
    let acks = Acks::new(1_000);
    for index in 0..1_000 {
        producer.append(&plain(id(0), b"{}"), acks.ticket(index));
    }
    producer.flush().await;
    for index in 0..1_000 {
        assert_eq!(acks.outcome(index).map(|it| it.offset), Ok(Offset(index as i64)));
    }
}

#[tokio::test]
async fn partitions_are_those_that_kafkas_default_partitioner_chooses() {
    let config = created(7).await;
    let router = Router::new([7; 3], Vec::new());
    let topic = config.topic(Class::Telemetry);
    let java: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &config.brokers)
        .set("partitioner", "murmur2_random")
        .create()
        .expect("a plain client");
    let keys: Vec<String> = (0..200).map(|n| format!("tenant-{n}/entity-{}", n * 7)).collect();
    for key in &keys {
        let record = BaseRecord::to(&topic).key(key).payload(key);
        java.send(record).map_err(|(error, _)| error).expect("the queue has room");
    }
    java.flush(PATIENCE).expect("kafka is there");

    let mut seen = 0;
    for partition in 0..7 {
        let id = PartitionId { class: Class::Telemetry, ..id(partition) };
        for record in scanned(&config, id).await {
            assert_eq!(router.partition(Class::Telemetry, &record.key), id, "{:?}", record.key);
            seen += 1;
        }
    }
    assert_eq!(seen, keys.len());
}

#[tokio::test]
async fn a_foreign_record_without_key_value_and_header_value_is_read() {
    let config = created(1).await;
    let client: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &config.brokers)
        .create()
        .expect("a plain client");
    let headers = rdkafka::message::OwnedHeaders::new()
        .insert(rdkafka::message::Header { key: "caf\u{e9}", value: Some(b"x") })
        .insert(rdkafka::message::Header::<&[u8; 0]> { key: "none", value: None });
    let topic = config.topic(Class::Transactional);
    let record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&topic).partition(0).headers(headers);
    client.send(record).map_err(|(error, _)| error).expect("the queue has room");
    client.flush(PATIENCE).expect("kafka is there");

    let [read] = &scanned(&config, id(0)).await[..] else { panic!("one record") };
    assert!(read.key.is_empty() && read.value.is_empty(), "no key and a tombstone");
    assert_eq!(read.header("caf\u{e9}"), Some(&b"x"[..]));
    assert_eq!(read.header("none"), Some(&b""[..]));
}

#[tokio::test]
async fn what_the_queue_does_not_hold_is_refused_at_once() {
    let mut config = created(1).await;
    config.properties.extend([
        ("queue.buffering.max.messages".to_owned(), "10".to_owned()),
        ("linger.ms".to_owned(), "500".to_owned()),
    ]);
    let producer = producer(&config).await;
    let outcomes = append(&producer, id(0), &values(0..50)).await;
    let taken = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let full = outcomes.iter().filter(|it| **it == Err(AppendError::Full)).count();
    assert_eq!((taken, full), (10, 40));
    assert_eq!(text(&scanned(&config, id(0)).await), values(0..10));
}

#[tokio::test]
async fn a_record_above_the_topics_bound_is_too_large() {
    let config = created(1).await;
    let producer = producer(&config).await;
    // Not compressible: the topic's bound counts compressed bytes.
    let mut state = 1_u64;
    let noise = |length: usize| -> Vec<u8> {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u8
        };
        std::iter::repeat_with(&mut next).take(length).collect()
    };
    let (mut noise, acks) = (noise, Acks::new(2));
    producer.append(&plain(id(0), &noise(200_000)), acks.ticket(0));
    producer.append(&plain(id(0), &noise(90_000)), acks.ticket(1));
    acks.settled().await;
    assert_eq!(acks.outcome(0), Err(AppendError::TooLarge));
    assert!(acks.outcome(1).is_ok(), "{:?}", acks.outcome(1));
}

#[tokio::test]
async fn kafka_away_at_the_start_is_not_an_error_but_not_usable() {
    // A port that nothing listens on: bound and let go.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port();
    let config = config_at(format!("127.0.0.1:{port}"), 1);
    let producer = Producer::start(&config).expect("kafka is not asked");
    producer.check_topics().await.expect("away is not unfit");
    assert!(producer.usable().is_err());
    let outcomes = append(&producer, id(0), &values(0..3)).await;
    assert_eq!(outcomes, vec![Err(AppendError::Unavailable); 3]);
}

#[tokio::test]
async fn missing_topics_are_not_usable_until_they_are_created() {
    let config = config(1);
    let producer = Producer::start(&config).expect("the configuration is good");
    let error = producer.check_topics().await.expect_err("nothing is there");
    assert!(error.is_permanent());
    assert!(error.to_string().contains("is missing"), "{error}");
    assert!(producer.usable().is_err());
    assert_eq!(append(&producer, id(0), &values(0..1)).await, [Err(AppendError::Unavailable)]);

    crate::support::create_topics(&config).await;
    crate::support::until("it is usable", async || producer.usable().is_ok()).await;
    assert_eq!(offsets(&append(&producer, id(0), &values(0..1)).await), [0]);
}
