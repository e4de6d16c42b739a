//! Parked rows on the admin port: `GET /dlq`, `/dlq/summary`, `/dlq/row` and `/dlq/audit` look,
//! `POST /dlq/redrive` and `/dlq/drop` act. Whoever reaches the port may; nothing here asks for a key,
//! and what acts has to say who and why. Each call walks the table and shares the writers' connections,
//! so only a few run at a time; more are refused at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::admin::author::CHANGE_BYTES_MAX;
use tokio::sync::Semaphore;

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

/// So many calls run at a time; a further one gets 503.
pub const CALLS_MAX: usize = 4;
/// When to come again: most calls are over by then.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

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

/// The desk, and who may be at it.
#[derive(Clone, Debug)]
struct Calls {
    dlq: Dlq,
    free: Arc<Semaphore>,
}

/// A filter with where and how far to look.
struct Look {
    filter: Filter,
    after: Option<String>,
    limit: u16,
}

/// The routes, to be merged into the admin port's.
pub fn routes(dlq: Dlq) -> Router {
    let calls = Calls { dlq, free: Arc::new(Semaphore::new(CALLS_MAX)) };
    Router::new()
        .route(LIST_PATH, get(list))
        .route(SUMMARY_PATH, get(summary))
        .route(ROW_PATH, get(row))
        .route(AUDIT_PATH, get(audit))
        // JSON by its content type only: no page in a browser can send that to another origin.
        .route(REDRIVE_PATH, post(redrive))
        .route(DROP_PATH, post(drop_rows))
        .layer(DefaultBodyLimit::max(CHANGE_BYTES_MAX))
        .with_state(calls)
}

impl Calls {
    /// Does what was asked, all of which has arrived, or says at once that others are at it.
    async fn answer<T: Serialize>(
        &self,
        work: impl Future<Output = Result<T, DlqError>>,
    ) -> Response {
        let Ok(_call) = self.free.try_acquire() else {
            let error = format!("{CALLS_MAX} calls are under way: try again later");
            let retry_after = [(header::RETRY_AFTER, RETRY_AFTER)];
            return (StatusCode::SERVICE_UNAVAILABLE, retry_after, Json(Problem { error }))
                .into_response();
        };
        match work.await {
            Ok(body) => Json(body).into_response(),
            Err(error) => problem(&error),
        }
    }
}

async fn list(
    State(calls): State<Calls>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let Look { filter, after, limit } = match look(query) {
        Ok(look) => look,
        Err(error) => return problem(&error),
    };
    calls.answer(calls.dlq.list(filter, after.as_deref(), limit)).await
}

async fn summary(
    State(calls): State<Calls>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    match look(query) {
        Ok(Look { filter, after, .. }) => {
            calls.answer(calls.dlq.summary(filter, after.as_deref())).await
        }
        Err(error) => problem(&error),
    }
}

async fn row(State(calls): State<Calls>, Query(one): Query<One>) -> Response {
    calls.answer(calls.dlq.show(&one.place)).await
}

async fn audit(State(calls): State<Calls>, Query(asked): Query<Audit>) -> Response {
    let limit = asked.limit.unwrap_or(LIMIT_DEFAULT);
    calls.answer(calls.dlq.audit(asked.before, limit)).await
}

async fn redrive(State(calls): State<Calls>, Json(ask): Json<Ask>) -> Response {
    calls.answer(calls.dlq.act(Action::Redrive, ask)).await
}

async fn drop_rows(State(calls): State<Calls>, Json(ask): Json<Ask>) -> Response {
    calls.answer(calls.dlq.act(Action::Drop, ask)).await
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

fn problem(error: &DlqError) -> Response {
    let status = match error {
        DlqError::Request(_) => StatusCode::BAD_REQUEST,
        DlqError::Nothing(_) => StatusCode::NOT_FOUND,
        DlqError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(Problem { error: error.to_string() })).into_response()
}
