//! The checker's own test: a sound run passes, and every way of falsifying it is reported.

use super::*;
use crate::canonical;
use crate::ledger::{Line, Outcome, Posted};

const TENANTS: [&str; 2] = ["acme", "zeta"];
const EACH: i64 = 5;

/// A sound run: per tenant five events one after the other, one of them retried (two records), one
/// refused, one unknown that did arrive, one unknown that did not.
struct Run {
    lines: Vec<Line>,
    records: Vec<LogRecord>,
    effects: Vec<Effect>,
}

impl Run {
    fn sound() -> Self {
        let mut run = Self { lines: Vec::new(), records: Vec::new(), effects: Vec::new() };
        for tenant in TENANTS {
            for n in 0..EACH {
                let posted = posted(tenant, &format!("e-{n}"));
                run.post(&posted, Outcome::Accepted, true);
            }
            let retried = posted(tenant, "e-2");
            run.post(&retried, Outcome::Accepted, false);
            run.record(&retried);
            run.post(&posted(tenant, "bad"), Outcome::Refused, false);
            run.post(&posted(tenant, "late"), Outcome::Unknown, true);
            run.post(&posted(tenant, "never"), Outcome::Unknown, false);
        }
        run
    }

    fn post(&mut self, posted: &Posted, outcome: Outcome, applied: bool) {
        let request = self.lines.len() as u64;
        self.lines.push(Line::Sent { request, events: vec![posted.clone()] });
        self.lines.push(Line::Answered { request, status: None, outcomes: vec![outcome] });
        if applied {
            let offset = self.record(posted);
            self.effects.push(Effect {
                identity: posted.identity.clone(),
                partition: "transactional/0".into(),
                offset,
                data: posted.data,
            });
        }
    }

    fn record(&mut self, posted: &Posted) -> i64 {
        let offset = self.records.len() as i64;
        self.records.push(LogRecord {
            identity: Some(posted.identity.clone()),
            partition: "transactional/0".into(),
            offset,
            value: posted.value,
        });
        offset
    }

    fn faults(&self) -> Vec<Fault> {
        let history = History::of(&self.lines).expect("a sound ledger");
        reconcile(&history, Some(&self.records), &self.effects).faults
    }

    fn effect(&mut self, tenant: &str, id: &str) -> &mut Effect {
        let wanted = identity(tenant, id);
        self.effects.iter_mut().find(|e| e.identity == wanted).expect("it was applied")
    }
}

fn identity(tenant: &str, id: &str) -> Identity {
    Identity { tenant: tenant.into(), source: "/".into(), id: id.into() }
}

fn posted(tenant: &str, id: &str) -> Posted {
    let bytes = format!(r#"{{"id":"{id}","data":{{"of":"{tenant}"}}}}"#);
    Posted {
        identity: identity(tenant, id),
        key: tenant.into(),
        value: canonical::of_bytes(bytes.as_bytes()),
        data: canonical::of_json(bytes.as_bytes()).expect("JSON"),
    }
}

fn reports(falsify: impl FnOnce(&mut Run), expected: &Fault) {
    let mut run = Run::sound();
    falsify(&mut run);
    let faults = run.faults();
    assert!(faults.contains(expected), "{expected} is not among {faults:?}");
}

#[test]
fn a_sound_run_has_no_faults() {
    assert_eq!(Run::sound().faults(), []);
    let run = Run::sound();
    let history = History::of(&run.lines).expect("a sound ledger");
    let found = reconcile(&history, Some(&run.records), &run.effects);
    assert_eq!((found.events, found.accepted, found.unknown, found.duplicates), (16, 10, 4, 2));
    assert_eq!((found.effects, found.records), (12, Some(14)));
}

#[test]
fn a_deleted_row_is_reported() {
    let delete = |run: &mut Run| run.effects.retain(|e| e.identity != identity("acme", "e-3"));
    reports(delete, &Fault::LostEffect(identity("acme", "e-3")));
}

#[test]
fn a_duplicated_row_is_reported() {
    for id in ["e-3", "late"] {
        let duplicate = |run: &mut Run| {
            let row = run.effect("acme", id).clone();
            run.effects.push(row);
        };
        reports(duplicate, &Fault::RepeatedEffect(identity("acme", id), 2));
    }
}

#[test]
fn two_swapped_rows_are_reported() {
    let swap = |run: &mut Run| {
        let offsets = [run.effect("acme", "e-1").offset, run.effect("acme", "e-3").offset];
        run.effect("acme", "e-1").offset = offsets[1];
        run.effect("acme", "e-3").offset = offsets[0];
    };
    let (first, then) = (identity("acme", "e-1"), identity("acme", "e-3"));
    reports(swap, &Fault::Order { first, then });
    reports(swap, &Fault::Origin(identity("acme", "e-1")));
}

#[test]
fn a_changed_byte_is_reported() {
    let other = canonical::of_bytes(b"one byte more");
    let effect = |run: &mut Run| run.effect("zeta", "e-0").data = other;
    reports(effect, &Fault::ChangedEffect(identity("zeta", "e-0")));
    let record = |run: &mut Run| run.records[0].value = other;
    reports(record, &Fault::ChangedRecord(identity("acme", "e-0"), "transactional/0@0".into()));
}

#[test]
fn a_row_under_another_tenant_is_reported() {
    let moved = |run: &mut Run| run.effect("acme", "e-3").identity.tenant = "mallory".into();
    reports(moved, &Fault::ForeignEffect(identity("mallory", "e-3")));
    reports(moved, &Fault::LostEffect(identity("acme", "e-3")));
    let swapped = |run: &mut Run| run.effect("acme", "e-3").identity.tenant = "zeta".into();
    reports(swapped, &Fault::RepeatedEffect(identity("zeta", "e-3"), 2));
}

#[test]
fn what_was_refused_leaves_nothing() {
    let applied = |run: &mut Run| {
        let mut row = run.effect("acme", "e-0").clone();
        row.identity.id = "bad".into();
        row.data = posted("acme", "bad").data;
        run.effects.push(row);
    };
    reports(applied, &Fault::RefusedEffect(identity("acme", "bad")));
    let logged = |run: &mut Run| {
        run.record(&posted("acme", "bad"));
    };
    let bad = identity("acme", "bad");
    reports(logged, &Fault::ExcessRecord { identity: bad, promised: 0, count: 1 });
}

#[test]
fn the_log_holds_every_202_and_no_more() {
    let lost = |run: &mut Run| drop(run.records.pop());
    let lost_one = Run::sound().records.last().and_then(|r| r.identity.clone()).expect("a record");
    assert_eq!(lost_one, identity("zeta", "late"), "unknown: it may be lost");
    let mut run = Run::sound();
    run.effects.pop();
    lost(&mut run);
    assert_eq!(run.faults(), []);

    let drop_retry = |run: &mut Run| {
        let at = run.records.iter().rposition(|r| r.identity == Some(identity("acme", "e-2")));
        run.records.remove(at.expect("retried"));
    };
    let retried = identity("acme", "e-2");
    reports(drop_retry, &Fault::LostRecord { identity: retried, accepted: 2, count: 1 });
    let foreign = |run: &mut Run| {
        run.record(&posted("nobody", "x"));
    };
    reports(foreign, &Fault::ForeignRecord("transactional/0@14".into()));
}

#[test]
fn order_inside_a_request_counts_only_where_all_was_accepted() {
    let check = |outcomes: [Outcome; 2], faults: usize| {
        let events = [posted("acme", "a"), posted("acme", "b")];
        let mut run = Run { lines: Vec::new(), records: Vec::new(), effects: Vec::new() };
        run.lines.push(Line::Sent { request: 0, events: events.to_vec() });
        run.lines.push(Line::Answered { request: 0, status: None, outcomes: outcomes.to_vec() });
        for (offset, event) in events.iter().rev().enumerate() {
            run.record(event);
            run.effects.push(Effect {
                identity: event.identity.clone(),
                partition: "transactional/0".into(),
                offset: offset as i64,
                data: event.data,
            });
        }
        assert_eq!(run.faults().len(), faults, "{outcomes:?}");
    };
    check([Outcome::Accepted, Outcome::Accepted], 1);
    check([Outcome::Unknown, Outcome::Accepted], 0);
}

#[test]
fn a_request_without_an_answer_is_unknown() {
    let mut run = Run::sound();
    let mark = run.lines.len() as u64;
    run.lines.push(Line::Sent { request: mark, events: vec![posted("acme", "cut off")] });
    assert_eq!(run.faults(), []);
    run.record(&posted("acme", "cut off"));
    assert_eq!(run.faults(), []);
    assert!(History::of(&[run.lines[1].clone()]).is_err(), "an answer to nothing");
}

#[test]
fn a_log_that_cannot_be_read_has_the_right_length() {
    let run = Run::sound();
    let history = History::of(&run.lines).expect("a sound ledger");
    let check = |appended: usize, sound: bool| {
        let mut findings = reconcile(&history, None, &run.effects);
        findings.note_appended(appended);
        assert_eq!(findings.faults.is_empty(), sound, "{appended}");
    };
    check(11, false);
    check(12, true);
    check(16, true);
    check(17, false);
}
