//! What a request allocates on a real Kafka, the thread that settles its acknowledgements included.
//! What librdkafka allocates for itself is C's and not counted. One test function, so that nothing
//! else runs. Needs `SHOCK_SERVICES`: `cargo xtask test` sets it.

mod counted;

use std::time::{Duration, Instant};

use shared::config::{Backend, Config, Purpose, Sources};
use shared::log::Log;
use shared::log::kafka::{KafkaConfig, Producer, topics};

use self::counted::{Rounds, no_more_than_bare_hyper};

/// The topics are there, and the producer has seen them, by then.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_request_allocates_no_more_than_bare_hyper() {
    // The breaker looks at every partition several times a second, and makes a list each time.
    no_more_than_bare_hyper(&Rounds { warm_up: 300, counted: 100, idle_per_s: 100.0 }, |_| {
        Log::Kafka(producer())
    });
}

fn producer() -> Producer {
    let kafka = kafka();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let plan = topics::plan(&kafka).await.expect("kafka answers");
        topics::apply(&kafka, &plan).await.expect("topics are created");
        let producer = Producer::start(&kafka).expect("the configuration is good");
        let deadline = Instant::now() + PATIENCE;
        while let Err(why) = producer.usable() {
            assert!(Instant::now() < deadline, "{why}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        producer
    })
}

/// Topics of this test's own, with as many partitions as the embedded log has by default.
fn kafka() -> KafkaConfig {
    let path = std::env::var("SHOCK_SERVICES").expect("SHOCK_SERVICES names a services.json");
    let text = std::fs::read_to_string(path).expect("services.json is readable");
    let services: serde_json::Value = serde_json::from_str(&text).expect("services.json is JSON");
    let brokers = services["kafka"].as_str().expect("services.json names kafka");
    let prefix = format!("t{}", uuid::Uuid::now_v7().simple());
    let flags = [
        "backend=kafka".to_owned(),
        format!("kafka.brokers={brokers}"),
        format!("kafka.topic_prefix={prefix}"),
        "kafka.durability=single".to_owned(),
        "topics.partitions=4".to_owned(),
        "topics.replication=1".to_owned(),
        "topics.min_insync_replicas=1".to_owned(),
    ];
    let sources = Sources { flags: flags.into(), ..Sources::default() };
    let config = Config::load(&sources, Purpose::Topics).expect("a valid configuration");
    let Backend::Cluster { kafka, .. } = config.backend else { unreachable!("it says kafka") };
    kafka
}
