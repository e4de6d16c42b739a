//! The entries that users name: credentials, schemas, webhook sources, and where secrets come from.
//!
//! A secret is read from a variable or a file, never from a setting, and never repeated in a fault.

mod projections;
mod signature;
mod sinks;
mod writers;

use std::path::Path;

pub(super) use self::projections::projections;
pub(super) use self::sinks::sinks;
pub(super) use self::writers::{certificates, keys};
use super::build::{mode, path, text};
use super::settings::Settings;
use super::value::{Value, Wrong, identifier};
use super::{Extract, Purpose, SchemaEntry, SourceConfig, SourceSchema, Sources};
use crate::tenant::TenantId;

/// The largest file that holds a secret, in bytes.
const SECRET_BYTES_MAX: usize = 16 * 1024;

/// Whether this process checks credentials, and so needs their secrets.
fn serves(purpose: Purpose) -> bool {
    matches!(purpose, Purpose::Dev | Purpose::Ingress | Purpose::Check)
}

/// The registered schemas.
pub(super) fn schemas(settings: &mut Settings) -> Vec<SchemaEntry> {
    let mut schemas: Vec<SchemaEntry> = Vec::new();
    for entry in settings.entries("schema") {
        let event_type = required(settings, &entry, "type", text);
        let file = required(settings, &entry, "file", path);
        let tenant = tenant(settings, &format!("{entry}.tenant"));
        if let Some(file) = &file {
            exists(settings, file, &format!("{entry}.file"));
        }
        let (Some(event_type), Some(file)) = (event_type, file) else { continue };
        if schemas.iter().any(|s| s.event_type == event_type && s.tenant == tenant) {
            let path = format!("{entry}.type");
            let message = "the type has another schema for the same tenants";
            settings.fault(settings.origin(&path), &path, Wrong::new(message));
        }
        schemas.push(SchemaEntry { event_type, file, tenant });
    }
    schemas
}

/// The webhook sources; their secrets only where producers are served.
pub(super) fn sources(
    settings: &mut Settings,
    sources: &Sources,
    purpose: Purpose,
) -> Vec<SourceConfig> {
    let names = settings.names("source");
    names.iter().filter_map(|name| source(settings, sources, purpose, name)).collect()
}

fn source(
    settings: &mut Settings,
    sources: &Sources,
    purpose: Purpose,
    name: &str,
) -> Option<SourceConfig> {
    let entry = format!("source.{name}");
    if !identifier(name) {
        let message = "a source's name is 1 to 64 of A-Z a-z 0-9 _ -";
        settings.fault(settings.origin(&entry), &entry, Wrong::new(message));
    }
    let source = required(settings, &entry, "source", text);
    let id = required(settings, &entry, "id", extract);
    let event_type = required(settings, &entry, "type", extract);
    let tenants = extracts(settings, &format!("{entry}.tenant"));
    let tenant_default = tenant(settings, &format!("{entry}.tenant_default"));
    let faulty = ["tenant", "tenant_default"].map(|m| settings.is_faulty(&format!("{entry}.{m}")));
    if tenants.is_empty() && tenant_default.is_none() && faulty == [false; 2] {
        missing(settings, &entry, "tenant", "give it or `tenant_default`");
    }
    let signature = signature::read(settings, sources, purpose, &entry);
    Some(SourceConfig {
        name: name.to_owned(),
        source: source?,
        signature,
        id: id?,
        event_type: event_type?,
        type_prefix: text(settings, &format!("{entry}.type_prefix")).unwrap_or_default(),
        tenant: tenants,
        tenant_default,
        entity: extracts(settings, &format!("{entry}.entity")),
        schema: source_schema(settings, &entry),
    })
}

fn source_schema(settings: &mut Settings, entry: &str) -> Option<SourceSchema> {
    let member = |name: &str| format!("{entry}.schema.{name}");
    let file = path(settings, &member("file"))?;
    exists(settings, &file, &member("file"));
    let pointers = match settings.value(&member("pointer")) {
        Some(Value::SchemaPointers(pointers)) => pointers.clone(),
        _ => Vec::new(),
    };
    Some(SourceSchema { file, pointers, mode: mode(settings, &member("mode")) })
}

/// A file's text without the line ends at its end.
pub(super) fn secret_file(path: &Path) -> Result<String, Wrong> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Wrong::new(format!("{shown} cannot be read: {error}")))?;
    let text = text.trim_end_matches(['\r', '\n']);
    match text.len() {
        0 => Err(Wrong::new(format!("{shown} is empty"))),
        length if length > SECRET_BYTES_MAX => {
            let bound = format!("the bound of {SECRET_BYTES_MAX} bytes");
            Err(Wrong::new(format!("{shown} has {length} bytes, above {bound}")))
        }
        _ => Ok(text.to_owned()),
    }
}

fn exists(settings: &mut Settings, file: &Path, path: &str) {
    settings.read.add(file);
    if !file.is_file() {
        let message = format!("the file {} does not exist", file.display());
        settings.fault(settings.origin(path), path, Wrong::new(message));
    }
}

/// A member that an entry cannot do without.
fn required<T>(
    settings: &mut Settings,
    entry: &str,
    member: &str,
    get: impl Fn(&Settings, &str) -> Option<T>,
) -> Option<T> {
    let path = format!("{entry}.{member}");
    let value = get(settings, &path);
    if value.is_none() && !settings.is_faulty(&path) {
        let wrong = Wrong::new("is missing");
        settings.fault(settings.origin(entry), &path, wrong);
    }
    value
}

fn missing(settings: &mut Settings, entry: &str, member: &str, hint: &str) {
    let path = format!("{entry}.{member}");
    let wrong = Wrong { message: "is missing".to_owned(), hint: Some(hint.to_owned()) };
    settings.fault(settings.origin(entry), &path, wrong);
}

fn tenant(settings: &Settings, path: &str) -> Option<TenantId> {
    match settings.value(path) {
        Some(Value::Tenant(tenant)) => Some(*tenant),
        _ => None,
    }
}

fn extract(settings: &Settings, path: &str) -> Option<Extract> {
    match settings.value(path) {
        Some(Value::Extract(extract)) => Some(extract.clone()),
        _ => None,
    }
}

fn extracts(settings: &Settings, path: &str) -> Vec<Extract> {
    match settings.value(path) {
        Some(Value::Extracts(extracts)) => extracts.clone(),
        _ => Vec::new(),
    }
}
