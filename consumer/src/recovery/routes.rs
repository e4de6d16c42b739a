//! Moves on the admin port: `POST /v1/positions/move`. Whoever reaches the port may ask; what is done
//! has to be signed.

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Serialize;
use shared::admin::author::CHANGE_BYTES_MAX;

use super::{Ask, Recovery, RecoveryError};

/// Where a move is asked for: an [`Ask`], answered by [`super::Outcome`]s.
pub const MOVE_PATH: &str = "/v1/positions/move";

#[derive(Debug, Serialize)]
struct Problem {
    error: String,
}

/// The route, to be merged into the admin port's.
pub fn routes(recovery: Recovery) -> Router {
    Router::new()
        .route(MOVE_PATH, post(ask))
        .layer(DefaultBodyLimit::max(CHANGE_BYTES_MAX))
        .with_state(recovery)
}

/// JSON by its content type only: no page in a browser can send that to another origin.
async fn ask(
    State(recovery): State<Recovery>,
    asked: Result<Json<Ask>, JsonRejection>,
) -> Response {
    let ask = match asked {
        Ok(Json(ask)) => ask,
        Err(error) => {
            return (error.status(), Json(Problem { error: error.body_text() })).into_response();
        }
    };
    let error = match recovery.ask(&ask).await {
        Ok(outcomes) => return Json(outcomes).into_response(),
        Err(error) => error,
    };
    let status = match error {
        RecoveryError::Request(_) => StatusCode::BAD_REQUEST,
        RecoveryError::Store(_) | RecoveryError::Log(_) | RecoveryError::Aborted => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    (status, Json(Problem { error: error.to_string() })).into_response()
}
