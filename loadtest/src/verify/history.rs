//! The ledger's lines, summed up per event.

use std::collections::HashMap;

use anyhow::{Context, ensure};

use crate::canonical::Digest;
use crate::ledger::{Identity, Line, Outcome, Posted};

/// What was sent, per identity.
#[derive(Debug, Default)]
pub struct History {
    events: HashMap<Identity, Event>,
}

/// What was sent and answered under one identity.
#[derive(Clone, Debug)]
pub struct Event {
    /// What it is ordered with.
    pub key: String,
    /// Digests of every value sent under this identity; more than one where a producer reused an id.
    pub values: Vec<Digest>,
    /// The same for the data.
    pub data: Vec<Digest>,
    /// The ledger line before its first sending.
    pub sent_at: usize,
    /// The ledger line of its first 202.
    pub answered_at: Option<usize>,
    /// How often it was answered 202.
    pub accepted: u32,
    /// How often it is not known whether it was.
    pub unknown: u32,
    /// The request and index of its first sending, where that request was accepted as a whole.
    pub whole_request: Option<(u64, usize)>,
}

impl History {
    /// Sums the lines up; an answer to a request that was not sent is an error of the ledger.
    pub fn of(lines: &[Line]) -> anyhow::Result<Self> {
        let mut history = Self::default();
        let mut open: HashMap<u64, &[Posted]> = HashMap::new();
        for (number, line) in lines.iter().enumerate() {
            match line {
                Line::Sent { request, events } => {
                    for event in events {
                        history.note_sent(number, event);
                    }
                    let repeated = open.insert(*request, events).is_some();
                    ensure!(!repeated, "line {}: request {request} was sent before", number + 1);
                }
                Line::Answered { request, outcomes, .. } => {
                    let events = open.remove(request).with_context(|| {
                        format!("line {}: request {request} is not open", number + 1)
                    })?;
                    ensure!(
                        outcomes.len() == events.len(),
                        "line {}: {} outcomes for {} events",
                        number + 1,
                        outcomes.len(),
                        events.len()
                    );
                    history.note_answered(number, *request, events, outcomes);
                }
            }
        }
        for event in open.into_values().flatten() {
            history.event(&event.identity).unknown += 1;
        }
        Ok(history)
    }

    fn note_sent(&mut self, number: usize, posted: &Posted) {
        let event = self.events.entry(posted.identity.clone()).or_insert_with(|| Event {
            key: posted.key.clone(),
            values: Vec::new(),
            data: Vec::new(),
            sent_at: number,
            answered_at: None,
            accepted: 0,
            unknown: 0,
            whole_request: None,
        });
        for (known, new) in [(&mut event.values, posted.value), (&mut event.data, posted.data)] {
            if !known.contains(&new) {
                known.push(new);
            }
        }
    }

    fn note_answered(
        &mut self,
        number: usize,
        request: u64,
        events: &[Posted],
        outcomes: &[Outcome],
    ) {
        let whole = outcomes.iter().all(|outcome| *outcome == Outcome::Accepted);
        for (index, (posted, outcome)) in events.iter().zip(outcomes).enumerate() {
            let event = self.event(&posted.identity);
            match outcome {
                Outcome::Accepted => {
                    if whole && event.accepted + event.unknown == 0 {
                        event.whole_request = Some((request, index));
                    }
                    event.accepted += 1;
                    event.answered_at.get_or_insert(number);
                }
                Outcome::Unknown => event.unknown += 1,
                Outcome::Refused => {}
            }
        }
    }

    fn event(&mut self, identity: &Identity) -> &mut Event {
        self.events.get_mut(identity).expect("noted when it was sent")
    }

    /// What was sent under this identity.
    pub fn get(&self, identity: &Identity) -> Option<&Event> {
        self.events.get(identity)
    }

    /// All of them.
    pub fn events(&self) -> impl Iterator<Item = (&Identity, &Event)> {
        self.events.iter()
    }

    /// How many distinct events were sent.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing was sent.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}
