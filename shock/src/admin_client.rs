//! Asks the admin port of a running process.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::exit::End;

/// An admin port answers from memory and indexes; longer means that it is stuck.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// `GET base/path?query`, the body as text.
pub async fn get(base: &str, path: &str, query: &[(&str, &str)]) -> anyhow::Result<String> {
    let mut uri = format!("{}{path}", base.trim_end_matches('/'));
    for (index, (name, value)) in query.iter().enumerate() {
        uri.push(if index == 0 { '?' } else { '&' });
        uri.push_str(name);
        uri.push('=');
        uri.extend(utf8_percent_encode(value, NON_ALPHANUMERIC));
    }
    let uri: hyper::Uri = uri.parse().with_context(|| format!("{base} is not a URL"))?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, client.get(uri))
        .await
        .map_err(|_| End::Unavailable(format!("{base} did not answer in {ANSWER_TIMEOUT:?}")))?
        .map_err(|error| {
            End::Unavailable(format!(
                "cannot reach {base} ({error}); is `shock dev` or a consumer running there? \
                 Give its address with --admin"
            ))
        })?;
    let status = answer.status();
    let body = answer.into_body().collect().await.context("the answer broke off")?.to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    if !status.is_success() {
        bail!("{base} answered {status}: {}", text.trim());
    }
    Ok(text)
}
