//! The paths: what may be asked, and every answer that may come.

use std::collections::BTreeMap;

use control::mode::Mode;
use serde_json::{Map, Value, json};
use shared::config::IngressConfig;

use super::components::schema_ref;
use crate::reject::{Reject, Retry, specimens};

/// All paths; webhook sources only where there are some.
pub(super) fn paths(config: &IngressConfig) -> Value {
    let mut paths = Map::new();
    paths.insert("/v1/events".to_owned(), events());
    if !config.sources.is_empty() {
        paths.insert("/v1/sources/{name}".to_owned(), sources(config));
    }
    let common = config.schemas.entries.iter().filter(|entry| entry.tenant.is_none());
    let types: Vec<&str> = common.map(|entry| entry.event_type.as_str()).collect();
    if !types.is_empty() {
        paths.insert("/v1/schemas/{type}".to_owned(), schema(&types));
    }
    paths.insert("/v1/mode".to_owned(), mode());
    paths.insert("/openapi.json".to_owned(), document());
    Value::Object(paths)
}

fn events() -> Value {
    json!({
        "post": {
            "parameters": [dry_run(), prefer(), request_id(), traceparent(), tracestate()],
            "operationId": "postEvents",
            "summary": "Post one event or many",
            "description": "With `ce-specversion` and the other `ce-*` fields the body is the data of \
                one event (CloudEvents binary mode; components/parameters lists them).",
            "security": [{"key": []}],
            "requestBody": {
                "required": true,
                "content": {
                    "application/json": {
                        "schema": {"anyOf": [schema_ref("Event"), schema_ref("Events")]},
                    },
                    "application/x-ndjson": {
                        "schema": {
                            "$ref": "#/components/schemas/Events",
                            "description": "As the array of its lines: one event per line.",
                        },
                    },
                    "application/cloudevents+json": {"schema": schema_ref("CloudEvent")},
                    "application/cloudevents-batch+json": {"schema": schema_ref("CloudEvents")},
                },
            },
            "responses": answers(Taker::Events),
        },
        "options": options(None),
    })
}

fn sources(config: &IngressConfig) -> Value {
    let names: Vec<_> = config.sources.iter().map(|source| &source.name).collect();
    let name = json!({
        "name": "name", "in": "path", "required": true, "schema": {"type": "string", "enum": names},
    });
    json!({
        "parameters": [name],
        "post": {
            "parameters": [dry_run(), prefer(), request_id(), traceparent(), tracestate()],
            "operationId": "postSource",
            "summary": "A webhook's delivery",
            "description": "Id, type, tenant and entity come from where the source's configuration \
                says; the sender signs the raw body as it says.",
            "requestBody": {"required": true, "content": {"application/json": {"schema": {}}}},
            "responses": answers(Taker::Sources),
        },
        "options": options(Some(refusals("404", Taker::Sources))),
    })
}

fn schema(types: &[&str]) -> Value {
    let mut responses = refused(Taker::Schemas);
    let whole = json!({
        "description": "The JSON Schema of the type's `data`, as the asker's events are checked.",
        "headers": {"ETag": header("ETag")},
        "content": {"application/schema+json": {"schema": {"type": ["object", "boolean"]}}},
    });
    responses.insert("200".to_owned(), whole);
    let known = json!({"description": "The asker has it already (`If-None-Match`)."});
    responses.insert("304".to_owned(), known);
    let parameter =
        |schema: Value| json!([{"name": "type", "in": "path", "required": true, "schema": schema}]);
    // Asked without a key, it must not tell which types a tenant has: every type has it.
    let mut asked = options(None);
    asked["parameters"] = parameter(json!({
        "type": "string", "minLength": 1, "not": {"pattern": "[\u{0}-\u{1f}\u{7f}-\u{9f}]"},
    }));
    json!({
        "get": {
            "parameters": parameter(json!({"type": "string", "enum": types})),
            "operationId": "getSchema",
            "summary": "The schema of a type",
            "description": "Types of one tenant are there for its keys and not listed here.",
            "security": [{"key": []}],
            "responses": responses,
        },
        "options": asked,
    })
}

fn document() -> Value {
    let whole = json!({
        "description": "This document.",
        "headers": {"ETag": header("ETag")},
        "content": {"application/json": {"schema": {"type": "object"}}},
    });
    let mut responses = refused(Taker::Contract);
    responses.insert("200".to_owned(), whole);
    let known = json!({"description": "The asker has it already (`If-None-Match`)."});
    responses.insert("304".to_owned(), known);
    json!({
        "get": {
            "operationId": "getContract",
            "summary": "The contract",
            "responses": responses,
        },
        "options": options(None),
    })
}

fn mode() -> Value {
    let names: Vec<_> = Mode::ALL.into_iter().map(Mode::name).collect();
    let share = json!({"type": "number", "minimum": 0, "maximum": 1});
    let mut responses = refused(Taker::Contract);
    let whole = json!({
        "description": "The mode in effect. Answers of other paths say it in `Shock-Mode` where it is \
            not the normal one.",
        "content": {"application/json": {"schema": {
            "type": "object",
            "required": ["mode", "levels_open", "last_level_share", "limit_factor", "essential_only"],
            "properties": {
                "mode": {"enum": names},
                "levels_open": {
                    "type": "integer",
                    "description": "0 control, 1 transactional and 2 telemetry in contract, 3 and 4 \
                        beyond it: so many of them, from the first, are let in.",
                },
                "last_level_share": share,
                "limit_factor": {"type": "number"},
                "essential_only": {"type": "boolean"},
            },
        }}},
    });
    responses.insert("200".to_owned(), whole);
    json!({
        "get": {"operationId": "getMode", "summary": "The mode in effect", "responses": responses},
        "options": options(None),
    })
}

/// `absent`: the answer where the path's parameter names nothing.
fn options(absent: Option<Value>) -> Value {
    let mut responses = refused(Taker::Contract);
    let taken = json!({
        "description": "See the fields.",
        "headers": {"Allow": header("Allow"), "Accept-Post": header("Accept-Post")},
    });
    responses.insert("204".to_owned(), taken);
    responses.extend(absent.map(|answer| ("404".to_owned(), answer)));
    json!({"summary": "What the path takes; a browser's preflight", "responses": responses})
}

fn dry_run() -> Value {
    json!({
        "name": "dryRun", "in": "query", "schema": {"type": "boolean"},
        "description": "Validate only: nothing is written.",
    })
}

fn prefer() -> Value {
    json!({
        "name": "Prefer", "in": "header", "schema": {"type": "string"},
        "description": "`return=representation`: say where each event stands; `return=minimal`.",
    })
}

fn request_id() -> Value {
    json!({
        "name": "X-Request-Id", "in": "header", "schema": {"type": "string"},
        "description": "1 to 128 of `A-Z a-z 0-9 - . _ ~ : / + =`: comes back in the answer.",
    })
}

fn traceparent() -> Value {
    json!({
        "name": "traceparent", "in": "header", "schema": {"type": "string"},
        "description": "W3C trace context, version 00: goes into the record.",
    })
}

fn tracestate() -> Value {
    json!({
        "name": "tracestate", "in": "header", "schema": {"type": "string"},
        "description": "With `traceparent`, in one field of at most 512 bytes.",
    })
}

/// Which paths an answer may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taker {
    Events,
    Sources,
    Schemas,
    Contract,
}

impl Taker {
    /// Whether a request to it can be refused so.
    const fn refuses(self, reject: &Reject) -> bool {
        match reject {
            Reject::UnknownPath | Reject::Method { .. } => false,
            // The connection refuses these, whatever the path is.
            Reject::HeadTooLarge(_)
            | Reject::Malformed(_)
            | Reject::HeadTimeout
            | Reject::NotImplemented(_)
            | Reject::HttpVersion
            | Reject::Overloaded => true,
            Reject::UnknownSchema => matches!(self, Self::Schemas),
            Reject::Unauthorized
            | Reject::KeyExpired { .. }
            | Reject::KeyDisabled
            | Reject::RateLimited(_)
            | Reject::TypeForbidden => matches!(self, Self::Events | Self::Schemas),
            Reject::FailedLogins { .. } => !matches!(self, Self::Contract),
            Reject::TenantForbidden
            | Reject::SourceForbidden
            | Reject::ClassForbidden
            | Reject::Batch(_)
            | Reject::Envelope(_) => matches!(self, Self::Events),
            Reject::UnknownSource
            | Reject::Signature { .. }
            | Reject::SignatureTime { .. }
            | Reject::Attribute(_) => matches!(self, Self::Sources),
            _ => matches!(self, Self::Events | Self::Sources),
        }
    }
}

/// By status, whatever a request may be refused with.
fn refused(taker: Taker) -> BTreeMap<String, Value> {
    specimens()
        .iter()
        .filter(|reject| taker.refuses(reject))
        .map(|reject| reject.row().status.as_str().to_owned())
        .map(|status| (status.clone(), refusals(&status, taker)))
        .collect()
}

fn answers(taker: Taker) -> Value {
    let mut answers = refused(taker);
    let preference = json!({
        "Preference-Applied": header("Preference-Applied"),
        "X-Request-Id": header("X-Request-Id"),
    });
    let summary = |description: &str| {
        json!({
            "description": description,
            "headers": preference,
            "content": {"application/json": {"schema": schema_ref("Summary")}},
        })
    };
    answers.insert("200".to_owned(), summary("A dry run found nothing."));
    let accepted = "All events are in the log, or repeat one of the request that is.";
    answers.insert("202".to_owned(), summary(accepted));
    let mixed = "Outcomes differ: `results` says which is which, in the request's order.";
    answers.insert("207".to_owned(), summary(mixed));
    json!(answers)
}

/// One status, with every code that it may have.
fn refusals(status: &str, taker: Taker) -> Value {
    let all = specimens();
    let here: Vec<_> = all
        .iter()
        .filter(|reject| taker.refuses(reject) && reject.row().status.as_str() == status)
        .map(Reject::row)
        .collect();
    let codes: Vec<_> = here.iter().map(|row| row.code).collect();
    let types: Vec<_> = codes.iter().map(|code| format!("/problems/{code}")).collect();
    let titles: Vec<_> = here.iter().map(|row| format!("`{}`: {}", row.code, row.title)).collect();
    let retryable = here.iter().any(|row| row.retry != Retry::Never);
    let mut headers = Map::new();
    headers.insert("X-Request-Id".to_owned(), header("X-Request-Id"));
    let own: &[&str] = match status {
        "401" => &["WWW-Authenticate"],
        "415" => &["Accept", "Accept-Encoding"],
        "429" => &["RateLimit", "RateLimit-Policy"],
        _ => &[],
    };
    let after = retryable.then_some("Retry-After");
    for name in own.iter().copied().chain(after) {
        headers.insert(name.to_owned(), header(name));
    }
    json!({
        "description": titles.join("; "),
        "headers": headers,
        "content": {"application/problem+json": {"schema": {
            "allOf": [schema_ref("Problem"), {"properties": {
                "type": {"enum": types},
                "status": {"const": here.first().map(|row| row.status.as_u16())},
                "code": {"enum": codes},
                "retryable": {"const": retryable},
            }}],
        }}},
    })
}

fn header(name: &str) -> Value {
    json!({"$ref": format!("#/components/headers/{name}")})
}
