//! Reconciles the ledger with the log and with the effects. A pure function of the three.
//!
//! What must hold, per event: answered 202 at least once → exactly one effect, with the data that was
//! posted; only refused → no record and no effect; unknown → at most one effect. For the log:
//! accepted ≤ records ≤ accepted + unknown, per event, and every record byte for byte what was posted.
//! Per key: whatever was sent after A's 202 takes effect after A. And nothing is there that nobody
//! sent.

mod command;
mod fault;
mod history;
mod tables;

use std::collections::{BTreeMap, HashMap, HashSet};

pub use self::command::VerifyOptions;
pub use self::fault::{Fault, Findings};
pub use self::history::{Event, History};
pub use self::tables::{Parked, Position, StepBack, Tables, reconcile_tables};
use crate::canonical::Digest;
use crate::ledger::Identity;

/// A row of the effects table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Which event.
    pub identity: Identity,
    /// Where its record stands: the partition's name.
    pub partition: String,
    /// And its offset there; effects of a partition are applied in this order.
    pub offset: i64,
    /// Of what the data mean.
    pub data: Digest,
}

/// A record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Which event; `None` when the record cannot be read as one.
    pub identity: Option<Identity>,
    /// The partition's name.
    pub partition: String,
    /// The offset in it.
    pub offset: i64,
    /// Of the value's bytes.
    pub value: Digest,
}

/// Compares what was promised with what is there. `records` is `None` where the log cannot be read
/// from outside (the embedded log of a running process).
pub fn reconcile(history: &History, records: Option<&[LogRecord]>, effects: &[Effect]) -> Findings {
    reconcile_effects(history, records, effects, |faults| {
        check_effects(history, effects, &HashSet::new(), faults);
    })
}

/// The same, with the effects checked by `check`.
fn reconcile_effects(
    history: &History,
    records: Option<&[LogRecord]>,
    effects: &[Effect],
    check: impl FnOnce(&mut Vec<Fault>),
) -> Findings {
    let mut findings = Findings {
        events: history.len(),
        accepted: history.events().filter(|(_, event)| event.accepted > 0).count(),
        unknown: history
            .events()
            .filter(|(_, event)| event.accepted == 0 && event.unknown > 0)
            .count(),
        unanswered: history.events().map(|(_, event)| event.unknown as usize).sum(),
        duplicates: history
            .events()
            .map(|(_, event)| event.accepted.saturating_sub(1) as usize)
            .sum(),
        effects: effects.len(),
        parked: None,
        records: records.map(<[LogRecord]>::len),
        values_compared: records.is_some(),
        faults: Vec::new(),
    };
    check(&mut findings.faults);
    check_order(history, effects, &mut findings.faults);
    if let Some(records) = records {
        check_records(history, records, &mut findings.faults);
        check_origin(records, effects, &mut findings.faults);
    }
    findings
}

/// One effect for each event that was accepted, but for those in `parked`.
fn check_effects(
    history: &History,
    effects: &[Effect],
    parked: &HashSet<&Identity>,
    faults: &mut Vec<Fault>,
) {
    let mut seen: HashMap<&Identity, u32> = HashMap::with_capacity(effects.len());
    for effect in effects {
        *seen.entry(&effect.identity).or_default() += 1;
        match history.get(&effect.identity) {
            None => faults.push(Fault::ForeignEffect(effect.identity.clone())),
            Some(event) if !event.data.contains(&effect.data) => {
                faults.push(Fault::ChangedEffect(effect.identity.clone()));
            }
            Some(_) => {}
        }
    }
    for (identity, event) in history.events() {
        let count = seen.get(identity).copied().unwrap_or(0);
        let (least, most) = match (event.accepted, event.unknown) {
            (0, 0) => (0, 0),
            _ if parked.contains(identity) => (0, 1),
            (0, _) => (0, 1),
            _ => (1, 1),
        };
        if count < least {
            faults.push(Fault::LostEffect(identity.clone()));
        } else if count > most && most == 0 {
            faults.push(Fault::RefusedEffect(identity.clone()));
        } else if count > most {
            faults.push(Fault::RepeatedEffect(identity.clone(), count));
        }
    }
}

/// Per key, walks the effects in the order in which they were applied. B before A is wrong when A was
/// answered before B was first sent, or when both stand in this order in one accepted request.
fn check_order(history: &History, effects: &[Effect], faults: &mut Vec<Fault>) {
    let mut keys: BTreeMap<&str, Vec<(&Effect, &Event)>> = BTreeMap::new();
    for effect in effects {
        if let Some(event) = history.get(&effect.identity) {
            keys.entry(&event.key).or_default().push((effect, event));
        }
    }
    for applied in keys.values_mut() {
        let one_partition = applied.iter().all(|(e, _)| e.partition == applied[0].0.partition);
        if !one_partition {
            faults.push(Fault::SplitKey(applied[0].1.key.clone()));
            continue;
        }
        applied.sort_by_key(|(effect, _)| effect.offset);
        let mut latest: Option<(&Effect, &Event)> = None;
        let mut within: HashMap<u64, (usize, &Effect)> = HashMap::new();
        for &(effect, event) in applied.iter() {
            if let (Some(answered), Some((other, before))) = (event.answered_at, latest)
                && answered < before.sent_at
            {
                let (first, then) = (effect.identity.clone(), other.identity.clone());
                faults.push(Fault::Order { first, then });
            }
            if latest.is_none_or(|(_, before)| before.sent_at < event.sent_at) {
                latest = Some((effect, event));
            }
            let Some((request, index)) = event.whole_request else { continue };
            if let Some(&(before, other)) = within.get(&request)
                && index < before
            {
                let (first, then) = (effect.identity.clone(), other.identity.clone());
                faults.push(Fault::Order { first, then });
            }
            within.insert(request, (index, effect));
        }
    }
}

fn check_records(history: &History, records: &[LogRecord], faults: &mut Vec<Fault>) {
    let mut seen: HashMap<&Identity, u32> = HashMap::with_capacity(records.len());
    for record in records {
        let place = format!("{}@{}", record.partition, record.offset);
        let Some(identity) = &record.identity else {
            faults.push(Fault::ForeignRecord(place));
            continue;
        };
        *seen.entry(identity).or_default() += 1;
        match history.get(identity) {
            None => faults.push(Fault::ForeignRecord(place)),
            Some(event) if !event.values.contains(&record.value) => {
                faults.push(Fault::ChangedRecord(identity.clone(), place));
            }
            Some(_) => {}
        }
    }
    for (identity, event) in history.events() {
        let count = seen.get(identity).copied().unwrap_or(0);
        if count < event.accepted {
            let accepted = event.accepted;
            faults.push(Fault::LostRecord { identity: identity.clone(), accepted, count });
        } else if count > event.accepted + event.unknown {
            let promised = event.accepted + event.unknown;
            faults.push(Fault::ExcessRecord { identity: identity.clone(), promised, count });
        }
    }
}

/// Every effect names a record of its own identity.
fn check_origin(records: &[LogRecord], effects: &[Effect], faults: &mut Vec<Fault>) {
    let at: HashMap<(&str, i64), Option<&Identity>> =
        records.iter().map(|r| ((r.partition.as_str(), r.offset), r.identity.as_ref())).collect();
    for effect in effects {
        if at.get(&(effect.partition.as_str(), effect.offset)) != Some(&Some(&effect.identity)) {
            faults.push(Fault::Origin(effect.identity.clone()));
        }
    }
}

#[cfg(test)]
mod tests;
