//! The members of an event that decide where it goes, checked in one pass over its tape.
//!
//! CloudEvents 1.0 in shape, forgiving where nothing depends on it: `id` and `time` may be absent
//! (minted, receive time), `source` too (a constant per tenant), `specversion` only in formats that
//! do not promise it. The consumer's reading of the record is never stricter than this.

use std::ops::Range;

use crate::reject::Reject;
use crate::tape::Item;
use crate::violation::Violations;

/// The longest id, type, source, subject or time, in bytes: what an index of the store takes.
pub(crate) const ATTRIBUTE_BYTES_MAX: usize = 1024;

/// What an event says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Envelope<'t> {
    /// `id`
    pub id: Option<&'t str>,
    /// `type`
    pub event_type: &'t str,
    /// `source`
    pub source: Option<&'t str>,
    /// `tenant`
    pub tenant: Option<&'t str>,
    /// `time`
    pub time: Option<&'t str>,
    /// `data`
    pub data: Option<Item<'t>>,
}

/// The members that decide, as they were found.
#[derive(Default)]
struct Found<'t> {
    id: Option<Item<'t>>,
    event_type: Option<Item<'t>>,
    source: Option<Item<'t>>,
    subject: Option<Item<'t>>,
    tenant: Option<Item<'t>>,
    time: Option<Item<'t>>,
    specversion: Option<Item<'t>>,
    data: Option<Item<'t>>,
}

/// Whether an attribute may be missing or `null`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    Needed,
    Absent,
    AbsentOrNull,
}

/// Reads and checks an event. `specversion_needed`: the format promises it.
pub(crate) fn read(event: Item<'_>, specversion_needed: bool) -> Result<Envelope<'_>, Reject> {
    let mut violations = Violations::default();
    let Some(members) = event.members() else {
        violations.attribute("", "type", "an event is a JSON object");
        violations.list[0].pointer.clear();
        return Err(Reject::Envelope(Box::new(violations)));
    };
    let found = collect(members)?;
    let mut text = |name, item, presence| attribute(name, item, presence, &mut violations);
    let envelope = Envelope {
        id: text("id", found.id, Presence::Absent),
        event_type: text("type", found.event_type, Presence::Needed).unwrap_or_default(),
        source: text("source", found.source, Presence::Absent),
        tenant: text("tenant", found.tenant, Presence::Absent),
        time: text("time", found.time, Presence::AbsentOrNull),
        data: found.data,
    };
    text("subject", found.subject, Presence::AbsentOrNull);
    let presence = if specversion_needed { Presence::Needed } else { Presence::Absent };
    if text("specversion", found.specversion, presence).is_some_and(|version| version != "1.0") {
        violations.attribute("specversion", "const", "specversion is \"1.0\"");
    }
    if envelope.time.is_some_and(|time| !is_rfc3339(time)) {
        violations.attribute("time", "format", "time is an RFC 3339 date and time");
    }
    if violations.list.is_empty() {
        Ok(envelope)
    } else {
        Err(Reject::Envelope(Box::new(violations)))
    }
}

fn collect<'t>(members: impl Iterator<Item = (&'t str, Item<'t>)>) -> Result<Found<'t>, Reject> {
    let mut found = Found::default();
    for (name, item) in members {
        let (place, decides) = match name {
            "id" => (&mut found.id, true),
            "type" => (&mut found.event_type, true),
            "source" => (&mut found.source, true),
            "subject" => (&mut found.subject, true),
            "tenant" => (&mut found.tenant, true),
            "time" => (&mut found.time, false),
            "specversion" => (&mut found.specversion, false),
            "data" => (&mut found.data, false),
            // Checked nowhere if it passed: a schema is about `data`.
            "data_base64" => return Err(binary_data()),
            _ => continue,
        };
        // Elsewhere the last one wins; here another reader might take the first.
        if place.replace(item).is_some() && decides {
            return Err(Reject::Duplicate { member: name.to_owned() });
        }
    }
    Ok(found)
}

fn binary_data() -> Reject {
    let mut violations = Violations::default();
    violations.attribute("data_base64", "not", "binary data is not taken: data is JSON");
    Reject::Envelope(Box::new(violations))
}

fn attribute<'t>(
    name: &str,
    item: Option<Item<'t>>,
    presence: Presence,
    violations: &mut Violations,
) -> Option<&'t str> {
    let Some(item) = item else {
        if presence == Presence::Needed {
            violations.attribute(name, "required", &format!("\"{name}\" is required"));
        }
        return None;
    };
    if item.is_null() && presence == Presence::AbsentOrNull {
        return None;
    }
    let text = item.as_str();
    match text.map(check_text) {
        Some(Ok(())) => text,
        Some(Err((keyword, message))) => {
            violations.attribute(name, keyword, message);
            None
        }
        None => {
            violations.attribute(name, "type", "the value is a string");
            None
        }
    }
}

/// The bounds of an attribute's text, wherever it stands. CloudEvents 1.0.2 (3.1) takes no control
/// characters and no noncharacters into a string; a lone surrogate has become one of the latter.
pub(crate) fn check_text(text: &str) -> Result<(), (&'static str, &'static str)> {
    match text.len() {
        0 => Err(("minLength", "the value is not empty")),
        1..=ATTRIBUTE_BYTES_MAX if printable(text) => Ok(()),
        1..=ATTRIBUTE_BYTES_MAX => Err((
            "pattern",
            "the value has no control characters, noncharacters or lone surrogates",
        )),
        _ => Err(("maxLength", "the value has at most 1024 bytes")),
    }
}

fn printable(text: &str) -> bool {
    let noncharacter =
        |c: char| matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe;
    // Nearly all of them are ASCII.
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        || !text.chars().any(|c| c.is_control() || noncharacter(c))
}

/// RFC 3339, section 5.6, to the letter. A library's reading is wider here (fractions after a comma,
/// offsets with seconds) and narrower there (ten digits of a second, the last day of 9999).
pub(crate) fn is_rfc3339(text: &str) -> bool {
    let Some((seconds, rest)) = text.as_bytes().split_at_checked("1985-04-12T23:20:50".len())
    else {
        return false;
    };
    let number = |at: Range<usize>| decimal(&seconds[at]);
    let separated = seconds[4] == b'-'
        && seconds[7] == b'-'
        && matches!(seconds[10], b'T' | b't')
        && seconds[13] == b':'
        && seconds[16] == b':';
    let date = (number(0..4), number(5..7), number(8..10));
    let (Some(year), Some(month), Some(day)) = date else { return false };
    let time = [(11..13, 23), (14..16, 59), (17..19, 60)];
    separated
        && jiff::civil::Date::new(year, month as i8, day as i8).is_ok()
        && time.into_iter().all(|(at, most)| number(at).is_some_and(|found| found <= most))
        && is_offset(without_fraction(rest))
}

/// `rest` behind its fraction of a second; as it is where it has none.
fn without_fraction(rest: &[u8]) -> &[u8] {
    let Some(digits) = rest.strip_prefix(b".") else { return rest };
    match digits.iter().take_while(|byte| byte.is_ascii_digit()).count() {
        0 => rest,
        length => &digits[length..],
    }
}

fn is_offset(zone: &[u8]) -> bool {
    match zone {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', hours @ .., b':', _, _] if hours.len() == 2 => {
            decimal(hours).is_some_and(|hours| hours <= 23)
                && decimal(&zone[4..]).is_some_and(|minutes| minutes <= 59)
        }
        _ => false,
    }
}

/// At most four digits.
fn decimal(digits: &[u8]) -> Option<i16> {
    digits.iter().try_fold(0, |number, byte| {
        byte.is_ascii_digit().then(|| number * 10 + i16::from(byte - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape::{JsonBounds, Parser};

    fn check(text: &str, expected: Result<Option<&str>, (&str, &[&str])>) {
        let mut parser = Parser::new(JsonBounds { depth_max: 64, members_max: 64 });
        let parsed = parser.parse(text.as_bytes()).expect("valid JSON");
        let found = read(parsed.root(), false).map(|envelope| envelope.id);
        let found = found.map_err(|reject| {
            let pointers = reject.violations().0.iter().map(|one| one.pointer.clone()).collect();
            (reject.row().code, pointers)
        });
        let expected = expected.map_err(|(code, pointers)| {
            (code, pointers.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>())
        });
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn envelopes() {
        check(r#"{"type":"a"}"#, Ok(None));
        check(r#"{"type":"a","id":"1","time":null,"subject":null,"tenant":"acme"}"#, Ok(Some("1")));
        check(r#"{"type":"a","time":"2026-01-02T03:04:05.678+01:00","x":1,"x":2}"#, Ok(None));
        check(r#"{"type":"a","id":"1","id":"1"}"#, Err(("duplicate_member", &[])));
        check("[]", Err(("invalid_envelope", &[""])));
        check("{}", Err(("invalid_envelope", &["/type"])));
        check(
            r#"{"type":1,"id":null,"source":""}"#,
            Err(("invalid_envelope", &["/id", "/type", "/source"])),
        );
        check(r#"{"type":"a","data_base64":"AA=="}"#, Err(("invalid_envelope", &["/data_base64"])));
        check(r#"{"type":"a\n"}"#, Err(("invalid_envelope", &["/type"])));
        check(r#"{"type":"a","id":"\ufdd0"}"#, Err(("invalid_envelope", &["/id"])));
        check(r#"{"type":"a","id":"\u00e4\ud83d\ude00"}"#, Ok(Some("ä😀")));
        check(r#"{"type":"a","time":"yesterday"}"#, Err(("invalid_envelope", &["/time"])));
        check(r#"{"type":"a","specversion":"0.3"}"#, Err(("invalid_envelope", &["/specversion"])));
    }

    #[test]
    fn times() {
        for (text, expected) in [
            ("2026-01-02T03:04:05Z", true),
            ("2026-01-02t03:04:05.123456789z", true),
            ("2026-01-02T03:04:05-23:59", true),
            ("2026-01-02 03:04:05Z", false),
            ("2026-01-02T03:04:05", false),
            ("2026-01-02T03:04:05+01", false),
            ("2026-02-30T03:04:05Z", false),
            ("20260102T030405Z", false),
            ("9999-12-31T23:59:59Z", true),
            ("0000-01-01T00:00:00+23:59", true),
            ("2026-01-02T23:59:60.1234567890123Z", true),
            ("2024-02-29T00:00:00-00:00", true),
            ("2026-01-02T03:04:05,5Z", false),
            ("2026-01-02T03:04:05.Z", false),
            ("2026-01-02T03:04:05+01:00:30", false),
            ("2026-01-02T03:04:05+24:00", false),
            ("2026-01-02T24:00:00Z", false),
            ("2026-13-02T03:04:05Z", false),
            ("2026-01-02T03:04:05Z[UTC]", false),
            ("2026-01-02T03:04:05\u{661}Z", false),
            ("+026-01-02T03:04:05Z", false),
        ] {
            assert_eq!(is_rfc3339(text), expected, "{text}");
        }
    }
}
