//! Requests that carry no event: what a path takes (`OPTIONS`), the contract itself (`/openapi.json`),
//! the mode (`/v1/mode`) and the schema of a type (`/v1/schemas/{type}`). Only the last asks for a key; no body is read, and
//! nothing enters the books.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH,
};
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::Full;

use crate::binary;
use crate::core::{Core, Shared};
use crate::document::Document;
use crate::head::{self, Route};
use crate::peer::Peer;
use crate::problem::Answer;
use crate::reject::Reject;

/// What may be posted here (Linked Data Platform, 7.1): it solicits CloudEvents batches.
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
/// The metric label of an answered `OPTIONS`.
const CODE_OPTIONS: &str = "options";
/// The metric label of the contract, also where the asker has it already.
const CODE_DOCUMENT: &str = "document";

/// The answer and its code for the metrics; `None` where the request may carry events.
pub(crate) fn answer(
    core: &Core,
    peer: &Peer,
    from: IpAddr,
    route: Route<'_>,
    parts: &Parts,
) -> Option<(Answer, &'static str)> {
    let allow = route.allow()?;
    let takes_events = matches!(route, Route::Events | Route::Source(_) | Route::Unknown);
    if parts.method != Method::OPTIONS && takes_events {
        return None;
    }
    let asked = head::check_bounds(parts).and_then(|()| match parts.method {
        Method::OPTIONS if !is_there(core, route) => Err(Reject::UnknownSource),
        Method::OPTIONS => Ok((options(&core.shared, route, allow, &parts.headers), CODE_OPTIONS)),
        Method::GET | Method::HEAD => match route {
            Route::Schema(event_type) => schema(core, peer, event_type, &parts.headers),
            Route::Mode => Ok(mode(&core.shared)),
            _ => Ok(contract(core, &parts.headers)),
        }
        .map(|answer| (answer, CODE_DOCUMENT)),
        _ => Err(Reject::Method { allow }),
    });
    Some(asked.unwrap_or_else(|reject| {
        let reject = core.shared.failed_logins.judge(from, reject);
        (reject.answer(), reject.row().code)
    }))
}

fn is_there(core: &Core, route: Route<'_>) -> bool {
    match route {
        Route::Source(name) => core.view.snapshot(&core.shared.live).sources.contains_key(name),
        Route::Events | Route::Schema(_) | Route::Mode | Route::OpenApi | Route::Unknown => true,
    }
}

fn options(shared: &Shared, route: Route<'_>, allow: &'static str, request: &HeaderMap) -> Answer {
    let mut answer = empty(StatusCode::NO_CONTENT);
    let headers = answer.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static(allow));
    if let Some(types) = route.accept_post() {
        headers.insert(ACCEPT_POST, HeaderValue::from_static(types));
    }
    shared.cors.add_to_preflight(headers, request, allow);
    answer
}

fn contract(core: &Core, request: &HeaderMap) -> Answer {
    let policy = core.view.snapshot(&core.shared.live);
    served(&policy.openapi, "application/json", request)
}

/// The mode in effect, for the applications around: they switch caches and pages by it.
fn mode(shared: &Shared) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(shared.admission.describe_mode())));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// The schema by which the events of whoever asks are checked.
fn schema(
    core: &Core,
    peer: &Peer,
    event_type: &str,
    request: &HeaderMap,
) -> Result<Answer, Reject> {
    let policy = core.view.snapshot(&core.shared.live);
    let grant = policy.keyring.authenticate(request, peer, core.shared.clock.now())?;
    let quota = grant.take()?;
    let event_type = String::from_utf8(binary::without_percent(event_type.as_bytes()))
        .map_err(|_| Reject::UnknownSchema)?;
    grant.check_type(&event_type)?;
    let document = policy.schemas.text(grant.own_tenant(), &event_type);
    let document = document.ok_or(Reject::UnknownSchema)?;
    let mut answer = served(document, "application/schema+json", request);
    if let Some(quota) = quota {
        quota.add_to(answer.headers_mut());
    }
    Ok(answer)
}

fn served(document: &Document, media_type: &'static str, request: &HeaderMap) -> Answer {
    let mut answer = if known(request, &document.etag) {
        empty(StatusCode::NOT_MODIFIED)
    } else {
        let mut answer = Response::new(Full::new(document.text.clone()));
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        answer
    };
    answer.headers_mut().insert(ETAG, document.etag.clone());
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

/// Weak comparison (RFC 9110, 13.1.2).
fn known(request: &HeaderMap, etag: &HeaderValue) -> bool {
    let values = request.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || tag.trim_start_matches("W/").as_bytes() == etag.as_bytes())
}

fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::new()));
    *answer.status_mut() = status;
    answer
}
