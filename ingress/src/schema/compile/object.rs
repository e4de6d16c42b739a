//! Objects.

use serde_json::{Map, Value};

use super::super::names::NAMES_MAX;
use super::super::program::{Dependent, ObjectRule, Rule, RuleId, Span, Types};
use super::super::run::REQUIRED_MAX;
use super::{Compiler, Draft, Draftsman, child, stretch};

const KEYWORDS: [&str; 10] = [
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
];

impl<'s> Compiler<'s> {
    pub(super) fn objects(&mut self, schema: &'s Map<String, Value>, making: &mut Draftsman) {
        if !KEYWORDS.iter().any(|keyword| schema.contains_key(*keyword)) {
            return;
        }
        let mut required: Vec<&str> = texts(schema.get("required"));
        if required.len() > REQUIRED_MAX {
            self.leave(making, "required", Types::OBJECT, "too many names");
            required.clear();
        }
        let declared = self.members(schema, "properties", making);
        let rule_of = |name: &str| declared.iter().find(|(other, _)| *other == name);
        let mut names: Vec<(&str, Option<RuleId>)> =
            required.iter().map(|name| (*name, rule_of(name).map(|(_, rule)| *rule))).collect();
        let others = declared.iter().filter(|(name, _)| !required.contains(name));
        names.extend(others.map(|(name, rule)| (*name, Some(*rule))));
        if names.len() > NAMES_MAX {
            self.leave(making, "properties", Types::OBJECT, "too many names");
            names.clear();
        }
        let mut one = |keyword: &str| {
            let found = schema.get(keyword);
            found.map_or(RuleId::ANY, |found| self.rule(found, making.at(keyword)))
        };
        let (additional, property_names) = (one("additionalProperties"), one("propertyNames"));
        let patterned = self.patterned(schema, making);
        let dependents = self.dependents(schema, making);
        let rule = ObjectRule {
            required: if names.is_empty() { 0 } else { required.len() as u32 },
            names: self.program.names.add(names.into_iter()),
            patterned,
            additional,
            property_names,
            members_min: self.size(schema, "minProperties", 0, making, Types::OBJECT),
            members_max: self.size(schema, "maxProperties", u64::MAX, making, Types::OBJECT),
            dependents: stretch(&mut self.program.dependents, dependents),
        };
        making.rule.object = Some(self.program.objects.len() as u32);
        self.program.objects.push(rule);
    }

    /// The rules of a keyword that holds schemas by name.
    fn members(
        &mut self,
        schema: &'s Map<String, Value>,
        keyword: &str,
        making: &Draftsman,
    ) -> Vec<(&'s str, RuleId)> {
        let pointer = making.at(keyword);
        let found = schema.get(keyword).and_then(Value::as_object).into_iter().flatten();
        found.map(|(name, one)| (name.as_str(), self.rule(one, child(&pointer, name)))).collect()
    }

    fn patterned(&mut self, schema: &'s Map<String, Value>, making: &mut Draftsman) -> Span {
        let mut patterned = Vec::new();
        for (pattern, rule) in self.members(schema, "patternProperties", making) {
            match self.pattern(pattern) {
                Some(index) => patterned.push((index, rule)),
                None => {
                    let why = "it does not compile here";
                    self.leave(making, "patternProperties", Types::OBJECT, why);
                }
            }
        }
        stretch(&mut self.program.patterned, patterned)
    }

    fn dependents(
        &mut self,
        schema: &'s Map<String, Value>,
        making: &mut Draftsman,
    ) -> Vec<Dependent> {
        let mut dependents = Vec::new();
        for keyword in ["dependencies", "dependentRequired", "dependentSchemas"] {
            let Some(found) = schema.get(keyword).and_then(Value::as_object) else { continue };
            if keyword != "dependencies" && self.draft == Draft::Seven {
                continue;
            }
            for (trigger, brings) in found {
                let rule = if brings.is_array() {
                    let names = texts(Some(brings));
                    if names.len() > REQUIRED_MAX {
                        self.leave(making, keyword, Types::OBJECT, "too many names");
                        continue;
                    }
                    self.all_of(&names)
                } else {
                    self.rule(brings, child(&making.at(keyword), trigger))
                };
                dependents.push(Dependent { trigger: trigger.as_str().into(), rule });
            }
        }
        dependents
    }

    /// A rule that requires names and nothing else.
    fn all_of(&mut self, names: &[&str]) -> RuleId {
        let object = ObjectRule {
            required: names.len() as u32,
            names: self.program.names.add(names.iter().map(|name| (*name, None))),
            patterned: Span::default(),
            additional: RuleId::ANY,
            property_names: RuleId::ANY,
            members_min: 0,
            members_max: u64::MAX,
            dependents: Span::default(),
        };
        self.program.objects.push(object);
        let index = self.program.objects.len() as u32 - 1;
        self.push(Rule { checked: Types::OBJECT, object: Some(index), ..Rule::of(Types::ALL) })
    }
}

/// Distinct texts, in their order.
fn texts(value: Option<&Value>) -> Vec<&str> {
    let mut texts = Vec::new();
    for text in value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts
}
