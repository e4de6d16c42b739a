//! The program beside the library, on random schemas and random texts.
//!
//! Whatever the program is sure of, the library says as well. A failing case is printed by proptest
//! and becomes a case of the table.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::program::{Program, Verdict};
use crate::tape::{JsonBounds, Parser};

const LATEST: &str = "https://json-schema.org/draft/2020-12/schema";
const SEVEN: &str = "http://json-schema.org/draft-07/schema#";

/// Compiles, runs, compares; what the program said. `None` where the schema does not load.
fn compare(schema: &Value, text: &str) -> Option<Verdict> {
    let validator = jsonschema::options()
        .offline()
        .with_pattern_options(jsonschema::PatternOptions::regex())
        .build(schema)
        .ok()?;
    let mut parser = Parser::new(JsonBounds { depth_max: 64, members_max: 1000 });
    let parsed = parser.parse(text.as_bytes()).expect("valid JSON");
    let verdict = Program::compile(schema).check(parsed.root());
    let valid = validator.is_valid(&parsed.root().to_value());
    match verdict {
        Verdict::Unknown => {}
        sure => assert_eq!(sure, Verdict::sure(valid), "schema {schema}\ntext {text}"),
    }
    Some(verdict)
}

/// JSON texts over few names and values, so that they meet the schemas; names repeat.
fn texts() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "null",
        "true",
        "false",
        "0",
        "-0",
        "-0.0",
        "1",
        "1.0",
        "2",
        "3",
        "-1",
        "0.5",
        "2.5",
        "1e2",
        "1e300",
        "9007199254740993",
        "9007199254740992.0",
        "18446744073709551615",
        "123456789012345678901234567890",
        "\"\"",
        "\"a\"",
        "\"ab\"",
        "\"é\"",
        "\"abc\"",
        "\"2020-02-29\"",
        "\"2021-02-29T00:00:00Z\"",
        "\"2020-02-29T23:59:60Z\"",
        "\"https://a.example/b?c#d\"",
        "\"a@b.example\"",
        "\"1.2.3.4\"",
        "\"{a}/b\"",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 40, 5, |inner| {
        let member = (prop::sample::select(NAMES.to_vec()), inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(|all| format!("[{}]", all.join(","))),
            prop::collection::vec(member, 0..6).prop_map(|all| {
                let members = all.iter().map(|(name, value)| format!("\"{name}\":{value}"));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }),
        ]
    })
}

const NAMES: [&str; 5] = ["a", "b", "ab", "é", "a_much_longer_name"];

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(NAMES.to_vec()).prop_map(str::to_owned)
}

fn names() -> impl Strategy<Value = Value> {
    prop::collection::btree_set(name(), 0..3).prop_map(|names| json!(names))
}

fn literal() -> impl Strategy<Value = Value> {
    texts().prop_map(|text| serde_json::from_str(&text).expect("JSON"))
}

/// One keyword that holds no schema, and its value.
fn assertion() -> impl Strategy<Value = (String, Value)> {
    let kinds = ["null", "boolean", "object", "array", "string", "integer", "number"];
    let number =
        || prop::sample::select(vec![json!(0), json!(1), json!(1.0), json!(2.5), json!(-1)]);
    let keyed = |names: &'static [&'static str], value: BoxedStrategy<Value>| {
        (prop::sample::select(names), value).prop_map(|(name, value)| (name.to_owned(), value))
    };
    let positive = prop::sample::select(vec![json!(1), json!(2), json!(0.5), json!(0.01)]);
    let pattern =
        prop::sample::select(vec!["^a", "^ab$", "b", "^(a|b)$", "^[a-z]{1,2}$", r"^\S*$"]);
    let format = prop::sample::select(vec![
        "date",
        "date-time",
        "time",
        "uri",
        "uri-reference",
        "email",
        "ipv4",
        "uri-template",
        "hostname",
        "regex",
        "nonsense",
    ]);
    prop_oneof![
        keyed(&["type"], prop::sample::select(kinds.to_vec()).prop_map(Value::from).boxed()),
        keyed(
            &["type"],
            prop::sample::subsequence(kinds.to_vec(), 1..4).prop_map(Value::from).boxed()
        ),
        keyed(&["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"], number().boxed()),
        keyed(&["multipleOf"], positive.boxed()),
        keyed(
            &[
                "minLength",
                "maxLength",
                "minItems",
                "maxItems",
                "minProperties",
                "maxProperties",
                "minContains",
                "maxContains",
            ],
            (0_u64..4).prop_map(Value::from).boxed()
        ),
        keyed(&["pattern"], pattern.prop_map(Value::from).boxed()),
        keyed(&["format"], format.prop_map(Value::from).boxed()),
        keyed(&["required"], names().boxed()),
        keyed(&["uniqueItems"], Just(Value::Bool(true)).boxed()),
        keyed(&["const"], literal().boxed()),
        keyed(&["enum"], prop::collection::vec(literal(), 1..4).prop_map(Value::from).boxed()),
        keyed(
            &["dependentRequired"],
            prop::collection::btree_map(name(), names(), 0..3).prop_map(|all| json!(all)).boxed()
        ),
        keyed(&["$ref"], reference().prop_map(Value::from).boxed()),
    ]
}

fn reference() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["#", "#/$defs/x", "#/$defs/y", "#/$defs/a~1b%25"])
}

/// Schemas of any keywords.
fn schemas() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        1 => any::<bool>().prop_map(Value::from),
        6 => prop::collection::vec(assertion(), 0..4).prop_map(object),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let by_name = |names: BoxedStrategy<String>, inner: BoxedStrategy<Value>| {
            prop::collection::btree_map(names, inner, 0..4).prop_map(|all| json!(all)).boxed()
        };
        let patterns = prop::sample::select(vec!["^a", "b", "é$"]).prop_map(str::to_owned);
        let keyed = |names: &'static [&'static str], value: BoxedStrategy<Value>| {
            (prop::sample::select(names), value).prop_map(|(name, value)| (name.to_owned(), value))
        };
        let applicator = prop_oneof![
            keyed(
                &["properties", "dependentSchemas"],
                by_name(name().boxed(), inner.clone().boxed())
            ),
            keyed(&["patternProperties"], by_name(patterns.boxed(), inner.clone().boxed())),
            keyed(
                &[
                    "additionalProperties",
                    "propertyNames",
                    "items",
                    "contains",
                    "not",
                    "if",
                    "then",
                    "else",
                ],
                inner.clone().boxed()
            ),
            keyed(
                &["allOf", "anyOf", "oneOf", "prefixItems"],
                prop::collection::vec(inner, 1..4).prop_map(Value::from).boxed()
            ),
        ];
        (prop::collection::vec(assertion(), 0..3), prop::collection::vec(applicator, 1..4))
            .prop_map(|(one, other)| object(one.into_iter().chain(other).collect()))
    })
}

fn object(members: Vec<(String, Value)>) -> Value {
    Value::Object(members.into_iter().collect())
}

/// A document: a schema with definitions. Draft-07 has other names for some keywords.
fn documents() -> impl Strategy<Value = Value> {
    (any::<bool>(), schemas(), schemas(), schemas()).prop_map(|(latest, root, x, y)| {
        let mut root = match root {
            Value::Object(members) => members,
            other => [("not".to_owned(), other)].into_iter().collect(),
        };
        root.insert("$defs".to_owned(), json!({"x": x, "y": y, "a/b%": {"type": "integer"}}));
        root.insert("$schema".to_owned(), json!(if latest { LATEST } else { SEVEN }));
        if !latest && let Some(found) = root.remove("dependentRequired") {
            root.insert("dependencies".to_owned(), found);
        }
        if !latest && let Some(found) = root.remove("prefixItems") {
            let rest = root.insert("items".to_owned(), found);
            root.extend(rest.map(|rest| ("additionalItems".to_owned(), rest)));
        }
        Value::Object(root)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_the_program_is_sure_of_the_library_says(
        schema in documents(),
        texts in prop::collection::vec(texts(), 8),
    ) {
        for text in texts {
            compare(&schema, &text);
        }
    }
}

/// Addresses of all lengths, with what breaks them anywhere.
fn addresses() -> impl Strategy<Value = String> {
    let beginnings = ["https://a.example", "http://a.b:80", "HTTPS:", "https:/", "x+y:", "9:", ""];
    let plain = "[a-zA-Z0-9/._=:@?&;-]{0,40}";
    let any = "[a-zA-Z0-9/._~!$&'()*+,;=:@?#%{} \"<>\\\\^`|\\[\\]é-]{0,3}";
    (prop::sample::select(beginnings.to_vec()), plain, any, plain)
        .prop_map(|(beginning, one, any, other)| format!("{beginning}{one}{any}{other}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn an_address_that_is_recognised_is_one(
        format in prop::sample::select(vec!["uri", "uri-reference", "uri-template"]),
        address in addresses(),
    ) {
        let schema = json!({"$schema": SEVEN, "format": format});
        compare(&schema, &json!(address).to_string());
    }
}

#[test]
fn usual_addresses_are_recognised() {
    for (format, address) in [
        (
            "uri",
            "https://api.github.com/repos/a/b/git/commits/6113728f27ae82c7b1a177c8d03f9e96e0adf246",
        ),
        ("uri", "http://a.example:8080"),
        ("uri", "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"),
        ("uri-template", "https://api.github.com/repos/a/b/contents/{+path}{?ref,page}"),
    ] {
        let schema = json!({"$schema": SEVEN, "format": format});
        assert_eq!(
            compare(&schema, &json!(address).to_string()),
            Some(Verdict::Valid),
            "{address}"
        );
    }
}

#[test]
fn bounds_hold_at_the_ends_of_64_bits() {
    let numbers = [
        "-9223372036854775808",
        "-9223372036854775807",
        "-1",
        "0",
        "1",
        "1.5",
        "2",
        "1e19",
        "9223372036854775806",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
    ];
    for keyword in ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"] {
        for bound in numbers {
            let bound: Value = serde_json::from_str(bound).expect("a number");
            for others in [json!({}), json!({"minimum": 1, "maximum": 2}), json!({"multipleOf": 2})]
            {
                let mut schema = others;
                schema[keyword] = bound.clone();
                for number in numbers {
                    compare(&schema, number);
                }
            }
        }
    }
}

/// A name is told from another by its ends up to 16 bytes, and by all of it beyond.
#[test]
fn names_of_every_length_are_told_apart() {
    for length in 1..40 {
        let name = "abcdefgh".repeat(5)[..length].to_owned();
        let schema = json!({"properties": {&name: true}, "additionalProperties": false});
        let text = |name: &str| json!({name: 1}).to_string();
        assert_eq!(compare(&schema, &text(&name)), Some(Verdict::Valid), "{name}");
        for at in 0..length {
            let mut other = name.clone().into_bytes();
            other[at] ^= 1;
            let other = String::from_utf8(other).expect("ASCII");
            assert_eq!(compare(&schema, &text(&other)), Some(Verdict::Invalid), "{other}");
        }
    }
}

#[test]
fn the_hidden_traps() {
    let check = |schema: Value, text: &str, expected: Verdict| {
        assert_eq!(compare(&schema, text), Some(expected), "{schema} {text}");
    };
    use Verdict::{Invalid, Unknown, Valid};
    // The last of a repeated member counts.
    let whole = json!({"properties": {"a": {"type": "integer"}}});
    check(whole.clone(), r#"{"a":"x","a":1}"#, Unknown);
    check(json!({"not": whole.clone()}), r#"{"a":"x","a":1}"#, Unknown);
    check(json!({"not": whole.clone()}), r#"{"a":"x","b":1}"#, Valid);
    check(whole, r#"{"a":2,"a":1}"#, Valid);
    check(json!({"minProperties": 2}), r#"{"a":2,"a":1}"#, Unknown);
    check(json!({"maxProperties": 1}), r#"{"a":2,"a":1}"#, Unknown);
    check(json!({"const": {"a": 1}}), r#"{"a":2,"a":1}"#, Unknown);
    check(json!({"required": ["a", "b"]}), r#"{"a":2,"a":1}"#, Invalid);
    // Numbers.
    check(json!({"type": "integer"}), "1.0", Valid);
    check(json!({"type": "integer"}), "1e300", Valid);
    check(json!({"const": 1}), "1.0", Valid);
    check(json!({"const": 0}), "-0.0", Valid);
    check(json!({"uniqueItems": true}), "[0,-0.0]", Invalid);
    check(json!({"maximum": 9_007_199_254_740_993_u64}), "9007199254740992.0", Unknown);
    check(json!({"type": "integer"}), "123456789012345678901234567890", Valid);
    // References that consume nothing.
    check(json!({"$ref": "#"}), "1", Unknown);
    check(json!({"allOf": [{"$ref": "#"}]}), "1", Unknown);
    check(json!({"properties": {"a": {"$ref": "#"}}, "type": "object"}), r#"{"a":{}}"#, Valid);
    // A definition that names the document's draft, and one that names another.
    let with = |nested: &str| {
        let definition = json!({"$schema": nested, "type": "integer"});
        json!({"$schema": SEVEN, "$ref": "#/$defs/a", "$defs": {"a": definition}})
    };
    check(with("http://json-schema.org/draft-07/schema"), "1", Valid);
    check(with(LATEST), "1", Unknown);
    // Neither draft.
    let sixth = json!({"$schema": "http://json-schema.org/draft-06/schema#"});
    check(sixth, "1", Unknown);
    check(json!({"unevaluatedProperties": false}), "{}", Unknown);
    check(json!({"unevaluatedProperties": false}), "1", Valid);
}
