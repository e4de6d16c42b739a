//! What the programs of a configuration's schemas cover, and what they leave to the library.

use std::fmt;
use std::path::PathBuf;

use shared::config::{IngressConfig, SourceConfig};

use super::program::Gap;
use super::{Schema, SchemaError, Schemas};
use crate::source::Source;

/// One registered schema and what is left of it to the library.
#[derive(Clone, Debug)]
pub struct Coverage {
    /// `order.paid`, `order.paid of acme`, or `source github: push`.
    pub name: String,
    /// The event type, as it was registered or extracted; empty where a schema is for all types.
    pub event_type: String,
    /// Where the schema stands.
    pub file: PathBuf,
    /// What the library decides, ordered by place. Empty: all of it is covered.
    pub gaps: Vec<Gap>,
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.gaps.is_empty() { "covered" } else { "covered in part" };
        writeln!(f, "{}: {verdict} ({})", self.name, self.file.display())?;
        for gap in &self.gaps {
            writeln!(f, "  {} at #{}: {}", gap.keyword, gap.pointer, gap.why)?;
        }
        Ok(())
    }
}

/// Loads every schema of the configuration and says what is covered, in the order of the names.
pub fn coverage(config: &IngressConfig) -> Result<Vec<Coverage>, SchemaError> {
    let mut all = Schemas::load(&config.schemas)?.coverage();
    for source in &config.sources {
        all.extend(source_coverage(source)?);
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}

fn source_coverage(config: &SourceConfig) -> Result<Vec<Coverage>, SchemaError> {
    let source = Source::load(config)?;
    let named = |(event_type, schema): (&str, &Schema)| {
        let name = format!("source {}: {event_type}", config.name);
        schema.coverage(name.trim_end_matches(": ").to_owned(), event_type)
    };
    Ok(source.schemas().map(named).collect())
}

impl Schemas {
    fn coverage(&self) -> Vec<Coverage> {
        let all = self.by_type.iter().flat_map(|(event_type, schemas)| {
            schemas.iter().map(move |one| (event_type, &one.tenant, &one.schema))
        });
        all.map(|(event_type, tenant, schema)| {
            let name = match tenant {
                Some(tenant) => format!("{event_type} of {}", tenant.as_str()),
                None => event_type.clone(),
            };
            schema.coverage(name, event_type)
        })
        .collect()
    }

    /// How many schemas leave something to the library, and how many there are.
    pub fn partly_covered(&self) -> (usize, usize) {
        let all = || self.by_type.values().flatten();
        (all().filter(|one| !one.schema.is_covered()).count(), all().count())
    }
}

impl Schema {
    fn coverage(&self, name: String, event_type: &str) -> Coverage {
        Coverage {
            name,
            event_type: event_type.to_owned(),
            file: self.file.clone(),
            gaps: self.program.gaps.clone(),
        }
    }

    /// Whether the program covers all of it.
    pub fn is_covered(&self) -> bool {
        self.program.gaps.is_empty()
    }
}
