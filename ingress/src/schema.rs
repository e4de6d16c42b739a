//! The registered JSON Schemas, compiled once, and their verdict on an event's data.
//!
//! In two tiers. A program that was compiled from the schema runs over the tape and can only say
//! "surely valid"; everything else is decided and worded by the `jsonschema` crate with its
//! linear-time regex engine. Nothing is fetched, a remote `$ref` does not load. Drafts by `$schema`,
//! 2020-12 where there is none.

mod compile;
mod coverage;
mod format;
mod literal;
mod names;
mod number;
mod pattern;
mod program;
mod run;
mod tiers;
mod unique;

pub use self::coverage::{Coverage, coverage};
pub use self::program::Gap;
pub(crate) use self::program::Verdict;
pub(crate) use self::tiers::Tiers;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ValidationError, Validator};
use parking_lot::Mutex;
use serde_json::Value;
use shared::config::{SchemaMode, SchemasConfig, UnknownType};
use shared::tenant::TenantId;

use self::program::Program;
use crate::document::Document;
use crate::reject::Reject;
use crate::tape::Item;
use crate::violation::{Violation, Violations};

/// A schema that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The file cannot be read.
    #[error("schema {file}: {error}")]
    Read {
        /// Which file.
        file: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not JSON.
    #[error("schema {file}: {error}")]
    Parse {
        /// Which file.
        file: PathBuf,
        /// Why.
        error: serde_json::Error,
    },
    /// The schema does not compile: invalid, a remote reference, a pattern with look-around.
    #[error("schema {file}: {why}")]
    Compile {
        /// Which file.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// The pointer's container is not in the file.
    #[error("schema {file}: nothing stands at {pointer}")]
    Pointer {
        /// Which file.
        file: PathBuf,
        /// Which pointer.
        pointer: String,
    },
}

/// One compiled schema and what its verdict leads to.
#[derive(Debug)]
pub(crate) struct Schema {
    program: Program,
    validator: Validator,
    file: PathBuf,
    mode: SchemaMode,
    /// What the verdict is on, as a JSON Pointer into the event.
    prefix: &'static str,
    warned: Mutex<bool>,
}

/// The schemas of `/v1/events`.
#[derive(Debug)]
pub(crate) struct Schemas {
    unknown_type: UnknownType,
    mode: SchemaMode,
    by_type: HashMap<String, Vec<Registration>>,
}

/// A schema, for whom it is, and its text for those who ask.
#[derive(Debug)]
struct Registration {
    /// `None`: for every tenant.
    tenant: Option<TenantId>,
    schema: Schema,
    document: Document,
}

impl Registration {
    fn is_for(&self, tenant: Option<TenantId>) -> bool {
        self.tenant.is_none() || self.tenant == tenant
    }
}

impl Schemas {
    /// Loads and compiles all of them.
    pub fn load(config: &SchemasConfig) -> Result<Self, SchemaError> {
        let mut by_type: HashMap<String, Vec<_>> = HashMap::new();
        for entry in &config.entries {
            let text = read(&entry.file)?;
            let schema = Schema::compile(&text, &entry.file, "/data", config.mode)?;
            let (tenant, document) = (entry.tenant, Document::of(&text));
            let registration = Registration { tenant, schema, document };
            by_type.entry(entry.event_type.clone()).or_default().push(registration);
        }
        for schemas in by_type.values_mut() {
            // A tenant's own schema stands before the one for all.
            schemas.sort_by_key(|one: &Registration| one.tenant.is_none());
        }
        Ok(Self { unknown_type: config.unknown_type, mode: config.mode, by_type })
    }

    /// The schema of a type: `None` where it is to be accepted unchecked.
    pub fn find(&self, tenant: TenantId, event_type: &str) -> Result<Option<&Schema>, Reject> {
        if self.mode == SchemaMode::Off {
            return Ok(None);
        }
        match self.registered(Some(tenant), event_type) {
            Some(one) => Ok(Some(&one.schema)),
            None => match self.unknown_type {
                UnknownType::Accept => Ok(None),
                UnknownType::Reject => Err(Reject::UnknownType),
            },
        }
    }

    fn registered(&self, tenant: Option<TenantId>, event_type: &str) -> Option<&Registration> {
        self.by_type.get(event_type)?.iter().find(|one| one.is_for(tenant))
    }

    /// The text of a type's schema, as this tenant's events are checked by it; without a tenant the
    /// one for all.
    pub fn text(&self, tenant: Option<TenantId>, event_type: &str) -> Option<&Document> {
        self.registered(tenant, event_type).map(|one| &one.document)
    }
}

impl Schema {
    /// Loads a file whose whole schema applies.
    pub fn load(file: &Path, prefix: &'static str, mode: SchemaMode) -> Result<Self, SchemaError> {
        Self::compile(&read(file)?, file, prefix, mode)
    }

    /// Loads one schema for each definition that one of `pointers`, with any text for `{type}`,
    /// names; by that text. Where several name the same type, the first does. A pointer that names
    /// nothing is an error: it is misspelt.
    pub fn load_each(
        file: &Path,
        pointers: &[String],
        mode: SchemaMode,
    ) -> Result<HashMap<String, Self>, SchemaError> {
        let document = read(file)?;
        let mut found = HashMap::new();
        for pointer in pointers {
            let missing =
                || SchemaError::Pointer { file: file.to_owned(), pointer: pointer.to_owned() };
            let definitions = definitions(&document, pointer);
            if definitions.is_empty() {
                return Err(missing());
            }
            for (event_type, place) in definitions {
                if let Entry::Vacant(vacant) = found.entry(event_type) {
                    vacant.insert(Self::compile(&rooted(&document, &place), file, "", mode)?);
                }
            }
        }
        Ok(found)
    }

    fn compile(
        schema: &Value,
        file: &Path,
        prefix: &'static str,
        mode: SchemaMode,
    ) -> Result<Self, SchemaError> {
        let validator = jsonschema::options()
            .offline()
            .with_pattern_options(PatternOptions::regex())
            .build(schema)
            .map_err(|error| SchemaError::Compile {
                file: file.to_owned(),
                why: format!("{} at {}", error, error.schema_path()),
            })?;
        let program = Program::compile(schema);
        let file = file.to_owned();
        Ok(Self { program, validator, file, mode, prefix, warned: Mutex::new(false) })
    }

    /// The verdict. `Ok(true)`: it says no, and was told only to warn. Where the program is sure
    /// that the data is valid, nothing is allocated.
    pub fn check(
        &self,
        data: Option<Item<'_>>,
        event_type: &str,
        tiers: &mut Tiers,
    ) -> Result<bool, Reject> {
        if self.mode == SchemaMode::Off {
            return Ok(false);
        }
        if data.is_some_and(|data| self.program.check(data) == Verdict::Valid) {
            tiers.tape += 1;
            return Ok(false);
        }
        tiers.library += 1;
        let violations = match data.map(Item::to_value) {
            Some(data) if self.validator.is_valid(&data) => return Ok(false),
            Some(data) => self.violations(&data),
            None => missing(self.prefix),
        };
        match self.mode {
            SchemaMode::Warn => {
                self.warn_once(event_type, &violations);
                Ok(true)
            }
            SchemaMode::Enforce | SchemaMode::Off => Err(Reject::Schema(Box::new(violations))),
        }
    }

    /// What the program alone says.
    pub fn program_verdict(&self, data: Item<'_>) -> Verdict {
        self.program.check(data)
    }

    /// What the library alone says.
    pub fn library_verdict(&self, data: &Value) -> bool {
        self.validator.is_valid(data)
    }

    fn violations(&self, data: &Value) -> Violations {
        let mut violations = Violations::default();
        let mut seen = HashSet::new();
        for error in self.validator.iter_errors(data) {
            let violation = Violation {
                pointer: format!("{}{}", self.prefix, error.instance_path()),
                keyword: error.kind().keyword().to_owned(),
                schema_pointer: error.schema_path().to_string(),
                message: message(&error),
                index: None,
            };
            // One place can be reached over several references.
            let place = (
                violation.pointer.clone(),
                violation.schema_pointer.clone(),
                violation.message.clone(),
            );
            if seen.insert(place) && !violations.push(violation) {
                break;
            }
        }
        violations
    }

    fn warn_once(&self, event_type: &str, violations: &Violations) {
        let mut warned = self.warned.lock();
        if !*warned {
            *warned = true;
            let first = violations.list.first();
            tracing::warn!(
                event_type,
                pointer = first.map(|one| one.pointer.as_str()),
                keyword = first.map(|one| one.keyword.as_str()),
                "an event violates its schema and is accepted; further ones are only counted"
            );
        }
    }
}

fn missing(prefix: &str) -> Violations {
    let mut violations = Violations::default();
    violations.attribute(
        prefix.trim_start_matches('/'),
        "required",
        "the type's schema needs data",
    );
    violations
}

/// The JSON text of a schema file.
pub(crate) fn read(file: &Path) -> Result<Value, SchemaError> {
    let text =
        std::fs::read(file).map_err(|error| SchemaError::Read { file: file.to_owned(), error })?;
    serde_json::from_slice(&text)
        .map_err(|error| SchemaError::Parse { file: file.to_owned(), error })
}

/// Types that a pointer with `{type}` names, each with the pointer to its definition.
fn definitions(document: &Value, pointer: &str) -> Vec<(String, String)> {
    let (container, last) = pointer.trim_start_matches('#').rsplit_once('/').unwrap_or(("", ""));
    let (before, after) = last.split_once("{type}").unwrap_or((last, ""));
    let names = document.pointer(container).and_then(Value::as_object).into_iter().flatten();
    names
        .filter_map(|(name, _)| {
            let event_type = name.strip_prefix(before)?.strip_suffix(after)?;
            Some((event_type.to_owned(), format!("#{container}/{name}")))
        })
        .collect()
}

/// The document with its own root assertions replaced by a reference to one of its definitions.
fn rooted(document: &Value, reference: &str) -> Value {
    let kept = ["$schema", "$id", "$defs", "definitions"];
    let mut root: serde_json::Map<_, _> = document
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| kept.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    root.insert("$ref".to_owned(), Value::from(reference));
    Value::Object(root)
}

/// What must hold, from the schema's side: the library's own messages quote the event.
fn message(error: &ValidationError<'_>) -> String {
    use ValidationErrorKind as Kind;
    match error.kind() {
        Kind::Required { property } => format!("{property} is required"),
        Kind::Minimum { limit } => format!("the value is at least {limit}"),
        Kind::Maximum { limit } => format!("the value is at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("the value is greater than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("the value is less than {limit}"),
        Kind::MinLength { limit } => format!("the text has at least {limit} characters"),
        Kind::MaxLength { limit } => format!("the text has at most {limit} characters"),
        Kind::MinItems { limit } => format!("the array has at least {limit} elements"),
        Kind::MaxItems { limit } => format!("the array has at most {limit} elements"),
        Kind::MinProperties { limit } => format!("the object has at least {limit} members"),
        Kind::MaxProperties { limit } => format!("the object has at most {limit} members"),
        Kind::MultipleOf { multiple_of } => format!("the value is a multiple of {multiple_of}"),
        Kind::Pattern { pattern } => format!("the text matches {pattern}"),
        Kind::Format { format } => format!("the text is a valid {format}"),
        Kind::Constant { expected_value } => format!("the value is {expected_value}"),
        Kind::Enum { options } => format!("the value is one of {options}"),
        Kind::Type { .. } => "the value has another type".to_owned(),
        other => format!("the value does not satisfy \"{}\"", other.keyword()),
    }
}

#[cfg(test)]
mod differential;
#[cfg(test)]
mod tests;
