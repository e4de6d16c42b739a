//! A request's head, read once: which way it goes and how its body is to be understood.

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Method};

use crate::reject::{Bound, Reject};

/// The most header fields of a request.
const FIELDS_MAX: usize = 64;
/// The most bytes of names and values of a request's header fields.
pub(crate) const FIELD_BYTES_MAX: usize = 32 * 1024;

/// What `/v1/events` takes, for 415.
pub(crate) const ACCEPTED_TYPES: &str = "application/json, application/x-ndjson, \
    application/cloudevents+json, application/cloudevents-batch+json";
/// What `/v1/sources/{name}` takes.
const ACCEPTED_BY_SOURCES: &str = "application/json";
/// Some senders post JSON inside a form by default (GitHub does).
const FORM_HINT: &str = "set the webhook's content type to application/json at the sender";

/// Where a request wants to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'p> {
    /// `/v1/events`
    Events,
    /// `/v1/sources/{name}`
    Source(&'p str),
    /// Anything else.
    Unknown,
}

/// How the body is divided into events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One event, or an array of them.
    Json,
    /// One event per line.
    Lines,
    /// One structured CloudEvent.
    Structured,
    /// An array of structured CloudEvents.
    Batch,
    /// The body is the data, the attributes are headers.
    Binary,
}

/// How the body is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// As it is.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 1950 (the name says otherwise: RFC 9110, 8.4.1.2).
    Deflate,
}

/// What the sender asked for beside the events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// `?dryRun=true`: validate, append nothing.
    pub dry_run: bool,
    /// `Prefer: return=representation`: say where each event stands.
    pub positions: bool,
}

impl<'p> Route<'p> {
    /// The path's route.
    pub fn of(path: &'p str) -> Self {
        if path == "/v1/events" {
            return Self::Events;
        }
        match path.strip_prefix("/v1/sources/") {
            Some(name) if !name.is_empty() && !name.contains('/') => Self::Source(name),
            Some(_) | None => Self::Unknown,
        }
    }

    /// The metric label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Source(_) => "sources",
            Self::Unknown => "unknown",
        }
    }
}

/// The method and the bounds of a head.
pub(crate) fn check_head(parts: &Parts) -> Result<(), Reject> {
    let fields = parts.headers.len();
    if fields > FIELDS_MAX {
        let name = "header fields";
        return Err(bound(name, FIELDS_MAX, fields));
    }
    let bytes: usize =
        parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > FIELD_BYTES_MAX {
        return Err(bound("header bytes", FIELD_BYTES_MAX, bytes));
    }
    if parts.method == Method::POST { Ok(()) } else { Err(Reject::Method) }
}

fn bound(name: &'static str, limit: usize, observed: usize) -> Reject {
    Reject::HeadTooLarge(Bound { name, limit, observed: Some(observed) })
}

/// How `/v1/events` is to read the body.
pub(crate) fn shape_of(headers: &HeaderMap) -> Result<Shape, Reject> {
    let refused = Reject::MediaType { accept: ACCEPTED_TYPES, hint: None };
    let Some(media_type) = media_type(headers) else { return Err(refused) };
    let is = |name: &str| media_type.eq_ignore_ascii_case(name);
    if is("application/cloudevents+json") {
        Ok(Shape::Structured)
    } else if is("application/cloudevents-batch+json") {
        Ok(Shape::Batch)
    } else if is("application/json") {
        Ok(if headers.contains_key("ce-specversion") { Shape::Binary } else { Shape::Json })
    } else if is("application/x-ndjson") {
        Ok(Shape::Lines)
    } else {
        Err(refused)
    }
}

/// Sources take JSON only.
pub(crate) fn check_source_type(headers: &HeaderMap) -> Result<(), Reject> {
    let found = media_type(headers).unwrap_or_default();
    if found.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let form = found.eq_ignore_ascii_case("application/x-www-form-urlencoded");
    Err(Reject::MediaType { accept: ACCEPTED_BY_SOURCES, hint: form.then_some(FORM_HINT) })
}

/// The media type without parameters; a charset other than UTF-8 is not one we take.
fn media_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let (media_type, parameters) = value.split_once(';').unwrap_or((value, ""));
    let foreign = parameters.split(';').filter_map(|parameter| parameter.split_once('=')).any(
        |(name, value)| {
            name.trim().eq_ignore_ascii_case("charset")
                && !value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        },
    );
    (!foreign).then_some(media_type.trim())
}

/// The one content coding of the body.
pub(crate) fn coding_of(headers: &HeaderMap) -> Result<Coding, Reject> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let Some(value) = values.next() else { return Ok(Coding::Identity) };
    let coding = value.to_str().unwrap_or_default().trim();
    let is = |name: &str| coding.eq_ignore_ascii_case(name);
    match values.next() {
        None if is("identity") => Ok(Coding::Identity),
        None if is("gzip") || is("x-gzip") => Ok(Coding::Gzip),
        None if is("deflate") => Ok(Coding::Deflate),
        // One coding on another is how bombs are built.
        Some(_) | None => Err(Reject::Encoding),
    }
}

/// The announced length; a body in chunks has none.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Query and `Prefer`.
pub(crate) fn wishes_of(parts: &Parts) -> Result<Wishes, Reject> {
    let mut wishes = Wishes::default();
    let query = parts.uri.query().unwrap_or_default();
    let mut pairs = query.split('&').filter(|pair| !pair.is_empty());
    // At most once: of two, another reader of the request might take the other one.
    match (pairs.next(), pairs.next()) {
        (None | Some("dryRun=false"), None) => {}
        (Some("dryRun=true"), None) => wishes.dry_run = true,
        _ => return Err(Reject::Malformed("the query is empty or dryRun=true|false, once")),
    }
    wishes.positions = parts.headers.get_all("prefer").iter().any(|value| {
        let preferences = value.to_str().unwrap_or_default().split(',');
        preferences.map(str::trim).any(|one| one.eq_ignore_ascii_case("return=representation"))
    });
    Ok(wishes)
}

/// W3C trace context, version 00; anything else is ignored, as the recommendation asks.
pub(crate) fn traceparent(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get("traceparent")?.to_str().ok()?;
    let lengths = value.split('-').map(str::len);
    let digits = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-');
    (lengths.eq([2, 32, 16, 2]) && value.bytes().all(digits)).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(k, v)| (http::HeaderName::from_static(k), v.parse().expect("valid")))
            .collect()
    }

    #[test]
    fn routes() {
        let check = |path, expected| assert_eq!(Route::of(path), expected);
        check("/v1/events", Route::Events);
        check("/v1/sources/github", Route::Source("github"));
        check("/v1/sources/", Route::Unknown);
        check("/v1/sources/a/b", Route::Unknown);
        check("/v1/events/", Route::Unknown);
        check("/", Route::Unknown);
    }

    #[test]
    fn shapes() {
        let check = |pairs: &[_], expected| assert_eq!(shape_of(&headers(pairs)).ok(), expected);
        check(&[("content-type", "application/json")], Some(Shape::Json));
        check(&[("content-type", "Application/JSON; charset=\"UTF-8\"")], Some(Shape::Json));
        check(&[("content-type", "application/json; charset=latin1")], None);
        check(&[("content-type", "application/x-ndjson")], Some(Shape::Lines));
        check(&[("content-type", "application/cloudevents-batch+json")], Some(Shape::Batch));
        let binary = [("content-type", "application/json"), ("ce-specversion", "1.0")];
        check(&binary, Some(Shape::Binary));
        check(&[("content-type", "text/plain")], None);
        check(&[], None);
    }

    #[test]
    fn trace_context_is_passed_on_only_when_valid() {
        let check = |value: &str, expected: bool| {
            assert_eq!(traceparent(&headers(&[("traceparent", value)])).is_some(), expected);
        };
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true);
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", false);
        check("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", false);
    }
}
