//! Schemas, header fields and parameters that the paths refer to.

use serde_json::{Map, Value, json};
use shared::config::{IngressConfig, SchemaMode, UnknownType};

use super::embedded::Embedded;
use crate::envelope::ATTRIBUTE_BYTES_MAX;
use crate::violation::VIOLATIONS_MAX;

/// `#/components/schemas/NAME`
pub(super) fn schema_ref(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// The schemas, without the registered ones.
pub(super) fn schemas(config: &IngressConfig, embedded: &[Embedded]) -> Map<String, Value> {
    let batch = |item: &str, least: usize| {
        json!({
            "type": "array",
            "items": schema_ref(item),
            "minItems": least,
            "maxItems": config.batch_events_max,
        })
    };
    let all = [
        ("Attribute", attribute()),
        ("Envelope", envelope(config)),
        ("Event", typed(config, embedded, schema_ref("Envelope"))),
        ("Events", batch("Event", 1)),
        ("CloudEvent", cloud_event()),
        ("CloudEvents", batch("CloudEvent", 0)),
        ("Summary", summary()),
        ("Minted", minted()),
        ("Result", result()),
        ("Problem", problem()),
        ("Violation", violation()),
    ];
    all.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

/// What [`crate::envelope::check_text`] checks; the bound is in bytes, which JSON Schema cannot count.
fn attribute() -> Value {
    json!({
        "type": "string",
        "description": format!("At most {ATTRIBUTE_BYTES_MAX} bytes in UTF-8, no control characters."),
        "minLength": 1,
        "maxLength": ATTRIBUTE_BYTES_MAX,
        "not": {"pattern": "[\u{0}-\u{1f}\u{7f}-\u{9f}\u{fdd0}-\u{fdef}\u{fffe}\u{ffff}]"},
    })
}

fn envelope(config: &IngressConfig) -> Value {
    let optional = |description: &str| json!({"anyOf": [schema_ref("Attribute"), {"type": "null"}], "description": description});
    let text = |description: &str| json!({"$ref": "#/components/schemas/Attribute", "description": description});
    json!({
        "type": "object",
        "description": "An event, CloudEvents 1.0 in shape. Further members are extension attributes.",
        "required": ["type"],
        "maxProperties": config.json_members_max,
        "properties": {
            "id": text("Minted as a UUIDv7 and returned where it is absent."),
            "type": text("Selects the schema and the class."),
            "source": text("Part of the identity; `/` where it is absent."),
            "subject": optional("The entity that the event is about."),
            "time": {
                "type": ["string", "null"],
                "format": "date-time",
                "maxLength": ATTRIBUTE_BYTES_MAX,
                "description": "The time of receipt where it is absent.",
            },
            "tenant": text("The credential's tenant; another one is 403."),
            "specversion": {"const": "1.0"},
            "data": {"description": "Any JSON value; the type's schema checks it."},
            "data_base64": {"not": {}, "description": "Binary data is not taken."},
        },
    })
}

/// The event with what the types' schemas ask of `data`.
fn typed(config: &IngressConfig, embedded: &[Embedded], envelope: Value) -> Value {
    if config.schemas.mode != SchemaMode::Enforce {
        return envelope;
    }
    let names: Vec<_> = embedded.iter().map(|one| &one.event_type).collect();
    let mut variants: Vec<Value> = embedded
        .iter()
        .map(|one| {
            let members = json!({"type": {"const": one.event_type}, "data": schema_ref(&one.name)});
            json!({"required": ["type", "data"], "properties": members})
        })
        .collect();
    let tenants_own = config.schemas.entries.iter().any(|entry| entry.tenant.is_some());
    // What a tenant's own schema asks is not told to others.
    if config.schemas.unknown_type == UnknownType::Accept || tenants_own {
        variants.push(json!({"properties": {"type": {"not": {"enum": names}}}}));
    }
    if variants.is_empty() {
        return envelope;
    }
    json!({"allOf": [envelope, {"anyOf": variants}]})
}

fn cloud_event() -> Value {
    json!({"allOf": [schema_ref("Event"), {"required": ["specversion"]}]})
}

fn summary() -> Value {
    let count =
        |description: &str| json!({"type": "integer", "minimum": 0, "description": description});
    json!({
        "type": "object",
        "required": ["accepted", "duplicate"],
        "additionalProperties": false,
        "properties": {
            "dry_run": {"const": true},
            "valid": count("Events of a dry run that would be accepted."),
            "accepted": count("Events in the log."),
            "duplicate": count("Events with the source and id of an earlier one of the request."),
            "rejected": count("Events that would be refused again."),
            "retry": count("Events to send again, with the same id."),
            "minted": {"type": "array", "items": schema_ref("Minted")},
            "results": {"type": "array", "items": schema_ref("Result")},
        },
    })
}

fn minted() -> Value {
    json!({
        "type": "object",
        "description": "An id that we gave, and to which event of the request (from 0).",
        "required": ["index", "id"],
        "additionalProperties": false,
        "properties": {"index": index(), "id": {"type": "string", "format": "uuid"}},
    })
}

fn index() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn result() -> Value {
    json!({
        "type": "object",
        "description": "What became of one event, in the request's order.",
        "required": ["index", "status"],
        "additionalProperties": false,
        "properties": {
            "index": index(),
            "id": {"type": "string"},
            "status": {"enum": ["accepted", "valid", "duplicate", "rejected", "retry"]},
            "class": {"enum": ["control", "transactional", "telemetry"]},
            "partition": index(),
            "offset": index(),
            "code": {"type": "string"},
            "retryable": {"type": "boolean"},
            "detail": {"type": "string"},
            "errors": {"type": "array", "items": schema_ref("Violation"), "maxItems": VIOLATIONS_MAX},
            "errors_truncated": {"const": true},
        },
    })
}

fn problem() -> Value {
    json!({
        "type": "object",
        "description": "RFC 9457.",
        "required": ["type", "title", "status", "code", "retryable"],
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "string"},
            "retryable": {"type": "boolean"},
            "bound": {"type": "string", "description": "The bound that was passed, as it is configured."},
            "limit": index(),
            "observed": index(),
            "errors": {"type": "array", "items": schema_ref("Violation"), "maxItems": VIOLATIONS_MAX},
            "errors_truncated": {"const": true},
            "minted": {"type": "array", "items": schema_ref("Minted")},
        },
    })
}

fn violation() -> Value {
    json!({
        "type": "object",
        "description": "One violation; never a value of the event.",
        "required": ["pointer", "keyword", "message"],
        "additionalProperties": false,
        "properties": {
            "pointer": {"type": "string", "description": "JSON Pointer into the event."},
            "keyword": {"type": "string"},
            "schema_pointer": {"type": "string", "description": "JSON Pointer into the schema."},
            "message": {"type": "string"},
            "index": index(),
        },
    })
}

/// The header fields of answers.
pub(super) fn headers() -> Value {
    let text =
        |description: &str| json!({"description": description, "schema": {"type": "string"}});
    json!({
        "Retry-After": {
            "description": "Whole seconds, jittered; not before them.",
            "required": true,
            "schema": {"type": "integer", "minimum": 1},
        },
        "Preference-Applied": text("The preference that was honoured (RFC 7240)."),
        "WWW-Authenticate": text("What is needed."),
        "Allow": text("The path's methods."),
        "Accept": text("The media types that are taken."),
        "Accept-Encoding": text("The content codings that are taken."),
        "Accept-Post": text("The media types that may be posted."),
        "ETag": text("Changes with the document."),
        "X-Request-Id": text("The request's own, where it was well-formed."),
        "RateLimit": text("What is left of the key's limit (IETF draft)."),
        "RateLimit-Policy": text("The key's limit (IETF draft)."),
    })
}

/// CloudEvents binary mode: these fields beside `application/json`, or none of them. OpenAPI has no
/// way to say so of one operation, so nothing refers to them.
pub(super) fn binary_mode() -> Value {
    let field = |name: &str, description: &str| {
        json!({
            "name": name,
            "in": "header",
            "description": format!("CloudEvents binary mode, percent-encoded: {description}"),
            "schema": {"type": "string"},
        })
    };
    json!({
        "ce-specversion": field("ce-specversion", "`1.0`; its presence is the mode."),
        "ce-type": field("ce-type", "`type`, required in the mode."),
        "ce-id": field("ce-id", "`id`."),
        "ce-source": field("ce-source", "`source`."),
        "ce-subject": field("ce-subject", "`subject`."),
        "ce-time": field("ce-time", "`time`."),
    })
}
