//! CORS (Fetch standard, 3.3): off unless origins are configured, and never with credentials.
//!
//! A browser's cookies say nothing here, so `Access-Control-Allow-Credentials` is never sent; a key in
//! `Authorization` is the script's own, and the fields it may set are named one by one, because `*`
//! does not cover that one.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderValue, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName};

/// How long a browser may remember a preflight, in seconds.
const MAX_AGE_SECONDS: HeaderValue = HeaderValue::from_static("600");
/// What a script may send beside what it always may, and CloudEvents' `ce-…`.
const SENT: [&str; 8] = [
    "authorization",
    "content-encoding",
    "content-type",
    "if-none-match",
    "prefer",
    "traceparent",
    "tracestate",
    "x-request-id",
];
/// What a script may read beside what it always may.
const READ: HeaderValue = HeaderValue::from_static(
    "accept-encoding, accept-post, allow, etag, preference-applied, ratelimit, ratelimit-policy, \
     retry-after, x-request-id",
);

/// The origins whose scripts may post.
#[derive(Clone, Debug)]
pub(crate) struct Cors {
    origins: Vec<HeaderValue>,
    every: bool,
}

impl Cors {
    /// The configured origins; none switches CORS off.
    pub fn new(origins: &[String]) -> Self {
        let every = origins.iter().any(|origin| origin == "*");
        let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
        Self { origins: origins.collect(), every }
    }

    /// What an answer says to a browser.
    pub fn add_to(&self, answer: &mut HeaderMap, request: &HeaderMap) {
        if self.origins.is_empty() {
            return;
        }
        // Also for others: a cache must not give one origin the answer to another.
        answer.append(VARY, HeaderValue::from_static("origin"));
        let Some(origin) = request.get(ORIGIN) else { return };
        if !self.every && !self.origins.contains(origin) {
            return;
        }
        let allowed = if self.every { HeaderValue::from_static("*") } else { origin.clone() };
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, READ);
    }

    /// What a preflight's answer says beside that: the browser compares.
    pub fn add_to_preflight(
        &self,
        answer: &mut HeaderMap,
        request: &HeaderMap,
        methods: &'static str,
    ) {
        let preflight = request.contains_key(ORIGIN)
            && request.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
            && !self.origins.is_empty();
        if !preflight {
            return;
        }
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
        answer.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECONDS);
        answer.append(VARY, HeaderValue::from_static("access-control-request-headers"));
        let asked = request.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter();
        let asked =
            asked.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
        let granted: Vec<_> = asked.map(str::trim).filter(|name| may_be_sent(name)).collect();
        if let Ok(granted) = HeaderValue::try_from(granted.join(", ")) {
            answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, granted);
        }
    }
}

fn may_be_sent(name: &str) -> bool {
    let Ok(name) = HeaderName::try_from(name) else { return false };
    SENT.contains(&name.as_str()) || name.as_str().starts_with("ce-")
}
