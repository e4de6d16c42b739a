//! JSON text to simd-json's tape, with reused buffers, and why a text is refused.
//!
//! simd-json rewrites what it parses where it unescapes, so it gets a copy; the body itself stays as
//! it was sent. What simd-json refuses is looked at again by RFC 8259's grammar alone: a text that is
//! valid there but not here (lone surrogates, numbers out of range) is not storable, not malformed;
//! in profile `rfc8259` it is parsed once more with stand-ins ([`crate::stand_in`]).

use serde::de::IgnoredAny;
use shared::config::JsonProfile;
use simd_json::{Buffers, ErrorType, INPUT_PADDING, Node, StaticNode, Tape};

use crate::pool::Reusable;
use crate::reject::{Bound, Reject};
use crate::stand_in;

/// A thread's parser and its buffers.
pub(crate) struct Parser {
    copy: Vec<u8>,
    /// A second copy, with stand-ins.
    mended: Vec<u8>,
    buffers: Buffers,
    home: Tape<'static>,
    bounds: JsonBounds,
    profile: JsonProfile,
}

/// The bounds of a JSON text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JsonBounds {
    /// The deepest nesting.
    pub depth_max: usize,
    /// The most members of one object.
    pub members_max: usize,
}

/// A parsed text; its buffers go back to the parser on drop.
pub(crate) struct Parsed<'p> {
    tape: Tape<'p>,
    home: &'p mut Tape<'static>,
    buffers: &'p Buffers,
}

/// One value on the tape: its node and everything below it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item<'t>(&'t [Node<'t>]);

impl Parser {
    /// A parser with these bounds, of profile `postgres`.
    #[cfg(test)]
    pub fn new(bounds: JsonBounds) -> Self {
        Self::with_profile(bounds, JsonProfile::Postgres)
    }

    /// A parser with these bounds.
    pub fn with_profile(bounds: JsonBounds, profile: JsonProfile) -> Self {
        Self {
            copy: Vec::new(),
            mended: Vec::new(),
            buffers: Buffers::with_max_depth(0, bounds.depth_max),
            home: Tape(Vec::new()),
            bounds,
            profile,
        }
    }

    /// Parses one JSON text.
    pub fn parse(&mut self, text: &[u8]) -> Result<Parsed<'_>, Reject> {
        let Self { copy, mended, buffers, home, bounds, profile } = self;
        refill(copy, text);
        let mut tape = std::mem::replace(home, Tape(Vec::new())).reset();
        if let Err(error) = simd_json::fill_tape_padded(copy, text.len(), buffers, &mut tape) {
            let reject = refusal(error.error(), text, *bounds);
            if *profile == JsonProfile::Postgres || !matches!(reject, Reject::NotStorable(_)) {
                return Err(reject);
            }
            refill(mended, text);
            stand_in::put(&mut mended[..text.len()]);
            tape = Tape(Vec::new());
            simd_json::fill_tape_padded(mended, text.len(), buffers, &mut tape)
                .map_err(|error| refusal(error.error(), text, *bounds))?;
        }
        check_members(&tape.0, bounds.members_max)?;
        Ok(Parsed { tape, home, buffers })
    }
}

fn refill(copy: &mut Vec<u8>, text: &[u8]) {
    copy.clear();
    copy.reserve(text.len() + INPUT_PADDING);
    copy.extend_from_slice(text);
    copy.resize(text.len() + INPUT_PADDING, 0);
}

impl Reusable for Parser {
    fn reset(&mut self) {}

    fn bytes(&self) -> usize {
        // The structural indexes and the tape grow with the text; at most as many as it has bytes.
        self.copy.capacity() * (1 + size_of::<u32>())
            + self.mended.capacity()
            + self.home.0.capacity() * size_of::<Node<'_>>()
    }
}

impl Parsed<'_> {
    /// The text's value.
    pub fn root(&self) -> Item<'_> {
        Item(&self.tape.0)
    }

    /// Byte offsets of the text's structure: brackets, colons, commas, the first byte of each value.
    pub fn structure(&self) -> &[u32] {
        self.buffers.structural_indexes()
    }
}

impl Drop for Parsed<'_> {
    fn drop(&mut self) {
        *self.home = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
    }
}

impl<'t> Item<'t> {
    /// Its nodes: itself, then everything below it.
    pub fn nodes(self) -> &'t [Node<'t>] {
        self.0
    }

    /// The text of a string.
    pub fn as_str(self) -> Option<&'t str> {
        match self.0.first() {
            Some(Node::String(text)) => Some(text),
            _ => None,
        }
    }

    /// A number, a boolean or null.
    pub fn as_static(self) -> Option<StaticNode> {
        match self.0.first() {
            Some(Node::Static(value)) => Some(*value),
            _ => None,
        }
    }

    /// Whether it is `null`.
    pub fn is_null(self) -> bool {
        self.as_static() == Some(StaticNode::Null)
    }

    /// The members of an object, in the text's order, duplicates included.
    pub fn members(self) -> Option<impl Iterator<Item = (&'t str, Self)>> {
        let Some(Node::Object { len, .. }) = self.0.first() else { return None };
        let (mut rest, len) = (&self.0[1..], *len);
        let member = move |_| {
            let (name, below) = rest.split_first().expect("an object has len members");
            let Node::String(name) = name else { unreachable!("a member's name is a string") };
            let (value, after) = below.split_at(extent(below));
            rest = after;
            (*name, Self(value))
        };
        Some((0..len).map(member))
    }

    /// The elements of an array.
    pub fn elements(self) -> Option<impl Iterator<Item = Self>> {
        let Some(Node::Array { len, .. }) = self.0.first() else { return None };
        let (mut rest, len) = (&self.0[1..], *len);
        let element = move |_| {
            let (value, after) = rest.split_at(extent(rest));
            rest = after;
            Self(value)
        };
        Some((0..len).map(element))
    }

    /// Whether a string in it, name or value, holds U+0000.
    pub fn holds_nul(self) -> bool {
        self.0.iter().any(|node| match node {
            Node::String(text) => memchr::memchr(0, text.as_bytes()).is_some(),
            Node::Object { .. } | Node::Array { .. } | Node::Static(_) => false,
        })
    }

    /// The numbers in it that are not whole, or beyond 64 bits.
    pub fn floats(self) -> impl Iterator<Item = f64> {
        self.0.iter().filter_map(|node| match node {
            Node::Static(StaticNode::F64(number)) => Some(*number),
            Node::Object { .. } | Node::Array { .. } | Node::String(_) | Node::Static(_) => None,
        })
    }

    /// The same value for the `jsonschema` crate. The nesting is bounded by the parser.
    pub fn to_value(self) -> serde_json::Value {
        use serde_json::Value;
        if let Some(members) = self.members() {
            return members.map(|(name, item)| (name.to_owned(), item.to_value())).collect();
        }
        if let Some(elements) = self.elements() {
            return elements.map(Self::to_value).collect();
        }
        match self.0.first() {
            Some(Node::String(text)) => Value::from(*text),
            Some(Node::Static(StaticNode::Bool(value))) => Value::from(*value),
            Some(Node::Static(StaticNode::I64(value))) => Value::from(*value),
            Some(Node::Static(StaticNode::U64(value))) => Value::from(*value),
            Some(Node::Static(StaticNode::F64(value))) => Value::from(*value),
            _ => Value::Null,
        }
    }
}

/// How many nodes the first value of these takes.
#[inline]
pub(crate) fn extent(nodes: &[Node<'_>]) -> usize {
    match nodes.first() {
        Some(Node::Object { count, .. } | Node::Array { count, .. }) => 1 + count,
        Some(Node::String(_) | Node::Static(_)) => 1,
        None => unreachable!("a container has len values"),
    }
}

fn check_members(nodes: &[Node<'_>], limit: usize) -> Result<(), Reject> {
    let lengths = nodes.iter().map(|node| match node {
        Node::Object { len, .. } => *len,
        Node::Array { .. } | Node::String(_) | Node::Static(_) => 0,
    });
    match lengths.max() {
        Some(observed) if observed > limit => {
            let bound = Bound { name: "json_members_max", limit, observed: Some(observed) };
            Err(Reject::Members(bound))
        }
        Some(_) | None => Ok(()),
    }
}

/// Why simd-json refused the text, in the contract's words.
fn refusal(error: &ErrorType, text: &[u8], bounds: JsonBounds) -> Reject {
    if matches!(error, ErrorType::DepthLimitExceeded) {
        let limit = bounds.depth_max;
        return Reject::Depth(Bound { name: "json_depth_max", limit, observed: None });
    }
    let Ok(text) = std::str::from_utf8(text) else { return Reject::Utf8 };
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(IgnoredAny) => Reject::NotStorable("a lone surrogate or a number out of range"),
        Err(_) => Reject::Json,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: JsonBounds = JsonBounds { depth_max: 4, members_max: 3 };

    #[test]
    fn every_text_has_its_verdict() {
        let check = |text: &[u8], expected: Result<(), &str>| {
            let verdict = Parser::new(BOUNDS).parse(text).map(|_| ()).map_err(|r| r.row().code);
            assert_eq!(verdict, expected, "{}", String::from_utf8_lossy(text));
        };
        check(br#"{"a":[{"b":[]}]}"#, Ok(()));
        check(b"123456789012345678901234567890", Ok(()));
        check(br#"{"a":[{"b":[[]]}]}"#, Err("json_too_deep"));
        check(br#"{"a":1,"b":1,"c":1,"d":1}"#, Err("too_many_members"));
        check(b"1e400", Err("not_storable"));
        check(br#""\ud800""#, Err("not_storable"));
        check(br#""\udc00x""#, Err("not_storable"));
        check(b"\"\xff\"", Err("malformed_utf8"));
        for malformed in [
            "",
            " ",
            "{",
            "{]",
            "[1,]",
            "01",
            "+1",
            "1.",
            "nul",
            "\"\t\"",
            "\"\\x\"",
            "{}{}",
            "'a'",
            "\u{feff}1",
            "[1 2]",
            "{\"a\"}",
            "NaN",
            "\"a",
        ] {
            check(malformed.as_bytes(), Err("malformed_json"));
        }
    }

    #[test]
    fn profile_rfc8259_takes_every_valid_text() {
        let mut parser = Parser::with_profile(BOUNDS, JsonProfile::Rfc8259);
        for text in
            ["1e400", r#""\ud800""#, r#"["\udc00x",-1e999]"#, r#"{"\ud800":[1E9999]}"#, "{}"]
        {
            assert!(parser.parse(text.as_bytes()).is_ok(), "{text}");
        }
        for (text, code) in [
            (r#"["\ud80"]"#, "malformed_json"),
            ("[1e400,]", "malformed_json"),
            (r#"["\ud800",[[[[]]]]]"#, "json_too_deep"),
            (r#"{"a":"\ud800","b":1,"c":1,"d":1}"#, "too_many_members"),
        ] {
            let verdict = parser.parse(text.as_bytes()).map(|_| ()).map_err(|r| r.row().code);
            assert_eq!(verdict, Err(code), "{text}");
        }
    }

    #[test]
    fn a_parser_serves_one_text_after_another() {
        let mut parser = Parser::new(BOUNDS);
        for text in [r#"{"a":"x\ny"}"#, "[", "[1,2,3]", r#"{"a":"x\ny"}"#] {
            let expected = serde_json::from_str::<serde_json::Value>(text).ok();
            let found = parser.parse(text.as_bytes()).ok().map(|parsed| parsed.root().to_value());
            assert_eq!(found, expected, "{text}");
        }
    }

    /// Names are the sender's: in a table by hash they could be made to collide. The values for the
    /// schema library are trees, which compare; a feature of serde_json would change that unseen.
    #[test]
    fn members_are_kept_in_a_tree() {
        let mut parser = Parser::new(BOUNDS);
        let parsed = parser.parse(br#"{"b":1,"c":2,"a":3}"#).expect("valid");
        assert_eq!(parsed.root().to_value().to_string(), r#"{"a":3,"b":1,"c":2}"#);
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<u64>().prop_map(Into::into),
            ".*".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::hash_map(".*", inner, 0..6)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_tape_holds_what_serde_json_reads(value in json()) {
            let bounds = JsonBounds { depth_max: 64, members_max: 64 };
            let mut parser = Parser::new(bounds);
            let text = serde_json::to_string_pretty(&value).expect("a value is JSON");
            let parsed = parser.parse(text.as_bytes()).expect("valid");
            prop_assert_eq!(parsed.root().to_value(), value);
        }

        /// Whatever RFC 8259's grammar rejects, we reject.
        #[test]
        fn nothing_malformed_passes(text in "[\\[\\]{},:\"\\\\0-9eE+. a-z-]{0,40}") {
            let ours = Parser::new(JsonBounds { depth_max: 64, members_max: 64 })
                .parse(text.as_bytes()).map(|_| ());
            let theirs = serde_json::from_str::<IgnoredAny>(&text);
            prop_assert_eq!(ours == Err(Reject::Json), theirs.is_err(), "{:?}", ours);
        }
    }
}
