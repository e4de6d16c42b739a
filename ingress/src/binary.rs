//! CloudEvents binary mode over HTTP (protocol binding 1.0.2, 3.1): the body is the data, the
//! attributes are `ce-*` headers, percent-encoded.

use std::borrow::Cow;

use http::HeaderMap;
use shared::log::HEADERS_MAX;

use crate::envelope::{check_text, is_rfc3339};
use crate::event::Attributes;
use crate::reject::{Bound, Reject};
use crate::violation::Violations;

/// What a record has beside the extensions: content-type, six attributes, trace context in two.
const OWN_HEADERS: usize = 9;

/// The value of a record whose event has no data: what the consumer reads from an event without the
/// member `data` as well. An empty value would be a tombstone.
pub(crate) const NO_DATA: &[u8] = b"null";

/// Reads the attributes.
pub(crate) fn attributes(headers: &HeaderMap, attributes: &mut Attributes) -> Result<(), Reject> {
    let mut violations = Violations::default();
    for name in headers.keys() {
        let Some(attribute) = name.as_str().strip_prefix("ce-") else { continue };
        let mut values = headers.get_all(name).iter();
        let value = values.next().map(|value| decoded(value.as_bytes()));
        if values.next().is_some() {
            return Err(Reject::Duplicate { member: name.as_str().to_owned() });
        }
        let Some(Some(value)) = value else {
            return Err(Reject::Malformed("a ce-* header is not UTF-8 when decoded"));
        };
        // CloudEvents 1.0.2, 3.1: a header takes more, and so would another attribute's name.
        if !attribute.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9')) {
            violations.attribute(
                attribute,
                "pattern",
                "a name has only the letters a to z and digits",
            );
        }
        if let Err((keyword, message)) = check_text(&value) {
            violations.attribute(attribute, keyword, message);
        }
        match attribute {
            "specversion" if value == "1.0" => {}
            "specversion" => {
                violations.attribute(attribute, "const", "specversion is \"1.0\"");
            }
            "tenant" => attributes.tenant = Some(attributes.keep(value)),
            "id" => attributes.id = Some(attributes.keep(value)),
            "type" => attributes.event_type = Some(attributes.keep(value)),
            "source" => attributes.source = Some(attributes.keep(value)),
            "subject" => attributes.subject = Some(attributes.keep(value)),
            "time" => attributes.time = Some(attributes.keep(value)),
            _ => {
                let name = attributes.keep(format_args!("ce_{attribute}"));
                let value = attributes.keep(value);
                attributes.extensions.push((name, value));
            }
        }
    }
    check(attributes, violations)
}

fn check(attributes: &Attributes, mut violations: Violations) -> Result<(), Reject> {
    if attributes.event_type.is_none() {
        violations.attribute("type", "required", "\"type\" is required");
    }
    if attributes.find(attributes.time.as_ref()).is_some_and(|time| !is_rfc3339(time)) {
        violations.attribute("time", "format", "time is an RFC 3339 date and time");
    }
    if !violations.list.is_empty() {
        return Err(Reject::Envelope(Box::new(violations)));
    }
    let (limit, observed) = (HEADERS_MAX - OWN_HEADERS, attributes.extensions.len());
    if observed > limit {
        let name = "extension attributes in binary mode";
        return Err(Reject::HeadTooLarge(Bound { name, limit, observed: Some(observed) }));
    }
    Ok(())
}

/// Undoes a quoted string, then percent-encoding, once each (3.1.3.2); `None` where what comes out is
/// not UTF-8 or holds control characters.
fn decoded(value: &[u8]) -> Option<Cow<'_, str>> {
    let text = match unquoted(value) {
        Cow::Borrowed(plain) if !plain.contains(&b'%') => {
            Cow::Borrowed(std::str::from_utf8(plain).ok()?)
        }
        coded => Cow::Owned(String::from_utf8(without_percent(&coded)).ok()?),
    };
    (!text.contains(char::is_control)).then_some(text)
}

/// Undoes percent-encoding, once.
pub(crate) fn without_percent(value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((first, after)) = rest.split_first() {
        let coded = after.get(..2).filter(|_| *first == b'%');
        let mut byte = [0];
        match coded.map(|digits| hex::decode_to_slice(digits, &mut byte)) {
            Some(Ok(())) => {
                bytes.push(byte[0]);
                rest = &after[2..];
            }
            Some(Err(_)) | None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

/// What a quoted string says (RFC 9110, 5.6.4); a value that is none, as it is.
fn unquoted(value: &[u8]) -> Cow<'_, [u8]> {
    let [b'"', inner @ .., b'"'] = value else { return Cow::Borrowed(value) };
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner.iter();
    while let Some(byte) = rest.next() {
        bytes.push(*if *byte == b'\\' { rest.next().unwrap_or(byte) } else { byte });
    }
    Cow::Owned(bytes)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn check(pairs: &[(&str, &str)], expected: Result<Attributes, &str>) {
        let headers: HeaderMap = pairs
            .iter()
            .map(|(name, value)| {
                let name = HeaderName::try_from(*name).expect("a valid name");
                (name, HeaderValue::try_from(*value).expect("a valid value"))
            })
            .collect();
        let mut found = Attributes::default();
        let verdict = attributes(&headers, &mut found);
        let verdict = verdict.map(|()| found).map_err(|reject| reject.row().code);
        assert_eq!(verdict, expected, "{pairs:?}");
    }

    #[test]
    fn headers_become_attributes() {
        let mut expected = Attributes::default();
        // In the order in which the headers stand.
        expected.id = Some(expected.keep("1"));
        expected.event_type = Some(expected.keep("a"));
        expected.source = Some(expected.keep("/ä b%"));
        let extension = (expected.keep("ce_trace"), expected.keep("t"));
        expected.extensions.push(extension);
        let version = ("ce-specversion", "1.0");
        let source = ("ce-source", "/%C3%A4%20b%");
        let pairs = [version, ("ce-id", "1"), ("ce-type", "a"), source, ("ce-trace", "t")];
        check(&pairs, Ok(expected));
        let quoted = [version, ("ce-type", "\"a%20\\\"b\\\\c\"")];
        let mut expected = Attributes::default();
        expected.event_type = Some(expected.keep("a \"b\\c"));
        check(&quoted, Ok(expected));
        check(&[version, ("ce-type", "a"), ("ce-my-name", "x")], Err("invalid_envelope"));
        check(&[version, ("ce-id", "1")], Err("invalid_envelope"));
        check(&[("ce-specversion", "0.3"), ("ce-type", "a")], Err("invalid_envelope"));
        check(&[version, ("ce-type", "a"), ("ce-time", "now")], Err("invalid_envelope"));
        let mut owned = Attributes::default();
        owned.event_type = Some(owned.keep("a"));
        owned.tenant = Some(owned.keep("other"));
        check(&[version, ("ce-type", "a"), ("ce-tenant", "other")], Ok(owned));
        check(&[version, ("ce-type", "a%00")], Err("malformed_request"));
        check(&[version, ("ce-type", "%ff")], Err("malformed_request"));
    }
}
