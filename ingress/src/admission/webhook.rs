//! Tells one URL of each change of the mode, so that the applications around can switch caches and
//! pages without asking.
//!
//! `POST {"mode":"survival","from":"normal","replica":"…","at":"2026-01-02T03:04:05.678Z"}`, by every
//! replica for itself. Any 2xx is an answer; everything else is tried again, with full jitter, until the
//! tries are used up or there is a newer change to tell. The URL is often a secret: it stands in no log
//! line and in no metric.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use control::mode::Mode;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Uri};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use shared::Shutdown;
use shared::plane::Plane;
use tokio::sync::watch;

use crate::core::Shared;

/// A change is told this often at most.
const TRIES: u32 = 6;
/// An answer that takes longer is none.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest wait before the second try; doubles with each.
const BACKOFF: Duration = Duration::from_millis(500);

/// A change of the mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Changed {
    /// The mode that was left.
    pub from: Mode,
    /// The one that was entered.
    pub to: Mode,
}

type Posts = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Runs until `stop`.
pub(crate) async fn tell(shared: Arc<Shared>, plane: Plane, stop: Shutdown) {
    let mut changes = shared.admission.changed.subscribe();
    let connector = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http();
    let client: Posts =
        Client::builder(TokioExecutor::new()).build(connector.enable_http1().build());
    loop {
        let told = async {
            if changes.changed().await.is_ok() {
                let change = *changes.borrow_and_update();
                say(&shared, &plane, &client, change, &mut changes).await;
                true
            } else {
                false
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            more = told => if !more { return },
        }
    }
}

async fn say(
    shared: &Shared,
    plane: &Plane,
    client: &Posts,
    change: Option<Changed>,
    changes: &mut watch::Receiver<Option<Changed>>,
) {
    let config = shared.admission.config.load_full();
    let (Some(Changed { from, to }), Some(url)) = (change, &config.webhook_url) else { return };
    let Ok(uri) = url.as_str().parse::<Uri>() else { return };
    let body = json!({
        "mode": to.name(),
        "from": from.name(),
        "replica": plane.name(),
        "at": plane.clock().now().rfc3339(),
    });
    let body = Bytes::from(body.to_string());
    let told = &shared.admission.metrics.webhook;
    for attempt in 0..TRIES {
        match post(client, &uri, body.clone()).await {
            Ok(()) => return told.with_label_values(&["told"]).inc(),
            Err(why) => {
                told.with_label_values(&["failed"]).inc();
                tracing::warn!(mode = to.name(), attempt, why, "the mode's webhook was not told");
            }
        }
        let wait = (BACKOFF * 2_u32.pow(attempt)).mul_f64(rand::random());
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            // What comes next is told instead.
            _ = changes.changed() => return changes.mark_changed(),
        }
    }
}

async fn post(client: &Posts, uri: &Uri, body: Bytes) -> Result<(), &'static str> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri.clone();
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    match tokio::time::timeout(ANSWER_TIMEOUT, client.request(request)).await {
        Ok(Ok(answer)) if answer.status().is_success() => Ok(()),
        Ok(Ok(_)) => Err("the answer is no 2xx"),
        // Its text may name the URL.
        Ok(Err(_)) => Err("it cannot be reached"),
        Err(_) => Err("it does not answer"),
    }
}
