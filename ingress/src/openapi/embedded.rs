//! The registered schemas, made to stand inside another document.

use serde_json::Value;
use shared::config::{SchemaMode, SchemasConfig};

use crate::schema::{self, SchemaError};

/// One registered schema.
#[derive(Debug)]
pub(super) struct Embedded {
    /// Below `components/schemas`.
    pub name: String,
    /// The type whose `data` it checks.
    pub event_type: String,
    /// The schema, its references pointing into the document.
    pub schema: Value,
}

/// The schemas that apply to every tenant; none where they are not enforced.
pub(super) fn load(config: &SchemasConfig) -> Result<Vec<Embedded>, SchemaError> {
    if config.mode != SchemaMode::Enforce {
        return Ok(Vec::new());
    }
    let common = config.entries.iter().filter(|entry| entry.tenant.is_none());
    let embed = |(number, entry): (usize, &shared::config::SchemaEntry)| {
        let name = component(number, &entry.event_type);
        let mut schema = schema::read(&entry.file)?;
        // With an `$id` it is a resource of its own, and its references are relative to that.
        if schema.get("$id").is_none() {
            redirect(&mut schema, &format!("#/components/schemas/{name}"));
        }
        Ok(Embedded { name, event_type: entry.event_type.clone(), schema })
    };
    common.enumerate().map(embed).collect()
}

/// A component's name has only these characters; the number tells types apart that differ in others.
fn component(number: usize, event_type: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' };
    format!("data-{number}-{}", event_type.chars().map(plain).collect::<String>())
}

/// References to the schema's own root (`#`, `#/definitions/a`) become references into the document.
fn redirect(schema: &mut Value, root: &str) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get_mut("$ref") {
                match reference.strip_prefix('#') {
                    Some(pointer) if pointer.is_empty() || pointer.starts_with('/') => {
                        *reference = format!("{root}{pointer}");
                    }
                    Some(_) | None => {}
                }
            }
            members.values_mut().for_each(|member| redirect(member, root));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| redirect(item, root)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_follow_the_schema() {
        let mut schema = json!({"properties": {"a": {"$ref": "#/$defs/a"}, "b": {"$ref": "#"},
            "c": {"$ref": "#name"}, "d": {"$ref": "other.json#/x"}}});
        redirect(&mut schema, "#/components/schemas/data-0-a");
        let expected = json!({"properties": {
            "a": {"$ref": "#/components/schemas/data-0-a/$defs/a"},
            "b": {"$ref": "#/components/schemas/data-0-a"},
            "c": {"$ref": "#name"}, "d": {"$ref": "other.json#/x"}}});
        assert_eq!(schema, expected);
        assert_eq!(component(3, "order.paid/v2"), "data-3-order.paid_v2");
    }
}
