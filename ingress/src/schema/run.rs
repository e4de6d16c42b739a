//! Runs a program over the tape, in one pass over an object's members.
//!
//! It allocates nothing, and is bounded twice: by depth, so that a reference that leads to itself
//! without consuming input ends, and by fuel, so that no schema makes an event cost more than a
//! multiple of its size. Beyond either bound the library is asked.

use simd_json::{Node, StaticNode};

use super::literal::{members, repeats};
use super::names::{Meaning, Names};
use super::number::{Divisor, Number};
use super::program::{
    ArrayRule, NumberRule, ObjectRule, Program, Rule, RuleId, Step, StringRule, Types, Verdict,
};
use super::unique;
use crate::tape::{Item, extent};

/// Rules within rules. JSON nests 64 deep by default, and few schemas need more than two rules for
/// a level of it.
const DEPTH_MAX: u32 = 200;
/// Rules applied to values, with as many again as a value has members or elements: this many for an
/// event, and so many more for every node on its tape.
const FUEL_LEAST: u32 = 10_000;
const FUEL_PER_NODE: u32 = 64;
/// How many required names of an object are tracked.
pub(crate) const REQUIRED_MAX: usize = 256;

/// One run.
struct Run<'p> {
    program: &'p Program,
    depth: u32,
    fuel: u32,
}

impl Program {
    /// What the schema says about a value.
    pub fn check(&self, item: Item<'_>) -> Verdict {
        let Some(root) = self.root else { return Verdict::Unknown };
        let nodes = item.nodes();
        let fuel = FUEL_PER_NODE.saturating_mul(extent(nodes) as u32).saturating_add(FUEL_LEAST);
        Run { program: self, depth: 0, fuel }.check(root, nodes)
    }
}

impl Run<'_> {
    /// What a rule says about the first value of these nodes. Texts and numbers, which most values
    /// are, are decided on the way.
    #[inline]
    fn check(&mut self, id: RuleId, nodes: &[Node<'_>]) -> Verdict {
        let rule = &self.program.rules[id.0 as usize];
        let types = types(&nodes[0]);
        if !rule.types.meets(types) {
            return Verdict::Invalid;
        }
        if !rule.checked.meets(types) {
            return Verdict::Valid;
        }
        if self.fuel == 0 {
            return Verdict::Unknown;
        }
        self.fuel -= 1;
        match nodes[0] {
            Node::String(text) if rule.steps.len == 0 => self.text(rule, text),
            Node::Static(value) if rule.steps.len == 0 => self.number(rule, types, value),
            _ => self.apply(rule, types, nodes),
        }
    }

    /// A rule that says something about containers, or about values of any type.
    #[inline(never)]
    fn apply(&mut self, rule: &Rule, types: Types, nodes: &[Node<'_>]) -> Verdict {
        if self.depth == DEPTH_MAX {
            return Verdict::Unknown;
        }
        self.depth += 1;
        if let Node::Object { len, .. } | Node::Array { len, .. } = nodes[0] {
            self.fuel = self.fuel.saturating_sub(len as u32);
        }
        let program = self.program;
        let best = if rule.gaps.meets(types) { Verdict::Unknown } else { Verdict::Valid };
        let verdict = match nodes[0] {
            Node::Object { len, .. } => match rule.object {
                Some(index) => self.object(&program.objects[index as usize], len, nodes),
                None => Verdict::Valid,
            },
            Node::Array { len, .. } => match rule.array {
                Some(index) => self.array(&program.arrays[index as usize], len, nodes),
                None => Verdict::Valid,
            },
            Node::String(text) => self.text(rule, text),
            Node::Static(value) => self.number(rule, types, value),
        };
        let verdict = self.steps(rule, nodes, best.min(verdict));
        self.depth -= 1;
        verdict
    }

    #[inline(never)]
    fn text(&self, rule: &Rule, text: &str) -> Verdict {
        let best = if rule.gaps.meets(Types::STRING) { Verdict::Unknown } else { Verdict::Valid };
        let Some(index) = rule.string else { return best };
        best.min(self.string(&self.program.strings[index as usize], text))
    }

    #[inline(always)]
    fn number(&self, rule: &Rule, types: Types, value: StaticNode) -> Verdict {
        let best = if rule.gaps.meets(types) { Verdict::Unknown } else { Verdict::Valid };
        let Some(index) = rule.number else { return best };
        best.min(number(&self.program.numbers[index as usize], value))
    }

    #[inline(always)]
    fn object(&mut self, rule: &ObjectRule, len: usize, nodes: &[Node<'_>]) -> Verdict {
        let mut verdict = counts(rule, len, nodes);
        let mut seen = [0_u64; REQUIRED_MAX / 64];
        let mut missing = rule.required;
        let mut rest = &nodes[1..];
        for _ in 0..len {
            let (Node::String(name), value) = (&rest[0], &rest[1..]) else {
                unreachable!("a member's name is a string")
            };
            rest = &value[extent(value)..];
            let found = self.program.names.find(rule.names, name);
            if let Some(Meaning { index, .. }) = found
                && index < rule.required
            {
                let (word, bit) = (&mut seen[index as usize / 64], 1 << (index % 64));
                missing -= u32::from(*word & bit == 0);
                *word |= bit;
            }
            let member = match found.and_then(|found| found.rule) {
                Some(RuleId::ANY) if rule.patterned.len == 0 => continue,
                Some(member) if rule.patterned.len == 0 => self.check(member, value),
                None if rule.patterned.len == 0 => self.check(rule.additional, value),
                declared => self.patterned(rule, declared, name, value),
            };
            verdict = verdict.min(member);
            if verdict == Verdict::Invalid {
                // A repeated member's last value counts, and this may be another.
                return if repeats(nodes) { Verdict::Unknown } else { Verdict::Invalid };
            }
        }
        if missing > 0 {
            return Verdict::Invalid;
        }
        verdict.min(self.names_and_dependents(rule, nodes))
    }

    /// A member of an object that has rules by pattern.
    fn patterned(
        &mut self,
        rule: &ObjectRule,
        declared: Option<RuleId>,
        name: &str,
        value: &[Node<'_>],
    ) -> Verdict {
        let mut verdict = declared.map_or(Verdict::Valid, |declared| self.check(declared, value));
        let mut named = Verdict::sure(declared.is_some());
        for (pattern, member) in rule.patterned.of(&self.program.patterned) {
            let matches = self.program.patterns[*pattern as usize].matches(name);
            named = named.max(matches);
            // No match, or obeyed.
            verdict = verdict.min(matches.negated().max(self.check(*member, value)));
        }
        match named {
            Verdict::Valid => verdict,
            _ => verdict.min(named.max(self.check(rule.additional, value))),
        }
    }

    fn names_and_dependents(&mut self, rule: &ObjectRule, nodes: &[Node<'_>]) -> Verdict {
        let mut verdict = Verdict::Valid;
        if rule.property_names != RuleId::ANY {
            for (name, _) in members(nodes) {
                verdict = verdict.min(self.check(rule.property_names, &[Node::String(name)]));
            }
        }
        for dependent in rule.dependents.of(&self.program.dependents) {
            if members(nodes).any(|(name, _)| *name == *dependent.trigger) {
                verdict = verdict.min(self.check(dependent.rule, nodes));
            }
        }
        verdict
    }

    #[inline(always)]
    fn array(&mut self, rule: &ArrayRule, len: usize, nodes: &[Node<'_>]) -> Verdict {
        if (len as u64) < rule.elements_min || len as u64 > rule.elements_max {
            return Verdict::Invalid;
        }
        let prefix = rule.prefix.of(&self.program.lists);
        let mut verdict = Verdict::Valid;
        let (mut sure, mut possible) = (0, 0);
        let mut rest = &nodes[1..];
        for index in 0..len {
            let element = rest;
            rest = &rest[extent(rest)..];
            let member = prefix.get(index).copied().unwrap_or(rule.rest);
            verdict = verdict.min(self.check(member, element));
            if verdict == Verdict::Invalid {
                return Verdict::Invalid;
            }
            if let Some(contains) = rule.contains {
                let found = self.check(contains.rule, element);
                sure += u64::from(found == Verdict::Valid);
                possible += u64::from(found != Verdict::Invalid);
            }
        }
        if let Some(contains) = rule.contains {
            verdict = verdict.min(between(contains.min, contains.max, sure, possible));
        }
        if rule.unique {
            verdict = verdict.min(unique::check(len, &nodes[1..]));
        }
        verdict
    }

    fn string(&self, rule: &StringRule, text: &str) -> Verdict {
        if !length_fits(rule.length_min, rule.length_max, text) {
            return Verdict::Invalid;
        }
        let is_one = |names: Names| self.program.names.find(names, text).is_some();
        if rule.one_of.is_some_and(|names| !is_one(names)) {
            return Verdict::Invalid;
        }
        let pattern = rule
            .pattern
            .map_or(Verdict::Valid, |index| self.program.patterns[index as usize].matches(text));
        pattern.min(rule.format.map_or(Verdict::Valid, |format| format.check(text)))
    }

    fn steps(&mut self, rule: &Rule, nodes: &[Node<'_>], mut verdict: Verdict) -> Verdict {
        for step in rule.steps.of(&self.program.steps) {
            if verdict == Verdict::Invalid {
                break;
            }
            verdict = verdict.min(self.step(*step, nodes));
        }
        verdict
    }

    fn step(&mut self, step: Step, nodes: &[Node<'_>]) -> Verdict {
        let program = self.program;
        match step {
            Step::All(rule) => self.check(rule, nodes),
            Step::Not(rule) => self.check(rule, nodes).negated(),
            Step::Any(rules) => {
                let mut verdict = Verdict::Invalid;
                for rule in rules.of(&program.lists) {
                    verdict = verdict.max(self.check(*rule, nodes));
                    if verdict == Verdict::Valid {
                        break;
                    }
                }
                verdict
            }
            Step::One(rules) => {
                let (mut sure, mut possible) = (0, 0);
                for rule in rules.of(&program.lists) {
                    let found = self.check(*rule, nodes);
                    sure += u64::from(found == Verdict::Valid);
                    possible += u64::from(found != Verdict::Invalid);
                    if sure > 1 {
                        break;
                    }
                }
                between(1, 1, sure, possible)
            }
            Step::If(condition, then, otherwise) => match self.check(condition, nodes) {
                Verdict::Valid => self.check(then, nodes),
                Verdict::Invalid => self.check(otherwise, nodes),
                Verdict::Unknown => {
                    let (then, otherwise) = (self.check(then, nodes), self.check(otherwise, nodes));
                    if then == otherwise { then } else { Verdict::Unknown }
                }
            },
            Step::Literals(literals) => {
                let literals = literals.of(&program.literals).iter();
                literals.map(|one| one.equals(nodes)).max().unwrap_or(Verdict::Invalid)
            }
        }
    }
}

/// The type of the first value.
#[inline]
fn types(node: &Node<'_>) -> Types {
    match node {
        Node::String(_) => Types::STRING,
        Node::Object { .. } => Types::OBJECT,
        Node::Array { .. } => Types::ARRAY,
        Node::Static(StaticNode::Null) => Types::NULL,
        Node::Static(StaticNode::Bool(_)) => Types::BOOLEAN,
        Node::Static(StaticNode::I64(_) | StaticNode::U64(_)) => Types::INTEGER,
        Node::Static(StaticNode::F64(number)) => {
            if number.fract() == 0.0 {
                Types::INTEGER
            } else {
                Types::FRACTION
            }
        }
    }
}

/// The bounds on the number of members. Repeated ones count once, so there may be fewer.
fn counts(rule: &ObjectRule, len: usize, nodes: &[Node<'_>]) -> Verdict {
    let fits = |len: u64| rule.members_min <= len && len <= rule.members_max;
    if fits(len as u64) && (rule.members_min <= 1 || !repeats(nodes)) {
        return Verdict::Valid;
    }
    if (len as u64) < rule.members_min {
        return Verdict::Invalid;
    }
    if repeats(nodes) { Verdict::Unknown } else { Verdict::sure(fits(len as u64)) }
}

/// Whether a count that is somewhere in `sure..=possible` stands between the bounds.
fn between(min: u64, max: u64, sure: u64, possible: u64) -> Verdict {
    if possible < min || sure > max {
        Verdict::Invalid
    } else if sure >= min && possible <= max {
        Verdict::Valid
    } else {
        Verdict::Unknown
    }
}

/// A code point takes one to four bytes: most lengths are decided without counting.
fn length_fits(min: u64, max: u64, text: &str) -> bool {
    let bytes = text.len() as u64;
    let fewest = bytes.div_ceil(4);
    if min <= fewest && bytes <= max {
        return true;
    }
    (min..=max).contains(&(text.chars().count() as u64))
}

#[inline]
fn number(rule: &NumberRule, value: StaticNode) -> Verdict {
    let whole = match value {
        StaticNode::I64(whole) => Some(whole),
        StaticNode::U64(whole) => i64::try_from(whole).ok(),
        StaticNode::F64(_) | StaticNode::Bool(_) | StaticNode::Null => None,
    };
    if whole.is_some_and(|whole| rule.sure.contains(&whole)) {
        return Verdict::Valid;
    }
    Number::of(value).map_or(Verdict::Valid, |value| bounds(rule, value))
}

fn bounds(rule: &NumberRule, value: Number) -> Verdict {
    let bound = |limit: Option<Number>, fits: fn(std::cmp::Ordering) -> bool| {
        limit.map_or(Verdict::Valid, |limit| {
            value.compare(limit).map_or(Verdict::Unknown, |order| Verdict::sure(fits(order)))
        })
    };
    bound(rule.min, std::cmp::Ordering::is_ge)
        .min(bound(rule.max, std::cmp::Ordering::is_le))
        .min(bound(rule.above, std::cmp::Ordering::is_gt))
        .min(bound(rule.below, std::cmp::Ordering::is_lt))
        .min(rule.multiple_of.map_or(Verdict::Valid, |one: Divisor| one.divides(value)))
}
