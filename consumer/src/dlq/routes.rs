//! Parked rows on the admin port: `GET /dlq`, `/dlq/summary`, `/dlq/row` and `/dlq/audit` look,
//! `POST /dlq/redrive` and `/dlq/drop` act. Whoever reaches the port may; nothing here asks for a key,
//! and what acts has to say who and why.

use std::collections::BTreeMap;

use axum::Json;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::admin::author::CHANGE_BYTES_MAX;

use super::{Action, Ask, Dlq, DlqError, Filter};

/// Rows: a filter's members, `limit` and `after`.
pub const LIST_PATH: &str = "/dlq";
/// Counts: a filter's members and `after`.
pub const SUMMARY_PATH: &str = "/dlq/summary";
/// One record's row with all of it: `?place=CLASS/PARTITION@OFFSET`.
pub const ROW_PATH: &str = "/dlq/row";
/// What was done by hand: `?limit=…&before=…`.
pub const AUDIT_PATH: &str = "/dlq/audit";
/// Lets rows be tried again: an [`Ask`].
pub const REDRIVE_PATH: &str = "/dlq/redrive";
/// Gives rows up: an [`Ask`].
pub const DROP_PATH: &str = "/dlq/drop";

/// Rows of a page where the request does not say.
const LIMIT_DEFAULT: u16 = 100;

#[derive(Debug, Deserialize)]
struct One {
    place: String,
}

#[derive(Debug, Deserialize)]
struct Audit {
    limit: Option<u16>,
    before: Option<i64>,
}

#[derive(Debug, Serialize)]
struct Problem {
    error: String,
}

/// A filter with where and how far to look.
struct Look {
    filter: Filter,
    after: Option<String>,
    limit: u16,
}

/// The routes, to be merged into the admin port's.
pub fn routes(dlq: Dlq) -> Router {
    Router::new()
        .route(LIST_PATH, get(list))
        .route(SUMMARY_PATH, get(summary))
        .route(ROW_PATH, get(row))
        .route(AUDIT_PATH, get(audit))
        // JSON by its content type only: no page in a browser can send that to another origin.
        .route(REDRIVE_PATH, post(redrive))
        .route(DROP_PATH, post(drop_rows))
        .layer(DefaultBodyLimit::max(CHANGE_BYTES_MAX))
        .with_state(dlq)
}

async fn list(State(dlq): State<Dlq>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let Look { filter, after, limit } = match look(query) {
        Ok(look) => look,
        Err(error) => return problem(&error),
    };
    answer(dlq.list(filter, after.as_deref(), limit).await)
}

async fn summary(
    State(dlq): State<Dlq>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    match look(query) {
        Ok(Look { filter, after, .. }) => answer(dlq.summary(filter, after.as_deref()).await),
        Err(error) => problem(&error),
    }
}

async fn row(State(dlq): State<Dlq>, Query(one): Query<One>) -> Response {
    answer(dlq.show(&one.place).await)
}

async fn audit(State(dlq): State<Dlq>, Query(asked): Query<Audit>) -> Response {
    answer(dlq.audit(asked.before, asked.limit.unwrap_or(LIMIT_DEFAULT)).await)
}

async fn redrive(State(dlq): State<Dlq>, Json(ask): Json<Ask>) -> Response {
    answer(dlq.act(Action::Redrive, ask).await)
}

async fn drop_rows(State(dlq): State<Dlq>, Json(ask): Json<Ask>) -> Response {
    answer(dlq.act(Action::Drop, ask).await)
}

/// A member that nobody knows is refused: a filter that was mistyped would mean too many.
fn look(mut query: BTreeMap<String, String>) -> Result<Look, DlqError> {
    let after = query.remove("after");
    let limit = match query.remove("limit").map(|text| text.parse()) {
        None => LIMIT_DEFAULT,
        Some(Ok(limit)) => limit,
        Some(Err(_)) => return Err(DlqError::Request("limit is no number".to_owned())),
    };
    let members = query.into_iter().map(|(name, text)| (name, Value::String(text))).collect();
    let filter = serde_json::from_value(Value::Object(members))
        .map_err(|error| DlqError::Request(error.to_string()))?;
    Ok(Look { filter, after, limit })
}

fn answer<T: Serialize>(result: Result<T, DlqError>) -> Response {
    match result {
        Ok(body) => Json(body).into_response(),
        Err(error) => problem(&error),
    }
}

fn problem(error: &DlqError) -> Response {
    let status = match error {
        DlqError::Request(_) => StatusCode::BAD_REQUEST,
        DlqError::Nothing(_) => StatusCode::NOT_FOUND,
        DlqError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(Problem { error: error.to_string() })).into_response()
}
