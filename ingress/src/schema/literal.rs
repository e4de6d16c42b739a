//! Equality: a value on the tape beside a literal of the schema, or beside another value.
//!
//! Numbers are equal by value, objects without regard to order. An object with a repeated member
//! counts as its last ones do, which is not worth following here: unknown.

use serde_json::Value;
use simd_json::{Node, StaticNode};

use super::number::Number;
use super::program::Verdict;
use crate::tape::extent;

/// Objects with more members than this are not compared, nor searched for repeated ones.
pub(crate) const MEMBERS_COMPARED_MAX: usize = 64;

/// A value that `enum` or `const` names.
#[derive(Clone, Debug)]
pub(crate) enum Literal {
    Null,
    Boolean(bool),
    Number(Number),
    Text(Box<str>),
    /// An array or an object.
    Container(Value),
}

impl Literal {
    /// Of a schema's value; `None` for a number that is none of ours.
    pub fn new(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Boolean(*value),
            Value::Number(number) => Self::Number(Number::of_schema(number)?),
            Value::String(text) => Self::Text(text.as_str().into()),
            Value::Array(_) | Value::Object(_) => Self::Container(value.clone()),
        })
    }

    /// Whether the first value of these nodes equals it.
    pub fn equals(&self, nodes: &[Node<'_>]) -> Verdict {
        match (self, &nodes[0]) {
            (Self::Null, Node::Static(StaticNode::Null)) => Verdict::Valid,
            (Self::Boolean(one), Node::Static(StaticNode::Bool(other))) => {
                Verdict::sure(one == other)
            }
            (Self::Text(one), Node::String(other)) => Verdict::sure(&**one == *other),
            (Self::Number(one), Node::Static(other)) => {
                Number::of(*other).map_or(Verdict::Invalid, |other| one.equals(other))
            }
            (Self::Container(value), _) => equals_value(nodes, value),
            _ => Verdict::Invalid,
        }
    }
}

/// Whether the first value of these nodes equals a schema's value. Its nesting bounds the recursion.
fn equals_value(nodes: &[Node<'_>], value: &Value) -> Verdict {
    match (&nodes[0], value) {
        (Node::Array { len, .. }, Value::Array(values)) if *len == values.len() => {
            let mut rest = &nodes[1..];
            let mut verdict = Verdict::Valid;
            for value in values {
                verdict = verdict.min(equals_value(rest, value));
                rest = &rest[extent(rest)..];
            }
            verdict
        }
        (Node::Object { len, .. }, Value::Object(_)) if *len > MEMBERS_COMPARED_MAX => {
            Verdict::Unknown
        }
        (Node::Object { len, .. }, Value::Object(values)) => {
            if repeats(nodes) {
                return Verdict::Unknown;
            }
            let mut verdict = Verdict::sure(*len == values.len());
            for (name, below) in members(nodes) {
                let value = values.get(name).map(|value| equals_value(below, value));
                verdict = verdict.min(value.unwrap_or(Verdict::Invalid));
            }
            verdict
        }
        (_, Value::Array(_) | Value::Object(_)) => Verdict::Invalid,
        (_, value) => Literal::new(value).map_or(Verdict::Unknown, |literal| literal.equals(nodes)),
    }
}

/// Whether two values on the tape are equal. The parser's bound on depth bounds the recursion.
pub(crate) fn equals(one: &[Node<'_>], other: &[Node<'_>]) -> Verdict {
    match (&one[0], &other[0]) {
        (Node::String(one), Node::String(other)) => Verdict::sure(one == other),
        (Node::Static(one), Node::Static(other)) => match (Number::of(*one), Number::of(*other)) {
            (Some(one), Some(other)) => one.equals(other),
            _ => Verdict::sure(one == other),
        },
        (Node::Array { len, .. }, Node::Array { len: others, .. }) => {
            if len != others {
                return Verdict::Invalid;
            }
            let (mut ones, mut others) = (&one[1..], &other[1..]);
            let mut verdict = Verdict::Valid;
            for _ in 0..*len {
                verdict = verdict.min(equals(ones, others));
                if verdict == Verdict::Invalid {
                    break;
                }
                (ones, others) = (&ones[extent(ones)..], &others[extent(others)..]);
            }
            verdict
        }
        (Node::Object { len, .. }, Node::Object { len: others, .. }) => {
            if repeats(one) || repeats(other) {
                return Verdict::Unknown;
            }
            let mut verdict = Verdict::sure(len == others);
            for (name, value) in members(one) {
                let found = members(other).find(|(other, _)| *other == name);
                let found = found.map(|(_, other)| equals(value, other));
                verdict = verdict.min(found.unwrap_or(Verdict::Invalid));
                if verdict == Verdict::Invalid {
                    break;
                }
            }
            verdict
        }
        _ => Verdict::Invalid,
    }
}

/// Whether a name stands twice in the object, or may: a large one is not searched.
pub(crate) fn repeats(object: &[Node<'_>]) -> bool {
    let Node::Object { len, .. } = object[0] else { return false };
    if len > MEMBERS_COMPARED_MAX {
        return true;
    }
    members(object)
        .enumerate()
        .any(|(index, (name, _))| members(object).take(index).any(|(other, _)| other == name))
}

/// The members of an object: names, and the nodes from each value on.
pub(crate) fn members<'n, 't>(
    object: &'n [Node<'t>],
) -> impl Iterator<Item = (&'t str, &'n [Node<'t>])> {
    let len = match object[0] {
        Node::Object { len, .. } => len,
        Node::Array { .. } | Node::String(_) | Node::Static(_) => 0,
    };
    let mut rest = &object[1..];
    (0..len).map(move |_| {
        let Node::String(name) = rest[0] else { unreachable!("a member's name is a string") };
        let value = &rest[1..];
        rest = &value[extent(value)..];
        (name, value)
    })
}
