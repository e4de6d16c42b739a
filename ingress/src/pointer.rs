//! JSON Pointer (RFC 6901) on the tape: where a source's configuration says an attribute stands.

use crate::reject::Reject;
use crate::tape::Item;

/// A pointer, split and unescaped once.
#[derive(Clone, Debug)]
pub(crate) struct Pointer(Vec<Token>);

#[derive(Clone, Debug)]
struct Token {
    name: String,
    /// Where it can be one: the index of an element.
    index: Option<usize>,
}

impl Pointer {
    /// Of a text that the configuration has checked.
    pub fn parse(text: &str) -> Self {
        let token = |token: &str| {
            let name = token.replace("~1", "/").replace("~0", "~");
            Token { index: name.parse().ok(), name }
        };
        Self(text.split('/').skip(1).map(token).collect())
    }

    /// The value there. A repeated member on the way is refused: two readers of the body would see
    /// two events.
    pub fn find<'t>(&self, root: Item<'t>) -> Result<Option<Item<'t>>, Reject> {
        let mut item = root;
        for token in &self.0 {
            let next = if item.members().is_some() {
                member(item, &token.name)?
            } else {
                let elements = item.elements();
                token.index.and_then(|index| elements.and_then(|mut elements| elements.nth(index)))
            };
            match next {
                Some(next) => item = next,
                None => return Ok(None),
            }
        }
        Ok(Some(item))
    }
}

fn member<'t>(object: Item<'t>, name: &str) -> Result<Option<Item<'t>>, Reject> {
    let mut named = object.members().into_iter().flatten().filter(|(found, _)| *found == name);
    match (named.next(), named.next()) {
        (first, None) => Ok(first.map(|(_, value)| value)),
        (_, Some(_)) => Err(Reject::Duplicate { member: name.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape::{JsonBounds, Parser};

    #[test]
    fn pointers_find_and_refuse_the_ambiguous() {
        let text = br#"{"a":{"b/c":[10,{"d":"x"}]},"e":1,"e":2}"#;
        let mut parser = Parser::new(JsonBounds { depth_max: 64, members_max: 64 });
        let parsed = parser.parse(text).expect("valid");
        let check = |pointer: &str, expected: Result<Option<serde_json::Value>, Reject>| {
            let found =
                Pointer::parse(pointer).find(parsed.root()).map(|item| item.map(Item::to_value));
            assert_eq!(found, expected, "{pointer}");
        };
        check("/a/b~1c/1/d", Ok(Some("x".into())));
        check("/a/b~1c/0", Ok(Some(10.into())));
        check("/a/b~1c/2", Ok(None));
        check("/a/x", Ok(None));
        check("/a/b~1c/0/y", Ok(None));
        check("/e", Err(Reject::Duplicate { member: "e".to_owned() }));
    }
}
