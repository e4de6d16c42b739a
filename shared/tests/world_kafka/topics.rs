//! Topics are compared, created when missing, and never changed.

use shared::log::AppendError;
use shared::log::kafka::topics::{self, Action, Difference};
use shared::log::kafka::{Durability, KafkaError, Producer};

use crate::support::{append, config, created, id, producer, scanned, text, until, values};

#[tokio::test]
async fn the_missing_are_created_and_what_differs_is_only_said() {
    let mut config = config(3);
    let plan = topics::plan(&config).await.expect("kafka answers");
    let (classes, others) = plan.topics.split_at(3);
    assert!(classes.iter().all(|it| it.action == Action::Create(config.topics[0])), "{plan}");
    let specs = [
        config.clock_spec(),
        config.control_state_spec(),
        config.control_live_spec(),
        config.dlq_spec(),
    ];
    let wanted = specs.map(Action::Create);
    assert!(others.iter().map(|it| &it.action).eq(&wanted), "{plan}");
    let applied = topics::apply(&config, &plan).await.expect("kafka creates");
    assert_eq!(applied.created.len(), 7);
    assert!(applied.plan.fits(), "{}", applied.plan);
    let again = topics::apply(&config, &plan).await.expect("what is there is left alone");
    assert_eq!((again.created, again.plan.fits()), (Vec::new(), true));

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
        difference("retention.ms", "1000000", "315360000000"),
    ]);
    assert_eq!(plan.topics[1].action, expected);
    assert_eq!(plan.topics[0].action, Action::Fits);
    let applied = topics::apply(&config, &plan).await.expect("nothing to do");
    assert_eq!((applied.created, applied.plan), (Vec::new(), plan));
}

/// The controller answers a creation before the brokers have heard of it: whoever asks at once is told
/// that a topic of many partitions is missing.
#[tokio::test]
async fn what_was_just_created_is_not_called_missing() {
    for _ in 0..20 {
        let config = config(48);
        let plan = topics::plan(&config).await.expect("kafka answers");
        let applied = topics::apply(&config, &plan).await.expect("kafka creates");
        assert!(applied.plan.fits(), "{}", applied.plan);
    }
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_deleted_refuses_all_until_it_is_there_again() {
    let config = created(1).await;
    let producer = producer(&config).await;
    assert!(append(&producer, id(0), &values(0..1)).await[0].is_ok());
    delete(&config.brokers, &config.topic(id(0).class)).await;
    until("kafka has forgotten it", async || {
        topics::plan(&config).await.is_ok_and(|plan| !plan.fits())
    })
    .await;
    let gone = append(&producer, id(0), &values(1..20)).await;
    let classed = |outcome| matches!(outcome, Err(AppendError::Unavailable | AppendError::Unknown));
    assert!(gone.iter().all(|outcome| classed(*outcome)), "{gone:?}");

    crate::support::create_topics(&config).await;
    let again = values(20..21);
    until("it is there again", async || append(&producer, id(0), &again).await[0].is_ok()).await;
    let log = text(&scanned(&config, id(0)).await);
    assert_eq!(log.last(), again.last());
    assert!(!log.contains(&values(0..1)[0]), "another topic of the same name");
}

pub async fn delete(brokers: &str, topic: &str) {
    use rdkafka::admin::{AdminClient, AdminOptions};
    use rdkafka::client::DefaultClientContext;
    let admin: AdminClient<DefaultClientContext> = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .create()
        .expect("a plain client");
    let deleted = admin.delete_topics(&[topic], &AdminOptions::new()).await;
    assert_eq!(deleted.expect("kafka answers"), [Ok(topic.to_owned())]);
}
