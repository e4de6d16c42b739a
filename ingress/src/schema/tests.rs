//! Schemas from files: what loads, what does not, and what a verdict says.

use std::io::Write;

use shared::config::SchemaEntry;
use tempfile::NamedTempFile;

use super::*;
use crate::tape::{JsonBounds, Parser};

fn file(schema: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a temporary file");
    file.write_all(schema.as_bytes()).expect("written");
    file
}

fn check(schema: &Schema, data: &str) -> Result<bool, Reject> {
    let mut parser = Parser::new(JsonBounds { depth_max: 64, members_max: 64 });
    let parsed = parser.parse(data.as_bytes()).expect("valid JSON");
    schema.check(Some(parsed.root()), "a", &mut Tiers::default())
}

#[test]
fn all_violations_are_named_and_no_value_is_echoed() {
    let file = file(
        r#"{"type":"object","required":["n","s"],"additionalProperties":false,
            "properties":{"n":{"type":"integer","minimum":1},"s":{"pattern":"^x"},"o":{}}}"#,
    );
    let schema = Schema::load(file.path(), "/data", SchemaMode::Enforce).expect("compiles");
    assert_eq!(check(&schema, r#"{"n":1,"s":"x"}"#), Ok(false));
    let Err(Reject::Schema(found)) = check(&schema, r#"{"n":0,"s":"secret","q":"secret"}"#) else {
        panic!("refused");
    };
    let places: Vec<_> = found
        .list
        .iter()
        .map(|one| (one.pointer.as_str(), one.keyword.as_str(), one.schema_pointer.as_str()))
        .collect();
    assert!(places.contains(&("/data/n", "minimum", "/properties/n/minimum")), "{places:?}");
    assert!(places.contains(&("/data/s", "pattern", "/properties/s/pattern")), "{places:?}");
    assert!(places.contains(&("/data", "additionalProperties", "/additionalProperties")));
    assert!(found.list.iter().all(|one| !one.message.contains("secret")), "{:?}", found.list);
    let Err(Reject::Schema(none)) = schema.check(None, "a", &mut Tiers::default()) else {
        panic!("refused")
    };
    assert_eq!(none.list[0].pointer, "/data");
}

#[test]
fn many_violations_are_cut() {
    let file = file(r#"{"items":{"type":"string"}}"#);
    let schema = Schema::load(file.path(), "/data", SchemaMode::Enforce).expect("compiles");
    let data = format!("[{}]", vec!["1"; 30].join(","));
    let Err(Reject::Schema(found)) = check(&schema, &data) else { panic!("refused") };
    assert_eq!((found.list.len(), found.truncated), (20, true));
}

#[test]
fn what_is_unsafe_does_not_load() {
    for schema in [
        "{",
        r#"{"type":"nonsense"}"#,
        r#"{"$ref":"https://example.com/other.json"}"#,
        r#"{"$ref":"file:///etc/passwd"}"#,
        r##"{"$ref":"#/nowhere"}"##,
        r#"{"pattern":"(?=a)b"}"#,
        r#"{"pattern":"(a)\\1"}"#,
    ] {
        let file = file(schema);
        let loaded = Schema::load(file.path(), "", SchemaMode::Enforce);
        assert!(loaded.is_err(), "{schema}");
    }
}

#[test]
fn one_schema_per_definition() {
    let file = file(
        r##"{"$schema":"http://json-schema.org/draft-07/schema#",
            "definitions":{"id":{"type":"integer"},
                "push_event":{"required":["ref"],"properties":{"ref":{"type":"string"}}},
                "push$event":{"type":"array"},"create$event":{"type":"object"},
                "ping_event":{"properties":{"id":{"$ref":"#/definitions/id"}}}},
            "oneOf":[{"$ref":"#/definitions/push_event"}]}"##,
    );
    let load = |pointers: &[&str]| {
        let pointers: Vec<String> = pointers.iter().map(|text| (*text).to_owned()).collect();
        Schema::load_each(file.path(), &pointers, SchemaMode::Enforce)
    };
    let schemas = load(&["#/definitions/{type}_event", "#/definitions/{type}$event"]);
    let schemas = schemas.expect("compiles");
    assert_eq!(schemas.len(), 3, "the first pointer that names a type counts");
    assert_eq!(check(&schemas["create"], "{}"), Ok(false));
    assert_eq!(check(&schemas["ping"], r#"{"id":1}"#), Ok(false));
    assert!(check(&schemas["ping"], r#"{"id":"1"}"#).is_err());
    assert!(check(&schemas["push"], "{}").is_err());
    assert!(load(&["#/nowhere/{type}"]).is_err());
    assert!(load(&["#/definitions/{type}_event", "#/definitions/{type}_evnet"]).is_err());
}

#[test]
fn a_tenants_own_schema_comes_first_and_modes_hold() {
    let (all, own) = (file(r#"{"type":"object"}"#), file(r#"{"type":"array"}"#));
    let acme = TenantId::parse("acme").expect("a valid name");
    let other = TenantId::parse("other").expect("a valid name");
    let entry = |file: &NamedTempFile, tenant| SchemaEntry {
        event_type: "a".to_owned(),
        file: file.path().to_owned(),
        tenant,
    };
    let entries = vec![entry(&all, None), entry(&own, Some(acme))];
    let load = |mode, unknown_type| {
        Schemas::load(&SchemasConfig { mode, unknown_type, entries: entries.clone() })
            .expect("compiles")
    };
    let schemas = load(SchemaMode::Enforce, UnknownType::Reject);
    let verdict = |schemas: &Schemas, tenant| {
        check(schemas.find(tenant, "a").expect("known").expect("checked"), "[]").is_ok()
    };
    assert_eq!((verdict(&schemas, acme), verdict(&schemas, other)), (true, false));
    assert!(matches!(schemas.find(acme, "b"), Err(Reject::UnknownType)));
    let warning = load(SchemaMode::Warn, UnknownType::Accept);
    let schema = warning.find(other, "a").expect("known").expect("checked");
    assert_eq!(check(schema, "[]"), Ok(true));
    assert!(matches!(warning.find(acme, "b"), Ok(None)));
    assert!(matches!(load(SchemaMode::Off, UnknownType::Reject).find(other, "b"), Ok(None)));
}
