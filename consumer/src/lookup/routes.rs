//! The look-ups on the admin port, as JSON: `/v1/events/find`, `/v1/events/tail`, `/v1/partitions`.

use axum::Json;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use shared::tenant::TenantId;

use super::{Lookup, LookupError, Place};
use crate::store::AppliedEvent;

/// Where an event is found: `?tenant=…&id=…`, with `&source=…` where it is known.
pub const FIND_PATH: &str = "/v1/events/find";

/// Where the last applied events are listed: `?n=…`.
pub const TAIL_PATH: &str = "/v1/events/tail";

/// `?tenant=…&id=…` and, where it is known, `&source=…`.
#[derive(Debug, Deserialize)]
struct Find {
    tenant: String,
    id: String,
    source: Option<String>,
}

/// `?n=…`, 20 by default.
#[derive(Debug, Deserialize)]
struct Tail {
    #[serde(default = "Tail::n_default")]
    n: u16,
}

impl Tail {
    fn n_default() -> u16 {
        20
    }
}

/// An applied event, as JSON shows it.
#[derive(Debug, Serialize)]
pub struct TailEvent {
    position: Place,
    tenant: String,
    source: String,
    id: String,
    #[serde(rename = "type")]
    event_type: String,
    subject: Option<String>,
    received_at_ms: i64,
    applied_at_ms: i64,
    data: Box<RawValue>,
}

#[derive(Debug, Serialize)]
struct Problem {
    error: String,
}

/// The routes, to be merged into the admin port's.
pub fn routes(lookup: Lookup) -> Router {
    Router::new()
        .route(FIND_PATH, get(find))
        .route(TAIL_PATH, get(tail))
        .route("/v1/partitions", get(partitions))
        .with_state(lookup)
}

async fn find(State(lookup): State<Lookup>, Query(query): Query<Find>) -> Response {
    match TenantId::parse(&query.tenant) {
        Ok(tenant) => answer(lookup.find(tenant, query.source.as_deref(), &query.id).await),
        Err(error) => {
            let problem = Problem { error: error.to_string() };
            (StatusCode::BAD_REQUEST, Json(problem)).into_response()
        }
    }
}

async fn tail(State(lookup): State<Lookup>, Query(query): Query<Tail>) -> Response {
    let events = lookup.tail(query.n).await;
    answer(events.map(TailEvent::list))
}

async fn partitions(State(lookup): State<Lookup>) -> Response {
    answer(lookup.partitions().await)
}

fn answer<T: Serialize>(result: Result<T, LookupError>) -> Response {
    match result {
        Ok(body) => Json(body).into_response(),
        Err(error) => {
            let problem = Problem { error: error.to_string() };
            (StatusCode::SERVICE_UNAVAILABLE, Json(problem)).into_response()
        }
    }
}

impl TailEvent {
    /// All of them, in their order.
    pub fn list(events: Vec<AppliedEvent>) -> Vec<Self> {
        events.into_iter().map(Self::from).collect()
    }
}

impl From<AppliedEvent> for TailEvent {
    fn from(event: AppliedEvent) -> Self {
        Self {
            position: event.position.into(),
            tenant: event.tenant,
            source: event.source,
            id: event.id,
            event_type: event.event_type,
            subject: event.subject,
            received_at_ms: event.received_at.0,
            applied_at_ms: event.applied_at.0,
            // The stores keep what the decoder checked; a hand-edited row shows as null.
            data: RawValue::from_string(event.data).unwrap_or_else(|_| RawValue::NULL.to_owned()),
        }
    }
}
