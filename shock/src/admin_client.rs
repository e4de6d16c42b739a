//! Asks the admin port of a running process.

use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::exit::End;

/// An admin port answers from memory and indexes; longer means that it is stuck.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// What changes something may have many rows to change.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(150);

/// `GET base/path?query`, the body as text.
pub async fn get(base: &str, path: &str, query: &[(&str, &str)]) -> anyhow::Result<String> {
    let mut target = path.to_owned();
    for (index, (name, value)) in query.iter().enumerate() {
        target.push(if index == 0 { '?' } else { '&' });
        target.push_str(name);
        target.push('=');
        target.extend(utf8_percent_encode(value, NON_ALPHANUMERIC));
    }
    send(Method::GET, base, &target, String::new()).await
}

/// Another method with a JSON body, the answer as text.
pub async fn send(
    method: Method,
    base: &str,
    target: &str,
    body: String,
) -> anyhow::Result<String> {
    let uri = format!("{}{target}", base.trim_end_matches('/'));
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::<Bytes>::from(body))
        .with_context(|| format!("{base} is not a URL"))?;
    let (patience, hint) = match request.method() {
        &Method::GET => (ANSWER_TIMEOUT, ""),
        _ => (CHANGE_TIMEOUT, "; it may have been done: look before you ask again"),
    };
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let answer = tokio::time::timeout(patience, client.request(request))
        .await
        .map_err(|_| End::Unavailable(format!("{base} did not answer in {patience:?}{hint}")))?
        .map_err(|error| {
            End::Unavailable(format!(
                "cannot reach {base} ({error}); is shock running there? \
                 Give the address of its admin port with --admin"
            ))
        })?;
    let status = answer.status();
    let body = answer.into_body().collect().await.context("the answer broke off")?.to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    if !status.is_success() {
        return Err(refused(base, status, &text));
    }
    Ok(text)
}

/// What an answer that is no success means for whoever asked.
fn refused(base: &str, status: StatusCode, text: &str) -> anyhow::Error {
    let error = serde_json::from_str::<Value>(text).ok();
    let error = error.as_ref().and_then(|answer| answer["error"].as_str()).unwrap_or(text.trim());
    match status {
        StatusCode::SERVICE_UNAVAILABLE => End::Unavailable(format!("{base}: {error}")).into(),
        StatusCode::NOT_FOUND if error.is_empty() => anyhow!(
            "{base} knows nothing of this; ask the admin port of a consumer, or of shock dev, with --admin"
        ),
        _ => anyhow!("{base} answered {status}: {error}"),
    }
}
