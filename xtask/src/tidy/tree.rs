//! The files that are, or are about to be, committed. Ignored files are none of our business.

use std::{fs, process::Command};

use anyhow::{Context, Result};

use super::source::{Masked, mask};
use crate::{command, workspace};

/// All files of the work tree that git does not ignore.
#[derive(Debug)]
pub struct Tree {
    /// In git's order.
    pub files: Vec<File>,
}

/// One file.
#[derive(Debug)]
pub struct File {
    /// Relative to the root, with `/`.
    pub path: String,
    /// Its size.
    pub bytes: usize,
    /// None for what is no text.
    pub text: Option<String>,
    /// Code and comments apart, for Rust.
    pub rust: Option<Masked>,
}

impl Tree {
    /// Asks git for the files and reads them.
    pub fn read() -> Result<Self> {
        let mut git = Command::new("git");
        git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let paths = command::capture(git.current_dir(workspace::root()))?;
        let paths = paths.split_terminator('\0');
        // A file that is deleted but not yet committed so is listed without being there.
        let paths = paths.filter(|path| workspace::root().join(path).is_file());
        let files = paths.map(|path| {
            let bytes = fs::read(workspace::root().join(path))
                .with_context(|| format!("could not read {path}"))?;
            Ok(File::new(path, bytes))
        });
        Ok(Self { files: files.collect::<Result<_>>()? })
    }

    /// True when there is such a file.
    pub fn contains(&self, path: &str) -> bool {
        self.files.iter().any(|file| file.path == path)
    }

    /// The Rust files below `folder/` (all of them for an empty one).
    pub fn rust_below<'a>(
        &'a self,
        folder: &'a str,
    ) -> impl Iterator<Item = (&'a File, &'a Masked)> {
        let is_below = move |file: &&File| {
            folder.is_empty()
                || file.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
        };
        self.files.iter().filter(is_below).filter_map(|file| Some((file, file.rust.as_ref()?)))
    }
}

impl File {
    /// A file of these bytes.
    pub fn new(path: &str, bytes: Vec<u8>) -> Self {
        let size = bytes.len();
        let text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
        let rust = text.as_deref().filter(|_| path.ends_with(".rs")).map(mask);
        Self { path: path.to_owned(), bytes: size, text, rust }
    }
}

/// A tree of planted files, for the checks' own tests.
#[cfg(test)]
pub fn plant(files: &[(&str, &str)]) -> Tree {
    let files = files.iter().map(|(path, text)| File::new(path, text.as_bytes().to_vec()));
    Tree { files: files.collect() }
}
