//! Patterns, in the library's own reading of ECMA 262: its translation, its short cuts, then the
//! linear-time engine. What that engine cannot do does not load at all.
//!
//! The engine's scratch belongs to the thread that matches and is kept: nothing is allocated for a
//! text once a thread has seen the pattern.

use std::panic::{AssertUnwindSafe, catch_unwind};

use jsonschema_regex::{PatternAnalysis, RepeatedClass, Sequence};
use regex::Regex;

use super::program::Verdict;

/// A compiled pattern, the cheapest form that fits.
#[derive(Debug)]
pub(crate) enum Pattern {
    /// `^text`
    Prefix(Box<str>),
    /// `^text$`
    Exact(Box<str>),
    /// `^(one|other)$`
    OneOf(Vec<String>),
    /// `^\S*$`
    NoWhitespace,
    /// `^[class]{min,max}$`
    Repeated(RepeatedClass),
    /// Classes and literals one after the other; where that cannot tell, the engine does.
    Sequence(Sequence, Regex),
    /// Anything else.
    Engine(Regex),
}

impl Pattern {
    /// Compiles a pattern; `None` where only the library may say what it means.
    pub fn new(pattern: &str) -> Option<Self> {
        match jsonschema_regex::analyze_pattern(pattern) {
            Some(PatternAnalysis::Prefix(text)) => return Some(Self::Prefix(text.into())),
            Some(PatternAnalysis::Exact(text)) => return Some(Self::Exact(text.into())),
            Some(PatternAnalysis::Alternation(texts)) => return Some(Self::OneOf(texts)),
            Some(PatternAnalysis::NoWhitespace) => return Some(Self::NoWhitespace),
            None => {}
        }
        let translated = jsonschema_regex::to_rust_regex(pattern).ok()?;
        if let Some(class) = RepeatedClass::from_translated(&translated) {
            return Some(Self::Repeated(class));
        }
        let engine = Regex::new(&translated).ok()?;
        Some(match Sequence::compile(&translated) {
            Some(sequence) => Self::Sequence(sequence, engine),
            None => Self::Engine(engine),
        })
    }

    /// Whether the text matches somewhere.
    pub fn matches(&self, text: &str) -> Verdict {
        match self {
            Self::Prefix(prefix) => Verdict::sure(text.starts_with(&**prefix)),
            Self::Exact(exact) => Verdict::sure(text == &**exact),
            Self::OneOf(texts) => Verdict::sure(texts.iter().any(|one| one == text)),
            Self::NoWhitespace => Verdict::sure(!jsonschema_regex::contains_ecma_whitespace(text)),
            Self::Repeated(class) => Verdict::sure(class.is_match(text)),
            Self::Sequence(sequence, engine) => match sequence.is_match(text.as_bytes()) {
                Some(matches) => Verdict::sure(matches),
                None => run(engine, text),
            },
            Self::Engine(engine) => run(engine, text),
        }
    }
}

/// The engine is known to panic on rare patterns; the library is asked then, which guards itself
/// in the same way.
fn run(engine: &Regex, text: &str) -> Verdict {
    catch_unwind(AssertUnwindSafe(|| engine.is_match(text))).map_or(Verdict::Unknown, Verdict::sure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_ecma_262_says() {
        let check = |pattern: &str, text: &str, expected: bool| {
            let found = Pattern::new(pattern).expect("compiles").matches(text);
            assert_eq!(found, Verdict::sure(expected), "{pattern} {text}");
        };
        check("^ab", "abc", true);
        check("^ab$", "abc", false);
        check("^(a|b)$", "b", true);
        check(r"^\S*$", "a\u{a0}b", false);
        check("^[a-z]{2,3}$", "abcd", false);
        check(r"^\d+$", "१", false);
        check("a+b", "xaaby", true);
        check("^[0-9a-f]{8}-[0-9a-f]{4}$", "0123abcd-12ef", true);
        assert!(Pattern::new("(?=a)").is_none());
    }
}
