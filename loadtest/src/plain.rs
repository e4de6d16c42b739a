//! The other reference: what a competent engineer writes in an afternoon. axum on tokio's usual
//! runtime, `serde_json::Value`, rdkafka's `FutureProducer`, one future per event; 202 when the
//! broker has acknowledged all of them.
//!
//! It has no keys, no schema, no bounds and no metrics, and says less when something is wrong. Its
//! producer's settings are the ingress's own, from the same configuration, and a tenant's records go
//! to the same partition as there: over fewer partitions a record would cost less.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use futures_util::future::join_all;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::Value;
use shared::config::{Backend, Config, Purpose, Sources};
use shared::log::kafka::producer_settings;
use shared::position::Class;
use tokio::net::TcpListener;

/// Where librdkafka's queue is full, the event is refused at once.
const NO_WAIT: Duration = Duration::ZERO;

/// The handler's state.
struct Plain {
    producer: FutureProducer,
    topic: String,
}

/// A server that is listening.
#[derive(Debug)]
pub struct Started {
    /// Where.
    pub address: SocketAddr,
    /// The producer's `linger.ms`.
    pub linger_ms: String,
}

/// Starts it on the Kafka of a `shock` configuration; it serves until the process ends.
pub async fn start(listen: SocketAddr, sources: &Sources) -> anyhow::Result<Started> {
    let config = Config::load(sources, Purpose::Ingress)?;
    let Backend::Cluster { kafka, .. } = &config.backend else {
        bail!("the plain server needs backend = \"kafka\"");
    };
    let mut settings = producer_settings(kafka)?;
    // The ingress's, and Java's.
    settings.set("partitioner", "murmur2_random");
    let linger_ms = settings.get("linger.ms").context("linger.ms is always set")?.to_owned();
    let topic = format!("{}.{}", kafka.topic_prefix, Class::Transactional.name());
    let state = Arc::new(Plain { producer: settings.create().context("the producer")?, topic });
    let routes = Router::new().route("/v1/events", post(accept)).with_state(state);
    let listener = TcpListener::bind(listen).await.with_context(|| format!("bind {listen}"))?;
    let address = listener.local_addr().context("the listener's address")?;
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(Started { address, linger_ms })
}

async fn accept(State(plain): State<Arc<Plain>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let text = |name| headers.get(name).map(|value| value.as_bytes()).unwrap_or_default();
    // Nobody checks who it is.
    let key = tenant(text(header::AUTHORIZATION));
    match text(header::CONTENT_TYPE) {
        b"application/json" => plain.append(key, &body).await,
        b"application/x-ndjson" => {
            let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            let answers = join_all(lines.map(|line| plain.append(key, line))).await;
            let refused = answers.into_iter().find(|status| *status != StatusCode::ACCEPTED);
            refused.unwrap_or(StatusCode::ACCEPTED)
        }
        _ => StatusCode::UNSUPPORTED_MEDIA_TYPE,
    }
}

/// The tenant of `Bearer load-TENANT.SECRET`.
fn tenant(authorization: &[u8]) -> &[u8] {
    let key = authorization.strip_prefix(b"Bearer load-").unwrap_or(authorization);
    key.split(|byte| *byte == b'.').next().unwrap_or(key)
}

impl Plain {
    async fn append(&self, key: &[u8], event: &[u8]) -> StatusCode {
        let Ok(value) = serde_json::from_slice::<Value>(event) else {
            return StatusCode::BAD_REQUEST;
        };
        if !value["id"].is_string() || !value["type"].is_string() {
            return StatusCode::BAD_REQUEST;
        }
        let record = FutureRecord::to(&self.topic).key(key).payload(event);
        match self.producer.send(record, NO_WAIT).await {
            Ok(_) => StatusCode::ACCEPTED,
            Err(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}
