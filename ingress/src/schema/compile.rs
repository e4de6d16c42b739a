//! From a JSON Schema to a program.
//!
//! Schemas are compiled from a work list, each once, so that references may lead anywhere, back as
//! well. What is not covered becomes a [`Gap`] and makes the rule unknown for the types it concerns;
//! a missing gap would be a wrong verdict, so whatever is in doubt is one. The library has loaded
//! the document before: it is valid against its meta-schema.

mod object;
mod reference;
mod value;

use std::collections::HashMap;

use serde_json::{Map, Value};

use self::reference::Anchors;
use super::program::{Gap, Program, Rule, RuleId, Span, Step, Types};

/// More rules than this are not compiled: a bound on memory, far above any schema seen.
const RULES_MAX: usize = 1_000_000;

/// The drafts that are covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Draft {
    Seven,
    Latest,
}

impl Draft {
    /// What a `$schema` names.
    fn of(schema: &Value) -> Option<Self> {
        match schema.as_str()?.trim_end_matches('#') {
            "https://json-schema.org/draft/2020-12/schema" => Some(Self::Latest),
            "http://json-schema.org/draft-07/schema"
            | "https://json-schema.org/draft-07/schema" => Some(Self::Seven),
            _ => None,
        }
    }
}

/// Keywords that assert something in one of the drafts, and are not covered there.
const LEFT_TO_THE_LIBRARY: [(&str, Draft, Types, &str); 5] = [
    ("$dynamicRef", Draft::Latest, Types::ALL, "its target depends on the way to it"),
    ("unevaluatedItems", Draft::Latest, Types::ARRAY, "it depends on other verdicts"),
    ("unevaluatedProperties", Draft::Latest, Types::OBJECT, "it depends on other verdicts"),
    ("contentEncoding", Draft::Seven, Types::STRING, "contents are not decoded"),
    ("contentMediaType", Draft::Seven, Types::STRING, "contents are not decoded"),
];

/// A compilation.
struct Compiler<'s> {
    document: &'s Value,
    draft: Draft,
    anchors: Anchors<'s>,
    program: Program,
    /// The rule of each schema, by where it lies in memory.
    known: HashMap<*const Value, RuleId>,
    work: Vec<(RuleId, &'s Map<String, Value>, String)>,
}

/// A rule in the making: what it says and what it leaves open.
struct Draftsman {
    pointer: String,
    rule: Rule,
    steps: Vec<Step>,
}

impl Program {
    /// Compiles a document.
    pub fn compile(document: &Value) -> Self {
        let Some(draft) = document.get("$schema").map_or(Some(Draft::Latest), Draft::of) else {
            let gap = Gap {
                pointer: "/$schema".to_owned(),
                keyword: "$schema".to_owned(),
                why: "neither 2020-12 nor draft-07".to_owned(),
            };
            return Self { gaps: vec![gap], ..Self::default() };
        };
        let mut compiler = Compiler {
            document,
            draft,
            anchors: Anchors::of(document, draft),
            program: Self::default(),
            known: HashMap::new(),
            work: Vec::new(),
        };
        // In the order of `RuleId::ANY` and `RuleId::NEVER`.
        compiler.program.rules = vec![Rule::of(Types::ALL), Rule::of(Types::NONE)];
        let root = compiler.rule(document, String::new());
        compiler.program.root = Some(root);
        while let Some((id, schema, pointer)) = compiler.work.pop() {
            let rule = compiler.compile(schema, pointer);
            compiler.program.rules[id.0 as usize] = rule;
        }
        let mut program = compiler.program;
        program.gaps.sort();
        program.gaps.dedup();
        program
    }
}

impl Rule {
    /// Types and nothing else.
    fn of(types: Types) -> Self {
        Self {
            types,
            checked: Types::NONE,
            gaps: Types::NONE,
            object: None,
            array: None,
            string: None,
            number: None,
            steps: Span::default(),
        }
    }
}

impl Draftsman {
    /// The place of a keyword.
    fn at(&self, keyword: &str) -> String {
        child(&self.pointer, keyword)
    }
}

impl<'s> Compiler<'s> {
    /// The rule of a schema; compiled later where it is new.
    fn rule(&mut self, schema: &'s Value, pointer: String) -> RuleId {
        let (schema, pointer) = self.follow(schema, pointer);
        let map = match schema {
            Value::Bool(false) => return RuleId::NEVER,
            Value::Object(map) if !map.is_empty() => map,
            _ => return RuleId::ANY,
        };
        if let Some(known) = self.known.get(&std::ptr::from_ref(schema)) {
            return *known;
        }
        let mut rule = Rule::of(Types::ALL);
        if self.program.rules.len() >= RULES_MAX {
            self.gap(&pointer, "", "the schema is too large");
            (rule.checked, rule.gaps) = (Types::ALL, Types::ALL);
            return self.push(rule);
        }
        let id = self.push(rule);
        self.known.insert(std::ptr::from_ref(schema), id);
        self.work.push((id, map, pointer));
        id
    }

    fn push(&mut self, rule: Rule) -> RuleId {
        self.program.rules.push(rule);
        RuleId(self.program.rules.len() as u32 - 1)
    }

    fn compile(&mut self, schema: &'s Map<String, Value>, pointer: String) -> Rule {
        let mut making = Draftsman { pointer, rule: Rule::of(Types::ALL), steps: Vec::new() };
        self.left_to_the_library(schema, &mut making);
        if let Some(reference) = schema.get("$ref") {
            self.reference(reference, &mut making);
        }
        // Draft-07 ignores what stands beside a reference.
        if self.draft == Draft::Latest || !schema.contains_key("$ref") {
            self.types(schema, &mut making);
            self.literals(schema, &mut making);
            self.strings(schema, &mut making);
            self.numbers(schema, &mut making);
            self.arrays(schema, &mut making);
            self.objects(schema, &mut making);
            self.combinations(schema, &mut making);
        }
        let Draftsman { mut rule, steps, .. } = making;
        rule.steps = stretch(&mut self.program.steps, steps);
        let checked = [
            (rule.object.is_some(), Types::OBJECT),
            (rule.array.is_some(), Types::ARRAY),
            (rule.string.is_some(), Types::STRING),
            (rule.number.is_some(), Types::NUMBER),
            (rule.steps.len > 0, Types::ALL),
        ];
        rule.checked = checked
            .into_iter()
            .filter_map(|(there, types)| there.then_some(types))
            .fold(rule.gaps, Types::with);
        rule
    }

    fn left_to_the_library(&mut self, schema: &Map<String, Value>, making: &mut Draftsman) {
        for (keyword, draft, types, why) in LEFT_TO_THE_LIBRARY {
            if draft == self.draft && schema.contains_key(keyword) {
                self.leave(making, keyword, types, why);
            }
        }
        let own = schema.get("$schema").filter(|own| own.is_string());
        if own.is_some_and(|own| Draft::of(own) != Some(self.draft)) {
            self.leave(making, "$schema", Types::ALL, "a draft of its own within the document");
        }
    }

    fn combinations(&mut self, schema: &'s Map<String, Value>, making: &mut Draftsman) {
        let all = self.schemas(schema, "allOf", making);
        making.steps.extend(all.into_iter().map(Step::All));
        for (keyword, step) in
            [("anyOf", Step::Any as fn(Span) -> Step), ("oneOf", Step::One as fn(Span) -> Step)]
        {
            if schema.contains_key(keyword) {
                let rules = self.schemas(schema, keyword, making);
                making.steps.push(step(stretch(&mut self.program.lists, rules)));
            }
        }
        let mut one =
            |keyword: &str| schema.get(keyword).map(|found| self.rule(found, making.at(keyword)));
        let not = one("not").map(Step::Not);
        let condition = one("if").map(|condition| {
            let (then, otherwise) = (one("then"), one("else"));
            let any = RuleId::ANY;
            Step::If(condition, then.unwrap_or(any), otherwise.unwrap_or(any))
        });
        making.steps.extend([not, condition].into_iter().flatten());
    }

    /// The rules of a keyword that holds an array of schemas.
    fn schemas(
        &mut self,
        schema: &'s Map<String, Value>,
        keyword: &str,
        making: &Draftsman,
    ) -> Vec<RuleId> {
        let found = schema.get(keyword).and_then(Value::as_array).into_iter().flatten();
        let pointer = making.at(keyword);
        found
            .enumerate()
            .map(|(index, schema)| self.rule(schema, format!("{pointer}/{index}")))
            .collect()
    }

    /// Leaves a keyword to the library.
    fn leave(&mut self, making: &mut Draftsman, keyword: &str, types: Types, why: &str) {
        making.rule.gaps = making.rule.gaps.with(types);
        let pointer = making.at(keyword);
        self.gap(&pointer, keyword, why);
    }

    fn gap(&mut self, pointer: &str, keyword: &str, why: &str) {
        self.program.gaps.push(Gap {
            pointer: pointer.to_owned(),
            keyword: keyword.to_owned(),
            why: why.to_owned(),
        });
    }
}

/// Appends to one of the program's vectors; the stretch.
fn stretch<T>(all: &mut Vec<T>, more: Vec<T>) -> Span {
    let span = Span { start: all.len() as u32, len: more.len() as u32 };
    all.extend(more);
    span
}

/// A pointer to a member.
fn child(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}
