//! Reconciles what the consumer's own tables say: positions and parked records.
//!
//! A position is never ahead of the effects: every record below it has its effect (under its identity,
//! wherever that stands) or is parked. What is parked is what the database refuses, and nothing else. No
//! position went back on its own.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Effect, Fault, Findings, History, LogRecord, check_effects, reconcile_effects};
use crate::ledger::Identity;

/// The tables beside the effects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// One per partition that was ever claimed.
    pub positions: Vec<Position>,
    /// What is parked, whatever is to become of it.
    pub parked: Vec<Parked>,
    /// Where a position went back although nobody moved it, as far as it was watched.
    pub steps_back: Vec<StepBack>,
}

/// Where a partition stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The partition's name.
    pub partition: String,
    /// The first offset that is not applied.
    pub next: i64,
}

/// A parked record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// The partition's name.
    pub partition: String,
    /// The offset in it.
    pub offset: i64,
    /// Why.
    pub reason: String,
}

/// A position that went back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepBack {
    /// The partition's name.
    pub partition: String,
    /// From this offset.
    pub from: i64,
    /// To this one.
    pub to: i64,
}

/// [`super::reconcile`], with the tables. `poisoned` says of a record whether it must be parked.
pub fn reconcile_tables(
    history: &History,
    records: &[LogRecord],
    effects: &[Effect],
    tables: &Tables,
    poisoned: impl Fn(&LogRecord) -> bool,
) -> Findings {
    let at: HashMap<(&str, i64), &LogRecord> =
        records.iter().map(|record| ((record.partition.as_str(), record.offset), record)).collect();
    let mut faults = Vec::new();
    let mut parked = HashSet::new();
    for row in &tables.parked {
        let place = format!("{}@{}", row.partition, row.offset);
        let record = at.get(&(row.partition.as_str(), row.offset)).copied();
        parked.extend(record.and_then(|record| record.identity.as_ref()));
        if !record.is_some_and(&poisoned) {
            faults.push(Fault::SoundParked { place, reason: row.reason.clone() });
        }
    }
    let mut findings = reconcile_effects(history, Some(records), effects, |faults| {
        check_effects(history, effects, &parked, faults);
    });
    findings.parked = Some(tables.parked.len());
    findings.faults.append(&mut faults);
    let applied: HashSet<&Identity> = effects.iter().map(|effect| &effect.identity).collect();
    for identity in parked.intersection(&applied) {
        findings.faults.push(Fault::ParkedAndApplied((*identity).clone()));
    }
    check_positions(records, &applied, tables, &poisoned, &mut findings.faults);
    for StepBack { partition, from, to } in &tables.steps_back {
        let partition = partition.clone();
        findings.faults.push(Fault::WentBack { partition, from: *from, to: *to });
    }
    findings
}

fn check_positions(
    records: &[LogRecord],
    applied: &HashSet<&Identity>,
    tables: &Tables,
    poisoned: &impl Fn(&LogRecord) -> bool,
    faults: &mut Vec<Fault>,
) {
    let next: BTreeMap<&str, i64> =
        tables.positions.iter().map(|one| (one.partition.as_str(), one.next)).collect();
    let places: HashSet<(&str, i64)> =
        tables.parked.iter().map(|row| (row.partition.as_str(), row.offset)).collect();
    // A repeat of a parked record is a repeat.
    let parked: HashSet<&Identity> = records
        .iter()
        .filter(|record| places.contains(&(record.partition.as_str(), record.offset)))
        .filter_map(|record| record.identity.as_ref())
        .collect();
    let mut ends: BTreeMap<&str, i64> = BTreeMap::new();
    for record in records {
        let end = ends.entry(&record.partition).or_default();
        *end = (*end).max(record.offset + 1);
        if next.get(record.partition.as_str()).is_none_or(|next| record.offset >= *next) {
            continue;
        }
        let place = format!("{}@{}", record.partition, record.offset);
        let has_effect = record.identity.as_ref().is_some_and(|id| applied.contains(id));
        let is_parked = record.identity.as_ref().is_some_and(|id| parked.contains(id))
            || places.contains(&(record.partition.as_str(), record.offset));
        if !has_effect && !is_parked {
            faults.push(Fault::PositionAhead { place: place.clone() });
        }
        if poisoned(record) && !is_parked {
            faults.push(Fault::PoisonNotParked { place });
        }
    }
    for Position { partition, next } in &tables.positions {
        let end = ends.get(partition.as_str()).copied().unwrap_or(0);
        if *next > end {
            faults.push(Fault::PositionBeyond { partition: partition.clone(), next: *next, end });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical;
    use crate::ledger::{Line, Outcome, Posted};

    const PLACE: &str = "transactional/0";

    /// Five records of one partition, the fourth poisoned and parked, all of them below the position.
    struct Books {
        lines: Vec<Line>,
        records: Vec<LogRecord>,
        effects: Vec<Effect>,
        tables: Tables,
    }

    fn sound() -> Books {
        let digest = canonical::of_bytes(b"{}");
        let mut books = Books {
            lines: Vec::new(),
            records: Vec::new(),
            effects: Vec::new(),
            tables: Tables::default(),
        };
        let parked = |offset| Parked { partition: PLACE.into(), offset, reason: "refused".into() };
        for offset in 0..5_i64 {
            let id = if offset == 3 { "poison-3".to_owned() } else { format!("e-{offset}") };
            let identity = Identity { tenant: "acme".into(), source: "/".into(), id };
            let event = Posted {
                identity: identity.clone(),
                key: "acme".into(),
                value: digest,
                data: digest,
            };
            let request = offset.unsigned_abs();
            books.lines.push(Line::Sent { request, events: vec![event] });
            let outcomes = vec![Outcome::Accepted];
            books.lines.push(Line::Answered { request, status: Some(202), outcomes });
            books.records.push(LogRecord {
                identity: Some(identity.clone()),
                partition: PLACE.into(),
                offset,
                value: digest,
            });
            if offset == 3 {
                books.tables.parked.push(parked(offset));
            } else {
                let partition = PLACE.to_owned();
                books.effects.push(Effect { identity, partition, offset, data: digest });
            }
        }
        books.tables.positions.push(Position { partition: PLACE.into(), next: 5 });
        books
    }

    fn faults(books: &Books) -> Vec<String> {
        let history = History::of(&books.lines).expect("a sound ledger");
        let poisoned = |record: &LogRecord| {
            record.identity.as_ref().is_none_or(|identity| identity.id.starts_with("poison"))
        };
        let found =
            reconcile_tables(&history, &books.records, &books.effects, &books.tables, poisoned);
        found.faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn sound_books_balance_and_each_falsification_is_named() {
        assert_eq!(faults(&sound()), Vec::<String>::new());
        let check = |falsify: fn(&mut Books), expected: &[&str]| {
            let mut books = sound();
            falsify(&mut books);
            assert_eq!(faults(&books), expected);
        };
        check(
            |books| drop(books.effects.remove(1)),
            &[
                "answered 202, no effect: acme / e-1",
                "the position is past a record that has no effect and is not parked: \
                 transactional/0@1",
            ],
        );
        check(
            |books| books.tables.parked[0].offset = 2,
            &[
                "answered 202, no effect: acme / poison-3",
                "sound, and yet parked (refused): transactional/0@2",
                "parked, and yet an effect: acme / e-2",
                "the position is past a record that has no effect and is not parked: \
                 transactional/0@3",
                "refused by the database, and yet not parked: transactional/0@3",
            ],
        );
        check(
            |books| books.tables.positions[0].next = 6,
            &["the position of transactional/0 is 6, the log's end 5"],
        );
        check(
            |books| {
                let (partition, from, to) = (PLACE.into(), 5, 2);
                books.tables.steps_back.push(StepBack { partition, from, to });
            },
            &["the position of transactional/0 went back from 5 to 2"],
        );
        // What is not read yet is not missed by its position; that it has no effect is said anyway.
        check(
            |books| {
                books.effects.remove(3);
                books.tables.positions[0].next = 4;
            },
            &["answered 202, no effect: acme / e-4"],
        );
    }
}
