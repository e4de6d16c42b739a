//! Where the elements of a JSON array stand in its text.
//!
//! A record's value is the event's bytes as they were posted, and the tape has no offsets; but the
//! parser's first stage left the offset of every bracket and comma, and those are enough. Only
//! meaningful for a text that parsed: nothing here validates.

use std::ops::Range;

/// The byte range of each element of the array that `text` is, without white space around it.
pub(crate) fn ranges<'t>(
    text: &'t [u8],
    structure: &'t [u32],
) -> impl Iterator<Item = Range<usize>> + 't {
    let mut rest = structure.iter().map(|offset| *offset as usize).skip(1);
    std::iter::from_fn(move || {
        let start = rest.next().filter(|offset| text.get(*offset) != Some(&b']'))?;
        let mut depth = usize::from(matches!(text[start], b'{' | b'['));
        for offset in rest.by_ref() {
            match text.get(offset)? {
                b',' | b']' if depth == 0 => return Some(trimmed(text, start..offset)),
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
        }
        None
    })
}

/// A place in a text without the white space at its ends. JSON's own only (RFC 8259, section 2): a form
/// feed is none.
pub(crate) fn trimmed(text: &[u8], place: Range<usize>) -> Range<usize> {
    let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let part = &text[place.clone()];
    let first = part.iter().position(is_text).unwrap_or(part.len());
    let end = part.iter().rposition(is_text).map_or(first, |last| last + 1);
    place.start + first..place.start + end
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use crate::tape::{JsonBounds, Parser};

    /// The elements as another parser delimits them.
    fn check(text: &str) {
        let mut parser = Parser::new(JsonBounds { depth_max: 64, members_max: 1000 });
        let parsed = parser.parse(text.as_bytes()).expect("valid");
        let found: Vec<&str> =
            super::ranges(text.as_bytes(), parsed.structure()).map(|range| &text[range]).collect();
        let expected: Vec<&RawValue> = serde_json::from_str(text).expect("valid");
        assert_eq!(found, expected.into_iter().map(RawValue::get).collect::<Vec<_>>(), "{text}");
    }

    #[test]
    fn elements_of_every_kind() {
        for text in [
            "[]",
            " [ ] ",
            "[1]",
            "[ 1 , \"a,]\" ,[[],{}], {\"a\":[1,{\"b\":2}]} , null,true ]",
            "[[],[]]\n",
            "[\"\\\"]\",\"\\\\\",-1.5e3]",
        ] {
            check(text);
        }
    }

    fn padded_json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<i64>().prop_map(|n| n.to_string()),
            ".*".prop_map(|s| serde_json::Value::from(s).to_string()),
        ];
        let space = "[ \n\r\t]{0,70}";
        leaf.prop_recursive(4, 48, 5, move |inner| {
            let item = (space, inner, space).prop_map(|(a, item, b)| format!("{a}{item}{b}"));
            let items = prop::collection::vec(item, 0..5);
            prop_oneof![
                items.clone().prop_map(|items| format!("[{}]", items.join(","))),
                items.prop_map(|items| {
                    let member = |(n, item)| format!("\"k{n}\":{item}");
                    let members: Vec<_> = items.iter().enumerate().map(member).collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn elements_are_where_another_parser_finds_them(
            items in prop::collection::vec(padded_json(), 0..6),
        ) {
            check(&format!("[{}]", items.join(" , ")));
        }
    }
}
