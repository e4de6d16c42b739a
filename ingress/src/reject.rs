//! Every way a request or an event is refused, and the one table that maps it to the outside.
//!
//! A new variant does not compile until it has its row: status, code, title, whether a retry helps,
//! after how long, and which book it goes to. Rendering is [`crate::problem`]'s.

mod reference;
mod specimens;

use http::StatusCode;
use shared::clock::Millis;
use shared::log::AppendError;

pub use self::reference::problems_markdown;
pub(crate) use self::specimens::specimens;
use crate::fixed_limits::Quota;
use crate::violation::Violations;

/// Why something is refused. Carries what the sender needs to act, never a value of the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reject {
    /// No such path.
    UnknownPath,
    /// No such webhook source.
    UnknownSource,
    /// No schema is registered for the type, for this tenant.
    UnknownSchema,
    /// The path takes another method.
    Method {
        /// Which.
        allow: &'static str,
    },
    /// Too many or too large header fields.
    HeadTooLarge(Bound),
    /// A header or a query parameter is not what it must be.
    Malformed(&'static str),
    /// The head came too slowly.
    HeadTimeout,
    /// A method or a transfer coding that nothing here implements.
    NotImplemented(&'static str),
    /// A version of HTTP that this port does not speak so.
    HttpVersion,
    /// No key, or not one of ours; never says which.
    Unauthorized,
    /// The key is right, and its time is over.
    KeyExpired {
        /// Since when.
        end: Millis,
    },
    /// The key is right, and disabled.
    KeyDisabled,
    /// The signature is missing, malformed or wrong; never says which.
    Signature {
        /// The header that carries it.
        header: String,
    },
    /// The signature's time is too far from ours.
    SignatureTime {
        /// The header that carries it.
        header: String,
        /// By how much they may differ.
        tolerance_s: u64,
    },
    /// The credential has sent all requests it may send now.
    RateLimited(Quota),
    /// Too many wrong credentials came from the address.
    FailedLogins {
        /// After how many seconds the next one is answered as such.
        after_s: u32,
    },
    /// The event names a tenant that the credential may not write for.
    TenantForbidden,
    /// The credential may not write events of this type.
    TypeForbidden,
    /// The credential may not write events of this source.
    SourceForbidden,
    /// The credential may not write events of this type's class.
    ClassForbidden,
    /// A media type that this path does not take.
    MediaType {
        /// What it takes.
        accept: &'static str,
        /// What to change at the sender, where we know.
        hint: Option<&'static str>,
    },
    /// A content coding that we do not undo.
    Encoding,
    /// The coded body is not what its coding says.
    Inflate,
    /// The body is larger than it may be.
    Body(Bound),
    /// The inflated body is larger than it may be, absolutely or for what was sent.
    Inflated(Bound),
    /// One event is larger than it may be.
    Event(Bound),
    /// More events than one request may carry.
    Batch(Bound),
    /// JSON nested deeper than it may be.
    Depth(Bound),
    /// A JSON object with more members than it may have.
    Members(Bound),
    /// The log does not take a record of this size.
    Record,
    /// The body came too slowly.
    BodyTimeout,
    /// The connection ended before the body did.
    BodyIncomplete,
    /// Nothing was sent.
    Empty,
    /// Not JSON.
    Json,
    /// Not UTF-8.
    Utf8,
    /// A member that decides where the event goes stands there twice.
    Duplicate {
        /// Its name.
        member: String,
    },
    /// The store cannot hold it.
    NotStorable(&'static str),
    /// The event's own members (id, type, …) are not what they must be.
    Envelope(Box<Violations>),
    /// A source's body or head lacks what the configuration reads from it.
    Attribute(&'static str),
    /// No schema is registered for the type.
    UnknownType,
    /// The schema says no.
    Schema(Box<Violations>),
    /// The bytes or the requests in flight are at their bound, or memory is short.
    Overloaded,
    /// The tenant has sent as many events as it may ever send.
    OverCeiling {
        /// How many that are, events in 1,000 s.
        ceiling_per_1000_s: u64,
        /// After how many seconds there is room again.
        after_s: u32,
    },
    /// The tenant is beyond its contract, and there is not enough capacity for all.
    OverContract {
        /// After how many seconds it pays to come back.
        after_s: u32,
    },
    /// There is not enough capacity now.
    NoCapacity {
        /// After how many seconds it pays to come back.
        after_s: u32,
    },
    /// The mode does not admit the event.
    ModeClosed {
        /// Which mode.
        mode: &'static str,
        /// After how many seconds it pays to come back.
        after_s: u32,
    },
    /// The queue to the log is full.
    LogFull,
    /// The log is away.
    LogUnavailable,
    /// The log's disk is full.
    DiskFull,
    /// An earlier event of the same key did not get in; it goes to the book of that one.
    BehindFailed(Outcome),
    /// The log did not answer in time; the record may be there.
    AckUnknown,
}

/// A static maximum, and by what it was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    /// Its name in the configuration.
    pub name: &'static str,
    /// The maximum.
    pub limit: usize,
    /// What was seen, where counting went that far.
    pub observed: Option<usize>,
}

/// The books' columns (design: received = the sum of these).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// In the log.
    Accepted,
    /// The same as another event of its request.
    Duplicate,
    /// Refused for what was sent.
    Rejected,
    /// Refused because its sender has sent as much as it may; nothing was written.
    Limited,
    /// Refused because we have too much to do; nothing was written.
    Shed,
    /// Refused because the log does not take it now; nothing was written.
    Failed,
    /// May or may not be in the log.
    Unknown,
}

impl Outcome {
    /// All of them, in the order of their indices.
    pub const ALL: [Self; 7] = [
        Self::Accepted,
        Self::Duplicate,
        Self::Rejected,
        Self::Limited,
        Self::Shed,
        Self::Failed,
        Self::Unknown,
    ];

    /// The metric label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Rejected => "rejected",
            Self::Limited => "limited",
            Self::Shed => "shed",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// Whether and when to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// It would be refused again.
    Never,
    /// The same event with the same id, not before this many seconds.
    AfterSeconds(u32),
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// The HTTP status.
    pub status: StatusCode,
    /// Stable, snake case: `code` of the problem, end of its type URI, metric label.
    pub code: &'static str,
    /// Human words for the code, the same each time (RFC 9457, 3.1.3).
    pub title: &'static str,
    /// Whether a retry helps.
    pub retry: Retry,
    /// Which book.
    pub outcome: Outcome,
}

impl Reject {
    /// The table.
    pub const fn row(&self) -> Row {
        use Outcome::{Failed, Limited, Rejected, Shed, Unknown};
        match self {
            Self::UnknownPath => never(404, "unknown_path", "no such path"),
            Self::UnknownSource => never(404, "unknown_source", "no such source"),
            Self::UnknownSchema => never(404, "unknown_schema", "no schema for this type"),
            Self::Method { .. } => {
                never(405, "method_not_allowed", "the path takes another method")
            }
            Self::HeadTooLarge(_) => {
                never(431, "head_too_large", "the header fields are too large")
            }
            Self::Malformed(_) => never(400, "malformed_request", "the request is malformed"),
            Self::HeadTimeout => {
                retry(408, "head_timeout", "the head came too slowly", 1, Rejected)
            }
            Self::NotImplemented(_) => {
                never(501, "not_implemented", "the request needs what is not implemented")
            }
            Self::HttpVersion => {
                never(505, "http_version", "this version of HTTP is not spoken here")
            }
            Self::Unauthorized => never(401, "unauthorized", "a valid key is needed"),
            Self::KeyExpired { .. } => never(401, "key_expired", "the key's time is over"),
            Self::KeyDisabled => never(401, "key_disabled", "the key is disabled"),
            Self::Signature { .. } => {
                never(401, "signature_invalid", "a valid signature is needed")
            }
            Self::SignatureTime { .. } => {
                never(401, "signature_expired", "the signature's time is too far from ours")
            }
            Self::RateLimited(quota) => {
                let after_s = quota.after_s();
                retry(429, "rate_limited", "too many requests of this key", after_s, Limited)
            }
            Self::FailedLogins { after_s } => {
                let title = "too many wrong credentials from this address";
                retry(429, "too_many_failed_logins", title, *after_s, Rejected)
            }
            Self::TenantForbidden => {
                never(403, "tenant_forbidden", "the key may not write for this tenant")
            }
            Self::TypeForbidden => {
                never(403, "type_forbidden", "the key may not write events of this type")
            }
            Self::SourceForbidden => {
                never(403, "source_forbidden", "the key may not write events of this source")
            }
            Self::ClassForbidden => {
                never(403, "class_forbidden", "the key may not write events of this class")
            }
            Self::MediaType { .. } => {
                never(415, "unsupported_media_type", "the content type is not supported")
            }
            Self::Encoding => {
                never(415, "unsupported_encoding", "the content coding is not supported")
            }
            Self::Inflate => never(400, "malformed_encoding", "the body cannot be inflated"),
            Self::Body(_) => never(413, "body_too_large", "the body is too large"),
            Self::Inflated(_) => never(413, "inflated_too_large", "the body inflates too far"),
            Self::Event(_) => never(413, "event_too_large", "the event is too large"),
            Self::Batch(_) => never(413, "batch_too_large", "too many events in one request"),
            Self::Depth(_) => never(413, "json_too_deep", "the JSON text is nested too deep"),
            Self::Members(_) => never(413, "too_many_members", "an object has too many members"),
            Self::Record => {
                never(413, "record_too_large", "the log does not take so large a record")
            }
            Self::BodyTimeout => {
                retry(408, "body_timeout", "the body came too slowly", 1, Rejected)
            }
            Self::BodyIncomplete => never(400, "body_incomplete", "the body broke off"),
            Self::Empty => never(400, "empty_body", "the body holds no event"),
            Self::Json => never(400, "malformed_json", "the body is not valid JSON"),
            Self::Utf8 => never(400, "malformed_utf8", "the body is not valid UTF-8"),
            Self::Duplicate { .. } => {
                never(400, "duplicate_member", "a deciding member stands there twice")
            }
            Self::NotStorable(_) => never(422, "not_storable", "the store cannot hold the event"),
            Self::Envelope(_) => {
                never(422, "invalid_envelope", "the event's attributes are invalid")
            }
            Self::Attribute(_) => never(422, "attribute_missing", "an attribute cannot be found"),
            Self::UnknownType => never(422, "unknown_type", "the type is not registered"),
            Self::Schema(_) => never(422, "schema_violation", "the event violates its schema"),
            Self::Overloaded => retry(503, "overloaded", "too much is in flight", 1, Shed),
            Self::OverCeiling { after_s, .. } => {
                retry(429, "over_ceiling", "the tenant is over its ceiling", *after_s, Limited)
            }
            Self::OverContract { after_s } => {
                let title = "the tenant is over its contract, and capacity is short";
                retry(503, "over_contract", title, *after_s, Shed)
            }
            Self::NoCapacity { after_s } => {
                retry(503, "no_capacity", "capacity is short", *after_s, Shed)
            }
            Self::ModeClosed { after_s, .. } => {
                retry(503, "mode_closed", "the mode does not admit the event", *after_s, Shed)
            }
            Self::LogFull => retry(503, "log_full", "the queue to the log is full", 1, Failed),
            Self::LogUnavailable => {
                retry(503, "log_unavailable", "the log is unavailable", 2, Failed)
            }
            Self::DiskFull => retry(503, "disk_full", "the log's disk is full", 30, Failed),
            Self::BehindFailed(cause) => {
                retry(503, "behind_failed", "an earlier event of the key failed", 1, *cause)
            }
            Self::AckUnknown => {
                retry(504, "ack_unknown", "the log did not answer in time", 1, Unknown)
            }
        }
    }
}

impl From<AppendError> for Reject {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Full => Self::LogFull,
            AppendError::Unavailable => Self::LogUnavailable,
            AppendError::DiskFull => Self::DiskFull,
            AppendError::TooLarge => Self::Record,
            AppendError::Unknown => Self::AckUnknown,
        }
    }
}

const fn never(status: u16, code: &'static str, title: &'static str) -> Row {
    row(status, code, title, Retry::Never, Outcome::Rejected)
}

const fn retry(
    status: u16,
    code: &'static str,
    title: &'static str,
    after_seconds: u32,
    outcome: Outcome,
) -> Row {
    row(status, code, title, Retry::AfterSeconds(after_seconds), outcome)
}

const fn row(
    status: u16,
    code: &'static str,
    title: &'static str,
    retry: Retry,
    outcome: Outcome,
) -> Row {
    match StatusCode::from_u16(status) {
        Ok(status) => Row { status, code, title, retry, outcome },
        Err(_) => panic!("statuses in the table are valid"),
    }
}
