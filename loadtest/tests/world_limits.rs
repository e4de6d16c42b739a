//! Limits on real processes: what an operator pins bites on every replica and is shared by them; an
//! owner that is killed leaves a floor, and its successor opens it; a control topic that is gone, or full
//! of what nobody of us wrote, stops nothing.

mod fixture;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use loadtest::admin;
use loadtest::client::{Connection, Target};
use loadtest::deployment::{Cluster, Deployment, Settings};
use loadtest::process::{Process, run, shock_binary};
use loadtest::wait::{Seen, let_pass, wait_until};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use shared::Shutdown;

/// What is pinned, events/s.
const PIN_PER_S: u64 = 100;
/// What each replica is asked for, events/s.
const OFFERED_PER_S: u32 = 300;
/// Whatever takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// An ingress beside the cluster's own.
struct Replica {
    process: Process,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Replica {
    async fn start(cluster: &Cluster, own: &fixture::Run) -> anyhow::Result<Self> {
        let mut args = vec!["ingress".to_owned()];
        args.extend_from_slice(cluster.args());
        let binary = shock_binary()?;
        let mut process = Process::start("replica", &binary, &args, cluster.variables(), &own.dir)?;
        let address = process.address("ingress").await?;
        let admin = process.address("admin").await?;
        let ready = async || {
            let (status, text) = admin::get(admin, "/readyz").await?;
            Ok(if status == 200 { Seen::There(()) } else { Seen::NotYet(text) })
        };
        wait_until("the second replica is ready".to_owned(), PATIENCE, ready).await?;
        Ok(Self { process, address, admin })
    }
}

/// Posts at a steady rate, never again what was refused.
#[derive(Clone)]
struct Press(Arc<Answers>);

#[derive(Default)]
struct Answers {
    accepted: AtomicU64,
    refused: AtomicU64,
    other: AtomicU64,
}

impl Press {
    /// Events of tenant acme, until `stop`.
    fn start(address: SocketAddr, stop: &Shutdown) -> Self {
        let press = Self(Arc::default());
        let connections = 4;
        for _ in 0..connections {
            let (answers, stop) = (Arc::clone(&press.0), stop.clone());
            let every = Duration::from_secs(1) * connections / OFFERED_PER_S;
            tokio::spawn(async move {
                let mut connection = Connection::new(Target::new(address));
                let mut tick = tokio::time::interval(every);
                while !stop.is_cancelled() {
                    tick.tick().await;
                    let counter = match connection.send(event()).await.status() {
                        Some(202) => &answers.accepted,
                        Some(429 | 503) => &answers.refused,
                        _ => &answers.other,
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        press
    }

    fn accepted(&self) -> u64 {
        self.0.accepted.load(Ordering::Relaxed)
    }

    fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    fn other(&self) -> u64 {
        self.0.other.load(Ordering::Relaxed)
    }

    /// Waits for the first refusal from now on; how long it took.
    async fn refused_within(&self) -> anyhow::Result<Duration> {
        let (before, begun) = (self.refused(), Instant::now());
        while self.refused() == before {
            ensure!(begun.elapsed() < PATIENCE, "nothing was refused in {PATIENCE:?}");
            let_pass(Duration::from_millis(5)).await;
        }
        Ok(begun.elapsed())
    }
}

fn event() -> Request<Full<Bytes>> {
    Request::post("/v1/events")
        .header("host", "test")
        .header("authorization", "Bearer load-acme.loadtest")
        .header("content-type", "application/json")
        .body(Full::from(r#"{"type":"order.placed","data":{"n":1}}"#))
        .expect("a good request")
}

/// `shock ctl …` on an admin port.
async fn ctl(own: &fixture::Run, admin: SocketAddr, words: &[&str]) -> anyhow::Result<String> {
    let url = format!("http://{admin}");
    let mut args = vec!["ctl".to_owned()];
    args.extend(words.iter().map(|word| (*word).to_owned()));
    args.extend(["--by".to_owned(), "test".to_owned(), "--admin".to_owned(), url]);
    run(&shock_binary()?, &args, &[], &own.dir).await
}

async fn shows(admin: SocketAddr, what: &str) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let shown = async || {
        let (_, text) = admin::get(admin, "/metrics").await?;
        let about: Vec<_> = text.lines().filter(|it| it.contains("limit_source")).collect();
        let last = about.join("; ");
        Ok(if text.contains(what) { Seen::There(()) } else { Seen::NotYet(last) })
    };
    wait_until(what.to_owned(), PATIENCE, shown).await?;
    Ok(begun.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_bites_on_both_replicas_and_they_share_it() -> anyhow::Result<()> {
    let own = fixture::Run::new("limits-pin")?;
    let cluster = own.cluster(&Settings::default(), 1).await?;
    let second = Replica::start(&cluster, &own).await?;
    let (first_admin, stop) = (cluster.ingress_admin()?, Shutdown::new());
    let presses =
        [Press::start(cluster.target().get(), &stop), Press::start(second.address, &stop)];
    let counted = || presses.iter().map(Press::accepted).sum::<u64>();
    let both = || presses.iter().all(|press| press.accepted() > 0);
    wait_until("both let in".to_owned(), PATIENCE, async || {
        Ok(if both() { Seen::There(()) } else { Seen::NotYet("nothing".to_owned()) })
    })
    .await?;
    // Each knows the other's demand before it takes its share.
    shows(first_admin, "shock_ingress_replicas 2").await?;
    shows(second.admin, "shock_ingress_replicas 2").await?;

    let rate = PIN_PER_S.to_string();
    let pin = ["limits", "pin", "transactional", "--per-s", &rate, "--why", "a test"];
    ctl(&own, first_admin, &pin).await?;
    let bites = tokio::try_join!(presses[0].refused_within(), presses[1].refused_within())?;
    println!("the pin bites after {:?} and {:?}", bites.0, bites.1);
    ensure!(bites.0.max(bites.1) < Duration::from_secs(3), "{bites:?}");

    let_pass(Duration::from_secs(1)).await;
    let (before, begun) = (counted(), Instant::now());
    let_pass(Duration::from_secs(8)).await;
    let per_s = (counted() - before) as f64 / begun.elapsed().as_secs_f64();
    println!("both together let in {per_s:.1}/s of {PIN_PER_S}/s");
    ensure!((per_s / PIN_PER_S as f64 - 1.0).abs() <= 0.05, "{per_s}/s of {PIN_PER_S}/s");

    // The one that is left takes all of it.
    second.process.kill().await?;
    shows(first_admin, "shock_ingress_replicas 1").await?;
    let_pass(Duration::from_secs(1)).await;
    let (before, begun) = (presses[0].accepted(), Instant::now());
    let_pass(Duration::from_secs(5)).await;
    let per_s = (presses[0].accepted() - before) as f64 / begun.elapsed().as_secs_f64();
    println!("the one that is left lets in {per_s:.1}/s of {PIN_PER_S}/s");
    ensure!((per_s / PIN_PER_S as f64 - 1.0).abs() <= 0.05, "{per_s}/s of {PIN_PER_S}/s");

    ctl(&own, first_admin, &["limits", "unpin", "transactional"]).await?;
    stop.cancel();
    ensure!(presses[0].other() == 0, "an answer that is neither 202 nor a refusal");
    Deployment::Cluster(Box::new(cluster)).stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_owner_leaves_a_floor_and_its_successor_opens_it() -> anyhow::Result<()> {
    let own = fixture::Run::new("limits-owner")?;
    let settings =
        Settings { set: vec!["control.profile=bounded-lag".to_owned()], ..Settings::default() };
    let mut cluster = own.cluster(&settings, 1).await?;
    let (admin, stop) = (cluster.ingress_admin()?, Shutdown::new());
    let press = Press::start(cluster.target().get(), &stop);
    let leads = "source=\"leader\"} 1";
    shows(admin, leads).await?;

    cluster.consumer_kill(0).await?;
    let floor = shows(admin, "source=\"floor\"} 1").await?;
    println!("the floor is in effect {floor:?} after the owner was killed");
    ensure!(floor < Duration::from_secs(8), "{floor:?}");

    cluster.consumer_up(0).await?;
    let again = shows(admin, leads).await?;
    println!("its successor leads {again:?} after it was ready");
    let before = press.accepted();
    let_pass(Duration::from_secs(2)).await;
    ensure!(press.accepted() > before, "it lets nothing in");
    stop.cancel();
    ensure!(press.other() == 0, "an answer that is neither 202 nor a refusal");
    Deployment::Cluster(Box::new(cluster)).stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_topic_that_is_gone_stops_nothing() -> anyhow::Result<()> {
    let own = fixture::Run::new("limits-topics")?;
    let cluster = own.cluster(&Settings::default(), 1).await?;
    let admin = cluster.ingress_admin()?;
    let load = own.load(cluster.target(), 200);
    let stop = Shutdown::new();
    let stopped = stop.clone();
    let loading = tokio::spawn(async move { load.run(&stopped).await });
    cluster.effects().wait_for(200, PATIENCE).await?;

    let topics = cluster.topics();
    let kafka: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &topics.brokers).create().context("admin")?;
    let names = ["-control.live", "-control.state"].map(|name| format!("{}{name}", topics.prefix));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    kafka.delete_topics(&names, &AdminOptions::new()).await.context("deleted")?;
    // Longer than a limit is valid, and than a silence that is held.
    let_pass(Duration::from_secs(15)).await;
    let (status, _) = admin::get(admin, "/readyz").await?;
    ensure!(status == 200, "a running replica stays ready");

    cluster.ctl(&["ctl", "topics", "apply"]).await?;
    let pinned = async || {
        let pin = ["limits", "pin", "telemetry/0", "--per-s", "5", "--why", "a test"];
        match ctl(&own, admin, &pin).await {
            Ok(_) => Ok(Seen::There(())),
            Err(error) => Ok(Seen::NotYet(format!("{error:#}"))),
        }
    };
    wait_until("operators are heard again".to_owned(), 2 * PATIENCE, pinned).await?;

    stop.cancel();
    let accepted = loading.await??.all_accepted()?;
    cluster.effects().wait_for(accepted, PATIENCE).await?;
    let deployment = Deployment::Cluster(Box::new(cluster));
    let findings = deployment.reconcile(&own.ledger).await?.clean()?;
    println!("{findings}");
    deployment.stop().await
}

/// Whoever may write to the topic says what no owner would. Nothing of it is taken up, each kind is
/// counted, and the owner is heard as before.
#[tokio::test(flavor = "multi_thread")]
async fn poisoned_words_change_nothing() -> anyhow::Result<()> {
    let own = fixture::Run::new("limits-poison")?;
    let settings =
        Settings { set: vec!["control.profile=bounded-lag".to_owned()], ..Settings::default() };
    let cluster = own.cluster(&settings, 1).await?;
    let (admin, stop) = (cluster.ingress_admin()?, Shutdown::new());
    let press = Press::start(cluster.target().get(), &stop);
    shows(admin, "source=\"leader\"} 1").await?;
    let topic = format!("{}-control.live", cluster.topics().prefix);
    let brokers = cluster.topics().brokers.clone();
    let poison = tokio::task::spawn_blocking(move || -> anyhow::Result<usize> {
        let word = heard_limits(&brokers, &topic)?;
        let words = poisoned(&word);
        let producer: BaseProducer =
            ClientConfig::new().set("bootstrap.servers", &brokers).create().context("producer")?;
        for word in &words {
            let record = BaseRecord::<(), _>::to(&topic).payload(word.as_slice());
            producer.send(record).map_err(|(error, _)| error).context("sent")?;
        }
        producer.flush(PATIENCE).context("flushed")?;
        Ok(words.len())
    });
    println!("{} poisoned words", poison.await??);
    for counted in [
        "shock_control_ignored_total{reason=\"malformed\",topic=\"live\"}",
        "shock_control_ignored_total{reason=\"version\",topic=\"live\"}",
        "shock_ingress_limits_ignored_total{reason=\"malformed\"}",
        "shock_ingress_limits_ignored_total{reason=\"stale\"}",
        "shock_ingress_limits_ignored_total{reason=\"unconfirmed\"}",
    ] {
        let has = async || {
            let (_, text) = admin::get(admin, "/metrics").await?;
            let line = text.lines().find(|line| line.starts_with(counted)).unwrap_or_default();
            let there = line
                .rsplit(' ')
                .next()
                .is_some_and(|count| count.parse().is_ok_and(|count: u64| count > 0));
            Ok(if there { Seen::There(()) } else { Seen::NotYet(line.to_owned()) })
        };
        wait_until(counted.to_owned(), PATIENCE, has).await?;
    }
    // Longer than a limit is valid.
    let before = press.accepted();
    let_pass(Duration::from_secs(5)).await;
    shows(admin, "source=\"leader\"} 1").await?;
    let accepted = press.accepted() - before;
    stop.cancel();
    ensure!(accepted > u64::from(OFFERED_PER_S) * 4, "{accepted} of {OFFERED_PER_S}/s for 5 s");
    ensure!(press.refused() == 0, "{} were refused for what nobody said", press.refused());
    ensure!(press.other() == 0, "an answer that is neither 202 nor a refusal");
    Deployment::Cluster(Box::new(cluster)).stop().await
}

/// The next limits that an owner says.
fn heard_limits(brokers: &str, topic: &str) -> anyhow::Result<Value> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "poison")
        .create()
        .context("consumer")?;
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, 0, Offset::End).context("an offset")?;
    consumer.assign(&from).context("assigned")?;
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let Some(record) = consumer.poll(Duration::from_millis(100)) else { continue };
        let record = record.context("a record")?;
        let word: Value = serde_json::from_slice(record.payload().context("a value")?)?;
        if word["kind"] == "limits" && word["partitions"].as_array().is_some_and(|p| !p.is_empty())
        {
            return Ok(word);
        }
    }
    anyhow::bail!("no limits were heard in {PATIENCE:?}")
}

/// What can be wrong with them, each newer than what is in effect where that is not what is wrong.
fn poisoned(word: &Value) -> Vec<Vec<u8>> {
    let of = |change: &dyn Fn(&mut Value, &mut Value)| {
        let mut word = word.clone();
        let mut partitions = word["partitions"].take();
        for partition in partitions.as_array_mut().into_iter().flatten() {
            let seq = partition["seq"].as_u64().unwrap_or(0);
            partition["seq"] = json!(seq + 20);
            change(partition, &mut word);
        }
        word["partitions"] = partitions;
        serde_json::to_vec(&word).expect("a value is JSON")
    };
    let rate = |per_s: Value| of(&move |partition, _| partition["limit_per_s"] = per_s.clone());
    vec![
        b"\0{".to_vec(),
        vec![b'['; 100_000],
        of(&|_, word| word["v"] = json!(99)),
        of(&|partition, _| partition["capacity_per_s"] = json!(-1.0)),
        of(&|partition, _| partition["drain_s"] = json!(1e300)),
        rate(Value::Null),
        rate(json!(-1.0)),
        rate(json!("NaN")),
        // A thousandth, once: what is meant is said again.
        rate(json!(0.001)),
        of(&|partition, _| {
            partition["epoch"] = json!(0);
            partition["limit_per_s"] = json!(0.001);
        }),
    ]
}
