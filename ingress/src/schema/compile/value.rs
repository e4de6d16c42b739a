//! Types, literals, strings, numbers and arrays.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::super::format::ASSERTED;
use super::super::literal::Literal;
use super::super::number::{Divisor, Number};
use super::super::pattern::Pattern;
use super::super::program::{ArrayRule, Contains, NumberRule, RuleId, Step, StringRule, Types};
use super::{Compiler, Draft, Draftsman, stretch};

impl<'s> Compiler<'s> {
    pub(super) fn types(&mut self, schema: &'s Map<String, Value>, making: &mut Draftsman) {
        let Some(found) = schema.get("type") else { return };
        let names = found.as_array().map_or(std::slice::from_ref(found), Vec::as_slice);
        let types = names.iter().filter_map(Value::as_str).map(|name| match name {
            "null" => Types::NULL,
            "boolean" => Types::BOOLEAN,
            "object" => Types::OBJECT,
            "array" => Types::ARRAY,
            "string" => Types::STRING,
            "integer" => Types::INTEGER,
            "number" => Types::NUMBER,
            _ => Types::NONE,
        });
        making.rule.types = types.fold(Types::NONE, Types::with);
    }

    /// `enum` and `const`. Texts become a set of names, everything else is compared one by one.
    pub(super) fn literals(&mut self, schema: &'s Map<String, Value>, making: &mut Draftsman) {
        let one_of = schema.get("enum").and_then(Value::as_array).map(Vec::as_slice);
        let exactly = schema.get("const").map(std::slice::from_ref);
        for (keyword, values) in [("enum", one_of), ("const", exactly)] {
            let Some(values) = values else { continue };
            let types = values.iter().map(type_of).fold(Types::NONE, Types::with);
            making.rule.types.0 &= types.0;
            let simple = Types::STRING.with(Types::NULL);
            if simple.with(types) == simple && making.rule.string.is_none() {
                let mut texts: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
                texts.sort_unstable();
                texts.dedup();
                if texts.len() <= super::super::names::NAMES_MAX {
                    let texts = texts.into_iter().map(|text| (text, None));
                    let one_of = self.program.names.add(texts);
                    let rule = StringRule { one_of: Some(one_of), ..StringRule::default() };
                    making.rule.string = Some(self.program.strings.len() as u32);
                    self.program.strings.push(rule);
                    continue;
                }
            }
            match values.iter().map(Literal::new).collect::<Option<Vec<_>>>() {
                Some(literals) => {
                    let span = stretch(&mut self.program.literals, literals);
                    making.steps.push(Step::Literals(span));
                }
                None => self.leave(making, keyword, types, "a number that is out of range"),
            }
        }
    }

    /// After [`Self::literals`], whose set of texts it keeps.
    pub(super) fn strings(&mut self, schema: &'s Map<String, Value>, making: &mut Draftsman) {
        let mut rule = StringRule {
            length_min: self.size(schema, "minLength", 0, making, Types::STRING),
            length_max: self.size(schema, "maxLength", u64::MAX, making, Types::STRING),
            ..StringRule::default()
        };
        if let Some(text) = schema.get("pattern").and_then(Value::as_str) {
            match self.pattern(text) {
                Some(index) => rule.pattern = Some(index),
                None => self.leave(making, "pattern", Types::STRING, "it does not compile here"),
            }
        }
        let format = schema.get("format").and_then(Value::as_str);
        // 2020-12 takes formats for annotations.
        if let (Draft::Seven, Some(name)) = (self.draft, format) {
            match ASSERTED.iter().find(|(asserted, _)| *asserted == name) {
                Some((_, Some(format))) => rule.format = Some(*format),
                Some((_, None)) => {
                    self.leave(making, "format", Types::STRING, "this format has no recogniser");
                }
                None => {}
            }
        }
        match making.rule.string {
            Some(index) => {
                let found = &mut self.program.strings[index as usize];
                *found = StringRule { one_of: found.one_of, ..rule };
            }
            None if rule == StringRule::default() => {}
            None => {
                making.rule.string = Some(self.program.strings.len() as u32);
                self.program.strings.push(rule);
            }
        }
    }

    /// The index of a pattern.
    pub(super) fn pattern(&mut self, text: &str) -> Option<u32> {
        let pattern = Pattern::new(text)?;
        self.program.patterns.push(pattern);
        Some(self.program.patterns.len() as u32 - 1)
    }

    pub(super) fn numbers(&mut self, schema: &'s Map<String, Value>, making: &mut Draftsman) {
        let mut rule = NumberRule {
            sure: i64::MIN..=i64::MAX,
            min: None,
            max: None,
            above: None,
            below: None,
            multiple_of: None,
        };
        let bounds = [
            ("minimum", &mut rule.min),
            ("maximum", &mut rule.max),
            ("exclusiveMinimum", &mut rule.above),
            ("exclusiveMaximum", &mut rule.below),
        ];
        let number = |value: &Value| value.as_number().and_then(Number::of_schema);
        let mut there = false;
        for (keyword, bound) in bounds {
            let Some(found) = schema.get(keyword) else { continue };
            there = true;
            *bound = number(found);
            if bound.is_none() {
                self.leave(making, keyword, Types::NUMBER, "not a number of 64 bits");
            }
        }
        if let Some(found) = schema.get("multipleOf") {
            there = true;
            rule.multiple_of = number(found).and_then(Divisor::new);
            if rule.multiple_of.is_none() {
                self.leave(making, "multipleOf", Types::NUMBER, "too many digits");
            }
        }
        if there {
            rule.sure = sure(&rule);
            making.rule.number = Some(self.program.numbers.len() as u32);
            self.program.numbers.push(rule);
        }
    }

    pub(super) fn arrays(&mut self, schema: &'s Map<String, Value>, making: &mut Draftsman) {
        const KEYWORDS: [&str; 6] =
            ["prefixItems", "items", "minItems", "maxItems", "uniqueItems", "contains"];
        if !KEYWORDS.iter().any(|keyword| schema.contains_key(*keyword)) {
            return;
        }
        let (prefix, rest) = match (self.draft, schema.get("items")) {
            (Draft::Seven, Some(Value::Array(_))) => ("items", "additionalItems"),
            (Draft::Seven, _) => ("", "items"),
            (Draft::Latest, _) => ("prefixItems", "items"),
        };
        let prefix = self.schemas(schema, prefix, making);
        let prefix = stretch(&mut self.program.lists, prefix);
        let rest = schema.get(rest).map(|found| self.rule(found, making.at(rest)));
        let contains = schema.get("contains").map(|found| self.rule(found, making.at("contains")));
        let (mut contains_min, mut contains_max) = (1, u64::MAX);
        if self.draft == Draft::Latest && contains.is_some() {
            contains_min = self.size(schema, "minContains", 1, making, Types::ARRAY);
            contains_max = self.size(schema, "maxContains", u64::MAX, making, Types::ARRAY);
        }
        let rule = ArrayRule {
            prefix,
            rest: rest.unwrap_or(RuleId::ANY),
            elements_min: self.size(schema, "minItems", 0, making, Types::ARRAY),
            elements_max: self.size(schema, "maxItems", u64::MAX, making, Types::ARRAY),
            unique: schema.get("uniqueItems") == Some(&Value::Bool(true)),
            contains: contains.map(|rule| Contains { rule, min: contains_min, max: contains_max }),
        };
        making.rule.array = Some(self.program.arrays.len() as u32);
        self.program.arrays.push(rule);
    }

    /// A size, `2.0` among them; `absent` where there is none.
    pub(super) fn size(
        &mut self,
        schema: &Map<String, Value>,
        keyword: &str,
        absent: u64,
        making: &mut Draftsman,
        types: Types,
    ) -> u64 {
        let Some(found) = schema.get(keyword) else { return absent };
        let whole = |float: &f64| (0.0..9e15).contains(float) && float.fract() == 0.0;
        let size = found.as_u64().or_else(|| found.as_f64().filter(whole).map(|size| size as u64));
        size.unwrap_or_else(|| {
            self.leave(making, keyword, types, "not a whole number of 64 bits");
            absent
        })
    }
}

/// The whole numbers of 64 bits between bounds that are whole: none where one of them is not, or where
/// they must be multiples as well.
fn sure(rule: &NumberRule) -> RangeInclusive<i64> {
    let whole = |bound: Option<Number>, absent: i64| match bound {
        None => Some(i128::from(absent)),
        Some(Number::Whole(whole)) => Some(whole),
        Some(Number::Float(_)) => None,
    };
    let bounds = || {
        let least = whole(rule.min, i64::MIN)?.max(whole(rule.above, i64::MIN)? + 1);
        let most = whole(rule.max, i64::MAX)?.min(whole(rule.below, i64::MAX)? - 1);
        // A bound beyond 64 bits is no bound, or leaves nothing.
        let least = least.max(i64::MIN.into()).try_into().ok()?;
        let most = most.min(i64::MAX.into()).try_into().ok()?;
        rule.multiple_of.is_none().then_some(least..=most)
    };
    bounds().unwrap_or(RangeInclusive::new(1, 0))
}

impl Default for StringRule {
    /// Any text.
    fn default() -> Self {
        Self { length_min: 0, length_max: u64::MAX, pattern: None, format: None, one_of: None }
    }
}

fn type_of(value: &Value) -> Types {
    match value {
        Value::Null => Types::NULL,
        Value::Bool(_) => Types::BOOLEAN,
        Value::Object(_) => Types::OBJECT,
        Value::Array(_) => Types::ARRAY,
        Value::String(_) => Types::STRING,
        Value::Number(_) => Types::NUMBER,
    }
}
