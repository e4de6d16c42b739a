//! From what was typed for a key to a value of its kind, or what is wrong with it.
//!
//! Pure: no file is read here. A message never repeats the value of a secret key.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::fault::printable;
use super::keys::{Key, Kind};
use super::nearest;
use super::{Extract, Network, TenantId};
use crate::clock::Millis;

/// The most items of a list: patterns of a class, places an entity may come from.
pub(super) const ITEMS_MAX: usize = 1_000;
/// The longest text, in bytes.
const TEXT_BYTES_MAX: usize = 4_096;

/// What was typed, before anything is known of the key.
#[derive(Clone, Debug)]
pub(super) enum Raw {
    /// A TOML integer.
    Integer(i64),
    /// A TOML string.
    Text(String),
    /// A TOML array.
    List(Vec<Raw>),
    /// A variable's or a flag's text, whose type only the key tells.
    Untyped(String),
    /// A table without members.
    EmptyTable,
    /// A TOML type that no key has.
    Other(&'static str),
}

/// A value of a key's kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Integer(u64),
    Text(String),
    Address(SocketAddr),
    Path(PathBuf),
    Tenant(TenantId),
    Digest([u8; 32]),
    Time(Millis),
    Extract(Extract),
    Extracts(Vec<Extract>),
    Patterns(Vec<String>),
    Origins(Vec<String>),
    SchemaPointers(Vec<String>),
    Names(Vec<String>),
    Paths(Vec<PathBuf>),
    Networks(Vec<Network>),
}

/// What is wrong with a value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Wrong {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    fn with_hint(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: Some(hint.into()) }
    }
}

impl Raw {
    /// A TOML value.
    pub(super) fn from_toml(value: &toml_edit::Value) -> Self {
        match value {
            toml_edit::Value::Integer(integer) => Self::Integer(*integer.value()),
            toml_edit::Value::String(text) => Self::Text(text.value().clone()),
            toml_edit::Value::Array(array) => {
                Self::List(array.iter().map(Self::from_toml).collect())
            }
            toml_edit::Value::Float(_) => Self::Other("a number with a fraction"),
            toml_edit::Value::Boolean(_) => Self::Other("a boolean"),
            toml_edit::Value::Datetime(_) => Self::Other("a date"),
            toml_edit::Value::InlineTable(_) => Self::Other("a table"),
        }
    }

    /// As it may be shown where the key is not secret.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Integer(integer) => integer.to_string(),
            Self::Text(text) | Self::Untyped(text) => printable(text),
            Self::List(items) => {
                let items: Vec<_> = items.iter().take(ITEMS_MAX).map(Self::shown).collect();
                items.join(", ")
            }
            Self::EmptyTable => "an empty table".to_owned(),
            Self::Other(name) => (*name).to_owned(),
        }
    }

    fn type_name(&self) -> &'static str {
        match self {
            Self::Integer(_) => "an integer",
            Self::Text(_) | Self::Untyped(_) => "a text",
            Self::List(_) => "a list",
            Self::EmptyTable => "a table",
            Self::Other(name) => name,
        }
    }
}

/// Reads what was typed for `key`; a relative path is relative to `base`.
pub(super) fn read(key: &Key, raw: &Raw, base: Option<&Path>) -> Result<Value, Wrong> {
    match key.kind {
        Kind::Integer { min, max, unit } => {
            let number = integer(raw)?;
            if number < i128::from(min) {
                return Err(Wrong::new(format!("{number} is below the bound of {min}{unit}")));
            }
            if number > i128::from(max) {
                return Err(Wrong::new(format!("{number} is above the bound of {max}{unit}")));
            }
            Ok(Value::Integer(u64::try_from(number).expect("within the bounds of a u64")))
        }
        Kind::Extracts => {
            list(raw)?.iter().map(|t| extract(t)).collect::<Result<_, _>>().map(Value::Extracts)
        }
        Kind::Patterns => {
            let patterns = list(raw)?;
            patterns.iter().try_for_each(|text| pattern(text))?;
            Ok(Value::Patterns(patterns))
        }
        Kind::Origins => {
            let origins = list(raw)?;
            origins.iter().try_for_each(|text| origin(text, origins.len()))?;
            Ok(Value::Origins(origins))
        }
        Kind::Networks => {
            list(raw)?.iter().map(|t| network(t)).collect::<Result<_, _>>().map(Value::Networks)
        }
        Kind::SchemaPointers => {
            let pointers = list(raw)?;
            pointers.iter().try_for_each(|text| schema_pointer(text))?;
            Ok(Value::SchemaPointers(pointers))
        }
        Kind::Names(names) => {
            let listed = list(raw)?;
            listed.iter().try_for_each(|name| one_of(names, name))?;
            Ok(Value::Names(listed))
        }
        Kind::Variables => {
            let names = one_or_more(raw)?;
            names.iter().try_for_each(|name| is_variable(name))?;
            Ok(Value::Names(names))
        }
        Kind::Paths => {
            let paths = one_or_more(raw)?;
            let paths = paths.iter().map(|path| (!path.is_empty()).then(|| joined(path, base)));
            let paths = paths.collect::<Option<_>>();
            paths.map(Value::Paths).ok_or_else(|| Wrong::new("`` is not a path"))
        }
        _ => single(key, text(raw)?, base),
    }
}

fn one_of(names: &[&str], text: &str) -> Result<(), Wrong> {
    if names.contains(&text) {
        return Ok(());
    }
    let message = format!("`{}` is not one of {}", printable(text), names.join(", "));
    Err(match nearest::text(text, names.iter().copied()) {
        Some(name) => Wrong::with_hint(message, format!("did you mean `{name}`?")),
        None => Wrong::new(message),
    })
}

fn is_variable(text: &str) -> Result<(), Wrong> {
    let wrong = || format!("`{}` is not the name of an environment variable", printable(text));
    if variable(text) { Ok(()) } else { Err(Wrong::new(wrong())) }
}

fn joined(path: &str, base: Option<&Path>) -> PathBuf {
    base.map_or_else(|| PathBuf::from(path), |base| base.join(path))
}

/// A list, or one text that stands for a list of one.
fn one_or_more(raw: &Raw) -> Result<Vec<String>, Wrong> {
    match raw {
        Raw::Text(_) => Ok(vec![text(raw)?.to_owned()]),
        _ => list(raw),
    }
}

/// Kinds that are one text.
fn single(key: &Key, text: &str, base: Option<&Path>) -> Result<Value, Wrong> {
    let quoted = if key.secret { "the value".to_owned() } else { format!("`{}`", printable(text)) };
    let checked = |good: bool, needed: &str| {
        let wrong = || Wrong::new(format!("{quoted} is not {needed}"));
        if good { Ok(Value::Text(text.to_owned())) } else { Err(wrong()) }
    };
    match key.kind {
        Kind::Text { empty } => {
            checked(empty || !text.is_empty(), "a text of at least one character")
        }
        Kind::Identifier => checked(identifier(text), "a name of 1 to 64 of A-Z a-z 0-9 _ -"),
        Kind::KafkaName => checked(kafka_name(text), "1 to 200 of A-Z a-z 0-9 . _ -"),
        Kind::Variable => checked(variable(text), "the name of an environment variable"),
        Kind::PostgresUrl => checked(
            postgres_url(text),
            "a PostgreSQL URL: postgres://user:password@host:port/database",
        ),
        Kind::Header => {
            checked(header(text), "a header's name").map(|_| Value::Text(text.to_ascii_lowercase()))
        }
        Kind::Name(names) => one_of(names, text).map(|()| Value::Text(text.to_owned())),
        Kind::Address => text.parse().map(Value::Address).map_err(|_| {
            Wrong::with_hint(
                format!("{quoted} is not an address"),
                "write ADDRESS:PORT, such as 127.0.0.1:8080 or [::1]:8080 (no host names)",
            )
        }),
        Kind::Path => {
            checked(!text.is_empty(), "a path")?;
            Ok(Value::Path(joined(text, base)))
        }
        Kind::Tenant => TenantId::parse(text)
            .map(Value::Tenant)
            .map_err(|error| Wrong::new(format!("{quoted} is not a tenant: {error}"))),
        Kind::Digest => digest(text).map(Value::Digest).ok_or_else(|| {
            Wrong::with_hint(
                "not a SHA-256 in hex (64 digits)",
                "the key's secret itself never stands in a file: printf %s SECRET | sha256sum",
            )
        }),
        Kind::Time => time(text).map(Value::Time),
        Kind::Extract => extract(text).map(Value::Extract),
        Kind::Integer { .. }
        | Kind::Extracts
        | Kind::Patterns
        | Kind::Origins
        | Kind::Networks
        | Kind::SchemaPointers
        | Kind::Names(_)
        | Kind::Variables
        | Kind::Paths => unreachable!("read() handles what is not one text"),
    }
}

fn integer(raw: &Raw) -> Result<i128, Wrong> {
    match raw {
        Raw::Integer(integer) => Ok(i128::from(*integer)),
        Raw::Untyped(text) => text
            .replace('_', "")
            .parse()
            .map_err(|_| Wrong::new(format!("`{}` is not an integer", printable(text)))),
        Raw::Text(text) if text.parse::<i64>().is_ok() => {
            Err(Wrong::with_hint("an integer is needed, this is a text", "write it without quotes"))
        }
        other => Err(Wrong::new(format!("an integer is needed, this is {}", other.type_name()))),
    }
}

fn text(raw: &Raw) -> Result<&str, Wrong> {
    let text = match raw {
        Raw::Text(text) | Raw::Untyped(text) => text,
        Raw::Integer(_) => {
            return Err(Wrong::with_hint(
                "a text is needed, this is an integer",
                "write it in quotes",
            ));
        }
        other => {
            return Err(Wrong::new(format!("a text is needed, this is {}", other.type_name())));
        }
    };
    if text.len() > TEXT_BYTES_MAX {
        let length = text.len();
        return Err(Wrong::new(format!(
            "{length} bytes are above the bound of {TEXT_BYTES_MAX} bytes"
        )));
    }
    if text.chars().any(char::is_control) {
        return Err(Wrong::new("control characters are not allowed"));
    }
    Ok(text)
}

fn list(raw: &Raw) -> Result<Vec<String>, Wrong> {
    let needed =
        || Wrong::with_hint("a list of texts is needed", "write it in brackets: [\"a\", \"b\"]");
    let parsed;
    let items = match raw {
        Raw::List(items) => items,
        Raw::Untyped(text) if text.trim_start().starts_with('[') => {
            let value: toml_edit::Value = text.parse().map_err(|_| needed())?;
            parsed = Raw::from_toml(&value);
            match &parsed {
                Raw::List(items) => items,
                _ => return Err(needed()),
            }
        }
        Raw::Untyped(text) if text.trim().is_empty() => return Ok(Vec::new()),
        Raw::Untyped(text) => {
            return Ok(text.split(',').map(|item| item.trim().to_owned()).collect());
        }
        _ => return Err(needed()),
    };
    if items.len() > ITEMS_MAX {
        let count = items.len();
        return Err(Wrong::new(format!("{count} items are above the bound of {ITEMS_MAX}")));
    }
    items.iter().map(|item| text(item).map(str::to_owned)).collect()
}

fn time(text: &str) -> Result<Millis, Wrong> {
    let time = text.parse::<jiff::Timestamp>().map_err(|_| {
        Wrong::with_hint(
            format!("`{}` is not a date and time", printable(text)),
            "write it as RFC 3339 does, with its offset: \"2027-01-31T12:00:00Z\"",
        )
    })?;
    Ok(Millis(time.as_millisecond()))
}

fn extract(text: &str) -> Result<Extract, Wrong> {
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

/// A type, or a prefix of types with `*` at its end and nowhere else.
fn pattern(text: &str) -> Result<(), Wrong> {
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
fn origin(text: &str, origins: usize) -> Result<(), Wrong> {
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

fn network(text: &str) -> Result<Network, Wrong> {
    text.parse().map_err(|_| {
        Wrong::with_hint(
            format!("`{}` is not a network", printable(text)),
            "write ADDRESS/BITS, such as 10.0.0.0/8, or a single address",
        )
    })
}

fn schema_pointer(text: &str) -> Result<(), Wrong> {
    if text.starts_with("#/") {
        return Ok(());
    }
    Err(Wrong::with_hint(
        format!("`{}` is not a JSON Pointer into the file", printable(text)),
        "it begins with `#/`: `#/definitions/{type}_event`",
    ))
}

/// What a key's id and a source's name may be: they stand in a credential and in a path.
pub(super) fn identifier(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

/// A topic's name has at most 249 characters in Kafka; the class is added to the prefix.
fn kafka_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=200).contains(&text.len()) && text.bytes().all(allowed)
}

fn variable(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !text.is_empty() && !text.as_bytes()[0].is_ascii_digit() && text.bytes().all(allowed)
}

fn header(text: &str) -> bool {
    http::HeaderName::from_bytes(text.as_bytes()).is_ok()
}

/// RFC 6901: empty, or segments that begin with `/`; `~` only as `~0` and `~1`.
fn json_pointer(text: &str) -> bool {
    let escapes = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    text.starts_with('/') && escapes
}

/// Only the form: the driver parses it when it connects.
pub(super) fn postgres_url(text: &str) -> bool {
    let rest = ["postgres://", "postgresql://"].iter().find_map(|s| text.strip_prefix(s));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace))
}

/// 64 hex digits.
pub(super) fn digest(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest).ok().map(|()| digest)
}
