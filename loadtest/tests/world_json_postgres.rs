//! Profile `rfc8259` from HTTP through Kafka to PostgreSQL: whatever that profile takes stands in the log
//! byte for byte, and comes out as an effect with every digit, or parked with its bytes where `jsonb`
//! cannot hold it. Nothing is lost, and nothing stops its partition.

mod fixture;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use loadtest::client::Connection;
use loadtest::deployment::{Settings, producers};
use loadtest::wait::{Seen, wait_until};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Message, Offset, TopicPartitionList};

const DEADLINE: Duration = Duration::from_secs(60);

/// What becomes of a text: the data as PostgreSQL prints it, or none where it is parked.
const TEXTS: [(&str, Option<&str>); 19] = [
    (r#""plain""#, Some(r#""plain""#)),
    (r#""\u0000""#, None),
    (r#"{"\u0000":1}"#, None),
    (r#""\ud800""#, None),
    (r#""\udc00\ud800""#, None),
    (r#"{"\ud800":1}"#, None),
    (r#""\ud83d\ude00""#, Some("\"\u{1f600}\"")),
    // As a `numeric` it has all its zeros.
    ("1e-400", Some("0.<399 zeros>1")),
    ("1e400", Some("1<400 zeros>")),
    ("-1e400", Some("-1<400 zeros>")),
    ("1e200000", None),
    ("1e-20000", None),
    ("123456789012345678901234567890", Some("123456789012345678901234567890")),
    ("0.1234567890123456789012345", Some("0.1234567890123456789012345")),
    ("-0", Some("0")),
    (r#"{"a":1,"a":2}"#, Some(r#"{"a": 2}"#)),
    (
        r#"{"b":{"a":1},"b":{"c":[1e400,"\ud83d\ude00"]}}"#,
        Some("{\"b\": {\"c\": [1<400 zeros>, \"\u{1f600}\"]}}"),
    ),
    (r#"{"b":"\ud800","b":1}"#, None),
    (r#""\/\u00e4""#, Some("\"/\u{e4}\"")),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_text_of_the_profile_is_an_effect_or_parked_with_its_bytes() -> anyhow::Result<()> {
    let run = fixture::Run::new("json-postgres")?;
    let settings =
        Settings { set: vec!["ingress.json_profile=rfc8259".to_owned()], ..Settings::default() };
    let cluster = run.cluster(&settings, 1).await?;
    let mut connection = Connection::new(cluster.target());
    for (number, (text, _)) in TEXTS.iter().enumerate() {
        let answer = connection.send(request(body(number, text))?).await.answer().context(*text)?;
        ensure!(answer.status() == 202, "{text}: {}", answer.status());
    }
    // The last of the partition: nothing before it has stopped it.
    let last = body(TEXTS.len(), "true");
    let answer = connection.send(request(last)?).await.answer().context("answered")?;
    ensure!(answer.status() == 202, "{}", answer.status());

    let topics = cluster.topics().clone();
    let logged = tokio::task::spawn_blocking(move || {
        values(&topics.brokers, &format!("{}.transactional", topics.prefix))
    });
    let logged = logged.await.context("reading the log")??;
    let (mut effects, mut parked) = (BTreeMap::new(), BTreeMap::new());
    wait_until("every text to be an effect or parked", DEADLINE, async || {
        let mut postgres = cluster.effects().postgres().await?;
        let rows: Vec<(String, String)> =
            sqlx::query_as("select id, data::text from events").fetch_all(&mut postgres).await?;
        effects = rows.into_iter().collect();
        let rows: Vec<(Vec<u8>, String)> =
            sqlx::query_as("select value, reason from parked").fetch_all(&mut postgres).await?;
        parked = rows.into_iter().collect();
        let there = effects.len() + parked.len();
        Ok(if there > TEXTS.len() { Seen::There(()) } else { Seen::NotYet(there.to_string()) })
    })
    .await?;
    for (number, (text, data)) in TEXTS.iter().enumerate() {
        let sent = body(number, text);
        ensure!(logged.contains(&sent), "{text}: not in the log as it was sent");
        let effect: Option<&String> = effects.get(&id(number));
        match data {
            Some(data) => {
                ensure!(effect == Some(&expanded(data)), "{text}: {effect:?}");
            }
            None => {
                ensure!(effect.is_none(), "{text}: {effect:?}");
                let reason: Option<&String> = parked.get(sent.as_bytes());
                ensure!(reason.is_some_and(|it| it == "refused_by_store"), "{text}: {reason:?}");
            }
        }
    }
    cluster.stop().await
}

fn id(number: usize) -> String {
    format!("text-{number}")
}

/// White space as well as the text has to reach the log.
fn body(number: usize, text: &str) -> String {
    format!("{{\"id\" : \"{}\",\t\"type\":\"json.text\", \"data\" : {text} }}", id(number))
}

fn request(body: String) -> anyhow::Result<Request<Full<Bytes>>> {
    Request::post("/v1/events")
        .header("host", "localhost")
        .header("authorization", format!("Bearer {}", producers()[0].key))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .context("a valid request")
}

/// `<n zeros>` in words.
fn expanded(data: &str) -> String {
    let Some((before, rest)) = data.split_once('<') else { return data.to_owned() };
    let (count, after) = rest.split_once(" zeros>").expect("so many zeros");
    let zeros = "0".repeat(count.parse().expect("a number"));
    format!("{before}{zeros}{after}")
}

/// The records' values, of all partitions.
fn values(brokers: &str, topic: &str) -> anyhow::Result<Vec<String>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "outside-checker")
        .set("enable.auto.commit", "false")
        .create()
        .context("a consumer")?;
    let metadata = consumer.fetch_metadata(Some(topic), DEADLINE).context("metadata")?;
    let mut values = Vec::new();
    for partition in metadata.topics()[0].partitions() {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), DEADLINE)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition.id(), Offset::Offset(low))?;
        consumer.assign(&list).context("assign")?;
        for _ in low..high {
            let message = consumer.poll(DEADLINE).context("a record in time")??;
            values.push(String::from_utf8(message.payload().unwrap_or_default().to_vec())?);
        }
    }
    Ok(values)
}
