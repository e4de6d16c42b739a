//! One TOML file as a flat list of settings with their lines.
//!
//! It knows TOML and nothing of what the keys mean. A mistake in the syntax does not hide the
//! others: a key that is given twice is renamed and read on, one broken line is left out.

use std::ops::Range;

use toml_edit::{Item, TableLike, Value};

use super::value::Raw;

/// The largest file, in bytes; a configuration is written by hand, and parsing is repeated per
/// duplicate.
pub(super) const FILE_BYTES_MAX: usize = 256 * 1024;
/// After so many keys given twice the file is not read further.
const DUPLICATES_MAX: usize = 50;
/// What a key given twice is put under, so that the parser lets it pass.
const AGAIN: &str = "__given_again_";

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// The settings in no particular order; entries of arrays of tables as `key[0].id`.
    pub(super) settings: Vec<Typed>,
    /// The tables and their lines: `ingress`, `source.github`, `key[0]`.
    pub(super) tables: Vec<(String, usize)>,
    /// What is wrong with it as TOML.
    pub(super) faults: Vec<SyntaxFault>,
}

/// One setting of a file.
#[derive(Debug)]
pub(super) struct Typed {
    /// Its key, dotted.
    pub(super) path: String,
    /// What was typed.
    pub(super) raw: Raw,
    /// From 1.
    pub(super) line: usize,
    /// Given before in the same file: checked, but not applied.
    pub(super) again: bool,
}

/// What is wrong on a line.
#[derive(Debug)]
pub(super) struct SyntaxFault {
    pub(super) line: usize,
    pub(super) key: String,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Document {
    /// Reads a text. `counted(name)` says how many entries of `[[name]]` earlier files have, so
    /// that the numbers go on.
    pub(super) fn read(text: &str, counted: &dyn Fn(&str) -> usize) -> Self {
        let mut document = Self::default();
        let mut text = text.to_owned();
        let mut duplicates = 0;
        let mut broken = false;
        let parsed = loop {
            match toml_edit::Document::parse(text.clone()) {
                Ok(parsed) => break parsed,
                Err(error) => {
                    let at = error.span().map_or(0, |span| span.start).min(text.len());
                    let line = line_of(&text, at);
                    let duplicate = ["duplicate key", "cannot extend value"]
                        .iter()
                        .any(|begin| error.message().starts_with(begin));
                    if duplicate && duplicates < DUPLICATES_MAX && text.is_char_boundary(at) {
                        text.insert_str(at, &format!("{AGAIN}{duplicates}."));
                        duplicates += 1;
                        continue;
                    }
                    // What follows a second broken line is more likely its consequence than a
                    // mistake of its own.
                    if broken {
                        return document;
                    }
                    broken = true;
                    document.faults.push(SyntaxFault {
                        line,
                        key: String::new(),
                        message: format!("not TOML: {}", error.message().replace('\n', " ")),
                        hint: None,
                    });
                    text = without_line(&text, line);
                }
            }
        };
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at);
        let mut reading = Reading { document: &mut document, line_ends: ends.collect(), counted };
        reading.table(parsed.as_table(), "", 1, false);
        document.name_first_lines();
        document
    }

    /// Completes the faults of keys given twice with where they were given first.
    fn name_first_lines(&mut self) {
        for fault in self.faults.iter_mut().filter(|fault| !fault.key.is_empty()) {
            let firsts = self.settings.iter().filter(|s| !s.again).map(|s| (&s.path, s.line));
            let tables = self.tables.iter().map(|(path, line)| (path, *line));
            fault.hint = firsts
                .chain(tables)
                .filter(|(path, line)| **path == fault.key && *line < fault.line)
                .map(|(_, line)| line)
                .min()
                .map(|line| format!("the first is on line {line}"));
        }
    }
}

/// The walk over one parsed file.
struct Reading<'a> {
    document: &'a mut Document,
    /// Where each line ends, in bytes.
    line_ends: Vec<usize>,
    counted: &'a dyn Fn(&str) -> usize,
}

impl Reading<'_> {
    /// The line of a span, from 1.
    fn line(&self, span: Option<Range<usize>>) -> Option<usize> {
        span.map(|span| self.line_ends.partition_point(|end| *end < span.start) + 1)
    }

    fn table(&mut self, table: &dyn TableLike, path: &str, line: usize, again: bool) {
        if !path.is_empty() {
            if !again {
                self.document.tables.push((path.to_owned(), line));
            }
            if table.is_empty() {
                let (path, raw) = (path.to_owned(), Raw::EmptyTable);
                self.document.settings.push(Typed { path, raw, line, again });
            }
        }
        for (name, item) in table.iter() {
            let key_line = table
                .get_key_value(name)
                .and_then(|(key, _)| self.line(key.span()))
                .unwrap_or(line);
            match (name.starts_with(AGAIN), item.as_table_like()) {
                (true, Some(inner)) => self.given_again(inner, path, key_line),
                _ => self.item(item, &joined(path, name), key_line, again),
            }
        }
    }

    fn given_again(&mut self, inner: &dyn TableLike, path: &str, line: usize) {
        for (name, item) in inner.iter() {
            let path = joined(path, name);
            self.document.faults.push(SyntaxFault {
                line,
                key: path.clone(),
                message: "given twice in this file".to_owned(),
                hint: None,
            });
            self.item(item, &path, line, true);
        }
    }

    fn item(&mut self, item: &Item, path: &str, line: usize, again: bool) {
        let line_at = |span| self.line(span).unwrap_or(line);
        match item {
            Item::None => {}
            Item::Table(table) => {
                let line = line_at(table.span());
                self.table(table, path, line, again);
            }
            Item::ArrayOfTables(tables) => {
                let tables: Vec<_> =
                    tables.iter().map(|t| (t as &dyn TableLike, line_at(t.span()))).collect();
                self.entries(&tables, path, again);
            }
            Item::Value(Value::InlineTable(table)) => self.table(table, path, line, again),
            Item::Value(Value::Array(array))
                if !array.is_empty() && array.iter().all(Value::is_inline_table) =>
            {
                let tables: Vec<_> = array
                    .iter()
                    .filter_map(Value::as_inline_table)
                    .map(|t| (t as &dyn TableLike, line_at(t.span())))
                    .collect();
                self.entries(&tables, path, again);
            }
            Item::Value(value) => {
                let (path, raw) = (path.to_owned(), Raw::from_toml(value));
                self.document.settings.push(Typed { path, raw, line, again });
            }
        }
    }

    fn entries(&mut self, tables: &[(&dyn TableLike, usize)], path: &str, again: bool) {
        let first = (self.counted)(path);
        for (index, (table, line)) in tables.iter().enumerate() {
            self.table(*table, &format!("{path}[{}]", first + index), *line, again);
        }
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The line of a byte, from 1. Offsets inside a character count as the line they are on.
fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// The text with one line emptied, so that the numbers of the others stay.
fn without_line(text: &str, line: usize) -> String {
    let lines = text.split('\n').enumerate();
    let kept: Vec<_> = lines.map(|(n, text)| if n + 1 == line { "" } else { text }).collect();
    kept.join("\n")
}
