//! A request's head, read once: which way it goes and how its body is to be understood.

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use http::request::Parts;
use http::{HeaderMap, Method, Version};

use crate::reject::{Bound, Reject};

/// Names that are looked for in every request: made here, none is parsed again.
const CE_SPECVERSION: HeaderName = HeaderName::from_static("ce-specversion");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The most header fields of a request.
const FIELDS_MAX: usize = 64;
/// The most bytes of names and values of a request's header fields.
pub(crate) const FIELD_BYTES_MAX: usize = 32 * 1024;

/// What `/v1/events` takes, for 415.
pub(crate) const ACCEPTED_TYPES: &str = "application/json, application/x-ndjson, \
    application/cloudevents+json, application/cloudevents-batch+json";
/// What `/v1/sources/{name}` takes.
const ACCEPTED_BY_SOURCES: &str = "application/json";
/// What both of them allow.
const POST: &str = "POST, OPTIONS";
/// What the documents allow.
const GET: &str = "GET, HEAD, OPTIONS";
/// Some senders post JSON inside a form by default (GitHub does).
const FORM_HINT: &str = "set the webhook's content type to application/json at the sender";

/// Where a request wants to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'p> {
    /// `/v1/events`
    Events,
    /// `/v1/sources/{name}`
    Source(&'p str),
    /// `/v1/schemas/{type}`, the type percent-encoded where it has to be; it may hold `/`.
    Schema(&'p str),
    /// `/v1/mode`
    Mode,
    /// `/openapi.json`
    OpenApi,
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
    /// RFC 8878 within RFC 9659.
    Zstd,
    /// RFC 7932.
    Brotli,
}

/// What the sender asked for beside the events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// `?dryRun=true`: validate, append nothing.
    pub dry_run: bool,
    /// `Prefer: return=representation`: say where each event stands.
    pub positions: bool,
    /// `Prefer: return=minimal`: what is answered anyway.
    pub minimal: bool,
}

impl<'p> Route<'p> {
    /// The path's route.
    pub fn of(path: &'p str) -> Self {
        if path == "/v1/events" {
            return Self::Events;
        }
        if path == "/v1/mode" {
            return Self::Mode;
        }
        if path == "/openapi.json" {
            return Self::OpenApi;
        }
        if let Some(event_type) = path.strip_prefix("/v1/schemas/").filter(|it| !it.is_empty()) {
            return Self::Schema(event_type);
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
            Self::Schema(_) => "schemas",
            Self::Mode => "mode",
            Self::OpenApi => "openapi",
            Self::Unknown => "unknown",
        }
    }

    /// The methods, for `Allow`; `None` where there is nothing.
    pub const fn allow(self) -> Option<&'static str> {
        match self {
            Self::Events | Self::Source(_) => Some(POST),
            Self::Schema(_) | Self::Mode | Self::OpenApi => Some(GET),
            Self::Unknown => None,
        }
    }

    /// The media types that may be posted, for `Accept-Post`.
    pub const fn accept_post(self) -> Option<&'static str> {
        match self {
            Self::Events => Some(ACCEPTED_TYPES),
            Self::Source(_) => Some(ACCEPTED_BY_SOURCES),
            Self::Schema(_) | Self::Mode | Self::OpenApi | Self::Unknown => None,
        }
    }
}

impl Wishes {
    /// What `Preference-Applied` says.
    pub const fn preference_applied(self) -> Option<&'static str> {
        match (self.positions, self.minimal) {
            (true, _) => Some("return=representation"),
            (false, true) => Some("return=minimal"),
            (false, false) => None,
        }
    }
}

/// The method and the bounds of a head.
pub(crate) fn check_head(parts: &Parts) -> Result<(), Reject> {
    check_bounds(parts)?;
    if parts.method == Method::POST { Ok(()) } else { Err(Reject::Method { allow: POST }) }
}

/// The bounds of a head, and what stands there once. The framing has held one of HTTP/1 to the same
/// bounds before it came here.
pub(crate) fn check_bounds(parts: &Parts) -> Result<(), Reject> {
    // Of two, another reader of the request might take the other one.
    if parts.headers.get_all(CONTENT_TYPE).iter().nth(1).is_some() {
        return Err(Reject::Malformed("Content-Type stands there twice"));
    }
    if parts.version < Version::HTTP_2 {
        return Ok(());
    }
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
    Ok(())
}

fn bound(name: &'static str, limit: usize, observed: usize) -> Reject {
    Reject::HeadTooLarge(Bound { name, limit, observed: Some(observed) })
}

/// How `/v1/events` is to read the body.
pub(crate) fn shape_of(headers: &HeaderMap) -> Result<Shape, Reject> {
    let refused = Reject::MediaType { accept: ACCEPTED_TYPES, hint: None };
    let binary = headers.contains_key(CE_SPECVERSION);
    // Without data there is no type of it (CloudEvents 1.0.2, HTTP binding, 3.1.1).
    if binary && !headers.contains_key(CONTENT_TYPE) {
        return Ok(Shape::Binary);
    }
    let Some(media_type) = media_type(headers) else { return Err(refused) };
    let is = |name: &str| media_type.eq_ignore_ascii_case(name);
    if is("application/cloudevents+json") {
        Ok(Shape::Structured)
    } else if is("application/cloudevents-batch+json") {
        Ok(Shape::Batch)
    } else if is("application/json") {
        Ok(if binary { Shape::Binary } else { Shape::Json })
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
    let Some((media_type, parameters)) = value.split_once(';') else { return Some(value.trim()) };
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
        None if is("zstd") => Ok(Coding::Zstd),
        None if is("br") => Ok(Coding::Brotli),
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
    match preferred_return(&parts.headers) {
        Some(value) if value.eq_ignore_ascii_case("representation") => wishes.positions = true,
        Some(value) if value.eq_ignore_ascii_case("minimal") => wishes.minimal = true,
        Some(_) | None => {}
    }
    Ok(wishes)
}

/// The value of the first preference `return` (RFC 7240, 2: of several, the first counts).
fn preferred_return(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let mut preferences = values.flat_map(|value| split_unquoted(value, b','));
    preferences.find_map(|preference| {
        let preference = split_unquoted(preference, b';').next().unwrap_or_default();
        let (name, value) = preference.split_once('=')?;
        let value = value.trim().trim_matches('"');
        name.trim().eq_ignore_ascii_case("return").then_some(value)
    })
}

/// The parts between separators that stand in no quoted string (RFC 9110, 5.6.4).
fn split_unquoted(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |letter: char| {
        let is_separator = letter == char::from(separator) && !quoted;
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        is_separator
    })
}

/// A sender's W3C trace context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trace<'h> {
    /// `traceparent`
    pub parent: Option<&'h str>,
    /// `tracestate`; never without a parent.
    pub state: Option<&'h str>,
}

/// The longest `tracestate` that is passed on: what the recommendation asks for (3.3.1.5).
const TRACESTATE_BYTES_MAX: usize = 512;

/// W3C trace context, version 00; anything else is ignored, as the recommendation asks. A state in
/// several fields is dropped, which is allowed, rather than joined.
pub(crate) fn trace(headers: &HeaderMap) -> Trace<'_> {
    let Some(parent) = single(headers, TRACEPARENT).filter(|value| is_traceparent(value)) else {
        return Trace::default();
    };
    let passed = |value: &&str| !value.is_empty() && value.len() <= TRACESTATE_BYTES_MAX;
    Trace { parent: Some(parent), state: single(headers, TRACESTATE).filter(passed) }
}

/// A field that stands there once, in visible ASCII.
fn single(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn is_traceparent(value: &str) -> bool {
    let digits = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let given = |id: &str| id.bytes().all(digits) && id.bytes().any(|digit| digit != b'0');
    let mut parts = value.split('-');
    let parts = [parts.next(), parts.next(), parts.next(), parts.next(), parts.next()];
    let [Some("00"), Some(trace_id), Some(parent_id), Some(flags), None] = parts else {
        return false;
    };
    trace_id.len() == 32
        && given(trace_id)
        && parent_id.len() == 16
        && given(parent_id)
        && flags.len() == 2
        && flags.bytes().all(digits)
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
        check("/v1/schemas/order.paid", Route::Schema("order.paid"));
        check("/v1/schemas/a/v%201", Route::Schema("a/v%201"));
        check("/v1/schemas/", Route::Unknown);
        check("/openapi.json", Route::OpenApi);
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
        check(&[("ce-specversion", "1.0")], Some(Shape::Binary));
        check(&[("content-type", "text/plain"), ("ce-specversion", "1.0")], None);
        check(&[("content-type", "text/plain")], None);
        check(&[], None);
    }

    #[test]
    fn trace_context_is_passed_on_only_when_valid() {
        let check = |value: &str, expected: bool| {
            let both = [("traceparent", value), ("tracestate", "a=1,b=2")];
            let headers = headers(&both);
            let found = trace(&headers);
            let state = expected.then_some("a=1,b=2");
            assert_eq!((found.parent, found.state), (expected.then_some(value), state), "{value}");
        };
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true);
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", false);
        check("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", false);
        check("00-00000000000000000000000000000000-00f067aa0ba902b7-01", false);
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false);
        check("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false);
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", false);
        let long = "x".repeat(TRACESTATE_BYTES_MAX + 1);
        let parent = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        assert_eq!(trace(&headers(&[parent, ("tracestate", &long)])).state, None);
    }

    #[test]
    fn the_first_preference_counts() {
        let check = |prefer: &str, expected: Option<&str>| {
            assert_eq!(preferred_return(&headers(&[("prefer", prefer)])), expected, "{prefer}");
        };
        check("return=representation", Some("representation"));
        check("respond-async, return=minimal", Some("minimal"));
        check("Return = \"minimal\"; foo=bar", Some("minimal"));
        check("return=minimal, return=representation", Some("minimal"));
        check("wait=10", None);
        check("foo=\"a, return=representation\"", None);
        check("foo=\"a\\\", return=minimal\"; x, return=minimal", Some("minimal"));
    }
}
