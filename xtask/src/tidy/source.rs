//! Rust source with code and comments apart and literals blanked, so that a check is not fooled
//! by words in strings. A lexer for exactly that; never a parser.

/// A file's text twice, each with the same lines as the original and blanks for the rest.
#[derive(Debug, PartialEq, Eq)]
pub struct Masked {
    /// Code; comments and the inside of literals are blank.
    pub code: String,
    /// Comments, with their slashes.
    pub comments: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// Splits `text`.
pub fn mask(text: &str) -> Masked {
    let mut masked = Masked { code: String::new(), comments: String::new() };
    let mut rest = text;
    let mut previous = ' ';
    while !rest.is_empty() {
        let (kind, length) = token(rest, previous);
        let (token, tail) = rest.split_at(length);
        for character in token.chars() {
            let blank = if character == '\n' { '\n' } else { ' ' };
            masked.code.push(if kind == Kind::Code { character } else { blank });
            masked.comments.push(if kind == Kind::Comment { character } else { blank });
        }
        previous = token.chars().next_back().unwrap_or(' ');
        rest = tail;
    }
    masked
}

/// The kind and length in bytes of what `rest` begins with.
fn token(rest: &str, previous: char) -> (Kind, usize) {
    let first = rest.chars().next().map_or(1, char::len_utf8);
    let inside_word = previous.is_alphanumeric() || previous == '_';
    if rest.starts_with("//") {
        (Kind::Comment, rest.find('\n').unwrap_or(rest.len()))
    } else if rest.starts_with("/*") {
        (Kind::Comment, block_comment(rest))
    } else if let Some(length) = raw_string(rest).filter(|_| !inside_word) {
        (Kind::Literal, length)
    } else if rest.starts_with('"') {
        (Kind::Literal, quoted(rest, '"'))
    } else if rest.starts_with('\'') && is_char_literal(rest) {
        (Kind::Literal, quoted(rest, '\''))
    } else {
        (Kind::Code, first)
    }
}

/// Block comments nest in Rust.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(tail) = rest.get(at..).filter(|tail| !tail.is_empty()) {
        if tail.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += tail.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// `r"…"`, `r#"…"#`, `br"…"` and so on, whole.
fn raw_string(rest: &str) -> Option<usize> {
    let after_b = rest.strip_prefix(['b', 'c']).unwrap_or(rest);
    let after_r = after_b.strip_prefix('r')?;
    let hashes = after_r.len() - after_r.trim_start_matches('#').len();
    let body = after_r[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let start = rest.len() - body.len();
    Some(body.find(&end).map_or(rest.len(), |at| start + at + end.len()))
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        if character == '\\' {
            characters.next();
        } else if character == quote {
            return at + 1;
        }
    }
    rest.len()
}

/// `'a'` and `'\n'` are literals, `'a` is a lifetime.
fn is_char_literal(rest: &str) -> bool {
    let mut characters = rest.chars().skip(1);
    match characters.next() {
        Some('\\') => true,
        Some(_) => characters.next() == Some('\''),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_comments_and_literals_come_apart() {
        let check = |text: &str, code: &str, comments: &str| {
            let masked = mask(text);
            assert_eq!(masked.code.trim_end(), code, "code of {text}");
            assert_eq!(masked.comments.trim(), comments, "comments of {text}");
            assert_eq!(masked.code.chars().count(), text.chars().count());
        };
        check("a // b", "a", "// b");
        check("a /* b /* c */ d */ e", "a                   e", "/* b /* c */ d */");
        check(r#"f("x // y \" z") + 1"#, "f(             ) + 1", "");
        check("g(r#\"a \" b\"#)", "g(          )", "");
        check(r"h('\'', 'x', b'\\') // 'q'", "h(    ,    , b    )", "// 'q'");
        check("fn k<'a>(x: &'a str) {}", "fn k<'a>(x: &'a str) {}", "");
        check("for r in bar {}", "for r in bar {}", "");
        check("\"unclosed", "", "");
    }
}
