//! The contract as an OpenAPI 3.1 document, for `GET /openapi.json`.
//!
//! Built once for a configuration: the static part from code, the refusals from the table in
//! [`crate::reject`], the bounds and the registered schemas from the configuration. Whoever reaches the
//! port may read it, so a schema of one tenant only is left out.

mod components;
mod embedded;
mod paths;

use serde_json::{Value, json};
use shared::config::IngressConfig;

use crate::document::Document;
use crate::schema::SchemaError;

/// What the document is about, in Markdown.
const DESCRIPTION: &str = "Events in, 202 out: an answer of 202 means that the event is in the log. \
    Every error is an `application/problem+json` (RFC 9457) with a stable `code`; `retryable` says \
    whether sending the same event with the same `id` again can help.\n\n\
    A body may be coded: `Content-Encoding: gzip`, `zstd`, `br` or `deflate`.";

/// The document of this configuration.
pub(crate) fn contract(config: &IngressConfig) -> Result<Document, SchemaError> {
    Ok(Document::of(&document(config)?))
}

fn document(config: &IngressConfig) -> Result<Value, SchemaError> {
    let embedded = embedded::load(&config.schemas)?;
    let mut schemas = components::schemas(config, &embedded);
    for one in embedded {
        schemas.insert(one.name, one.schema);
    }
    Ok(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Shock Absorber ingress",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths::paths(config),
        "components": {
            "schemas": schemas,
            "headers": components::headers(),
            "parameters": components::binary_mode(),
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`Authorization: Bearer ID.SECRET`",
                },
            },
        },
    }))
}

#[cfg(test)]
mod tests;
