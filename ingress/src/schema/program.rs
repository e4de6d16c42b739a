//! A schema as a flat program: vectors of small rules that name each other by index.
//!
//! It never says more than it knows. Every rule has three outcomes; what is not covered is
//! [`Verdict::Unknown`], and the `jsonschema` crate is asked. The program borrows nothing from the
//! schema and is immutable once compiled.

use std::ops::RangeInclusive;

use super::format::Format;
use super::literal::Literal;
use super::names::{NameTable, Names};
use super::number::Number;
use super::pattern::Pattern;

/// What a rule says about a value. Ordered, so that *and* is the minimum and *or* the maximum
/// (Kleene's three-valued logic).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// Surely invalid.
    Invalid,
    /// Ask the library.
    Unknown,
    /// Surely valid.
    Valid,
}

impl Verdict {
    /// Sure either way.
    pub fn sure(valid: bool) -> Self {
        if valid { Self::Valid } else { Self::Invalid }
    }

    /// What `not` makes of it.
    pub fn negated(self) -> Self {
        match self {
            Self::Invalid => Self::Valid,
            Self::Unknown => Self::Unknown,
            Self::Valid => Self::Invalid,
        }
    }
}

/// A set of types; numbers are split, so that `integer` is one bit and `number` two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Types(pub u8);

impl Types {
    /// `null`
    pub const NULL: Self = Self(1);
    /// `boolean`
    pub const BOOLEAN: Self = Self(1 << 1);
    /// `object`
    pub const OBJECT: Self = Self(1 << 2);
    /// `array`
    pub const ARRAY: Self = Self(1 << 3);
    /// `string`
    pub const STRING: Self = Self(1 << 4);
    /// A whole number, `1.0` among them.
    pub const INTEGER: Self = Self(1 << 5);
    /// A number that is not whole.
    pub const FRACTION: Self = Self(1 << 6);
    /// `number`
    pub const NUMBER: Self = Self(Self::INTEGER.0 | Self::FRACTION.0);
    /// No type.
    pub const NONE: Self = Self(0);
    /// Every type.
    pub const ALL: Self = Self(0x7f);

    /// Whether the sets meet.
    pub fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets.
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The index of a rule of [`Program::rules`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RuleId(pub u32);

impl RuleId {
    /// The schema `true`.
    pub const ANY: Self = Self(0);
    /// The schema `false`.
    pub const NEVER: Self = Self(1);
}

/// A stretch of one of the program's vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub start: u32,
    pub len: u32,
}

impl Span {
    /// The stretch itself.
    pub fn of<T>(self, all: &[T]) -> &[T] {
        &all[self.start as usize..][..self.len as usize]
    }
}

/// One schema object: its types, and an index for each type that has further rules.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    /// The types that may pass.
    pub types: Types,
    /// The types that something beyond `types` is said about; the others are decided by `types`.
    pub checked: Types,
    /// The types for which a keyword is not covered: at best unknown.
    pub gaps: Types,
    /// Index into [`Program::objects`], `arrays`, `strings`, `numbers`.
    pub object: Option<u32>,
    pub array: Option<u32>,
    pub string: Option<u32>,
    pub number: Option<u32>,
    /// What is said about values of any type.
    pub steps: Span,
}

/// What is said about an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ObjectRule {
    /// Declared and required names; required ones come first.
    pub names: Names,
    /// How many of the names are required.
    pub required: u32,
    /// Members by pattern, in [`Program::patterned`].
    pub patterned: Span,
    /// Members that nothing names.
    pub additional: RuleId,
    /// Every name, as a string.
    pub property_names: RuleId,
    pub members_min: u64,
    pub members_max: u64,
    /// Rules that the presence of a member brings, in [`Program::dependents`].
    pub dependents: Span,
}

/// What a present member brings.
#[derive(Clone, Debug)]
pub(crate) struct Dependent {
    pub trigger: Box<str>,
    /// The whole object must obey.
    pub rule: RuleId,
}

/// What is said about an array.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ArrayRule {
    /// The first elements, one rule each, in [`Program::lists`].
    pub prefix: Span,
    /// The other elements.
    pub rest: RuleId,
    pub elements_min: u64,
    pub elements_max: u64,
    pub unique: bool,
    pub contains: Option<Contains>,
}

/// How many elements must obey a rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contains {
    pub rule: RuleId,
    pub min: u64,
    pub max: u64,
}

/// What is said about a string. Lengths are in code points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StringRule {
    pub length_min: u64,
    pub length_max: u64,
    /// Index into [`Program::patterns`].
    pub pattern: Option<u32>,
    pub format: Option<Format>,
    /// It is one of these.
    pub one_of: Option<Names>,
}

/// What is said about a number.
#[derive(Clone, Debug)]
pub(crate) struct NumberRule {
    /// Whole numbers that obey all of it, if not all that do.
    pub sure: RangeInclusive<i64>,
    pub min: Option<Number>,
    pub max: Option<Number>,
    pub above: Option<Number>,
    pub below: Option<Number>,
    pub multiple_of: Option<super::number::Divisor>,
}

/// What is said about a value of any type. Lists are stretches of [`Program::lists`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// `$ref`, or one of `allOf`.
    All(RuleId),
    /// `anyOf`
    Any(Span),
    /// `oneOf`
    One(Span),
    /// `not`
    Not(RuleId),
    /// `if`, `then`, `else`
    If(RuleId, RuleId, RuleId),
    /// `enum` and `const`: one of a stretch of [`Program::literals`].
    Literals(Span),
}

/// A keyword that is left to the library.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gap {
    /// Where it stands, as a JSON Pointer into the schema's file.
    pub pointer: String,
    /// Which keyword.
    pub keyword: String,
    /// Why it is not covered.
    pub why: String,
}

/// A compiled schema.
#[derive(Debug, Default)]
pub(crate) struct Program {
    pub root: Option<RuleId>,
    pub rules: Vec<Rule>,
    pub objects: Vec<ObjectRule>,
    pub arrays: Vec<ArrayRule>,
    pub strings: Vec<StringRule>,
    pub numbers: Vec<NumberRule>,
    pub steps: Vec<Step>,
    pub lists: Vec<RuleId>,
    pub literals: Vec<Literal>,
    pub patterns: Vec<Pattern>,
    pub patterned: Vec<(u32, RuleId)>,
    pub dependents: Vec<Dependent>,
    pub names: NameTable,
    /// What is left to the library, ordered by place.
    pub gaps: Vec<Gap>,
}
