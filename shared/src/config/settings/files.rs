//! The file layer: finds the files, reads them, and hands their settings on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::super::document::{Document, FILE_BYTES_MAX};
use super::super::value::Wrong;
use super::{Origin, Settings};

impl Settings {
    /// Reads the files in the given order; one that was read before is not read again.
    pub(super) fn files(&mut self, given: &[PathBuf]) {
        let mut seen = BTreeSet::new();
        for path in given {
            for file in self.expand(path) {
                let real = file.canonicalize().unwrap_or_else(|_| file.clone());
                if seen.insert(real) {
                    self.file(&file);
                }
            }
        }
    }

    /// A directory's `*.toml` by name, then those of its `sources/`.
    fn expand(&mut self, path: &Path) -> Vec<PathBuf> {
        if !path.is_dir() {
            return vec![path.to_owned()];
        }
        let mut files = self.directory(path);
        let sources = path.join("sources");
        if sources.is_dir() {
            files.extend(self.directory(&sources));
        }
        files
    }

    fn directory(&mut self, path: &Path) -> Vec<PathBuf> {
        self.read.add(path);
        let listed = std::fs::read_dir(path).and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()
        });
        match listed {
            Ok(mut files) => {
                files.retain(|file| file.extension().is_some_and(|end| end == "toml"));
                files.sort();
                files
            }
            Err(error) => {
                self.unreadable(path, &error.to_string());
                Vec::new()
            }
        }
    }

    fn file(&mut self, path: &Path) {
        self.read.add(path);
        let text = match std::fs::read(path).map(String::from_utf8) {
            Ok(Ok(text)) if text.len() <= FILE_BYTES_MAX => text,
            Ok(Ok(text)) => {
                let length = text.len();
                let bound = format!("{length} bytes are above the bound of {FILE_BYTES_MAX} bytes");
                return self.unreadable(path, &bound);
            }
            Ok(Err(_)) => return self.unreadable(path, "not UTF-8"),
            Err(error) => return self.unreadable(path, &error.to_string()),
        };
        self.document(path, &text);
    }

    fn document(&mut self, path: &Path, text: &str) {
        let mut document = Document::read(text, &|name| self.entries(name).len());
        let origin = |line| Origin::File(path.to_owned(), line);
        for fault in document.faults {
            let wrong = Wrong { message: fault.message, hint: fault.hint };
            self.fault(origin(fault.line), &fault.key, wrong);
        }
        for (table, line) in document.tables {
            self.tables.entry(table).or_insert_with(|| origin(line));
        }
        // A key given twice is checked too, but the first one counts: it comes last.
        document.settings.sort_by_key(|setting| !setting.again);
        let base = path.parent();
        for setting in document.settings {
            self.set(&setting.path, &setting.raw, origin(setting.line), base);
        }
    }

    fn unreadable(&mut self, path: &Path, why: &str) {
        let wrong = Wrong::new(format!("cannot be read: {why}"));
        self.fault(Origin::File(path.to_owned(), 0), "", wrong);
    }
}
