//! What texts of each kind look like, and what is said of those that do not.

use super::super::fault::printable;
use super::super::{Extract, Network, TenantId};
use super::Wrong;
use crate::clock::Millis;

pub(super) fn tenant(text: &str) -> Result<TenantId, Wrong> {
    TenantId::parse(text)
        .map_err(|error| Wrong::new(format!("`{}` is not a tenant: {error}", printable(text))))
}

pub(super) fn time(text: &str) -> Result<Millis, Wrong> {
    let time = text.parse::<jiff::Timestamp>().map_err(|_| {
        Wrong::with_hint(
            format!("`{}` is not a date and time", printable(text)),
            "write it as RFC 3339 does, with its offset: \"2027-01-31T12:00:00Z\"",
        )
    })?;
    Ok(Millis(time.as_millisecond()))
}

pub(super) fn extract(text: &str) -> Result<Extract, Wrong> {
    let wrong = |why: &str| {
        Wrong::with_hint(
            format!("`{}` {why}", printable(text)),
            "write `header:NAME` or `pointer:/member/member`",
        )
    };
    match text.split_once(':') {
        Some(("header", name)) if header(name) => Ok(Extract::Header(name.to_ascii_lowercase())),
        Some(("header", _)) => Err(wrong("does not name a header")),
        Some(("pointer", pointer)) if json_pointer(pointer) => {
            Ok(Extract::Pointer(pointer.to_owned()))
        }
        Some(("pointer", _)) => Err(wrong("is not a JSON Pointer (RFC 6901)")),
        _ => Err(wrong("is neither a header nor a pointer")),
    }
}

pub(super) fn object(text: &str) -> Result<(), Wrong> {
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text) {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(Wrong::new(format!("`{}` is not a JSON object: {error}", printable(text))))
        }
    }
}

/// A type, or a prefix of types with `*` at its end and nowhere else.
pub(super) fn pattern(text: &str) -> Result<(), Wrong> {
    let stem = text.strip_suffix('*').unwrap_or(text);
    if text.is_empty() || stem.contains('*') || stem.contains(char::is_whitespace) {
        return Err(Wrong::with_hint(
            format!("`{}` is not a pattern of types", printable(text)),
            "write a type (`order.paid`) or a prefix (`metrics.*`)",
        ));
    }
    Ok(())
}

/// An origin as browsers send it (RFC 6454, 6.2): scheme and host, in lower case, the port only where
/// it is not the scheme's own; no path, not even `/`. `*` stands alone.
pub(super) fn origin(text: &str, origins: usize) -> Result<(), Wrong> {
    let host = ["https://", "http://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let allowed = |b: u8| {
        b.is_ascii_lowercase()
            || b.is_ascii_digit()
            || matches!(b, b'.' | b'-' | b':' | b'[' | b']')
    };
    let good = host.is_some_and(|host| !host.is_empty() && host.bytes().all(allowed));
    if good || (text == "*" && origins == 1) {
        return Ok(());
    }
    Err(Wrong::with_hint(
        format!("`{}` is not an origin", printable(text)),
        "write it as a browser sends it (`https://app.example.com`), or `*` alone",
    ))
}

pub(super) fn network(text: &str) -> Result<Network, Wrong> {
    text.parse().map_err(|_| {
        Wrong::with_hint(
            format!("`{}` is not a network", printable(text)),
            "write ADDRESS/BITS, such as 10.0.0.0/8, or a single address",
        )
    })
}

pub(super) fn schema_pointer(text: &str) -> Result<(), Wrong> {
    if text.starts_with("#/") {
        return Ok(());
    }
    Err(Wrong::with_hint(
        format!("`{}` is not a JSON Pointer into the file", printable(text)),
        "it begins with `#/`: `#/definitions/{type}_event`",
    ))
}

/// What a key's id and a source's name may be: they stand in a credential and in a path.
pub(in super::super) fn identifier(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

/// A topic's name has at most 249 characters in Kafka; the class is added to the prefix.
pub(super) fn kafka_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=200).contains(&text.len()) && text.bytes().all(allowed)
}

pub(super) fn variable(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !text.is_empty() && !text.as_bytes()[0].is_ascii_digit() && text.bytes().all(allowed)
}

pub(super) fn header(text: &str) -> bool {
    http::HeaderName::from_bytes(text.as_bytes()).is_ok()
}

/// RFC 6901: empty, or segments that begin with `/`; `~` only as `~0` and `~1`.
pub(super) fn json_pointer(text: &str) -> bool {
    let escapes = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    text.starts_with('/') && escapes
}

/// Only the form: the driver parses it when it connects.
pub(in super::super) fn postgres_url(text: &str) -> bool {
    let rest = ["postgres://", "postgresql://"].iter().find_map(|s| text.strip_prefix(s));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace))
}

/// Only the form, as far as a request needs it.
pub(super) fn web_url(text: &str) -> bool {
    let uri = text.parse::<http::Uri>().ok();
    uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("https" | "http"))
            && uri.host().is_some_and(|host| !host.is_empty())
    })
}

/// 64 hex digits.
pub(in super::super) fn digest(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest).ok().map(|()| digest)
}
