//! Both tiers of validation on the official test suite and on GitHub's webhooks with their schema:
//! the program on the tape is never sure of what the library does not say, in either direction.
//!
//! `SHOCK_SCHEMA_SUITE` is the suite's `tests` folder, `SHOCK_REAL_INPUT` holds GitHub's packages;
//! `cargo xtask test` fetches both.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use ingress::probe::Probe;
use serde_json::{Map, Value};
use tempfile::NamedTempFile;

/// A draft's folder in the suite, the address that its schemas mean, and which share of its valid
/// cases the tape decides at least. The rest are dynamic references and `unevaluated…`, which the
/// suite is full of and events are not.
const DRAFTS: [(&str, &str, f64); 2] = [
    ("draft7", "http://json-schema.org/draft-07/schema#", 0.86),
    ("draft2020-12", "https://json-schema.org/draft/2020-12/schema", 0.88),
];
/// Of GitHub's valid bodies, nearly all.
const GITHUB_SHARE: f64 = 0.97;

/// How many texts there were, how many of them are valid, and of what the program was sure.
#[derive(Debug, Default)]
struct Tally {
    texts: usize,
    valid: usize,
    surely_valid: usize,
    surely_invalid: usize,
    unloaded: usize,
    disagreements: Vec<String>,
}

impl Tally {
    /// Both tiers on one text. What our parser refuses never comes as far as a schema.
    fn compare(&mut self, probe: &mut Probe, schema: usize, text: &[u8], what: &str) {
        let tape = probe.tape(schema, text);
        let Some(library) = probe.library(schema, text) else { return };
        self.texts += 1;
        self.valid += usize::from(library);
        self.surely_valid += usize::from(tape == Some(true));
        self.surely_invalid += usize::from(tape == Some(false));
        if tape.is_some_and(|sure| sure != library) {
            self.disagreements.push(format!("{what}: the library says {library}"));
        }
    }

    /// The share of the valid texts that the tape decided.
    #[expect(clippy::print_stdout, reason = "the share is this test's result")]
    fn share(&self, what: &str) -> f64 {
        let invalid = self.texts - self.valid;
        let share = self.surely_valid as f64 / self.valid as f64;
        println!(
            "{what}: {} of {} valid texts are decided on the tape ({:.1} %), it is sure of {} of \
             {invalid} invalid ones; {} schemas do not load",
            self.surely_valid,
            self.valid,
            share * 100.0,
            self.surely_invalid,
            self.unloaded,
        );
        assert!(self.disagreements.is_empty(), "{what}: {:#?}", self.disagreements);
        share
    }
}

fn variable(name: &str) -> PathBuf {
    let value = std::env::var_os(name);
    value.unwrap_or_else(|| panic!("{name} is set by `cargo xtask test`")).into()
}

fn read(path: &Path) -> Value {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("listed").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    files
}

/// One group of the suite: a schema and its cases. A schema that does not load, for a reference to
/// another document or a pattern with look-around, never meets an event.
fn group(group: &Value, draft: &str, file: &str, tally: &mut Tally) {
    let mut schema = group["schema"].clone();
    if let Some(members) = schema.as_object_mut() {
        members.entry("$schema").or_insert_with(|| Value::from(draft));
    }
    let mut loaded = NamedTempFile::new().expect("a temporary file");
    loaded.write_all(schema.to_string().as_bytes()).expect("written");
    let Ok(mut probe) = Probe::of(loaded.path()) else {
        tally.unloaded += 1;
        return;
    };
    for case in group["tests"].as_array().expect("cases") {
        let what = format!("{file}: {}: {}", group["description"], case["description"]);
        tally.compare(&mut probe, 0, case["data"].to_string().as_bytes(), &what);
    }
}

#[test]
fn the_tiers_agree_on_the_official_suite() {
    let suite = variable("SHOCK_SCHEMA_SUITE");
    for (draft, address, share_min) in DRAFTS {
        let mut tally = Tally::default();
        for folder in ["", "optional", "optional/format"] {
            for path in files(&suite.join(draft).join(folder)) {
                for one in read(&path).as_array().expect("groups") {
                    group(one, address, &path.display().to_string(), &mut tally);
                }
            }
        }
        let share = tally.share(draft);
        assert!(share >= share_min, "{draft}: {share}");
    }
}

/// GitHub's schema and its bodies, each with the index of its schema.
fn github() -> (Probe, Vec<(String, usize, Value)>) {
    let input = variable("SHOCK_REAL_INPUT");
    let pointers = ["#/definitions/{type}_event", "#/definitions/{type}$event"].map(str::to_owned);
    let schema = input.join("webhooks-schemas/schema.json");
    let probe = Probe::of_types(&schema, &pointers).expect("GitHub's schema loads");
    let index = read(&input.join("webhooks-examples/api.github.com/index.json"));
    let mut bodies = Vec::new();
    for webhook in index.as_array().expect("webhooks") {
        let name = webhook["name"].as_str().expect("a name");
        let schema = probe.index(name).unwrap_or_else(|| panic!("{name} has a schema"));
        for (number, body) in webhook["examples"].as_array().expect("bodies").iter().enumerate() {
            bodies.push((format!("{name} {number}"), schema, body.clone()));
        }
    }
    (probe, bodies)
}

#[test]
fn the_tiers_agree_on_github_bodies() {
    let (mut probe, bodies) = github();
    let mut whole = Tally::default();
    let mut altered = Tally::default();
    for (what, schema, body) in &bodies {
        whole.compare(&mut probe, *schema, body.to_string().as_bytes(), what);
        for (change, other) in changed(body.as_object().expect("a body is an object")) {
            let text = other.to_string();
            altered.compare(&mut probe, *schema, text.as_bytes(), &format!("{what}, {change}"));
        }
    }
    let share = whole.share("GitHub's bodies");
    altered.share("GitHub's bodies with one change");
    assert!(share >= GITHUB_SHARE, "{share}");
    assert!(altered.surely_invalid > 0, "no change makes a body invalid");
}

/// The object with one member taken away, or null.
fn changed(body: &Map<String, Value>) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for name in body.keys() {
        let mut without = body.clone();
        without.remove(name);
        all.push((format!("no {name}"), Value::Object(without)));
        let mut null = body.clone();
        null.insert(name.clone(), Value::Null);
        all.push((format!("{name} null"), Value::Object(null)));
    }
    all
}
