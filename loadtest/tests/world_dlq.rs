//! What the database refuses is parked, told, mirrored and, once the database is mended, redriven:
//! twice, with one effect each. On real Kafka and PostgreSQL, with real processes.

mod fixture;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use loadtest::canonical;
use loadtest::deployment::{Cluster, Deployment, Settings, producers};
use loadtest::wait::{Seen, wait_until};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Headers;
use rdkafka::{Message, Offset, TopicPartitionList};
use serde_json::Value;
use shared::Shutdown;

const DEADLINE: Duration = Duration::from_secs(60);
const GOOD: u64 = 40;
const POISON: u64 = 12;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_is_redriven_twice_with_one_effect() -> anyhow::Result<()> {
    let run = fixture::Run::new("dlq")?;
    // Nothing heals by itself here: what becomes of it is the operator's doing.
    let set = ["consumer.retries_max=0", "consumer.parked_tries_max=0"].map(str::to_owned);
    let settings = Settings { set: set.into(), ..Settings::default() };
    let cluster = run.cluster(&settings, 1).await?;
    let mut database = cluster.effects().postgres().await?;
    let refuse = "alter table events add constraint no_poison check (id not like 'poison-%')";
    sqlx::raw_sql(refuse).execute(&mut database).await.context(refuse)?;

    post(&run, &cluster, "good", GOOD / 2).await?;
    post(&run, &cluster, "poison", POISON).await?;
    post(&run, &cluster, "more", GOOD / 2).await?;
    cluster.effects().wait_for(GOOD, DEADLINE).await?;
    let rows = wait_until("all of the poison to be parked", DEADLINE, async || {
        let rows = list(&cluster, &["--reason", "refused_by_store"]).await?;
        let seen = || format!("{} rows", rows.len());
        Ok(if rows.len() as u64 == POISON { Seen::There(rows) } else { Seen::NotYet(seen()) })
    })
    .await?;
    told(&cluster, &rows).await?;
    mirrored(&cluster, &rows).await?;

    let mend = "alter table events drop constraint no_poison";
    sqlx::raw_sql(mend).execute(&mut database).await.context(mend)?;
    redriven_twice(&cluster).await?;
    cluster.effects().wait_for(GOOD + POISON, DEADLINE).await?;
    wait_until("nothing to be parked any more", DEADLINE, async || {
        let rows = list(&cluster, &[]).await?;
        Ok(if rows.is_empty() { Seen::There(()) } else { Seen::NotYet(format!("{rows:?}")) })
    })
    .await?;
    let deployment = Deployment::Cluster(Box::new(cluster));
    let findings = deployment.reconcile(&run.ledger).await?.clean()?;
    ensure!(findings.effects as u64 == GOOD + POISON, "{findings}");
    deployment.stop().await
}

async fn post(
    run: &fixture::Run,
    cluster: &Cluster,
    name: &str,
    events: u64,
) -> anyhow::Result<()> {
    let mut load = run.load(cluster.target(), 1_000);
    load.name = name.to_owned();
    load.events_max = Some(events);
    let accepted = load.run(&Shutdown::new()).await?.all_accepted()?;
    ensure!(accepted == events, "{accepted} of {events} {name}");
    Ok(())
}

async fn list(cluster: &Cluster, filter: &[&str]) -> anyhow::Result<Vec<Value>> {
    let command = [&["ctl", "dlq", "list", "--json"], filter].concat();
    let page: Value = serde_json::from_str(&cluster.ctl(&command).await?)?;
    ensure!(page["next"].is_null(), "more than a page: {page}");
    page["rows"].as_array().cloned().context("rows")
}

fn text<'v>(row: &'v Value, name: &str) -> anyhow::Result<&'v str> {
    row[name].as_str().with_context(|| format!("no text {name}: {row}"))
}

/// The list names each with its reason and place, the summary counts them, `show` has the payload; the
/// admin port says the same.
async fn told(cluster: &Cluster, rows: &[Value]) -> anyhow::Result<()> {
    let ids: BTreeSet<_> = rows.iter().map(|row| text(row, "id")).collect::<Result<_, _>>()?;
    let expected: BTreeSet<_> = (0..POISON).map(|n| format!("poison-{n}")).collect();
    ensure!(ids.iter().eq(expected.iter()), "{ids:?}");
    for row in rows {
        ensure!(row["sqlstate"] == "23514" && row["type"] == "order.paid", "{row}");
        ensure!(!row.to_string().contains("amount"), "no payload in a list: {row}");
    }
    let tenant = producers().remove(0).tenant;
    let own = list(cluster, &["--tenant", &tenant, "--type", "order.*"]).await?;
    ensure!(own.len() as u64 == POISON / producers().len() as u64, "of {tenant}: {own:?}");

    let summary = cluster.ctl(&["ctl", "dlq", "list", "--summary"]).await?;
    ensure!(summary.ends_with(&format!("{POISON} rows\n")), "{summary}");
    let place = text(&rows[0], "place")?;
    let shown = cluster.ctl(&["ctl", "dlq", "show", place]).await?;
    ensure!(shown.contains(r#""amount":4200"#) && shown.contains("23514"), "{shown}");
    let port = cluster.consumer_admin(0)?;
    let (status, page) = loadtest::admin::get(port, "/dlq?reason=refused_by_store").await?;
    let page: Value = serde_json::from_str(&page).context("JSON")?;
    ensure!(status == 200 && page["rows"].as_array().map(Vec::len) == Some(rows.len()), "{page}");
    Ok(())
}

/// The DLQ topic has each with its bytes, and headers that say all of it.
async fn mirrored(cluster: &Cluster, rows: &[Value]) -> anyhow::Result<()> {
    let (topics, count) = (cluster.topics().clone(), rows.len());
    let prefix = topics.prefix.clone();
    let copies = tokio::task::spawn_blocking(move || {
        read(&topics.brokers, &format!("{}-dlq", topics.prefix), count)
    });
    let copies = copies.await.context("reading the DLQ topic")??;
    let records: BTreeMap<_, _> = cluster
        .records()
        .await?
        .into_iter()
        .map(|record| (format!("{}@{}", record.partition, record.offset), record.value))
        .collect();
    let mut seen = BTreeSet::new();
    for copy in &copies {
        let of = |name: &str| {
            copy.headers.get(name).map(String::as_str).with_context(|| format!("no {name}"))
        };
        let class = of("dlq_class")?;
        let place = format!("{class}/{}@{}", of("dlq_partition")?, of("dlq_offset")?);
        let row = rows.iter().find(|row| row["place"] == *place).context("a row of the list")?;
        ensure!(of("dlq_topic")? == format!("{prefix}.{class}"), "{copy:?}");
        ensure!(of("dlq_tenant")? == text(row, "tenant")? && copy.key == of("dlq_tenant")?);
        ensure!(of("dlq_id")? == text(row, "id")? && of("dlq_type")? == "order.paid");
        ensure!(of("dlq_reason")? == "refused_by_store" && of("dlq_sqlstate")? == "23514");
        for name in ["dlq_timestamp", "dlq_attempt", "dlq_epoch"] {
            ensure!(of(name)?.parse::<i64>().is_ok_and(|number| number > 0), "{name}: {copy:?}");
        }
        ensure!(of("dlq_source")? == "/" && of("dlq_build")? == env!("CARGO_PKG_VERSION"));
        ensure!(of("content-type")?.starts_with("application/cloudevents+json"), "{copy:?}");
        ensure!(records.get(&place) == Some(&canonical::of_bytes(&copy.value)), "other bytes");
        seen.insert(place);
    }
    ensure!(seen.len() == rows.len(), "copies of {seen:?}");
    Ok(())
}

/// A copy on the topic.
#[derive(Debug)]
struct Copy {
    key: String,
    value: Vec<u8>,
    headers: BTreeMap<String, String>,
}

fn read(brokers: &str, topic: &str, count: usize) -> anyhow::Result<Vec<Copy>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "outside-checker")
        .set("enable.auto.commit", "false")
        .create()
        .context("a consumer")?;
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, 0, Offset::Beginning).context("the partition")?;
    consumer.assign(&assignment).context("assign")?;
    let (started, mut copies) = (Instant::now(), Vec::new());
    while copies.len() < count {
        ensure!(started.elapsed() < DEADLINE, "{} of {count} copies", copies.len());
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.context("read a copy")?;
        let utf8 =
            |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or(b"")).into_owned();
        let headers = message.headers().context("headers")?.iter();
        copies.push(Copy {
            key: utf8(message.key()),
            value: message.payload().unwrap_or(b"").to_vec(),
            headers: headers.map(|one| (one.key.to_owned(), utf8(one.value))).collect(),
        });
    }
    Ok(copies)
}

/// A look changes nothing; the first redrive is slow enough for the second to meet most of it.
async fn redriven_twice(cluster: &Cluster) -> anyhow::Result<()> {
    let redrive = ["ctl", "dlq", "redrive", "--reason", "refused_by_store"];
    let look = cluster.ctl(&[&redrive[..], &["--dry-run"]].concat()).await?;
    ensure!(look.ends_with(&format!("{POISON} rows would be redriven\n")), "{look}");
    let named = ["--by", "ops", "--why", "the constraint is gone"];
    let slowly = [&redrive[..], &named, &["--rate", "0.2", "--json"]].concat();
    let first: Value = serde_json::from_str(&cluster.ctl(&slowly).await?)?;
    ensure!(first["changed"] == POISON, "{first}");
    // The other way, over the admin port.
    let port = format!("http://{}", cluster.consumer_admin(0)?);
    let at_once = [&redrive[..], &named, &["--json", "--admin", &port]].concat();
    let at_once: Vec<String> = at_once.iter().map(|word| (*word).to_owned()).collect();
    let binary = loadtest::process::shock_binary()?;
    let second = loadtest::process::run(&binary, &at_once, &[], &std::env::current_dir()?).await?;
    let second: Value = serde_json::from_str(&second)?;
    ensure!(second["changed"].as_u64().is_some_and(|rows| rows >= POISON / 2), "{second}");

    let audit = cluster.ctl(&["ctl", "dlq", "audit", "--json"]).await?;
    let audit: Vec<Value> = serde_json::from_str(&audit)?;
    ensure!(audit.len() == 2, "{audit:?}");
    ensure!(audit[1]["affected"] == POISON && audit[0]["affected"] == second["changed"]);
    for row in &audit {
        ensure!(row["author"] == "ops" && row["action"] == "redrive", "{row}");
        ensure!(row["reason"] == "the constraint is gone", "{row}");
        ensure!(row["filter"]["reason"] == "refused_by_store", "{row}");
    }
    Ok(())
}
