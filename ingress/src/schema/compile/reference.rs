//! `$ref`, within the document. A plain reference costs nothing at run time: its target's rule
//! stands in its place.

use std::collections::HashMap;

use serde_json::Value;

use super::super::program::{Step, Types};
use super::{Compiler, Draft, Draftsman, child};

/// References that lead from one to the next are followed this far.
const HOPS_MAX: usize = 32;
/// What may stand beside a plain reference: it asserts nothing.
const ANNOTATIONS: [&str; 10] = [
    "$ref",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "tsAdditionalProperties",
];

/// Where references may lead.
#[derive(Debug, Default)]
pub(super) struct Anchors<'s> {
    /// By name; `None` where two claim it.
    named: HashMap<&'s str, Option<(&'s Value, String)>>,
    /// A schema within the document has an address of its own, which changes what references
    /// below it mean.
    embedded: bool,
}

impl<'s> Anchors<'s> {
    /// Looks through the whole document.
    pub fn of(document: &'s Value, draft: Draft) -> Self {
        let mut anchors = Self::default();
        anchors.visit(document, String::new(), draft);
        anchors
    }

    fn visit(&mut self, value: &'s Value, pointer: String, draft: Draft) {
        match value {
            Value::Object(members) => {
                let text = |name: &str| members.get(name).and_then(Value::as_str);
                let id = text("$id");
                let own = match draft {
                    Draft::Latest => [text("$anchor"), text("$dynamicAnchor")],
                    Draft::Seven => [id.and_then(|id| id.strip_prefix('#')), None],
                };
                for name in own.into_iter().flatten() {
                    let place = Some((value, pointer.clone()));
                    self.named.entry(name).and_modify(|found| *found = None).or_insert(place);
                }
                self.embedded |= !pointer.is_empty() && id.is_some_and(|id| !id.starts_with('#'));
                for (name, member) in members {
                    self.visit(member, child(&pointer, name), draft);
                }
            }
            Value::Array(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    self.visit(element, format!("{pointer}/{index}"), draft);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

impl<'s> Compiler<'s> {
    /// From plain references to what they lead to; as far as that is covered.
    pub(super) fn follow(&self, schema: &'s Value, pointer: String) -> (&'s Value, String) {
        let (mut schema, mut pointer) = (schema, pointer);
        for _ in 0..HOPS_MAX {
            let Some(members) = schema.as_object() else { break };
            let Some(reference) = members.get("$ref").and_then(Value::as_str) else { break };
            let plain = self.draft == Draft::Seven
                || members.keys().all(|name| ANNOTATIONS.contains(&name.as_str()));
            match self.resolve(reference) {
                Ok(target) if plain || pointer.is_empty() && self.only_definitions(schema) => {
                    (schema, pointer) = target;
                }
                _ => break,
            }
        }
        (schema, pointer)
    }

    fn only_definitions(&self, schema: &Value) -> bool {
        let kept = ["$schema", "$id", "$defs", "definitions"];
        schema.as_object().is_some_and(|members| {
            members
                .keys()
                .all(|name| kept.contains(&name.as_str()) || ANNOTATIONS.contains(&name.as_str()))
        })
    }

    /// A reference that stands among other keywords, or leads nowhere we can follow.
    pub(super) fn reference(&mut self, reference: &Value, making: &mut Draftsman) {
        let target = reference.as_str().ok_or("not a text").and_then(|text| self.resolve(text));
        match target {
            Ok((schema, pointer)) => {
                let rule = self.rule(schema, pointer);
                making.steps.push(Step::All(rule));
            }
            Err(why) => self.leave(making, "$ref", Types::ALL, why),
        }
    }

    fn resolve(&self, reference: &str) -> Result<(&'s Value, String), &'static str> {
        if self.anchors.embedded {
            return Err("a schema within the document has an $id of its own");
        }
        let id = self.document.get("$id").and_then(Value::as_str).unwrap_or_default();
        let own = id.split('#').next().unwrap_or_default();
        let (address, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        if !address.is_empty() && address != own {
            return Err("another document");
        }
        if fragment.is_empty() {
            return Ok((self.document, String::new()));
        }
        let fragment = decoded(fragment).ok_or("percent-encoding that is not UTF-8")?;
        if fragment.starts_with('/') {
            let target = self.document.pointer(&fragment).ok_or("it leads nowhere")?;
            return Ok((target, fragment));
        }
        let anchor = self.anchors.named.get(fragment.as_str()).ok_or("it leads nowhere")?;
        anchor.clone().ok_or("two schemas have this anchor")
    }
}

/// A fragment without its percent-encoding.
fn decoded(fragment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.as_bytes();
    while let Some((byte, more)) = rest.split_first() {
        rest = more;
        if *byte == b'%' {
            let (digits, more) = more.split_first_chunk::<2>()?;
            let digits = std::str::from_utf8(digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = more;
        } else {
            bytes.push(*byte);
        }
    }
    String::from_utf8(bytes).ok()
}
