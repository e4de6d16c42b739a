//! The control plane on a real Kafka: words arrive soon, whole and in order; what operators set is
//! known everywhere and survives; and nothing that is written to the topics, or happens to them, stops
//! it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use shared::clock::{Clock, Millis};
use shared::health::Health;
use shared::log::kafka::{KafkaConfig, topics};
use shared::metrics::Registry;
use shared::plane::message::{Demand, PartitionDemand};
use shared::plane::state::{Change, Entry, Setting, State, Subject, VERSION};
use shared::plane::{Heard, Live, Plane, PlaneError};
use tokio::sync::broadcast;

use crate::broker::Broker;
use crate::support::{PATIENCE, config, config_at, create_topics, created, id, until};

const WORDS: usize = 300;
const WORDS_INTERVAL: Duration = Duration::from_millis(10);

struct Process {
    plane: Plane,
    health: Health,
    registry: Registry,
}

fn process(name: &str, config: &KafkaConfig) -> Process {
    let (registry, health) = (Registry::new(), Health::new(Clock::System));
    let plane = Plane::kafka(name, config, Clock::System, &health, &registry);
    Process { plane: plane.expect("librdkafka starts"), health, registry }
}

async fn ready(name: &str, config: &KafkaConfig) -> Process {
    let process = process(name, config);
    until("the state is read", async || process.health.ready().is_ok()).await;
    process
}

impl Process {
    fn metric(&self, sample: &str) -> f64 {
        let text = self.registry.text();
        let found = text.lines().find_map(|line| line.strip_prefix(sample));
        found.map_or(0.0, |value| value.trim().parse().expect("a number"))
    }

    fn limit(&self) -> Option<f64> {
        self.plane.state().borrow().limit(id(0), Clock::System.now())
    }

    /// Says words until it hears one itself: then it follows.
    async fn following(&self) {
        let heard = || self.metric("shock_control_heard_total{kind=\"demand\"} ");
        let before = heard();
        until("words are heard", async || {
            self.plane.publish(word(PROBE));
            heard() > before
        })
        .await;
    }
}

/// The number of [`Process::following`]'s words: one that a process could measure.
const PROBE: usize = 99_999_999;

/// A word that is known by its number.
fn word(number: usize) -> Live {
    let partitions = (0..50).map(|partition| PartitionDemand {
        place: id(partition).into(),
        offered_per_s: number as f64,
        admitted_per_s: 0.5,
    });
    Live::Demand(Demand { partitions: partitions.collect(), ..Demand::default() })
}

/// The next word of that process that is not one of [`Process::following`].
async fn hear(listener: &mut broadcast::Receiver<Arc<Heard>>, from: &str) -> Arc<Heard> {
    let next = async {
        loop {
            let heard = listener.recv().await.expect("not too far behind");
            if &*heard.from == from && heard.live != word(PROBE) {
                return heard;
            }
        }
    };
    tokio::time::timeout(PATIENCE, next).await.expect("a word comes")
}

fn limit(limit_per_s: f64) -> Change {
    let Millis(at_ms) = Clock::System.now();
    let entry = Entry {
        v: VERSION,
        setting: Setting::Limit { limit_per_s },
        until_ms: Some(at_ms + 600_000),
        by: "ops".to_owned(),
        why: "a test".to_owned(),
        at_ms,
    };
    Change { subject: Subject::Partition(id(0)), entry: Some(entry) }
}

/// Writes what nobody of ours would.
fn write(config: &KafkaConfig, topic: &str, key: &[u8], value: &[u8]) {
    let producer: BaseProducer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", &config.brokers)
        .set("message.max.bytes", "4000000")
        .set("compression.type", "lz4")
        .create()
        .expect("a plain client");
    let record = BaseRecord::to(topic).partition(0).key(key).payload(value);
    producer.send(record).map_err(|(error, _)| error).expect("taken");
    producer.flush(PATIENCE).expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_arrive_in_order_and_soon() {
    let config = created(1).await;
    let (here, there) = (ready("here", &config).await, ready("there", &config).await);
    let mut listener = there.plane.listen();
    there.following().await;
    here.following().await;
    let saying = tokio::spawn(async move {
        let mut said = Vec::with_capacity(WORDS);
        let mut pace = tokio::time::interval(WORDS_INTERVAL);
        for number in 0..WORDS {
            pace.tick().await;
            said.push(Instant::now());
            here.plane.publish(word(number));
        }
        (here, said)
    });
    let mut heard = Vec::with_capacity(WORDS);
    for number in 0..WORDS {
        let next = hear(&mut listener, "here").await;
        assert_eq!(next.live, word(number));
        assert!(next.age <= Duration::from_secs(10));
        heard.push(next.at);
    }
    let (here, said) = saying.await.expect("all said");
    let mut took: Vec<Duration> =
        heard.iter().zip(&said).map(|(heard, said)| heard.duration_since(*said)).collect();
    took.sort();
    println!(
        "{WORDS} words, published to heard: p50 {:?}, p90 {:?}, p99 {:?}, most {:?}",
        took[WORDS / 2],
        took[WORDS * 9 / 10],
        took[WORDS * 99 / 100],
        took[WORDS - 1]
    );
    assert!(here.metric("shock_control_published_total{kind=\"demand\"} ") >= WORDS as f64);
    assert_eq!(here.metric("shock_control_dropped_total{reason=\"failed\"} "), 0.0);
    assert!(there.metric("shock_control_age_seconds_count ") >= WORDS as f64);
    assert_eq!(there.plane.rows().len(), 50, "what is told to people");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_set_is_known_everywhere_and_to_those_who_come_later() {
    let config = created(1).await;
    let (here, there) = (ready("here", &config).await, ready("there", &config).await);
    here.plane.change(limit(5.0)).await.expect("written and read back");
    assert_eq!(here.limit(), Some(5.0));
    until("it is known there", async || there.limit() == Some(5.0)).await;
    there.plane.change(limit(6.0)).await.expect("written and read back");
    until("it is known here", async || here.limit() == Some(6.0)).await;
    // As soon as it is ready, not some time later.
    let late = ready("late", &config).await;
    assert_eq!(late.limit(), Some(6.0));

    let removed = Change { entry: None, ..limit(0.0) };
    late.plane.change(removed).await.expect("written and read back");
    assert_eq!(late.limit(), None);
    until("it is gone here", async || here.limit().is_none()).await;
    assert_eq!(ready("last", &config).await.plane.state().borrow().all().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poisoned_records_change_nothing_and_are_counted() {
    let config = created(1).await;
    let (state, live) = (config.control_state_topic(), config.control_live_topic());
    let here = ready("here", &config).await;
    here.following().await;
    here.plane.change(limit(5.0)).await.expect("written");
    let before = State::clone(&here.plane.state().borrow());

    // A megabyte and more that the broker takes, compressed.
    let long = vec![b' '; 1_500_000];
    let entry = br#"{"v":1,"set":"limit","limit_per_s":1,"by":"a","why":"b","at_ms":1}"#;
    let version = br#"{"v":2,"set":"limit","limit_per_s":1,"by":"a","why":"b","at_ms":1}"#;
    let key = b"limit/transactional/0";
    for (key, value, reason) in [
        (&key[..], &b"{"[..], "malformed"),
        (key, &[0xff, 0x00], "malformed"),
        (b"mode", entry, "malformed"),
        (key, version, "version"),
        (b"limit/everything", entry, "subject"),
        (&[0xff], entry, "subject"),
        (key, &long, "too_long"),
    ] {
        let sample = format!("shock_control_ignored_total{{reason=\"{reason}\",topic=\"state\"}} ");
        let counted = here.metric(&sample);
        write(&config, &state, key, value);
        until("it is counted", async || here.metric(&sample) > counted).await;
    }
    for (value, reason) in [
        (&b"{"[..], "malformed"),
        (&[], "malformed"),
        (br#"{"v":9,"anything":[]}"#, "version"),
        (&long, "too_long"),
    ] {
        let sample = format!("shock_control_ignored_total{{reason=\"{reason}\",topic=\"live\"}} ");
        let counted = here.metric(&sample);
        write(&config, &live, b"a", value);
        until("it is counted", async || here.metric(&sample) > counted).await;
    }
    assert_eq!(**here.plane.state().borrow(), before);
    here.following().await;
    here.plane.change(limit(7.0)).await.expect("still followed");
    // One that reads them from the beginning gets over them as well.
    assert_eq!(ready("late", &config).await.limit(), Some(7.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_topics_a_process_waits_and_says_what_is_missing() {
    let config = config(1);
    let here = process("here", &config);
    let why = format!("control: the topic {} is missing", config.control_state_topic());
    until("it says so", async || here.health.ready().is_err_and(|it| it.contains(&why))).await;
    let refused = here.plane.change(limit(5.0)).await;
    assert!(matches!(refused, Err(PlaneError::Unavailable(_))), "{refused:?}");
    here.plane.publish(word(0));
    let dropped = "shock_control_dropped_total{reason=\"failed\"} ";
    until("the word is given up", async || here.metric(dropped) > 0.0).await;
    assert!(here.health.live().is_ok());
    create_topics(&config).await;
    until("they are found", async || here.health.ready().is_ok()).await;
    here.following().await;
    here.plane.change(limit(5.0)).await.expect("written and read back");
    assert_eq!(here.limit(), Some(5.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_waited_for_and_what_is_known_stays() {
    let mut broker = Broker::start();
    let config = config_at(broker.address(), 1);
    // Kafka is away: it has just been started.
    let here = process("here", &config);
    until("the broker answers", async || topics::plan(&config).await.is_ok()).await;
    create_topics(&config).await;
    until("the state is read", async || here.health.ready().is_ok()).await;
    here.plane.change(limit(5.0)).await.expect("written and read back");

    broker.kill();
    let begun = Instant::now();
    for number in 0..2_000 {
        here.plane.publish(word(number));
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "it never waits");
    let dropped = "shock_control_dropped_total{reason=\"full\"} ";
    assert!(here.metric(dropped) > 0.0, "the queue has a bound");
    let refused = here.plane.change(limit(6.0)).await;
    assert!(matches!(refused, Err(PlaneError::Unavailable(_))), "{refused:?}");
    assert_eq!((here.limit(), here.health.ready()), (Some(5.0), Ok(())));

    broker.restart();
    here.following().await;
    here.plane.change(limit(7.0)).await.expect("written and read back");
    assert_eq!(here.limit(), Some(7.0));
    assert!(here.health.live().is_ok());
}

/// Somebody deletes the topic and makes it anew: what it held is not set any longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_is_made_anew_is_read_anew() {
    let config = created(1).await;
    let here = ready("here", &config).await;
    here.plane.change(limit(5.0)).await.expect("written and read back");
    here.plane.change(limit(6.0)).await.expect("written and read back");
    crate::topics::delete(&config.brokers, &config.control_state_topic()).await;
    until("kafka has forgotten it", async || {
        topics::plan(&config).await.is_ok_and(|plan| !plan.fits())
    })
    .await;
    assert_eq!((here.limit(), here.health.ready()), (Some(6.0), Ok(())), "what is known stays");
    create_topics(&config).await;
    until("it is read anew", async || here.limit().is_none()).await;
    here.following().await;
    here.plane.change(limit(7.0)).await.expect("written and read back");
    assert_eq!(here.limit(), Some(7.0));
}
