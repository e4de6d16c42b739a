//! Records of the control topics to words and changes. What cannot be read is a reason, never a panic:
//! anybody who may write to the topics may have written it.

use serde::Deserialize;

use super::message::{self, Envelope};
use super::state::{self, Change, Entry, Subject};

/// The longest record that is looked at, in bytes.
const BYTES_MAX: usize = crate::log::kafka::CONTROL_BYTES_MAX as usize;
/// The longest name of a sender, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// Why a record changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ignored {
    /// No JSON of that form, or numbers that no process measures.
    Malformed,
    /// Of another version.
    Version,
    /// Nothing that could be set.
    Subject,
    /// Longer than [`BYTES_MAX`].
    TooLong,
    /// More entries than are kept.
    Full,
}

impl Ignored {
    /// Its name in metrics.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Version => "version",
            Self::Subject => "subject",
            Self::TooLong => "too_long",
            Self::Full => "full",
        }
    }
}

/// All that is read of a record that cannot be read.
#[derive(Deserialize)]
struct Version {
    v: u64,
}

/// A word.
pub(super) fn live(value: &[u8]) -> Result<Envelope, Ignored> {
    bounded(value)?;
    match serde_json::from_slice::<Envelope>(value) {
        Ok(word) if word.v != message::VERSION => Err(Ignored::Version),
        Ok(word) if word.from.is_empty() || word.from.len() > NAME_BYTES_MAX => {
            Err(Ignored::Malformed)
        }
        Ok(word) if !word.live.is_plausible() => Err(Ignored::Malformed),
        Ok(word) => Ok(word),
        Err(_) => Err(unread(value, u64::from(message::VERSION))),
    }
}

/// A change of the state.
pub(super) fn change(key: &[u8], value: &[u8]) -> Result<Change, Ignored> {
    bounded(value)?;
    let text = std::str::from_utf8(key).map_err(|_| Ignored::Subject)?;
    let subject = Subject::parse(text).ok_or(Ignored::Subject)?;
    if value.is_empty() {
        return Ok(Change { subject, entry: None });
    }
    match serde_json::from_slice::<Entry>(value) {
        Ok(entry) if entry.v != state::VERSION => Err(Ignored::Version),
        Ok(entry) if !entry.fits(&subject) => Err(Ignored::Malformed),
        Ok(entry) => Ok(Change { subject, entry: Some(entry) }),
        Err(_) => Err(unread(value, u64::from(state::VERSION))),
    }
}

fn bounded(value: &[u8]) -> Result<(), Ignored> {
    if value.len() > BYTES_MAX { Err(Ignored::TooLong) } else { Ok(()) }
}

/// Another version may have any form, as long as it says so.
fn unread(value: &[u8], ours: u64) -> Ignored {
    match serde_json::from_slice::<Version>(value) {
        Ok(Version { v }) if v != ours => Ignored::Version,
        Ok(_) | Err(_) => Ignored::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plane::state::Setting;

    #[test]
    fn words_that_cannot_be_read_say_why() {
        let check = |value: &str, expected: Ignored| {
            assert_eq!(live(value.as_bytes()).expect_err(value), expected, "{value}");
        };
        let demand = |v: &str, from: &str, p99: &str| {
            format!(
                r#"{{"v":{v},"from":"{from}","at_ms":1,"kind":"demand","partitions":[],"tenants":[],"applied":[],"p99_s":{p99}}}"#
            )
        };
        assert_eq!(live(demand("1", "a", "0.5").as_bytes()).expect("well formed").from, "a");
        check("", Ignored::Malformed);
        check("\u{0}{", Ignored::Malformed);
        check(&demand("1", "a", "1e999"), Ignored::Malformed);
        check(&demand("1", "a", "null"), Ignored::Malformed);
        check(&demand("1", "", "1"), Ignored::Malformed);
        check(&demand("1", &"a".repeat(257), "1"), Ignored::Malformed);
        check(&demand("2", "a", "1"), Ignored::Version);
        check(&demand("-1", "a", "1"), Ignored::Malformed);
        check(r#"{"v":1,"from":"a","at_ms":1,"kind":"rumour"}"#, Ignored::Malformed);
        check(r#"{"v":70000,"kind":"rumour"}"#, Ignored::Version);
        check(&"[".repeat(100_000), Ignored::Malformed);
        check(&" ".repeat(BYTES_MAX + 1), Ignored::TooLong);
        assert_eq!(live(&[0xff, 0xfe]).expect_err("no text"), Ignored::Malformed);
    }

    #[test]
    fn changes_that_cannot_be_read_say_why() {
        let check = |key: &[u8], value: &str, expected: Ignored| {
            assert_eq!(change(key, value.as_bytes()), Err(expected), "{value}");
        };
        let limit = |v: u32, rate: &str| {
            format!(
                r#"{{"v":{v},"set":"limit","limit_per_s":{rate},"by":"ops","why":"test","at_ms":1}}"#
            )
        };
        let read = change(b"limit/telemetry/7", limit(1, "5").as_bytes()).expect("well formed");
        let entry = read.entry.expect("no tombstone");
        assert_eq!(entry.setting, Setting::Limit { limit_per_s: 5.0 });
        let gone = change(b"mode", b"").expect("a tombstone");
        assert_eq!(gone, Change { subject: Subject::Mode, entry: None });
        check(b"limit/telemetry/7", &limit(2, "5"), Ignored::Version);
        check(b"limit/telemetry/7", &limit(1, "-5"), Ignored::Malformed);
        check(b"limit/telemetry/7", &limit(1, "null"), Ignored::Malformed);
        check(b"limit/telemetry/7", "{", Ignored::Malformed);
        check(b"mode", &limit(1, "5"), Ignored::Malformed);
        check(b"limit/none/7", &limit(1, "5"), Ignored::Subject);
        check(b"limit/telemetry/-7", &limit(1, "5"), Ignored::Subject);
        check(b"tenant/a b", "", Ignored::Subject);
        check(b"", "", Ignored::Subject);
        check(&[0xff], "", Ignored::Subject);
        check(b"mode", &" ".repeat(BYTES_MAX + 1), Ignored::TooLong);
    }
}
