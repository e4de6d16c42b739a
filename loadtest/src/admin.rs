//! Asks the admin port: readiness, metrics, and what became of an event.

use std::net::SocketAddr;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::client::{Connection, Target};
use crate::ledger::Identity;

/// `GET path`: status and body as text.
pub async fn get(admin: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    let request = Request::get(path)
        .header("host", admin.to_string())
        .body(Full::<Bytes>::default())
        .with_context(|| format!("{path} is no path"))?;
    let reply = Connection::new(Target::new(admin)).send(request).await;
    let answer = reply.answer().with_context(|| format!("GET http://{admin}{path}"))?;
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    Ok((answer.status().as_u16(), text))
}

/// What the process says became of an event.
pub async fn find(admin: SocketAddr, identity: &Identity) -> anyhow::Result<Value> {
    let path = format!(
        "/v1/events/find?tenant={}&id={}&source={}",
        utf8_percent_encode(&identity.tenant, NON_ALPHANUMERIC),
        utf8_percent_encode(&identity.id, NON_ALPHANUMERIC),
        utf8_percent_encode(&identity.source, NON_ALPHANUMERIC)
    );
    let (status, text) = get(admin, &path).await?;
    anyhow::ensure!(status == 200, "GET {path}: {status} {text}");
    serde_json::from_str(&text).with_context(|| format!("GET {path}: {text}"))
}

/// How many records were ever appended: the sum of all partitions' ends.
pub async fn appended(admin: SocketAddr) -> anyhow::Result<i64> {
    let (status, text) = get(admin, "/v1/partitions").await?;
    anyhow::ensure!(status == 200, "GET /v1/partitions: {status} {text}");
    let partitions: Vec<Value> = serde_json::from_str(&text).context("partitions")?;
    let ends = partitions.iter().map(|partition| partition["end"].as_i64());
    ends.sum::<Option<i64>>().with_context(|| format!("a partition has no end: {text}"))
}

/// The sum over all label sets of one metric; 0 where it is not exported yet.
pub async fn metric(admin: SocketAddr, name: &str) -> anyhow::Result<f64> {
    let (status, text) = get(admin, "/metrics").await?;
    anyhow::ensure!(status == 200, "GET /metrics: {status} {text}");
    Ok(sum(&text, name))
}

/// Prometheus's text format, version 0.0.4: `name{labels} value` or `name value`.
fn sum(text: &str, name: &str) -> f64 {
    text.lines()
        .filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let value = match rest.strip_prefix('{') {
                Some(labelled) => labelled.rsplit_once('}')?.1,
                None => rest.strip_prefix(' ')?,
            };
            value.trim().parse::<f64>().ok()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels() {
        let text =
            "# HELP a_total x\na_total{p=\"}0\"} 2\na_total{p=\"1\"} 3\na_total_other 7\nb 4\n";
        assert_eq!(sum(text, "a_total"), 5.0);
        assert_eq!(sum(text, "b"), 4.0);
        assert_eq!(sum(text, "c"), 0.0);
    }
}
