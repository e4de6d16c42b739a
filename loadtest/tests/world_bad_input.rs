//! What is not an event is refused with a problem document, leaves nothing in the log, and costs no
//! unbounded memory. Over HTTP, on both backends.

mod fixture;

use std::io::Write;

use anyhow::{Context, ensure};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;
use hyper::Request;
use loadtest::client::Connection;
use loadtest::deployment::{Deployment, Settings, producers};
use loadtest::load::event;

/// No case may make a process hold more than this beyond what it held before: the inflating cap
/// (20 MiB) and the parsed form of one body, with room for the allocator.
const GROWTH_BYTES_MAX: u64 = 128 << 20;

/// How often the whole list is sent: what leaks shows.
const ROUNDS: usize = 5;

struct Case {
    name: &'static str,
    status: u16,
    content_type: &'static str,
    encoding: Option<&'static str>,
    key: Option<String>,
    body: Vec<u8>,
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_and_leaves_nothing() -> anyhow::Result<()> {
    fixture::on_both("bad-input", &Settings::default(), async |run, deployment| {
        let before = ingress_bytes(deployment)?;
        let mut connection = Connection::new(deployment.target());
        for _ in 0..ROUNDS {
            for case in cases()? {
                refused(&mut connection, case).await?;
            }
        }
        let growth = ingress_bytes(deployment)?.saturating_sub(before);
        println!("memory grew by at most {} KiB", growth / 1024);
        ensure!(growth < GROWTH_BYTES_MAX, "memory grew by {growth} bytes");
        // One good event goes through behind all of it, and is all there is.
        let producer = &producers()[0];
        let (body, posted) = event(&producer.tenant, "good");
        let noted = run.ledger.sent(vec![posted])?;
        let reply = connection.send(request("application/json", None, Some(&producer.key), body)?);
        let reply = reply.await;
        run.ledger.answered(noted, reply.status(), vec![loadtest::load::outcome(&reply)])?;
        ensure!(reply.status() == Some(202), "a good event: {reply:?}");
        deployment.effects().wait_for(1, std::time::Duration::from_secs(30)).await?;
        deployment.reconcile(&run.ledger).await?.clean()?;
        let appended = loadtest::admin::appended(deployment.admin()?).await?;
        ensure!(appended == 1, "{appended} records of one good event");
        Ok(())
    })
    .await
}

fn ingress_bytes(deployment: &Deployment) -> anyhow::Result<u64> {
    match deployment {
        Deployment::Embedded(embedded) => embedded.process()?.resident_bytes_peak(),
        Deployment::Cluster(cluster) => cluster.ingress()?.resident_bytes_peak(),
    }
}

async fn refused(connection: &mut Connection, case: Case) -> anyhow::Result<()> {
    let body = Bytes::from(case.body);
    let request = request(case.content_type, case.encoding, case.key.as_deref(), body)?;
    let answer = connection.send(request).await.answer().context(case.name)?;
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    ensure!(
        answer.status().as_u16() == case.status,
        "{}: answered {}, {} is right: {text}",
        case.name,
        answer.status(),
        case.status
    );
    let content_type = answer.headers().get("content-type").and_then(|v| v.to_str().ok());
    ensure!(content_type == Some("application/problem+json"), "{}: {content_type:?}", case.name);
    let problem: serde_json::Value = serde_json::from_str(&text).context(case.name)?;
    for member in ["type", "title", "status", "code", "retryable"] {
        ensure!(problem.get(member).is_some(), "{}: no {member}: {text}", case.name);
    }
    ensure!(problem["retryable"] == false, "{}: sending it again cannot help: {text}", case.name);
    Ok(())
}

fn request(
    content_type: &str,
    encoding: Option<&str>,
    key: Option<&str>,
    body: Bytes,
) -> anyhow::Result<Request<Full<Bytes>>> {
    let mut request = Request::post("/v1/events")
        .header("host", "localhost")
        .header("content-type", content_type);
    if let Some(encoding) = encoding {
        request = request.header("content-encoding", encoding);
    }
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    request.body(Full::new(body)).context("a valid request")
}

/// The bad inputs: name, expected status, body.
fn cases() -> anyhow::Result<Vec<Case>> {
    let key = producers()[0].key.clone();
    let plain = |name, status, body: &[u8]| Case {
        name,
        status,
        content_type: "application/json",
        encoding: None,
        key: Some(key.clone()),
        body: body.to_vec(),
    };
    let good = br#"{"id":"1","type":"order.paid","data":{}}"#;
    let deep = [b"{\"id\":\"1\",\"type\":\"a\",\"data\":".to_vec(), b"[".repeat(100_000)].concat();
    let large = [
        b"{\"id\":\"1\",\"type\":\"a\",\"data\":\"".to_vec(),
        b"x".repeat(2 << 20),
        b"\"}".to_vec(),
    ];
    let bomb =
        gzip(&[&b"{\"id\":\"1\",\"type\":\"a\",\"data\":\""[..], &b"x".repeat(64 << 20), b"\"}"])?;
    ensure!(bomb.len() < 1 << 20, "the bomb is small on the wire: {}", bomb.len());
    Ok(vec![
        plain("an empty body", 400, b""),
        plain("white space only", 400, b" \n"),
        plain("broken JSON", 400, br#"{"id":"1","type":"#),
        plain("two texts", 400, br#"{"id":"1","type":"a"} {"id":"2","type":"a"}"#),
        plain("a depth bomb, not closed", 413, &deep),
        plain("a body of 2 MiB", 413, &large.concat()),
        plain("a number for an event", 422, b"7"),
        plain("a number for an id", 422, br#"{"id":1,"type":"a"}"#),
        plain("no type", 422, br#"{"id":"1","data":{}}"#),
        plain("invalid UTF-8", 400, b"{\"id\":\"1\",\"type\":\"a\",\"data\":\"\xff\xfe\"}"),
        plain("the id twice", 400, br#"{"id":"1","id":"2","type":"a"}"#),
        plain("the type twice", 400, br#"{"id":"1","type":"a","type":"b"}"#),
        plain("what jsonb cannot hold", 422, br#"{"id":"1","type":"a","data":"\u0000"}"#),
        Case { content_type: "text/csv", ..plain("an unknown content type", 415, good) },
        Case { encoding: Some("compress"), ..plain("an unknown encoding", 415, good) },
        Case { encoding: Some("gzip"), ..plain("gzip that is none", 400, good) },
        Case { encoding: Some("gzip"), body: bomb, ..plain("a gzip bomb", 413, b"") },
        Case { encoding: Some("zstd"), body: zstd_bomb(), ..plain("a zstd bomb", 413, b"") },
        Case { encoding: Some("zstd"), ..plain("zstd that is none", 400, good) },
        Case { encoding: Some("br"), ..plain("br that is none", 400, good) },
        Case { key: None, ..plain("no key", 401, good) },
        Case { key: Some("load-acme.wrong".to_owned()), ..plain("a wrong key", 401, good) },
        Case { key: Some("nobody.x".to_owned()), ..plain("an unknown key", 401, good) },
    ])
}

/// 64 MiB of zeros in one frame of 2 KiB: blocks that repeat a byte (RFC 8878, 3.1.1.2).
fn zstd_bomb() -> Vec<u8> {
    // No content size, no checksum, a window of 128 KiB: as large as a block may be.
    let mut frame = b"\x28\xb5\x2f\xfd\x00\x38".to_vec();
    for block in 1..=512_u32 {
        let last = u32::from(block == 512);
        frame.extend(&((128 << 10) << 3 | 1 << 1 | last).to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

fn gzip(parts: &[&[u8]]) -> anyhow::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    for part in parts {
        encoder.write_all(part).context("compress")?;
    }
    encoder.finish().context("compress")
}
