//! From what was typed for a key to a value of its kind, or what is wrong with it.
//!
//! Pure: no file is read here. A message never repeats the value of a secret key.

mod form;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub(super) use self::form::{digest, identifier, postgres_url};
use self::form::{
    extract, header, kafka_name, network, object, origin, pattern, schema_pointer, tenant, time,
    variable, web_url,
};
use super::fault::printable;
use super::keys::{Key, Kind};
use super::nearest;
use super::{Extract, Network, TenantId};
use crate::clock::Millis;

/// The most items of a list: patterns of a class, places an entity may come from.
pub(super) const ITEMS_MAX: usize = 1_000;
/// The longest text, in bytes.
const TEXT_BYTES_MAX: usize = 4_096;
/// The longest statement of SQL, in bytes: it is sent once per connection, then only named.
pub(super) const SQL_BYTES_MAX: usize = 64 * 1024;

/// What was typed, before anything is known of the key.
#[derive(Clone, Debug)]
pub(super) enum Raw {
    /// A TOML integer.
    Integer(i64),
    /// A TOML float.
    Float(f64),
    /// A TOML boolean.
    Boolean(bool),
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
    Decimal(f64),
    Boolean(bool),
    Text(String),
    Address(SocketAddr),
    Path(PathBuf),
    Tenant(TenantId),
    Tenants(Vec<TenantId>),
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
            toml_edit::Value::Float(number) => Self::Float(*number.value()),
            toml_edit::Value::Boolean(yes) => Self::Boolean(*yes.value()),
            toml_edit::Value::Datetime(_) => Self::Other("a date"),
            toml_edit::Value::InlineTable(_) => Self::Other("a table"),
        }
    }

    /// As it may be shown where the key is not secret.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Integer(integer) => integer.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Boolean(yes) => yes.to_string(),
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
            Self::Float(_) => "a number with a fraction",
            Self::Boolean(_) => "a boolean",
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
        Kind::Decimal { min, max, unit } => {
            let number = decimal(raw)?;
            if number < min {
                return Err(Wrong::new(format!("{number} is below the bound of {min}{unit}")));
            }
            if number > max {
                return Err(Wrong::new(format!("{number} is above the bound of {max}{unit}")));
            }
            Ok(Value::Decimal(number))
        }
        Kind::Boolean => boolean(raw).map(Value::Boolean),
        Kind::Tenants => {
            list(raw)?.iter().map(|t| tenant(t)).collect::<Result<_, _>>().map(Value::Tenants)
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
        Kind::Sql => sql(raw).map(Value::Text),
        Kind::Objects => {
            let objects = list(raw)?;
            objects.iter().try_for_each(|text| object(text))?;
            Ok(Value::Names(objects))
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
        Kind::WebUrl => checked(web_url(text), "a URL that begins with https:// or http://"),
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
        Kind::Tenant => tenant(text).map(Value::Tenant),
        Kind::Digest => digest(text).map(Value::Digest).ok_or_else(|| {
            Wrong::with_hint(
                "not a SHA-256 in hex (64 digits)",
                "the key's secret itself never stands in a file: printf %s SECRET | sha256sum",
            )
        }),
        Kind::Time => time(text).map(Value::Time),
        Kind::Extract => extract(text).map(Value::Extract),
        Kind::Integer { .. }
        | Kind::Decimal { .. }
        | Kind::Boolean
        | Kind::Tenants
        | Kind::Extracts
        | Kind::Patterns
        | Kind::Origins
        | Kind::Networks
        | Kind::SchemaPointers
        | Kind::Names(_)
        | Kind::Variables
        | Kind::Sql
        | Kind::Objects
        | Kind::Paths => unreachable!("read() handles what is not one text"),
    }
}

/// Lines and tabs are welcome here, as in no other text.
fn sql(raw: &Raw) -> Result<String, Wrong> {
    let (Raw::Text(sql) | Raw::Untyped(sql)) = raw else { return text(raw).map(str::to_owned) };
    statement(sql)?;
    Ok(sql.clone())
}

/// What a statement of SQL is bound by, wherever it stands.
pub(super) fn statement(sql: &str) -> Result<(), Wrong> {
    if sql.len() > SQL_BYTES_MAX {
        let length = sql.len();
        return Err(Wrong::new(format!(
            "{length} bytes are above the bound of {SQL_BYTES_MAX} bytes"
        )));
    }
    if sql.trim().is_empty() {
        return Err(Wrong::new("is empty"));
    }
    if sql.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err(Wrong::new("control characters are not allowed"));
    }
    Ok(())
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

fn decimal(raw: &Raw) -> Result<f64, Wrong> {
    let number = match raw {
        Raw::Integer(integer) => *integer as f64,
        Raw::Float(number) => *number,
        Raw::Untyped(text) => text
            .replace('_', "")
            .parse()
            .map_err(|_| Wrong::new(format!("`{}` is not a number", printable(text))))?,
        Raw::Text(text) if text.parse::<f64>().is_ok() => {
            return Err(Wrong::with_hint(
                "a number is needed, this is a text",
                "write it without quotes",
            ));
        }
        other => {
            return Err(Wrong::new(format!("a number is needed, this is {}", other.type_name())));
        }
    };
    if number.is_finite() { Ok(number) } else { Err(Wrong::new("a finite number is needed")) }
}

fn boolean(raw: &Raw) -> Result<bool, Wrong> {
    match raw {
        Raw::Boolean(yes) => Ok(*yes),
        Raw::Untyped(text) => text
            .parse()
            .map_err(|_| Wrong::new(format!("`{}` is neither true nor false", printable(text)))),
        Raw::Text(text) if text.parse::<bool>().is_ok() => {
            Err(Wrong::with_hint("a boolean is needed, this is a text", "write it without quotes"))
        }
        other => Err(Wrong::new(format!("a boolean is needed, this is {}", other.type_name()))),
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
