//! What a key is, and how one is found by its path or its environment variable.
//!
//! The table itself, the single source of truth for checking, defaults and the reference page,
//! is in [`table`].

mod table;

use std::fmt;

pub use self::table::KEYS;

/// What all variables of this program begin with.
pub(super) const VARIABLE_PREFIX: &str = "SHOCK_";

/// One configuration key.
#[derive(Debug)]
pub struct Key {
    /// Dotted. `key[]` is an entry of `[[key]]`, `<name>` a name the user chooses, `<property>` the
    /// rest of the path.
    pub path: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// As text; empty = none.
    pub default: &'static str,
    /// Its value is never shown: not in faults, not in `explain`, not in Debug.
    pub secret: bool,
    /// Why it is there and what happens at its bound.
    pub doc: &'static str,
}

/// What a key may hold.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A whole number within bounds, both included.
    Integer {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
        /// What it counts.
        unit: Unit,
    },
    /// A number within bounds, both included; it may have a fraction.
    Decimal {
        /// The least.
        min: f64,
        /// The most.
        max: f64,
        /// What it counts.
        unit: Unit,
    },
    /// `true` or `false`.
    Boolean,
    /// Any text without control characters.
    Text {
        /// Whether it may be empty.
        empty: bool,
    },
    /// A name of 1 to 64 of `A-Z a-z 0-9 _ -`.
    Identifier,
    /// What Kafka allows in names: 1 to 200 of `A-Z a-z 0-9 . _ -`.
    KafkaName,
    /// One of these names.
    Name(&'static [&'static str]),
    /// Several of these names.
    Names(&'static [&'static str]),
    /// ADDRESS:PORT.
    Address,
    /// A path; relative to the file it is in, to the working directory elsewhere.
    Path,
    /// One path or several.
    Paths,
    /// The name of an environment variable.
    Variable,
    /// One name of a variable or several.
    Variables,
    /// A tenant's name.
    Tenant,
    /// Tenants' names.
    Tenants,
    /// A SHA-256 in hex.
    Digest,
    /// A moment: an RFC 3339 date and time.
    Time,
    /// A header's name.
    Header,
    /// Where a text comes from: `header:NAME` or `pointer:/member`.
    Extract,
    /// Several of them, the first match wins.
    Extracts,
    /// Types, and prefixes of types that end in `*`.
    Patterns,
    /// Web origins, or `*` alone.
    Origins,
    /// Networks of addresses: `10.0.0.0/8`.
    Networks,
    /// JSON Pointers into a schema file, `#/definitions/{type}`; the first that is there counts.
    SchemaPointers,
    /// `postgres://…`
    PostgresUrl,
    /// `https://…` or `http://…`
    WebUrl,
    /// A statement of SQL, over as many lines as it takes. Nothing here looks into it.
    Sql,
    /// JSON objects, each a text.
    Objects,
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// Events a second.
    EventsPerSecond,
}

impl fmt::Display for Unit {
    /// With the space before it, ready to follow a number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Count => "",
            Self::Bytes => " bytes",
            Self::Milliseconds => " ms",
            Self::Seconds => " s",
            Self::EventsPerSecond => " events/s",
        })
    }
}

impl Key {
    /// The environment variable that sets it; none for entries of a list.
    pub fn variable(&self) -> Option<String> {
        (!self.path.contains("[]")).then(|| variable_of(self.path))
    }

    /// Whether its path has a part that the user chooses.
    pub fn is_entry(&self) -> bool {
        self.path.contains("[]") || self.path.contains('<')
    }

    /// Whether `path` is this key's.
    fn matches(&self, path: &str) -> bool {
        let mut names = segments(path);
        for pattern in segments(self.path) {
            let Some(name) = names.next() else { return false };
            let matched = match pattern {
                "<property>" => return !name.is_empty(),
                "<name>" => !name.is_empty(),
                entry if entry.ends_with("[]") => is_entry_of(name, entry.trim_end_matches("[]")),
                fixed => fixed == name,
            };
            if !matched {
                return false;
            }
        }
        names.next().is_none()
    }
}

/// The key of a path.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.matches(path))
}

/// Whether `path` is a table that has keys, so that it may stand there empty.
pub(super) fn is_table(path: &str) -> bool {
    KEYS.iter().any(|key| {
        let ends = key.path.match_indices('.').map(|(at, _)| &key.path[..at]);
        ends.filter(|table| segments(table).count() == segments(path).count()).any(|table| {
            Key { path: table, kind: key.kind, default: "", secret: false, doc: "" }.matches(path)
        })
    })
}

/// Whether a running process takes a new value: who may post, from where and what, and how load is
/// limited.
pub(super) fn reloads(path: &str) -> bool {
    let table = path.split(['.', '[']).next().expect("split yields at least one part");
    matches!(
        table,
        "key"
            | "certificate"
            | "schema"
            | "schemas"
            | "source"
            | "control"
            | "limits"
            | "contract"
            | "mode"
            | "breaker"
    )
}

/// The parts of a path.
pub(super) fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('.')
}

/// The variable of a path.
pub(super) fn variable_of(path: &str) -> String {
    let name = path.replace(['.', '-'], "_").to_ascii_uppercase();
    format!("{VARIABLE_PREFIX}{name}")
}

/// `key[3]` is an entry of `key`.
fn is_entry_of(name: &str, table: &str) -> bool {
    name.strip_prefix(table)
        .and_then(|rest| rest.strip_prefix('['))
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|digits| {
            (1..=6).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
        })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::value::{Raw, read};

    #[test]
    fn every_default_is_a_value_of_its_kind() {
        for key in KEYS.iter().filter(|key| !key.default.is_empty()) {
            let value = read(key, &Raw::Untyped(key.default.to_owned()), None);
            assert!(value.is_ok(), "{}: {value:?}", key.path);
        }
    }

    #[test]
    fn paths_and_variables_are_unique() {
        let paths: BTreeSet<_> = KEYS.iter().map(|key| key.path).collect();
        assert_eq!(paths.len(), KEYS.len());
        let variables: BTreeSet<_> = KEYS.iter().filter_map(Key::variable).collect();
        assert_eq!(variables.len(), KEYS.iter().filter_map(Key::variable).count());
    }

    #[test]
    fn paths_find_their_key() {
        let check = |path: &str, expected: Option<&str>| {
            assert_eq!(find(path).map(|key| key.path), expected, "{path}");
        };
        check("ingress.listen", Some("ingress.listen"));
        check("key[12].id", Some("key[].id"));
        check("source.github.signature.scheme", Some("source.<name>.signature.scheme"));
        check("source.github.signature", Some("source.<name>.signature"));
        check("kafka.properties.sasl.username", Some("kafka.properties.<property>"));
        check("kafka.properties", None);
        check("key.id", None);
        check("key[].id", None);
        check("ingress", None);
        check("", None);
        assert!(is_table("ingress") && is_table("source.x") && is_table("source.x.schema"));
        assert!(!is_table("ingres") && !is_table("ingress.listen") && !is_table(""));
    }
}
