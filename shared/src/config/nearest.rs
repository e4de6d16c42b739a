//! The valid name nearest to a mistyped one.

use strsim::normalized_damerau_levenshtein as similarity;

use super::keys::{KEYS, segments};

/// Below this a suggestion would be a guess: about two wrong letters in five.
const SIMILARITY_MIN: f64 = 0.6;

/// The nearest of `names` to `typed`, if any is near.
pub(super) fn text<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    best(names.map(|name| (similarity(&typed.to_lowercase(), &name.to_lowercase()), name)))
}

/// The nearest valid key to `typed`, with the entry's own name or number filled in.
pub(super) fn key(typed: &str) -> Option<String> {
    // A key that is only moved below a table of free names would be near to everything.
    let elsewhere = |path: &str| path.ends_with("<property>") && !typed.starts_with("kafka.");
    let keys = KEYS.iter().filter(|key| !elsewhere(key.path));
    let candidates = keys.map(|key| filled(key.path, typed));
    best(candidates.map(|candidate| (key_similarity(typed, &candidate), candidate)))
}

fn best<T>(scored: impl Iterator<Item = (f64, T)>) -> Option<T> {
    let mut best: Option<(f64, T)> = None;
    for (score, name) in scored.filter(|(score, _)| *score >= SIMILARITY_MIN) {
        // Only a greater one wins: among equals the table's order decides, so that it is stable.
        if best.as_ref().is_none_or(|(highest, _)| score > *highest) {
            best = Some((score, name));
        }
    }
    best.map(|(_, name)| name)
}

/// In the same table only the last name counts: a long common prefix says nothing.
fn key_similarity(typed: &str, candidate: &str) -> f64 {
    let (table, last) = typed.rsplit_once('.').unwrap_or(("", typed));
    let (candidate_table, candidate_last) = candidate.rsplit_once('.').unwrap_or(("", candidate));
    if table == candidate_table {
        return similarity(last, candidate_last);
    }
    // The right name in the wrong table, and a key below one that has no members.
    let moved = if last == candidate_last { 0.75 } else { 0.0 };
    let below = if table == candidate { 0.7 } else { 0.0 };
    (similarity(typed, candidate) - 0.1).max(moved).max(below)
}

/// `source.<name>.id` with the name that was typed; `key[].id` with the number.
fn filled(pattern: &str, typed: &str) -> String {
    let typed: Vec<_> = segments(typed).collect();
    let filled: Vec<_> = segments(pattern)
        .enumerate()
        .map(|(index, segment)| match (segment, typed.get(index)) {
            ("<name>" | "<property>", Some(name)) => (*name).to_owned(),
            (entry, Some(name)) if entry.ends_with("[]") => {
                let number = name.split_once('[').map_or("0]", |(_, number)| number);
                format!("{}[{number}", entry.trim_end_matches("[]"))
            }
            (other, _) => other.to_owned(),
        })
        .collect();
    filled.join(".")
}
