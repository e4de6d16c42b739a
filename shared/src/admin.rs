//! The admin port: metrics, liveness, readiness, and what a side adds to it.
//!
//! A port of its own, so that it can be closed to producers; it never carries events.

pub mod author;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::Shutdown;
use crate::health::Health;
use crate::metrics::Registry;

/// How long a stop waits for requests in flight: a client that never finishes its head, or never
/// reads its answer, must not keep the process.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(2);

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

/// Serves until `shutdown`; requests in flight are finished, within a bound of two seconds.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    shutdown: Shutdown,
) -> std::io::Result<()> {
    let asked = shutdown.clone();
    let serving = axum::serve(listener, routes).with_graceful_shutdown(shutdown.cancelled_owned());
    tokio::select! {
        served = serving.into_future() => served,
        () = async { asked.cancelled().await; tokio::time::sleep(DRAIN_TIME_MAX).await } => Ok(()),
    }
}

fn probe(state: Result<(), String>) -> (StatusCode, String) {
    match state {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpStream;

    use super::*;
    use crate::clock::Clock;

    #[tokio::test]
    async fn half_a_head_does_not_keep_the_process() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("has an address");
        let routes = routes(Arc::new(Registry::new()), Health::new(Clock::System));
        let shutdown = Shutdown::new();
        let serving = tokio::spawn(serve(listener, routes, shutdown.clone()));
        let mut client = TcpStream::connect(address).await.expect("connects");
        client.write_all(b"GET /met").await.expect("sends");
        // A whole answer on another connection: the first one was accepted before it.
        let mut other = TcpStream::connect(address).await.expect("connects");
        other
            .write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .await
            .expect("sends");
        let mut answer = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut other, &mut answer).await.expect("answers");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        shutdown.cancel();
        let ended = tokio::time::timeout(2 * DRAIN_TIME_MAX, serving).await;
        ended.expect("in time").expect("no panic").expect("a clean end");
    }
}
