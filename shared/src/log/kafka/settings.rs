//! Every librdkafka option that something here relies on, with its reason, and how librdkafka's own
//! log lines reach ours.
//!
//! Options stand even where they equal librdkafka's default: a default may change with a version.
//! What an operator passes through is applied over the tunable ones and refused for the others.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use super::lane::Boarding;
use super::load::Load;
use super::{CONTROL_BYTES_MAX, GroupProtocol, KafkaConfig, KafkaError};
use crate::position::Class;

/// A record is acknowledged, refused or unknown after this long. The request's deadline must be
/// longer by more than a second, so that Kafka's word comes first.
pub const MESSAGE_TIMEOUT_MS: u64 = 8_000;
/// librdkafka's own time-out, which parts the records of a batch: it looks at each by itself, once a
/// second. So it never comes; the poller has the time-outs. Not 0, librdkafka's word for none, with
/// which its averages overflow.
const NEVER_MS: i32 = i32::MAX;

/// Records that librdkafka holds at most; beyond, an append is refused at once.
pub(super) const QUEUE_MESSAGES_MAX: usize = 100_000;
/// Their keys and values at most, in KiB; beyond, the same.
const QUEUE_KIB_MAX: u32 = 262_144;

/// What the queues of all partitions of one consumer may hold together before they take one fetch more
/// each, which brings as much again, and never less than a whole batch of the producer's. That is most of
/// it at hundreds of partitions.
const FETCH_BUDGET_KIB: u32 = 64 * 1024;
/// What the answer to one fetch of many partitions may bring: it is in memory beside what it becomes.
const FETCH_ANSWER_BYTES_MAX: u32 = 8 << 20;
/// A partition's share of it, at least: some hundred records. A larger record is fetched alone.
const FETCH_PARTITION_KIB_MIN: u32 = 128;
/// A partition's share of it, at most: more would not make one writer faster.
const FETCH_PARTITION_KIB_MAX: u32 = 16 * 1024;

/// The largest batch the producer builds, in bytes before compression.
const BATCH_BYTES_MAX: u32 = 1_000_000;
/// Room for the batch's own header, so that a full batch stays under `max.message.bytes`.
const BATCH_HEADER_BYTES: u32 = 1_024;

/// librdkafka settings that the guarantees rest on, or that have a key of their own.
pub const PROPERTIES_RESERVED: [&str; 25] = [
    "acks",
    "allow.auto.create.topics",
    "enable.partition.eof",
    "request.required.acks",
    "enable.idempotence",
    "enable.gapless.guarantee",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "message.send.max.retries",
    "retries",
    "transactional.id",
    "partitioner",
    "bootstrap.servers",
    "metadata.broker.list",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "partition.assignment.strategy",
    "auto.offset.reset",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "isolation.level",
    "message.max.bytes",
    "max.in.flight.requests.per.connection",
    "max.in.flight",
];

/// Settings that are the brokers' to make under [`GroupProtocol::Consumer`]: librdkafka refuses them.
pub const PROPERTIES_OF_CLASSIC: [&str; 2] = ["session.timeout.ms", "heartbeat.interval.ms"];

/// Settings of the one producer; whatever the ingress is compared with takes the same.
pub fn producer(config: &KafkaConfig) -> Result<ClientConfig, KafkaError> {
    let sizes = config.topics.map(|topic| topic.message_bytes_max);
    let largest = sizes.into_iter().max().unwrap_or(BATCH_BYTES_MAX);
    let smallest = sizes.into_iter().min().unwrap_or(BATCH_BYTES_MAX);
    // A broker refuses a batch whole, so no batch may outgrow the smallest topic's bound.
    let batch_bytes = smallest.saturating_sub(BATCH_HEADER_BYTES).clamp(1_024, BATCH_BYTES_MAX);

    let mut client = common(config, "producer");
    client
        // What comes while a partition's batch is under way is the next batch ([`super::lane`]): that
        // gathers without waiting for anybody (ADR 11).
        .set("linger.ms", "0")
        .set("compression.type", "lz4")
        .set("queue.buffering.max.messages", QUEUE_MESSAGES_MAX.to_string())
        .set("queue.buffering.max.kbytes", QUEUE_KIB_MAX.to_string())
        .set("batch.num.messages", "10000")
        .set("batch.size", batch_bytes.to_string())
        .set("message.max.bytes", largest.clamp(1_000, 1_000_000_000).to_string())
        .set("request.timeout.ms", "5000")
        .set("retry.backoff.ms", "100");
    pass_through(&mut client, config)?;
    client
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("max.in.flight.requests.per.connection", "5")
        .set("message.send.max.retries", i32::MAX.to_string())
        .set("message.timeout.ms", NEVER_MS.to_string());
    Ok(client)
}

/// What the producer keeps by itself, as librdkafka was told.
#[derive(Debug)]
pub(super) struct Bounds {
    /// What is held in all.
    pub load: Load,
    /// When a batch takes more records.
    pub boarding: Boarding,
}

/// The bounds of a producer of this configuration, an operator's tuning included.
pub(super) fn bounds(client: &ClientConfig) -> Result<Bounds, KafkaError> {
    let native = client.create_native_config()?;
    let number = |key: &str| -> Result<f64, KafkaError> {
        let text = native.get(key)?;
        text.parse().map_err(|_| KafkaError::Config(format!("{key} = {text} is no number")))
    };
    let whole = |key: &str| number(key).map(|number| number as usize);
    let records = whole("queue.buffering.max.messages")?;
    // 0 is librdkafka's word for no bound; here it is the slots that there are.
    let records = if records == 0 { QUEUE_MESSAGES_MAX } else { records.min(QUEUE_MESSAGES_MAX) };
    Ok(Bounds {
        load: Load::new(records, whole("queue.buffering.max.kbytes")? * 1024),
        boarding: Boarding {
            // What comes later might miss the batch, and would wait inside librdkafka.
            window: Duration::from_secs_f64(number("linger.ms")? / 2_000.0),
            bytes_max: whole("batch.size")?,
        },
    })
}

/// Settings of a group member. `instance` is stable over restarts: a restarted process takes its
/// own place in the group, and nobody else's partitions move.
pub(super) fn member(
    config: &KafkaConfig,
    pipeline: &str,
    instance: &str,
) -> Result<ClientConfig, KafkaError> {
    let partitions: u32 = config.topics.iter().map(|topic| topic.partitions).sum();
    let queue_kib = (FETCH_BUDGET_KIB / partitions.max(1))
        .clamp(FETCH_PARTITION_KIB_MIN, FETCH_PARTITION_KIB_MAX);

    let mut client = common(config, &format!("{pipeline}.{instance}"));
    if config.group_protocol == GroupProtocol::Classic {
        client.set("session.timeout.ms", "10000").set("heartbeat.interval.ms", "2000");
    }
    client
        .set("max.poll.interval.ms", "60000")
        // With split queues this bound counts per partition.
        .set("queued.max.messages.kbytes", queue_kib.to_string())
        .set("queued.min.messages", "5000")
        // librdkafka's default of a second would be a stall of a second at the queue's bound.
        .set("fetch.queue.backoff.ms", "50")
        .set("fetch.min.bytes", "1")
        // Also the longest a newly started partition waits for a fetch that is under way.
        .set("fetch.wait.max.ms", "100")
        // What one fetch brings comes on top of a queue that is nearly full.
        .set("fetch.message.max.bytes", (queue_kib.min(1024) * 1024).to_string())
        .set("fetch.max.bytes", FETCH_ANSWER_BYTES_MAX.to_string())
        // A topic that is created later is found this soon.
        .set("topic.metadata.refresh.interval.ms", "10000");
    pass_through(&mut client, config)?;
    match config.group_protocol {
        GroupProtocol::Classic => client
            .set("group.instance.id", instance)
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "cooperative-sticky"),
        GroupProtocol::Consumer => client.set("group.protocol", "consumer"),
    };
    client
        .set("group.id", config.group_id(pipeline))
        // The position is the database's. What does not fit it is an error, never a jump.
        .set("auto.offset.reset", "error")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "false")
        .set("isolation.level", "read_committed")
        .set("allow.auto.create.topics", "false");
    Ok(client)
}

/// Settings of a consumer that looks without joining its group.
pub(super) fn scanner(config: &KafkaConfig, pipeline: &str) -> Result<ClientConfig, KafkaError> {
    let mut client = common(config, "scanner");
    // What the group has committed can be asked for only under its id.
    looking(&mut client, config, pipeline)?;
    Ok(client)
}

/// What looking rests on, over what an operator passes through.
fn looking(client: &mut ClientConfig, config: &KafkaConfig, group: &str) -> Result<(), KafkaError> {
    pass_through(client, config)?;
    client
        // librdkafka assigns partitions only under a group id. Without a subscription it never joins the
        // group, and without auto-commit it never commits to it.
        .set("group.id", config.group_id(group))
        // A topic that was cut or made anew is no topic to go on in: whoever looks is told.
        .set("auto.offset.reset", "error")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .set("allow.auto.create.topics", "false");
    Ok(())
}

/// Settings of an administrative client.
pub(super) fn admin(config: &KafkaConfig) -> Result<ClientConfig, KafkaError> {
    let mut client = common(config, "admin");
    pass_through(&mut client, config)?;
    Ok(client)
}

/// Settings of the client that asks for the brokers' time: one record at a time, at once.
pub(super) fn clock_probe(config: &KafkaConfig) -> Result<ClientConfig, KafkaError> {
    let mut client = common(config, "clock");
    pass_through(&mut client, config)?;
    client
        .set("linger.ms", "0")
        .set("acks", "1")
        .set("message.timeout.ms", "5000")
        .set("allow.auto.create.topics", "false");
    Ok(client)
}

/// Settings of the control plane's reader.
pub(super) fn control_reader(config: &KafkaConfig) -> Result<ClientConfig, KafkaError> {
    let mut client = common(config, "control");
    client
        // A word that comes ends the broker's wait; what is read from the start of the second topic on
        // waits for the one that is under way.
        .set("fetch.wait.max.ms", "100")
        .set("fetch.min.bytes", "1")
        .set("fetch.error.backoff.ms", "200")
        .set("fetch.message.max.bytes", CONTROL_BYTES_MAX.to_string())
        // A process that falls behind holds this much at most; the words wait in the log.
        .set("queued.max.messages.kbytes", "8192")
        .set("queued.min.messages", "1000")
        .set("fetch.queue.backoff.ms", "50")
        .set("topic.metadata.refresh.interval.ms", "10000");
    looking(&mut client, config, "scanner")?;
    Ok(client)
}

/// Settings of the producer of words: what is late or does not fit is dropped.
pub(super) fn control_words(config: &KafkaConfig) -> Result<ClientConfig, KafkaError> {
    let mut client = common(config, "control");
    client
        .set("compression.type", "lz4")
        .set("request.timeout.ms", "2000")
        .set("retry.backoff.ms", "100");
    pass_through(&mut client, config)?;
    client
        // Some seconds of words; what is older is worth nothing.
        .set("queue.buffering.max.messages", "1000")
        .set("queue.buffering.max.kbytes", "16384")
        // What one step says in several words travels together.
        .set("linger.ms", "5")
        .set("acks", "1")
        .set("enable.idempotence", "false")
        // Words of one process stay in order.
        .set("max.in.flight.requests.per.connection", "1")
        .set("message.timeout.ms", "5000")
        .set("message.max.bytes", CONTROL_BYTES_MAX.to_string())
        .set("allow.auto.create.topics", "false");
    Ok(client)
}

/// Settings of the producer that writes one change of the state.
pub(super) fn control_change(config: &KafkaConfig) -> Result<ClientConfig, KafkaError> {
    let mut client = common(config, "control-change");
    pass_through(&mut client, config)?;
    client
        .set("linger.ms", "0")
        .set("acks", "all")
        // Written twice it says the same.
        .set("enable.idempotence", "false")
        .set("max.in.flight.requests.per.connection", "1")
        .set("message.timeout.ms", "8000")
        .set("message.max.bytes", CONTROL_BYTES_MAX.to_string())
        .set("allow.auto.create.topics", "false");
    Ok(client)
}

/// Settings of the producer of the DLQ topic.
pub(super) fn dead_letters(config: &KafkaConfig) -> Result<ClientConfig, KafkaError> {
    let mut client = page_writer(config, "dlq")?;
    client
        // At least once is all that a mirror promises, and an idempotent producer could end for good.
        .set("enable.idempotence", "false")
        // Copies stand in their order.
        .set("max.in.flight.requests.per.connection", "1");
    Ok(client)
}

/// Settings of the producer of a sink's topic.
pub(super) fn sink(config: &KafkaConfig) -> Result<ClientConfig, KafkaError> {
    let mut client = page_writer(config, "sink")?;
    client
        // No record twice in one call, and none before one that failed: then the producer ends, and what
        // it had left fails with it.
        .set("enable.idempotence", "true")
        .set("enable.gapless.guarantee", "true")
        .set("max.in.flight.requests.per.connection", "5")
        .set("message.send.max.retries", i32::MAX.to_string())
        // A key's partition is the one that Java clients choose.
        .set("partitioner", "murmur2_random");
    Ok(client)
}

/// What writes a topic beside the log has in common: a page of records at a time, each waited for.
fn page_writer(config: &KafkaConfig, name: &str) -> Result<ClientConfig, KafkaError> {
    let largest = config.dlq_spec().message_bytes_max;
    let mut client = common(config, name);
    client
        .set("compression.type", "lz4")
        .set("request.timeout.ms", "5000")
        .set("retry.backoff.ms", "100");
    pass_through(&mut client, config)?;
    client
        // What one page holds travels together.
        .set("linger.ms", "5")
        .set("acks", "all")
        .set("message.timeout.ms", MESSAGE_TIMEOUT_MS.to_string())
        .set("message.max.bytes", largest.clamp(1_000, 1_000_000_000).to_string())
        .set("allow.auto.create.topics", "false");
    Ok(client)
}

fn common(config: &KafkaConfig, name: &str) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &config.brokers)
        .set("client.id", format!("shock.{name}"))
        .set("socket.keepalive.enable", "true")
        // A broker that hangs is given up after this long, and its connection made anew.
        .set("socket.timeout.ms", "10000")
        .set("socket.connection.setup.timeout.ms", "5000")
        .set("reconnect.backoff.ms", "50")
        // A broker that is back is used again within about a second, not ten.
        .set("reconnect.backoff.max.ms", "1000")
        .set("statistics.interval.ms", "0")
        .set_log_level(RDKafkaLogLevel::Info);
    client
}

fn pass_through(client: &mut ClientConfig, config: &KafkaConfig) -> Result<(), KafkaError> {
    for (key, value) in &config.properties {
        if PROPERTIES_RESERVED.contains(&key.as_str()) {
            return Err(KafkaError::Reserved(key.clone()));
        }
        client.set(key, value);
    }
    Ok(())
}

/// The topics' names, by `class.index()`.
pub(super) fn topic_names(config: &KafkaConfig) -> [String; Class::ALL.len()] {
    Class::ALL.map(|class| config.topic(class))
}

/// librdkafka's line as ours. Its errors are warnings here: it goes on trying by itself, and what
/// fails for good comes back as a value.
pub(super) fn forward_log(client: &'static str, level: RDKafkaLogLevel, fac: &str, line: &str) {
    use RDKafkaLogLevel as L;
    match level {
        L::Emerg | L::Alert | L::Critical | L::Error | L::Warning => {
            tracing::warn!(client, fac, line, "librdkafka");
        }
        L::Notice | L::Info => tracing::info!(client, fac, line, "librdkafka"),
        L::Debug => tracing::debug!(client, fac, line, "librdkafka"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::kafka::{Cleanup, Durability, GroupProtocol, Timestamps, TopicSpec};

    fn config(properties: &[(&str, &str)]) -> KafkaConfig {
        let spec = TopicSpec {
            partitions: 96,
            replication: 3,
            min_insync_replicas: 2,
            retention_ms: 1,
            message_bytes_max: 500_000,
            timestamps: Timestamps::Create,
            cleanup: Cleanup::Delete,
            segment_ms: None,
        };
        KafkaConfig {
            brokers: "localhost:1".to_owned(),
            topic_prefix: "events".to_owned(),
            topics: [spec; 3],
            durability: Durability::Replicated,
            group_protocol: GroupProtocol::Classic,
            properties: properties
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn promises_are_not_for_sale() {
        for key in &PROPERTIES_RESERVED {
            let refused = Some(KafkaError::Reserved((*key).to_owned()));
            assert_eq!(producer(&config(&[(key, "x")])).err(), refused, "{key}");
            assert_eq!(member(&config(&[(key, "x")]), "main", "a").err(), refused, "{key}");
        }
    }

    #[test]
    fn librdkafka_knows_every_option_and_an_operator_may_tune() {
        let config = config(&[("session.timeout.ms", "6000")]);
        let member = member(&config, "main", "pod-0").expect("nothing reserved");
        assert_eq!(member.get("session.timeout.ms"), Some("6000"));
        assert_eq!(member.get("group.id"), Some("events.main"));
        let producer = producer(&config).expect("nothing reserved");
        assert_eq!(producer.get("batch.size"), Some("498976"));
        for client in [
            member,
            producer,
            scanner(&config, "main").expect("ok"),
            admin(&config).expect("ok"),
            clock_probe(&config).expect("ok"),
            control_reader(&config).expect("ok"),
            control_words(&config).expect("ok"),
            control_change(&config).expect("ok"),
            dead_letters(&config).expect("ok"),
            sink(&config).expect("ok"),
        ] {
            client.create_native_config().expect("librdkafka takes every option");
        }
    }
}
