//! `cargo xtask docs`: the reference pages that the `shock` binary prints of itself, kept in
//! `docs/`, so that a page never says what the code does not.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

use crate::{command, workspace};

/// Page → what `shock` is asked to print.
const PAGES: [(&str, [&str; 2]); 3] = [
    ("docs/CONFIG.md", ["config", "reference"]),
    ("docs/METRICS.md", ["metrics", "reference"]),
    ("docs/PROBLEMS.md", ["problems", "reference"]),
];

/// What to do with the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Write them.
    Write,
    /// Fail where one is not what the binary prints.
    Check,
}

/// Writes or checks every page.
pub fn run(mode: Mode) -> Result<()> {
    let mut stale = Vec::new();
    for (page, args) in PAGES {
        let mut shock = workspace::cargo();
        shock.args(["run", "--quiet", "-p", "shock", "--"]).args(args);
        let fresh = command::capture(&mut shock)
            .with_context(|| format!("{page} could not be generated"))?;
        let path = workspace::root().join(page);
        match mode {
            Mode::Write => write(&path, &fresh)?,
            Mode::Check => stale.extend(difference(page, &path, &fresh)),
        }
    }
    if !stale.is_empty() {
        bail!("{}\nrun `cargo xtask docs` and commit the result", stale.join("\n"));
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("could not write {}", path.display()))
}

fn difference(page: &str, path: &Path, fresh: &str) -> Option<String> {
    let Ok(committed) = fs::read_to_string(path) else {
        return Some(format!("{page} does not exist"));
    };
    first_difference(&committed, fresh)
        .map(|line| format!("{page} is not what the binary prints, from line {line} on"))
}

/// The number (from 1) of the first line that differs.
fn first_difference(left: &str, right: &str) -> Option<usize> {
    if left == right {
        return None;
    }
    let same = left.lines().zip(right.lines()).take_while(|(left, right)| left == right).count();
    Some(same + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some(2));
        assert_eq!(first_difference("a\n", "a\nb\n"), Some(2));
        assert_eq!(first_difference("", "a\n"), Some(1));
    }
}
