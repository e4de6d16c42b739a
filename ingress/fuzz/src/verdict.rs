//! body → tape → verdict: what the ingress says of a text is what `serde_json` says of its syntax and
//! `jsonschema` of its content.

use std::sync::OnceLock;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::server::server;

/// The registered schemas, of types `t0`, `t1`, …: between them every keyword that is compiled.
pub const SCHEMAS: [&str; 4] = [
    r#"{"type":"object","required":["n"],"properties":{"n":{"type":"integer","minimum":-5,"exclusiveMaximum":9007199254740993,"multipleOf":3},"s":{"type":"string","minLength":2,"maxLength":5,"pattern":"^a.*z$"},"e":{"enum":[1,"x",null,[1,2],{"a":1.0}]},"c":{"const":0.0}},"patternProperties":{"^p_":{"type":["number","null"]}},"additionalProperties":false,"maxProperties":6,"minProperties":1,"propertyNames":{"maxLength":8},"dependentRequired":{"s":["n"]}}"#,
    r##"{"$schema":"http://json-schema.org/draft-07/schema#","definitions":{"node":{"type":"object","properties":{"v":{"type":"number"},"next":{"$ref":"#/definitions/node"}},"required":["v"]}},"anyOf":[{"$ref":"#/definitions/node"},{"type":"array","items":[{"type":"boolean"},{"type":"string"}],"additionalItems":{"type":"number"},"uniqueItems":true}]}"##,
    r##"{"$defs":{"t":{"type":"array","prefixItems":[{"const":"t"}],"items":{"$ref":"#/$defs/t"}}},"oneOf":[{"$ref":"#/$defs/t"},{"type":"array","contains":{"type":"integer","minimum":5},"minContains":1,"maxContains":2,"uniqueItems":true,"maxItems":6}],"not":{"const":[]}}"##,
    r#"{"if":{"properties":{"k":{"const":"a"}},"required":["k"]},"then":{"required":["x"],"properties":{"x":{"format":"date-time","type":"string"}}},"else":{"allOf":[{"type":["object","string","integer"]},{"exclusiveMinimum":0,"maximum":1e300}]},"dependentSchemas":{"y":{"minProperties":2}}}"#,
];

/// The properties. The first byte chooses the schema, the rest is the event's data.
pub fn check(input: &[u8]) {
    let Some((&choice, data)) = input.split_first() else { return };
    let number = usize::from(choice) % SCHEMAS.len();
    let prefix = format!("{{\"id\":\"1\",\"type\":\"t{number}\",\"data\":");
    let body = [prefix.as_bytes(), data, b"}"].concat();
    let answer = server().rehearse("", &body);
    let code = answer.code();
    let told = || format!("{} {code}: {}", answer.status, String::from_utf8_lossy(&body));
    // Deeper than the ingress goes, and than serde_json does.
    if code == "json_too_deep" {
        return;
    }
    let well_formed = serde_json::from_slice::<&RawValue>(&body).is_ok();
    assert!(well_formed || answer.status == 400, "not JSON: {}", told());
    assert!(
        !well_formed || !matches!(code.as_str(), "malformed_json" | "malformed_utf8"),
        "valid JSON: {}",
        told()
    );
    // The data may have closed the event's object: then it is another event.
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
    match code.as_str() {
        "schema_violation" => assert!(!validator(number).is_valid(&value), "valid: {}", told()),
        "" => {
            assert_eq!(answer.status, 200, "{}", told());
            assert!(validator(number).is_valid(&value), "invalid: {}", told());
        }
        // A bound, or what the store cannot hold, is decided before the schema.
        "not_storable" | "too_many_members" | "event_too_large" | "body_too_large" => {}
        other => panic!("{other} for an event that is well formed: {}", told()),
    }
}

fn validator(number: usize) -> &'static Validator {
    static VALIDATORS: OnceLock<Vec<Validator>> = OnceLock::new();
    let compile = |text: &&str| {
        let schema: Value = serde_json::from_str(text).expect("a schema is JSON");
        let options = jsonschema::options().offline().with_pattern_options(PatternOptions::regex());
        options.build(&schema).expect("a valid schema")
    };
    &VALIDATORS.get_or_init(|| SCHEMAS.iter().map(compile).collect())[number]
}
