//! A refusal as an RFC 9457 problem document with the headers that go with its status.

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use crate::answer::Minted;
use crate::fixed_limits;
use crate::inflate::ACCEPTED_ENCODINGS;
use crate::reject::{Bound, Reject, Retry};
use crate::violation::Violation;

/// What every handler answers with.
pub(crate) type Answer = Response<Full<Bytes>>;

/// RFC 9457 section 3 and our extensions.
#[derive(Debug, Serialize)]
pub(crate) struct Problem<'r> {
    #[serde(rename = "type")]
    problem_type: String,
    title: &'static str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    code: &'static str,
    retryable: bool,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    bound: Option<BoundMembers>,
    /// What is wrong with the events, point by point.
    #[serde(skip_serializing_if = "<[Violation]>::is_empty")]
    pub errors: &'r [Violation],
    /// Whether there is more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub errors_truncated: bool,
    /// The ids that we gave to events that may be in the log.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub minted: Vec<Minted<'r>>,
}

#[derive(Debug, Serialize)]
struct BoundMembers {
    bound: &'static str,
    limit: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed: Option<usize>,
}

impl<'r> Problem<'r> {
    /// The refusal, with its own violations.
    pub fn new(reject: &'r Reject) -> Self {
        let row = reject.row();
        let (errors, errors_truncated) = reject.violations();
        Self {
            problem_type: format!("/problems/{}", row.code),
            title: row.title,
            status: row.status.as_u16(),
            detail: reject.detail(),
            code: row.code,
            retryable: row.retry != Retry::Never,
            bound: reject.bound().map(|bound| BoundMembers {
                bound: bound.name,
                limit: bound.limit,
                observed: bound.observed,
            }),
            errors,
            errors_truncated,
            minted: Vec::new(),
        }
    }
}

impl Reject {
    /// What is wrong, in this case; the title says what is wrong in general.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Malformed(what)
            | Self::NotImplemented(what)
            | Self::NotStorable(what)
            | Self::Attribute(what) => Some((*what).to_owned()),
            Self::SignatureTime { tolerance_s, .. } => {
                Some(format!("the sender's clock and ours may differ by {tolerance_s} s"))
            }
            Self::KeyExpired { end } => Some(format!("it was over at {}", end.rfc3339())),
            Self::MediaType { hint, .. } => hint.map(str::to_owned),
            Self::Duplicate { member } => Some(format!("the member \"{member}\" is repeated")),
            Self::HeadTooLarge(bound)
            | Self::Body(bound)
            | Self::Inflated(bound)
            | Self::Event(bound)
            | Self::Batch(bound)
            | Self::Depth(bound)
            | Self::Members(bound) => Some(bound.text()),
            Self::OverCeiling { ceiling_per_1000_s, .. } => {
                Some(format!("the ceiling is {} events/s", *ceiling_per_1000_s as f64 / 1e3))
            }
            Self::ModeClosed { mode, .. } => Some(format!("the mode is {mode}")),
            Self::AckUnknown => {
                Some("the event may or may not be in the log: retry with the same id".to_owned())
            }
            Self::UnknownPath
            | Self::UnknownSource
            | Self::UnknownSchema
            | Self::Method { .. }
            | Self::HeadTimeout
            | Self::HttpVersion
            | Self::Unauthorized
            | Self::KeyDisabled
            | Self::Signature { .. }
            | Self::RateLimited(_)
            | Self::FailedLogins { .. }
            | Self::TenantForbidden
            | Self::TypeForbidden
            | Self::SourceForbidden
            | Self::ClassForbidden
            | Self::Encoding
            | Self::Inflate
            | Self::Record
            | Self::BodyTimeout
            | Self::BodyIncomplete
            | Self::Empty
            | Self::Json
            | Self::Utf8
            | Self::Envelope(_)
            | Self::UnknownType
            | Self::Schema(_)
            | Self::Overloaded
            | Self::OverContract { .. }
            | Self::NoCapacity { .. }
            | Self::LogFull
            | Self::LogUnavailable
            | Self::DiskFull
            | Self::BehindFailed(_) => None,
        }
    }

    /// The violations of a 422, and whether there were more.
    pub fn violations(&self) -> (&[Violation], bool) {
        match self {
            Self::Envelope(found) | Self::Schema(found) => (&found.list, found.truncated),
            _ => (&[], false),
        }
    }

    fn bound(&self) -> Option<Bound> {
        match self {
            Self::HeadTooLarge(bound)
            | Self::Body(bound)
            | Self::Inflated(bound)
            | Self::Event(bound)
            | Self::Batch(bound)
            | Self::Depth(bound)
            | Self::Members(bound) => Some(*bound),
            _ => None,
        }
    }

    /// The whole answer.
    pub fn answer(&self) -> Answer {
        self.answer_with(&Problem::new(self))
    }

    /// The whole answer with this document.
    pub fn answer_with(&self, problem: &Problem<'_>) -> Answer {
        let body = serde_json::to_vec(problem).expect("a problem has only string keys");
        let mut answer = Response::new(Full::new(Bytes::from(body)));
        *answer.status_mut() = self.row().status;
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        self.add_headers(headers);
        answer
    }

    fn add_headers(&self, headers: &mut HeaderMap) {
        let row = self.row();
        if let Retry::AfterSeconds(seconds) = row.retry {
            headers.insert(RETRY_AFTER, retry_after(seconds));
        }
        match self {
            Self::Unauthorized | Self::KeyExpired { .. } | Self::KeyDisabled => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Signature { header } | Self::SignatureTime { header, .. } => {
                let challenge = format!("HMAC-SHA256 header=\"{header}\"");
                let challenge = HeaderValue::try_from(challenge);
                headers.insert(
                    WWW_AUTHENTICATE,
                    challenge.unwrap_or(HeaderValue::from_static("HMAC-SHA256")),
                );
            }
            Self::RateLimited(quota) => quota.add_to(headers),
            Self::OverCeiling { ceiling_per_1000_s, after_s } => {
                // Whole events in whole seconds: one in several where there are fewer.
                let policy = match *ceiling_per_1000_s {
                    slow @ 0..1_000 => (1, 1_000_u64.div_ceil(slow.max(1)) as u32),
                    rate => (rate / 1_000, 1),
                };
                fixed_limits::add_fields(headers, "tenant", policy, (0, *after_s));
            }
            Self::Method { allow } => {
                headers.insert(ALLOW, HeaderValue::from_static(allow));
            }
            Self::MediaType { accept, .. } => {
                headers.insert(ACCEPT, HeaderValue::from_static(accept));
            }
            Self::Encoding => {
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED_ENCODINGS));
            }
            _ => debug_assert!(row.status != StatusCode::UNAUTHORIZED, "a 401 has a challenge"),
        }
    }
}

impl Bound {
    fn text(&self) -> String {
        match self.observed {
            Some(observed) => format!("{} is {}, this is {observed}", self.name, self.limit),
            None => format!("{} is {}", self.name, self.limit),
        }
    }
}

/// Jittered up to twice the wait, so that those refused together do not come back together.
pub(crate) fn retry_after(seconds: u32) -> HeaderValue {
    let seconds = seconds.max(1);
    HeaderValue::from(seconds + rand::random_range(0..=seconds))
}
