//! Sinks on real Kafka and PostgreSQL, with real processes: while events come, the consumer is killed
//! (`SIGKILL`) and the receiver refuses and hangs up. Afterwards the webhook and the topic have each
//! event, under one id, and nothing waits.

mod fixture;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use loadtest::deployment::{Deployment, Settings};
use loadtest::wait::{Seen, wait_until};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Headers;
use rdkafka::{Message, Offset, TopicPartitionList};
use shared::Shutdown;
use tokio::net::TcpListener;

const EVENTS: u64 = 3_000;
const KILLS: usize = 4;
const DEADLINE: Duration = Duration::from_secs(120);

/// Event ids by message id, each with how often it came and whether it was acknowledged.
type Got = Arc<Mutex<BTreeMap<String, (String, u32, bool)>>>;

#[tokio::test(flavor = "multi_thread")]
async fn each_event_reaches_its_sinks_through_kills() -> anyhow::Result<()> {
    let run = fixture::Run::new("sinks")?;
    let got = Got::default();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/hook", listener.local_addr()?);
    let routes = Router::new().route("/hook", post(hook)).with_state(Arc::clone(&got));
    let receiver = tokio::spawn(async move { axum::serve(listener, routes).await });

    let brokers = fixture::services()?.kafka;
    let topic = format!("sink-{}", std::process::id());
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &brokers).create()?;
    let new = NewTopic::new(&topic, 3, TopicReplication::Fixed(1));
    admin.create_topics([&new], &AdminOptions::new()).await.context("creating the topic")?;

    let set = [
        "sink[0].name=hook".to_owned(),
        "sink[0].kind=webhook".to_owned(),
        "sink[0].types=[\"*\"]".to_owned(),
        format!("sink[0].url={url}"),
        "sink[0].signature=none".to_owned(),
        "sink[0].retry_backoff_ms_min=20".to_owned(),
        "sink[0].retry_backoff_ms_max=500".to_owned(),
        "sink[1].name=out".to_owned(),
        "sink[1].kind=kafka".to_owned(),
        "sink[1].types=[\"*\"]".to_owned(),
        format!("sink[1].topic={topic}"),
    ];
    let settings = Settings { set: set.into(), ..Settings::default() };
    let mut cluster = run.cluster(&settings, 1).await?;
    let mut load = run.load(cluster.target(), 300);
    load.events_max = Some(EVENTS);
    let loading = tokio::spawn(async move { load.run(&Shutdown::new()).await });
    for kill in 1..=KILLS {
        let enough = EVENTS / (KILLS as u64 + 1) * kill as u64;
        wait_until("deliveries to go on", DEADLINE, async || {
            let count = got.lock().expect("no panic").len() as u64;
            let seen = || format!("{count} of {enough}");
            Ok(if count >= enough { Seen::There(()) } else { Seen::NotYet(seen()) })
        })
        .await?;
        cluster.consumer_kill(0).await?;
        cluster.consumer_up(0).await?;
    }
    let accepted = loading.await??.all_accepted()?;
    ensure!(accepted == EVENTS, "{accepted} accepted");
    cluster.effects().wait_for(EVENTS, DEADLINE).await?;
    let mut database = cluster.effects().postgres().await?;
    wait_until("nothing to wait for a sink", DEADLINE, async || {
        let count = "select count(*) from outbox";
        let count: i64 = sqlx::query_scalar(count).fetch_one(&mut database).await?;
        Ok(if count == 0 { Seen::There(()) } else { Seen::NotYet(format!("{count} rows")) })
    })
    .await?;

    let (events, requests, in_vain) = {
        let got = got.lock().expect("no panic");
        let events: BTreeSet<_> = got.values().map(|(event, ..)| event.clone()).collect();
        let in_vain = got.values().filter(|(.., acknowledged)| !acknowledged).count();
        ensure!(events.len() == got.len(), "{} events, {} ids", events.len(), got.len());
        (events, got.values().map(|(_, times, _)| u64::from(*times)).sum::<u64>(), in_vain)
    };
    ensure!(
        events.len() as u64 == EVENTS && in_vain == 0,
        "{} events, {in_vain} not",
        events.len()
    );
    let (from, of) = (brokers.clone(), topic.clone());
    let records = tokio::task::spawn_blocking(move || read(&from, &of)).await??;
    let ids: BTreeSet<_> = records.iter().map(|(id, _)| id).collect();
    let values: BTreeSet<_> = records.iter().map(|(_, value)| value).collect();
    ensure!(ids.len() as u64 == EVENTS, "{} ids in the topic", ids.len());
    ensure!(values.len() as u64 == EVENTS, "{} values in the topic", values.len());
    println!(
        "{EVENTS} events, {KILLS} kills: {requests} requests of the webhook, {} records of the topic",
        records.len()
    );
    let deployment = Deployment::Cluster(Box::new(cluster));
    let findings = deployment.reconcile(&run.ledger).await?.clean()?;
    ensure!(findings.effects as u64 == EVENTS, "{findings}");
    admin.delete_topics(&[&topic], &AdminOptions::new()).await.context("removing the topic")?;
    receiver.abort();
    deployment.stop().await
}

/// Refuses what comes for the first time, now and then.
async fn hook(State(got): State<Got>, headers: HeaderMap, body: String) -> StatusCode {
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    let event: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
    let event = format!("{}/{}", event["tenant"], event["id"]);
    let mut got = got.lock().expect("no panic");
    let refused = got.len() % 7 == 3;
    let one = got.entry(id.to_owned()).or_insert((event.clone(), 0, false));
    assert_eq!(one.0, event, "one id, one event");
    one.1 += 1;
    if refused && one.1 == 1 {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    one.2 = true;
    StatusCode::NO_CONTENT
}

/// All of a topic: message id and value of each record.
fn read(brokers: &str, topic: &str) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "outside-checker")
        .set("enable.auto.commit", "false")
        .create()
        .context("a consumer")?;
    let timeout = Duration::from_secs(10);
    let (mut assignment, mut expected) = (TopicPartitionList::new(), 0);
    for partition in 0..3 {
        let (low, high) = consumer.fetch_watermarks(topic, partition, timeout)?;
        expected += high - low;
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment).context("assign")?;
    let (started, mut records) = (Instant::now(), Vec::new());
    while (records.len() as i64) < expected {
        ensure!(started.elapsed() < DEADLINE, "{} of {expected} records", records.len());
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.context("read a record")?;
        let headers = message.headers().context("headers")?;
        let id = headers.iter().find(|header| header.key == "shock-outbox-id").context("an id")?;
        let id = String::from_utf8_lossy(id.value.unwrap_or_default()).into_owned();
        records.push((id, message.payload().unwrap_or_default().to_vec()));
    }
    Ok(records)
}
