//! Relative links in Markdown lead to files that are there. Asks no network: what an `https:`
//! link leads to is not checked.

use std::path::Path;

use super::tree::Tree;
use crate::workspace;

/// Every relative link that leads nowhere.
pub fn check(tree: &Tree) -> Vec<String> {
    let pages = tree.files.iter().filter(|file| file.path.ends_with(".md"));
    pages
        .flat_map(|file| {
            let text = file.text.as_deref().unwrap_or_default();
            dead_links(&file.path, text, |path| workspace::root().join(path).exists())
        })
        .collect()
}

fn dead_links(page: &str, text: &str, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let folder = Path::new(page).parent().unwrap_or(Path::new(""));
    let is_dead = |target: &&str| {
        let path = target.split(['#', '?']).next().unwrap_or_default();
        let is_elsewhere = target.contains("://") || target.starts_with("mailto:");
        !path.is_empty() && !is_elsewhere && !exists(&folder.join(path))
    };
    prose(text)
        .flat_map(|(number, line)| {
            let dead = targets(&line).into_iter().filter(is_dead);
            dead.map(|target| format!("{page}:{number}: dead link {target}")).collect::<Vec<_>>()
        })
        .collect()
}

/// The numbered lines outside fenced code, with inline code blanked.
fn prose(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut fenced = false;
    (1..).zip(text.lines()).filter_map(move |(number, line)| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return None;
        }
        let outside = line.split('`').step_by(2).collect::<Vec<_>>().join(" ");
        (!fenced).then_some((number, outside))
    })
}

/// Targets of `[text](target "title")` and `[label]: target`.
fn targets(line: &str) -> Vec<&str> {
    let inline = line.split("](").skip(1).filter_map(|after| after.split([')', ' ']).next());
    let definition = line.strip_prefix('[').and_then(|line| line.split_once("]: "));
    let definition = definition.and_then(|(_, target)| target.split_ascii_whitespace().next());
    inline.chain(definition).map(|target| target.trim_matches(['<', '>'])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planted_dead_link_is_found() {
        let text = "[a](there.md#part) and [b](gone.md \"title\")\n`[c](gone.md)` [d](#here)\n\
                    ```\n[e](gone.md)\n```\n[f]: ../gone.md\n[g](https://example.org/gone.md)\n";
        let found = dead_links("docs/page.md", text, |path| path == Path::new("docs/there.md"));
        let expected =
            ["docs/page.md:1: dead link gone.md", "docs/page.md:6: dead link ../gone.md"];
        assert_eq!(found, expected);
    }
}
