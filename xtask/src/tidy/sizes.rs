//! How long files and functions are: a report, not a rule. Small is a shape that one sees best
//! in the distribution.

use super::tree::Tree;

/// The house's aim for a file.
const FILE_LINES_AIM: usize = 400;
/// The house's aim for a function.
const FUNCTION_LINES_AIM: usize = 70;

/// A function's name, its first line and its number of lines, signature and braces included.
#[derive(Debug, PartialEq, Eq)]
struct Function {
    name: String,
    line: usize,
    lines: usize,
}

/// The distributions, and what is over the aims.
pub fn report(tree: &Tree) -> String {
    let mut over = String::new();
    let mut files = Vec::new();
    let mut functions = Vec::new();
    for (file, source) in tree.rust_below("") {
        let lines = source.code.lines().count();
        files.push(lines);
        if lines > FILE_LINES_AIM {
            over += &format!("over {FILE_LINES_AIM} lines: {} ({lines})\n", file.path);
        }
        for Function { name, line, lines } in functions_of(&source.code) {
            functions.push(lines);
            if lines > FUNCTION_LINES_AIM {
                let place = format!("{}:{line} fn {name}", file.path);
                over += &format!("over {FUNCTION_LINES_AIM} lines: {place} ({lines})\n");
            }
        }
    }
    format!("{}{}{over}", distribution("files", files), distribution("functions", functions))
}

fn distribution(what: &str, mut lines: Vec<usize>) -> String {
    lines.sort_unstable();
    let at = |percent: usize| {
        let index = (lines.len() * percent).div_ceil(100).max(1) - 1;
        lines.get(index).copied().unwrap_or(0)
    };
    format!("{what}: {}; lines: median {}, p95 {}, max {}\n", lines.len(), at(50), at(95), at(100))
}

/// Every function with a body. Generic const expressions in a signature would confuse it; there
/// are none here.
fn functions_of(code: &str) -> Vec<Function> {
    let starts = code.match_indices("fn ").filter(|(at, _)| {
        !code[..*at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
    });
    starts
        .filter_map(|(at, keyword)| {
            let signature = &code[at + keyword.len()..];
            let end = signature.find(|c: char| !c.is_alphanumeric() && c != '_')?;
            let name = signature.get(..end).filter(|name| !name.is_empty())?;
            let body = body_length(signature)?;
            let line = code[..at].matches('\n').count() + 1;
            let lines = signature[..body].matches('\n').count() + 1;
            Some(Function { name: name.to_owned(), line, lines })
        })
        .collect()
}

/// The length up to and with the closing brace; none for a declaration without a body.
fn body_length(signature: &str) -> Option<usize> {
    let mut brackets = 0_i32;
    let mut braces = 0_i32;
    for (at, character) in signature.char_indices() {
        match character {
            '(' | '[' if braces == 0 => brackets += 1,
            ')' | ']' if braces == 0 => brackets -= 1,
            ';' if braces == 0 && brackets == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces -= 1;
                if braces == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_counted() {
        let code = "trait T { fn declared(x: [u8; 4]) -> u8; }\n\
                    pub async fn one(x: fn(u8) -> u8) -> [u8; 2] { [1, 2] }\n\
                    fn three() {\n    if x { y } else { z }\n}\n\
                    macro fn $name() {}\n";
        let expected = [
            Function { name: "one".into(), line: 2, lines: 1 },
            Function { name: "three".into(), line: 3, lines: 3 },
        ];
        assert_eq!(functions_of(code), expected);
    }

    #[test]
    fn what_is_over_the_aim_is_named() {
        let long = format!("fn long() {{\n{}}}\n", "    x;\n".repeat(FUNCTION_LINES_AIM));
        let tree = crate::tidy::tree::plant(&[("a.rs", &long), ("b.rs", "fn b() {}\n")]);
        let text = report(&tree);
        assert!(text.contains("over 70 lines: a.rs:1 fn long (72)"), "{text}");
        assert!(text.contains("functions: 2; lines: median 1, p95 72, max 72"), "{text}");
    }

    #[test]
    fn nothing_has_a_distribution_too() {
        assert_eq!(distribution("files", vec![]), "files: 0; lines: median 0, p95 0, max 0\n");
    }
}
