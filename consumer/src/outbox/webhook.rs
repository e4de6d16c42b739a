//! A webhook: one POST for each event, signed, with the same id each time.
//!
//! The body is a whole CloudEvent (JSON, structured mode), so that all of it is under the signature.
//! The URL is often a secret: it stands in no log line, no metric and no row. Redirects are not
//! followed: who moved says so in the configuration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;
use serde_json::value::RawValue;
use shared::clock::Clock;
use shared::config::WebhookConfig;
use shared::event::{Event, Undecodable};
use shared::log::{HEADER_TRACEPARENT, HEADER_TRACESTATE, Record};
use tokio::time::{Instant, timeout_at};

use super::lane::{Answer, Lane};
use super::retry_after;
use super::signature::signature;
use super::target::{Outcome, Reason};
use crate::store::outbox::Due;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const EVENT: HeaderValue = HeaderValue::from_static("application/cloudevents+json; charset=UTF-8");
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("shock-absorber/", env!("CARGO_PKG_VERSION")));

/// An answer's body is read up to here, so that its connection can be used again.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// A connection that was idle for so long is closed: before most receivers close it.
const IDLE: Duration = Duration::from_secs(20);

type Posts = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A webhook. All clones share their connections.
#[derive(Clone)]
pub struct Webhook {
    client: Posts,
    config: Arc<WebhookConfig>,
    clock: Clock,
}

impl Webhook {
    /// Contacts nobody yet.
    pub fn new(config: &WebhookConfig) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(config.connect_timeout));
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http();
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(config.concurrency)
            .build(connector.enable_http1().wrap_connector(tcp));
        Self { client, config: Arc::new(config.clone()), clock: Clock::System }
    }

    pub(super) fn concurrency(&self) -> usize {
        self.config.concurrency
    }

    /// One after the other; what stands behind one that failed is not sent.
    pub(super) async fn deliver(&self, lane: Lane) -> Vec<Answer> {
        let mut answers: Vec<Answer> = Vec::with_capacity(lane.rows.len());
        let mut failed = false;
        for row in lane.rows {
            let started = Instant::now();
            let outcome = if failed { None } else { Some(self.post(&row).await) };
            failed |= matches!(outcome, Some(Outcome::Failed(..)));
            answers.push(Answer { row, outcome, took: started.elapsed() });
        }
        answers
    }

    async fn post(&self, row: &Due) -> Outcome {
        let Ok(body) = body(&row.record) else { return Outcome::Refused(Reason::Undecodable) };
        // A URL that the configuration took and the client does not: an operator mends it.
        let Some(request) = self.request(row, Bytes::from(body)) else {
            return Outcome::Failed(Reason::Connection, None);
        };
        let by = Instant::now() + self.config.timeout;
        let answer = match timeout_at(by, self.client.request(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => return Outcome::Failed(Reason::Connection, None),
            Err(_) => return Outcome::Failed(Reason::Timeout, None),
        };
        let (status, wait) = (answer.status().as_u16(), self.wait_asked_for(&answer));
        // The answer counts whether or not its body comes.
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect();
        let _ = timeout_at(by, body).await;
        of_status(status, wait)
    }

    fn request(&self, row: &Due, body: Bytes) -> Option<Request<Full<Bytes>>> {
        let seconds = self.clock.now().0.div_euclid(1_000);
        let signed = signature(&self.config.secrets, &row.message_id, seconds, &body);
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.config.url.as_str().parse::<Uri>().ok()?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, EVENT);
        headers.insert(USER_AGENT, AGENT);
        headers.insert(WEBHOOK_ID, HeaderValue::from_str(&row.message_id).ok()?);
        headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(seconds));
        if !signed.is_empty() {
            headers.insert(WEBHOOK_SIGNATURE, HeaderValue::from_str(&signed).ok()?);
        }
        for name in [HEADER_TRACEPARENT, HEADER_TRACESTATE] {
            let value = row.record.header(name).map(HeaderValue::from_bytes);
            if let Some(Ok(value)) = value {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        Some(request)
    }

    fn wait_asked_for(&self, answer: &Response<Incoming>) -> Option<Duration> {
        let text = answer.headers().get(RETRY_AFTER)?.to_str().ok()?;
        retry_after::parse(text, self.clock.now())
    }
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What an answer means.
fn of_status(status: u16, wait: Option<Duration>) -> Outcome {
    let reason = Reason::Status(status);
    match status {
        200..300 => Outcome::Sent,
        // It is over for all that goes there: a pause, and a human.
        410 => Outcome::Failed(reason, Some(retry_after::MAX)),
        408 | 425 | 429 | 500.. => Outcome::Failed(reason, wait),
        _ => Outcome::Refused(reason),
    }
}

/// The event of a record as one CloudEvent, `data` verbatim.
pub fn body(record: &Record) -> Result<String, Undecodable> {
    let event = Event::decode(record)?;
    let mut text = String::from(r#"{"specversion":"1.0""#);
    let mut say = |name: &str, value: &str| {
        text.push(',');
        text.push_str(&Value::from(name).to_string());
        text.push(':');
        text.push_str(value);
    };
    let quoted = |value: &str| Value::from(value).to_string();
    say("id", &quoted(&event.id));
    say("source", &quoted(&event.source));
    say("type", &quoted(&event.event_type));
    if let Some(subject) = &event.subject {
        say("subject", &quoted(subject));
    }
    let received = record.timestamp.rfc3339();
    say("time", &quoted(event.time.as_deref().unwrap_or(&received)));
    say("datacontenttype", r#""application/json""#);
    say("tenant", &quoted(event.tenant.as_str()));
    let others: BTreeMap<String, &RawValue> = match &event.extensions {
        Some(text) => serde_json::from_str(text).map_err(|_| Undecodable::Json)?,
        None => BTreeMap::new(),
    };
    for (name, value) in others {
        // What was said above is what the record's key and the content say.
        if !matches!(name.as_str(), "tenant" | "datacontenttype" | "specversion") {
            say(&name, value.get());
        }
    }
    say("data", event.data);
    text.push('}');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use shared::clock::Millis;
    use shared::position::{Class, Offset, Partition, PartitionId, Position};

    use super::*;

    fn record(value: &str, headers: &[(&str, &str)]) -> Record {
        let id = PartitionId { class: Class::Transactional, partition: Partition(0) };
        Record {
            position: Position { id, offset: Offset(0) },
            timestamp: Millis(1_750_075_200_000),
            key: Bytes::from_static(b"acme/o-1"),
            value: Bytes::copy_from_slice(value.as_bytes()),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), Bytes::copy_from_slice(value.as_bytes())))
                .collect(),
        }
    }

    #[test]
    fn a_body_is_the_whole_event_with_its_data_verbatim() {
        let value = r#"{"type":"order.paid","subject":"o-1","tenant":"zeta","trace":"\u0061","data":{"n":1.50}}"#;
        let text = body(&record(value, &[("ce_id", "minted")])).expect("an event");
        assert_eq!(
            text,
            r#"{"specversion":"1.0","id":"minted","source":"/","type":"order.paid","subject":"o-1","time":"2025-06-16T12:00:00Z","datacontenttype":"application/json","tenant":"acme","trace":"\u0061","data":{"n":1.50}}"#
        );
        serde_json::from_str::<Value>(&text).expect("JSON");
        assert!(body(&record("[]", &[])).is_err());
    }

    #[test]
    fn statuses_mean_what_they_say() {
        let second = Some(Duration::from_secs(1));
        for status in [200, 202, 204, 299] {
            assert_eq!(of_status(status, None), Outcome::Sent);
        }
        for status in [408, 425, 429, 500, 502, 503, 504, 599] {
            assert_eq!(of_status(status, second), Outcome::Failed(Reason::Status(status), second));
        }
        for status in [100, 301, 307, 400, 401, 403, 404, 409, 413, 422] {
            assert_eq!(of_status(status, second), Outcome::Refused(Reason::Status(status)));
        }
        let gone = Outcome::Failed(Reason::Status(410), Some(retry_after::MAX));
        assert_eq!(of_status(410, None), gone);
    }
}
