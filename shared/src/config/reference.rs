//! What can be said of the keys: the reference page, and where one value comes from.

use std::fmt::Write as _;

use super::fault::printable;
use super::keys::{KEYS, Key, Kind, find};
use super::settings::Settings;
use super::{ConfigError, Fault, Origin, Purpose, Sources, control, nearest};

/// One key's value and where it comes from.
#[derive(Debug)]
pub struct Explanation {
    /// The key.
    pub key: String,
    /// Every layer that sets it, the one in effect last: value and origin. A secret's value is not
    /// shown. Empty where nothing sets it and there is no default.
    pub layers: Vec<(String, Origin)>,
    /// What is in effect where nothing sets it: taken from other keys, or measured.
    pub derived: Option<String>,
    /// What the key is for.
    pub doc: &'static str,
    /// What is wrong elsewhere: nothing of it is in effect before that is mended.
    pub faults: Option<ConfigError>,
}

impl std::fmt::Display for Explanation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.layers.split_last() {
            None => {
                write!(f, "{} is not set", self.key)?;
                match &self.derived {
                    Some(derived) => writeln!(f, ": {derived}")?,
                    None => writeln!(f)?,
                }
            }
            Some(((value, origin), overridden)) => {
                writeln!(f, "{} = {value}  ({origin})", self.key)?;
                for (value, origin) in overridden.iter().rev() {
                    writeln!(f, "  instead of {value}  ({origin})")?;
                }
            }
        }
        f.write_str(self.doc)
    }
}

/// The value of `key` and where it comes from, also where a file cannot be read or a setting is wrong
/// in itself. It does not ask whether the whole fits together. An unknown key is an error.
pub fn explain(sources: &Sources, key: &str) -> Result<Explanation, ConfigError> {
    let Some(known) = find(key) else {
        return Err(ConfigError(vec![Fault {
            place: Origin::Command,
            key: key.to_owned(),
            message: "unknown key".to_owned(),
            hint: nearest::key(key).map(|near| format!("did you mean `{near}`?")),
        }]));
    };
    let mut settings = Settings::gather(sources, Purpose::Check);
    let layers = settings.stack(key).iter();
    let layers: Vec<_> =
        layers.map(|setting| (setting.shown.clone(), setting.origin.clone())).collect();
    let derived = if layers.is_empty() { control::derived(&mut settings, key) } else { None };
    let faults = settings.into_faults();
    let faults = (!faults.is_empty()).then_some(ConfigError(faults));
    Ok(Explanation { key: printable(key), layers, derived, doc: known.doc, faults })
}

/// docs/CONFIG.md: every key with its type, bounds, default, variable and reason.
pub fn reference_markdown() -> String {
    let mut page = String::from(INTRODUCTION);
    let mut section = "";
    for key in KEYS {
        let of = key.path.split(['.', '[']).next().expect("split yields at least one part");
        if of != section {
            section = of;
            let _ = write!(page, "\n## `{}`\n\n", heading(key));
            page.push_str(
                "| Key | Value | Default | Variable | Meaning |\n|---|---|---|---|---|\n",
            );
        }
        let doc = key.doc.replace('|', "\\|");
        let default = if key.default.is_empty() { "–".to_owned() } else { code(key.default) };
        let variable = key.variable().map_or_else(|| "–".to_owned(), |name| code(&name));
        let (path, kind) = (code(key.path), described(&key.kind));
        let _ = writeln!(page, "| {path} | {kind} | {default} | {variable} | {doc} |");
    }
    page
}

const INTRODUCTION: &str = "\
# Configuration

Printed by `shock config reference`; do not edit.

Settings come from TOML files, then `SHOCK_…` variables, then `--set key=value`; the later wins. A
directory stands for its `*.toml` and those of its `sources/`. A relative path in a file is relative
to that file. Unknown keys and variables are refused. `NAME` in a path is a name of your choice; an
entry `key[]` is written `[[key]]`. A list in a variable or a flag is separated by commas, or written
as in TOML. Secrets come from variables or files and are never printed.
";

fn heading(key: &Key) -> String {
    let section = key.path.split('.').next().expect("split yields at least one part");
    match section.strip_suffix("[]") {
        Some(entries) => format!("[[{entries}]]"),
        None if key.path.starts_with("source.<name>") => "[source.NAME]".to_owned(),
        None if key.path.contains('.') => format!("[{section}]"),
        None => section.to_owned(),
    }
}

fn code(text: &str) -> String {
    let text = text.replace("<name>", "NAME").replace("<property>", "NAME");
    format!("`{}`", text.replace("<NAME>", "NAME").replace("<PROPERTY>", "NAME"))
}

fn described(kind: &Kind) -> String {
    match kind {
        Kind::Integer { min, max, unit } => format!("integer, {min} to {max}{unit}"),
        Kind::Decimal { min, max, unit } => format!("number, {min} to {max}{unit}"),
        Kind::Boolean => "`true` or `false`".to_owned(),
        Kind::Text { .. } => "text".to_owned(),
        Kind::Identifier => "1 to 64 of `A-Z a-z 0-9 _ -`".to_owned(),
        Kind::KafkaName => "1 to 200 of `A-Z a-z 0-9 . _ -`".to_owned(),
        Kind::Name(names) => {
            names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
        }
        Kind::Names(names) => {
            let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
            format!("list of {}", names.join(", "))
        }
        Kind::Address => "ADDRESS:PORT".to_owned(),
        Kind::Path => "path".to_owned(),
        Kind::Paths => "path, or list of paths".to_owned(),
        Kind::Variable => "name of a variable".to_owned(),
        Kind::Variables => "name of a variable, or list of names".to_owned(),
        Kind::Tenant => "1 to 64 of `A-Z a-z 0-9 . _ -`".to_owned(),
        Kind::Tenants => "list of tenants".to_owned(),
        Kind::Time => "date and time (RFC 3339)".to_owned(),
        Kind::Digest => "64 hex digits".to_owned(),
        Kind::Header => "header name".to_owned(),
        Kind::Extract => "`header:NAME` or `pointer:/…`".to_owned(),
        Kind::Extracts => "list of `header:NAME` or `pointer:/…`".to_owned(),
        Kind::Patterns => "list of names and `prefix*`".to_owned(),
        Kind::Origins => "list of `https://HOST`, or `*`".to_owned(),
        Kind::Networks => "list of networks: `10.0.0.0/8`".to_owned(),
        Kind::SchemaPointers => "list of `#/…`".to_owned(),
        Kind::PostgresUrl => "PostgreSQL URL".to_owned(),
        Kind::WebUrl => "`https://` or `http://` URL".to_owned(),
        Kind::Sql => "one statement of SQL".to_owned(),
        Kind::Objects => "list of JSON objects, each a text".to_owned(),
    }
}
