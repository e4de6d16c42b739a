//! Rules for a single file's name, size and text.

use super::{
    source::Masked,
    tree::{File, Tree},
};

/// Git keeps every version of a file for ever.
const FILE_BYTES_MAX: usize = 1024 * 1024;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 6] = ["util", "utils", "helper", "helpers", "manager", "common"];
/// Words that speak of one machine; spelled in two parts so that this file may be committed.
const WORKPLACE: [&str; 2] = [concat!("/wo", "rk/"), concat!("localhost.local", "domain")];
/// Marks of unfinished work, which need their reason in parentheses: `MARK(reason)`.
const MARKS: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

/// Every rule on every file.
pub fn check(tree: &Tree) -> Vec<String> {
    tree.files.iter().flat_map(check_file).collect()
}

fn check_file(file: &File) -> Vec<String> {
    let mut findings = Vec::new();
    if file.bytes > FILE_BYTES_MAX {
        findings.push(format!("{}: {} bytes; at most {FILE_BYTES_MAX}", file.path, file.bytes));
    }
    if is_empty_name(&file.path) {
        findings.push(format!("{}: name it after the one idea that is in it", file.path));
    }
    if let Some(text) = &file.text {
        findings.extend(in_lines(&file.path, text, |line| {
            if line.ends_with([' ', '\t']) {
                return Some("trailing whitespace".to_owned());
            }
            let word = WORKPLACE.iter().find(|word| line.contains(**word))?;
            Some(format!("{word} speaks of one machine"))
        }));
    }
    if let (Some(text), Some(rust)) = (&file.text, &file.rust) {
        findings.extend(check_rust(&file.path, text, rust));
    }
    findings
}

fn check_rust(path: &str, text: &str, rust: &Masked) -> Vec<String> {
    let mut findings = Vec::new();
    if !text.starts_with("//!") {
        findings.push(format!("{path}:1: open with `//!`: what it is for, what it never does"));
    }
    findings.extend(in_lines(path, &rust.code, |line| {
        let banned = ["#[ignore", "dbg!"].into_iter().find(|banned| line.contains(banned))?;
        Some(format!("no `{banned}`"))
    }));
    findings.extend(in_lines(path, &rust.comments, |line| {
        let mark = MARKS.iter().find(|mark| has_bare_mark(line, mark))?;
        Some(format!("{mark} without its reason in parentheses"))
    }));
    findings
}

fn in_lines(path: &str, text: &str, rule: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let lines = (1..).zip(text.lines());
    lines.filter_map(|(number, line)| Some(format!("{path}:{number}: {}", rule(line)?))).collect()
}

fn is_empty_name(path: &str) -> bool {
    let rust = path.strip_suffix(".rs");
    rust.is_some_and(|path| path.split('/').any(|part| EMPTY_NAMES.contains(&part)))
}

fn has_bare_mark(line: &str, mark: &str) -> bool {
    line.split_once(mark).is_some_and(|(_, after)| {
        let reason = after.strip_prefix('(').and_then(|after| after.split_once(')'));
        reason.is_none_or(|(reason, _)| reason.trim().is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planted_violations_are_found() {
        let check = |path: &str, text: &str, expected: &[&str]| {
            let found = check_file(&File::new(path, text.as_bytes().to_vec()));
            assert_eq!(found, expected, "{path}: {text:?}");
        };
        check("a.rs", "//! Good.\nfn f() {}\n", &[]);
        check(
            "a.rs",
            "fn f() {}\n",
            &["a.rs:1: open with `//!`: what it is for, what it never does"],
        );
        check("a.rs", "//! Good.\n\ndbg!(x);\n", &["a.rs:3: no `dbg!`"]);
        check("a.rs", "//! Good.\n#[ignore = \"slow\"]\n", &["a.rs:2: no `#[ignore`"]);
        check("a.rs", "//! Words.\nf(\"dbg!\"); // dbg!\n", &[]);
        check("a.md", "one \ntwo\n", &["a.md:1: trailing whitespace"]);
        let machine = format!("cd {}main\n", WORKPLACE[0]);
        check("a.md", &machine, &[&format!("a.md:1: {} speaks of one machine", WORKPLACE[0])]);
        let marked = format!("//! Good.\n// {}: later\n", MARKS[0]);
        let expected = format!("a.rs:2: {} without its reason in parentheses", MARKS[0]);
        check("a.rs", &marked, &[&expected]);
        check("a.rs", &format!("//! Good.\n// {}(upstream 12): drop\n", MARKS[1]), &[]);
    }

    #[test]
    fn planted_names_and_sizes_are_found() {
        assert!(is_empty_name("shared/src/utils.rs"));
        assert!(is_empty_name("shared/tests/common/mod.rs"));
        assert!(!is_empty_name("shared/src/commons.rs"));
        let found = check_file(&File::new("a.bin", vec![0; FILE_BYTES_MAX + 1]));
        assert_eq!(found, ["a.bin: 1048577 bytes; at most 1048576"]);
    }
}
