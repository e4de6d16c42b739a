//! The document against the code: every refusal of the table, every registered schema, no dead link.

use std::path::Path;

use serde_json::Value;
use shared::config::{Config, Purpose, Sources};

use super::*;
use crate::reject::{Reject, specimens};

const SCHEMA: &str = r##"{"type":"object","properties":{"n":{"$ref":"#/$defs/n"}},
    "$defs":{"n":{"type":"integer"}}}"##;
const SETTINGS: &str = r#"
    [[schema]]
    type = "order.paid"
    file = "paid.json"
    [[schema]]
    type = "order.secret"
    file = "paid.json"
    tenant = "acme"
    [source.hook]
    source = "/hook"
    id = "header:x-id"
    type = "header:x-type"
    tenant_default = "acme"
    signature = "none"
"#;

/// The document of these settings.
fn document_of(directory: &Path) -> Value {
    let file = directory.join("shock.toml");
    std::fs::write(directory.join("paid.json"), SCHEMA).expect("written");
    std::fs::write(&file, SETTINGS).expect("written");
    let sources = Sources { files: vec![file], ..Sources::default() };
    let config = Config::load(&sources, Purpose::Ingress).expect("a good configuration");
    let document = contract(&config.ingress).expect("the schema is there");
    serde_json::from_slice(&document.text).expect("JSON")
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn the_document_says_what_the_code_does() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let document = document_of(directory.path());
    for reject in specimens() {
        let row = reject.row();
        let codes = |path: &str, method: &str| {
            let code = format!(
                "/paths/{}/{method}/responses/{}/content/application~1problem+json/schema/allOf/1\
                 /properties/code/enum",
                path.replace('/', "~1"),
                row.status.as_str()
            );
            document.pointer(&code).and_then(Value::as_array).cloned().unwrap_or_default()
        };
        let operations =
            [("/v1/events", "post"), ("/v1/sources/{name}", "post"), ("/v1/schemas/{type}", "get")];
        let found = operations
            .map(|(path, method)| codes(path, method).iter().any(|code| code == row.code));
        // What no documented path or method answers.
        let outside = matches!(reject, Reject::UnknownPath | Reject::Method { .. });
        assert_eq!(found.contains(&true), !outside, "{}", row.code);
    }
    // What the connection refuses stands at every operation, whatever is asked there.
    for operation in ["/openapi.json/get", "/openapi.json/options", "/v1~1events/options"] {
        for status in ["400", "408", "431", "501", "503", "505"] {
            let place =
                format!("/paths/~1{}/responses/{status}", operation.trim_start_matches('/'));
            assert!(document.pointer(&place).is_some(), "{place}");
        }
    }
    let mut all = Vec::new();
    references(&document, &mut all);
    assert!(all.contains(&"#/components/schemas/data-0-order.paid/$defs/n".to_owned()), "{all:?}");
    for reference in all {
        let pointer = reference.strip_prefix('#').expect("nothing is outside");
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    assert!(!document.to_string().contains("order.secret"), "a tenant's own schema is told");
}

#[test]
fn the_validator_changes_with_the_text() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    document_of(directory.path());
    let sources = |flag: &str| Sources {
        files: vec![directory.path().join("shock.toml")],
        flags: vec![flag.to_owned()],
        ..Sources::default()
    };
    let etag = |flag| {
        let config = Config::load(&sources(flag), Purpose::Ingress).expect("good");
        contract(&config.ingress).expect("built").etag
    };
    assert_eq!(etag("ingress.batch_events_max=10"), etag("ingress.batch_events_max=10"));
    assert_ne!(etag("ingress.batch_events_max=10"), etag("ingress.batch_events_max=11"));
}
