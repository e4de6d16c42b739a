//! The projections: which events, which statement, which tables, and events to try it on.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value as Json};

use super::super::build::{path, text};
use super::super::projection::{DDL_BYTES_MAX, PROJECTIONS_MAX, SAMPLES_MAX};
use super::super::settings::Settings;
use super::super::value::{Value, Wrong, statement};
use super::super::{Backend, DdlFile, Origin, ProjectionConfig, ProjectionsConfig, Purpose};
use super::{missing, required};
use crate::position::Class;
use crate::route::matched;

/// The projections of the backend in effect; none in a process that applies nothing, so that it
/// needs none of their files.
pub(in super::super) fn projections(
    settings: &mut Settings,
    purpose: Purpose,
    backend: &Backend,
) -> ProjectionsConfig {
    let mut projections = ProjectionsConfig {
        schema: text(settings, "projections.schema").unwrap_or_default(),
        runtime_role: text(settings, "projections.runtime_role"),
        entries: Vec::new(),
    };
    match purpose {
        Purpose::Ingress | Purpose::Topics => return projections,
        Purpose::Dev | Purpose::Consumer | Purpose::Operate | Purpose::Check => {}
    }
    let store = match backend {
        Backend::Embedded(_) => "sqlite",
        Backend::Cluster { .. } => "postgres",
    };
    let entries = settings.entries("projection");
    if let Some(beyond) = entries.get(PROJECTIONS_MAX) {
        let count = entries.len();
        let message = format!("{count} projections are above the bound of {PROJECTIONS_MAX}");
        settings.fault(settings.origin(beyond), beyond, Wrong::new(message));
    }
    let mut named: BTreeMap<String, String> = BTreeMap::new();
    for entry in entries.iter().take(PROJECTIONS_MAX) {
        let path = format!("{entry}.name");
        if let Some(name) = text(settings, &path) {
            if let Some(first) = named.get(&name) {
                let wrong = Wrong {
                    message: format!("another projection is called `{name}`"),
                    hint: Some(format!("the first is at {}", settings.origin(first))),
                };
                settings.fault(settings.origin(&path), &path, wrong);
            }
            named.entry(name).or_insert(path);
        }
        projections.entries.extend(projection(settings, entry, store));
    }
    projections
}

fn projection(settings: &mut Settings, entry: &str, store: &str) -> Option<ProjectionConfig> {
    let name = required(settings, entry, "name", text);
    let types = required(settings, entry, "types", patterns);
    let sql = sql(settings, entry, store);
    let ddl = ddl(settings, &format!("{entry}.ddl.{store}"));
    let sample = required(settings, entry, "sample", names);
    if let (Some(types), Some(sample)) = (&types, &sample) {
        bounds(settings, entry, types, sample);
    }
    let (name, types, (sql, place), sample) = (name?, types?, sql?, sample?);
    let class = text(settings, &format!("{entry}.class"));
    let class = class.and_then(|name| Class::ALL.into_iter().find(|class| class.name() == name));
    Some(ProjectionConfig { name, types, class, sql, place, ddl, sample })
}

/// What the types and the samples have to be to each other.
fn bounds(settings: &mut Settings, entry: &str, types: &[String], sample: &[String]) {
    let path = format!("{entry}.types");
    if types.is_empty() {
        settings.fault(settings.origin(&path), &path, Wrong::new("names no type"));
    }
    let path = format!("{entry}.sample");
    let mut wrong = None;
    if sample.is_empty() {
        wrong = Some("has no event: the statement could not be tried".to_owned());
    }
    if sample.len() > SAMPLES_MAX {
        let count = sample.len();
        wrong = Some(format!("{count} events are above the bound of {SAMPLES_MAX}"));
    }
    for event in sample {
        let event: Map<String, Json> = serde_json::from_str(event).unwrap_or_default();
        let event_type = event.get("type").and_then(Json::as_str).unwrap_or_default();
        if !types.iter().any(|pattern| matched(pattern, event_type).is_some()) {
            wrong.get_or_insert(format!(
                "an event's type is `{event_type}`, which `types` leaves out"
            ));
        }
    }
    if let Some(message) = wrong {
        settings.fault(settings.origin(&path), &path, Wrong::new(message));
    }
}

/// The store's statement, and where it stands.
fn sql(settings: &mut Settings, entry: &str, store: &str) -> Option<(String, Origin)> {
    let inline = format!("{entry}.sql.{store}");
    let in_file = format!("{entry}.sql.{store}_file");
    match (text(settings, &inline), path(settings, &in_file)) {
        (Some(_), Some(_)) => {
            let message = format!("`sql.{store}` is given too; one of them is enough");
            settings.fault(settings.origin(&in_file), &in_file, Wrong::new(message));
            None
        }
        (Some(sql), None) => Some((sql, settings.origin(&inline))),
        (None, Some(file)) => {
            let found = read(settings, &file, super::super::value::SQL_BYTES_MAX)
                .and_then(|sql| statement(&sql).map(|()| sql));
            let found = found.map_err(|wrong| {
                settings.fault(settings.origin(&in_file), &in_file, wrong);
            });
            Some((found.ok()?, Origin::File(file, 0)))
        }
        (None, None) => {
            if !settings.is_faulty(&inline) && !settings.is_faulty(&in_file) {
                let member = format!("sql.{store}");
                missing(settings, entry, &member, &format!("give it or `sql.{store}_file`"));
            }
            None
        }
    }
}

fn ddl(settings: &mut Settings, path: &str) -> Vec<DdlFile> {
    let files = match settings.value(path) {
        Some(Value::Paths(files)) => files.clone(),
        _ => return Vec::new(),
    };
    let mut ddl = Vec::new();
    for file in files {
        match read(settings, &file, DDL_BYTES_MAX) {
            Ok(text) => ddl.push(DdlFile { path: file, text }),
            Err(wrong) => settings.fault(settings.origin(path), path, wrong),
        }
    }
    ddl
}

fn read(settings: &mut Settings, file: &Path, bytes_max: usize) -> Result<String, Wrong> {
    settings.read.add(file);
    let shown = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|error| Wrong::new(format!("{shown} cannot be read: {error}")))?;
    match text.len() {
        length if length > bytes_max => Err(Wrong::new(format!(
            "{shown} has {length} bytes, above the bound of {bytes_max} bytes"
        ))),
        _ => Ok(text),
    }
}

pub(super) fn patterns(settings: &Settings, path: &str) -> Option<Vec<String>> {
    match settings.value(path) {
        Some(Value::Patterns(patterns)) => Some(patterns.clone()),
        _ => None,
    }
}

fn names(settings: &Settings, path: &str) -> Option<Vec<String>> {
    match settings.value(path) {
        Some(Value::Names(names)) => Some(names.clone()),
        _ => None,
    }
}
