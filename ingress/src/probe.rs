//! Both tiers of validation, one at a time: for the tests and the benchmark that compare them.
//! Nothing here is part of the ingress's interface.

use std::path::Path;

use serde_json::Value;
use shared::config::{JsonProfile, SchemaMode};

use crate::reject::Reject;
use crate::schema::{Schema, SchemaError, Verdict};
use crate::tape::{JsonBounds, Parser};

/// The ingress's own bounds, by default.
const BOUNDS: JsonBounds = JsonBounds { depth_max: 64, members_max: 1000 };

/// A parser, and schemas by index.
pub struct Probe {
    parser: Parser,
    schemas: Vec<(String, Schema)>,
}

impl Probe {
    /// One schema, from a file.
    pub fn of(file: &Path) -> Result<Self, SchemaError> {
        let schema = Schema::load(file, "", SchemaMode::Enforce)?;
        Ok(Self {
            parser: Parser::with_profile(BOUNDS, JsonProfile::Postgres),
            schemas: vec![(String::new(), schema)],
        })
    }

    /// The schemas that the pointers name, as a source's configuration does.
    pub fn of_types(file: &Path, pointers: &[String]) -> Result<Self, SchemaError> {
        let schemas = Schema::load_each(file, pointers, SchemaMode::Enforce)?;
        Ok(Self {
            parser: Parser::with_profile(BOUNDS, JsonProfile::Postgres),
            schemas: schemas.into_iter().collect(),
        })
    }

    /// The index of a type's schema.
    pub fn index(&self, event_type: &str) -> Option<usize> {
        self.schemas.iter().position(|(name, _)| name == event_type)
    }

    /// Parses, and asks the program: surely valid, surely invalid, or `None`: it does not know.
    pub fn tape(&mut self, schema: usize, text: &[u8]) -> Option<bool> {
        let parsed = self.parser.parse(text).ok()?;
        match self.schemas[schema].1.program_verdict(parsed.root()) {
            Verdict::Valid => Some(true),
            Verdict::Invalid => Some(false),
            Verdict::Unknown => None,
        }
    }

    /// Parses, makes a value of it, and asks the library. `None`: no JSON for us.
    pub fn library(&mut self, schema: usize, text: &[u8]) -> Option<bool> {
        let parsed = self.parser.parse(text).ok()?;
        Some(self.schemas[schema].1.library_verdict(&parsed.root().to_value()))
    }

    /// What the library says about a value that somebody else made.
    pub fn verdict(&self, schema: usize, value: &Value) -> bool {
        self.schemas[schema].1.library_verdict(value)
    }

    /// The same as [`Self::library`], with the value from serde_json itself.
    pub fn plain(&self, schema: usize, text: &[u8]) -> Option<bool> {
        Some(self.verdict(schema, &serde_json::from_slice(text).ok()?))
    }

    /// Only parses.
    pub fn parse(&mut self, text: &[u8]) -> bool {
        let parsed: Result<_, Reject> = self.parser.parse(text);
        parsed.is_ok()
    }
}
