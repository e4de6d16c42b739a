//! What the `jsonschema` crate alone says of a body, under the definition of its event.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use jsonschema::Validator;
use serde_json::{Map, Value};

/// How the schema names an event: with actions below it, or (push, create, …) without any.
const DEFINITION_SUFFIXES: [&str; 2] = ["_event", "$event"];

/// The compiled definitions, by event.
#[derive(Debug)]
pub struct Expectation {
    schema: Map<String, Value>,
    compiled: BTreeMap<String, Option<Validator>>,
}

impl Expectation {
    /// Reads schema.json of the unpacked package `@octokit/webhooks-schemas`.
    pub fn read(package: &Path) -> anyhow::Result<Self> {
        let path = package.join("schema.json");
        let text = std::fs::read(&path)
            .with_context(|| format!("{} (got by `cargo xtask real-input`)", path.display()))?;
        let mut schema: Map<String, Value> =
            serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
        schema.remove("oneOf");
        Ok(Self { schema, compiled: BTreeMap::new() })
    }

    /// Whether the schema accepts a body; an event without a definition is not accepted.
    pub fn accepts(&mut self, event: &str, body: &Value) -> anyhow::Result<bool> {
        if !self.compiled.contains_key(event) {
            let validator = self.compile(event)?;
            self.compiled.insert(event.to_owned(), validator);
        }
        let validator = self.compiled.get(event).and_then(Option::as_ref);
        Ok(validator.is_some_and(|validator| validator.is_valid(body)))
    }

    fn compile(&self, event: &str) -> anyhow::Result<Option<Validator>> {
        let known = |name: &String| self.schema["definitions"].get(name.as_str()).is_some();
        let names = DEFINITION_SUFFIXES.iter().map(|suffix| format!("{event}{suffix}"));
        let Some(name) = names.into_iter().find(known) else { return Ok(None) };
        let mut root = self.schema.clone();
        root.insert("$ref".to_owned(), format!("#/definitions/{name}").into());
        let validator = jsonschema::validator_for(&Value::Object(root))
            .map_err(|error| anyhow::anyhow!("definition {name}: {error}"))?;
        Ok(Some(validator))
    }
}
