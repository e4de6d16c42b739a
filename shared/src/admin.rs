//! The admin port: metrics, liveness, readiness, and what a side adds to it.
//!
//! A port of its own, so that it can be closed to producers; it never carries events.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::Shutdown;
use crate::health::Health;
use crate::metrics::Registry;

#[derive(Clone)]
struct Shared {
    registry: Arc<Registry>,
    health: Health,
}

/// The routes every process has: `/metrics`, `/livez`, `/readyz`. A side merges its own into it.
pub fn routes(registry: Arc<Registry>, health: Health) -> Router {
    let state = Shared { registry, health };
    Router::new()
        .route(
            "/metrics",
            get(|State(shared): State<Shared>| async move { shared.registry.text() }),
        )
        .route(
            "/livez",
            get(|State(shared): State<Shared>| async move { probe(shared.health.live()) }),
        )
        .route(
            "/readyz",
            get(|State(shared): State<Shared>| async move { probe(shared.health.ready()) }),
        )
        .with_state(state)
}

/// Serves until `shutdown`; requests in flight are finished.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    shutdown: Shutdown,
) -> std::io::Result<()> {
    axum::serve(listener, routes).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

fn probe(state: Result<(), String>) -> (StatusCode, String) {
    match state {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}
