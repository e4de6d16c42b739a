//! The operators' words on the admin port: `GET /control/state`, `PUT` and `DELETE` of a subject under
//! it, `GET /control/live`. Whoever reaches the port may steer; nothing here asks for a key.

use axum::Json;
use axum::Router as Routes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use serde::{Deserialize, Serialize};

use super::ears::told;
use super::state::{Change, Entry};
use super::wish::{self, Wish, WishError};
use super::{Plane, Row};
use crate::admin::author::CHANGE_BYTES_MAX;
use crate::clock::Millis;
use crate::route::Router;

/// What operators have set; a subject follows with a slash between.
pub const STATE_PATH: &str = "/control/state";
/// What is heard of each partition.
pub const LIVE_PATH: &str = "/control/live";

/// `GET /control/state`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// Those whose time is not over.
    pub entries: Vec<ToldEntry>,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToldEntry {
    /// What it is about.
    pub subject: String,
    /// What is set.
    #[serde(flatten)]
    pub entry: Entry,
    /// How long it still holds, s; absent: until it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_s: Option<f64>,
}

/// `GET /control/live`.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Heard {
    partitions: Vec<Row>,
}

/// What a change has changed.
#[derive(Clone, Debug, Serialize)]
struct Changed {
    subjects: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
}

#[derive(Debug, Serialize)]
struct Problem {
    error: String,
}

#[derive(Clone)]
struct Shared {
    plane: Plane,
    router: Router,
}

/// The routes, to be merged into the admin port's. `router` says which partitions there are.
pub fn routes(plane: Plane, router: Router) -> Routes {
    Routes::new()
        .route(STATE_PATH, get(state))
        .route(&format!("{STATE_PATH}/{{*subject}}"), put(set).delete(remove))
        .route(LIVE_PATH, get(live))
        .layer(DefaultBodyLimit::max(CHANGE_BYTES_MAX))
        .with_state(Shared { plane, router })
}

async fn state(State(Shared { plane, .. }): State<Shared>) -> Json<Told> {
    let (now, state) = (plane.clock().now(), plane.state().borrow().clone());
    let told = state.at(now).map(|(subject, entry)| ToldEntry {
        subject: subject.to_string(),
        entry: entry.clone(),
        remaining_s: entry.until_ms.map(|until| (until - now.0) as f64 / 1_000.0),
    });
    Json(Told { entries: told.collect() })
}

async fn live(State(Shared { plane, .. }): State<Shared>) -> Response {
    Json(Heard { partitions: plane.rows() }).into_response()
}

async fn set(
    State(Shared { plane, router }): State<Shared>,
    Path(path): Path<String>,
    body: String,
) -> Response {
    let now = plane.clock().now();
    let current = plane.state().borrow().clone();
    let asked = wish::subjects(&path, &router).and_then(|subjects| {
        let wish = parse(&body)?;
        Ok((wish.set(subjects, &current, now)?, wish))
    });
    change(&plane, asked).await
}

async fn remove(
    State(Shared { plane, router }): State<Shared>,
    Path(path): Path<String>,
    body: String,
) -> Response {
    let current = plane.state().borrow().clone();
    let asked = wish::removable(&path, &router, &current).and_then(|subjects| {
        let wish = parse(&body)?;
        match wish.remove(subjects, &current)? {
            changes if changes.is_empty() => {
                Err(WishError::Subject(format!("nothing is set for {path}")))
            }
            changes => Ok((changes, wish)),
        }
    });
    change(&plane, asked).await
}

fn parse(body: &str) -> Result<Wish, WishError> {
    serde_json::from_str(body).map_err(|error| WishError::Request(error.to_string()))
}

async fn change(plane: &Plane, asked: Result<(Vec<Change>, Wish), WishError>) -> Response {
    let (changes, wish) = match asked {
        Ok(asked) => asked,
        Err(error @ WishError::Subject(_)) => return problem(StatusCode::NOT_FOUND, &error),
        Err(error @ WishError::Request(_)) => return problem(StatusCode::BAD_REQUEST, &error),
    };
    let before = plane.state().borrow().clone();
    let until = changes.first().and_then(|change| change.entry.as_ref()?.until_ms);
    let until = until.map(|until| Millis(until).rfc3339());
    if let Err(error) = plane.change_all(changes.clone()).await {
        return problem(StatusCode::SERVICE_UNAVAILABLE, &error);
    }
    for Change { subject, entry } in &changes {
        tracing::info!(
            subject = subject.to_string(),
            by = wish.by.trim(),
            why = wish.why.trim(),
            from = told(before.get(subject)),
            to = told(entry.as_ref()),
            "an operator's change was taken"
        );
    }
    let subjects = changes.iter().map(|change| change.subject.to_string()).collect();
    Json(Changed { subjects, until }).into_response()
}

fn problem(status: StatusCode, error: &impl std::fmt::Display) -> Response {
    (status, Json(Problem { error: error.to_string() })).into_response()
}
