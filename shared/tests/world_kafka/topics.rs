//! Topics are compared, created when missing, and never changed.

use shared::log::kafka::topics::{self, Action, Difference};
use shared::log::kafka::{Durability, KafkaError, Producer};

use crate::support::{config, created};

#[tokio::test]
async fn the_missing_are_created_and_what_differs_is_only_said() {
    let mut config = config(3);
    let plan = topics::plan(&config).await.expect("kafka answers");
    assert!(plan.topics.iter().all(|it| it.action == Action::Create(config.topics[0])), "{plan}");
    let created = topics::apply(&config, &plan).await.expect("kafka creates");
    assert_eq!(created.len(), 3);
    crate::support::create_topics(&config).await;
    let again = topics::apply(&config, &plan).await.expect("what is there is left alone");
    assert!(again.is_empty());

    config.topics[1].partitions = 6;
    config.topics[1].retention_ms = 1_000_000;
    let plan = topics::plan(&config).await.expect("kafka answers");
    let difference = |what, wanted: &str, found: &str| Difference {
        what,
        wanted: wanted.to_owned(),
        found: found.to_owned(),
    };
    let expected = Action::Differs(vec![
        difference("partitions", "6", "3"),
        difference("retention.ms", "1000000", "3600000"),
    ]);
    assert_eq!(plan.topics[1].action, expected);
    assert_eq!(plan.topics[0].action, Action::Fits);
    assert!(topics::apply(&config, &plan).await.expect("nothing to do").is_empty());
    assert_eq!(topics::plan(&config).await, Ok(plan));
}

#[tokio::test]
async fn one_replica_is_refused_unless_it_is_asked_for() {
    let mut config = created(1).await;
    config.durability = Durability::Replicated;
    let producer = Producer::start(&config).expect("the configuration is good");
    let error = producer.check_topics().await.expect_err("one broker is not three");
    assert!(matches!(&error, KafkaError::Unfit(_)), "{error}");
    assert!(error.to_string().contains("replication 1, below 3"), "{error}");
}
