//! Checked events into the log, in the request's order, and what became of each.
//!
//! Once the log refuses an event, later events of its partition are not appended: what the sender
//! retries must not overtake what it has sent before.

use std::time::Duration;

use shared::clock::Millis;
use shared::log::{
    Acks, AppendError, CONTENT_TYPE_STRUCTURED, HEADER_CONTENT_TYPE, HEADER_ID, HEADER_SOURCE,
    HEADER_SPECVERSION, HEADER_SUBJECT, HEADER_TIME, HEADER_TRACEPARENT, HEADER_TRACESTATE,
    HEADER_TYPE, HEADERS_MAX, Log, NewRecord,
};
use shared::position::{PartitionId, Position};

use crate::event::{Attributes, Checked, Checks};
use crate::head::Trace;
use crate::reject::Reject;

/// What became of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Became {
    /// In the log.
    Accepted(Position),
    /// Would have been appended, were it not a dry run.
    Valid,
    /// The same as another event of the request, which is in the log.
    Duplicate,
    /// Not acknowledged.
    Refused(Reject),
}

/// A request's events in the hands of the log.
#[derive(Debug)]
pub(crate) struct Appended {
    acks: Acks,
    fates: Vec<Fate>,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    /// Not appended: its verdict says why.
    Refused,
    /// Appended under this ticket.
    Ticket(usize),
    /// Not appended: an earlier event of its partition was refused by the log.
    Behind,
    /// Shares the fate of this earlier event.
    Duplicate(usize),
}

/// What all records of a request have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received<'r> {
    /// When.
    pub at: Millis,
    /// The same in RFC 3339.
    pub at_text: &'r str,
    /// The sender's trace context.
    pub trace: Trace<'r>,
}

/// Hands over every event that may go into the log.
pub(crate) fn append(log: &Log, checks: &Checks, body: &[u8], received: Received<'_>) -> Appended {
    let appendable = |checked: &&Checked| checked.duplicate_of.is_none();
    let verdicts = checks.events.iter().map(|entry| entry.verdict.as_ref());
    let acks = Acks::new(verdicts.clone().flatten().filter(appendable).count());
    let mut refused: Vec<PartitionId> = Vec::new();
    let mut tickets = 0;
    let fate = |verdict: Result<&Checked, &Reject>| {
        let Ok(checked) = verdict else { return Fate::Refused };
        if let Some(first) = checked.duplicate_of {
            return Fate::Duplicate(first);
        }
        let (index, ticket) = (tickets, acks.ticket(tickets));
        tickets += 1;
        if refused.contains(&checked.id) {
            // Dropping the ticket settles it, so that nobody waits for it.
            return Fate::Behind;
        }
        append_one(log, checks, checked, body, received, ticket);
        if matches!(acks.outcome(index), Err(error) if is_refusal(error)) {
            refused.push(checked.id);
        }
        Fate::Ticket(index)
    };
    let fates = verdicts.map(fate).collect();
    Appended { acks, fates }
}

/// Whether the log said no, now (an open ticket reads as unknown).
const fn is_refusal(error: AppendError) -> bool {
    match error {
        AppendError::Full | AppendError::Unavailable | AppendError::DiskFull => true,
        AppendError::TooLarge | AppendError::Unknown => false,
    }
}

fn append_one(
    log: &Log,
    checks: &Checks,
    checked: &Checked,
    body: &[u8],
    received: Received<'_>,
    ticket: shared::log::Ticket,
) {
    let mut headers = Headers::default();
    let id = &checks.text[checked.event_id.clone()];
    match &checks.attributes {
        Some(attributes) => headers.add_binary(attributes, id, received.at_text),
        None => {
            headers.add(HEADER_CONTENT_TYPE, CONTENT_TYPE_STRUCTURED);
            headers.add_some(HEADER_ID, checked.minted.then_some(id));
            headers.add_some(HEADER_TIME, (!checked.timed).then_some(received.at_text));
        }
    }
    headers.add_some(HEADER_TRACEPARENT, received.trace.parent);
    headers.add_some(HEADER_TRACESTATE, received.trace.state);
    let record = NewRecord {
        id: checked.id,
        timestamp: received.at,
        key: checked.tenant.as_bytes(),
        value: &body[checked.value.clone()],
        headers: &headers.list[..headers.length],
    };
    log.append(&record, ticket);
}

/// A record's headers, on the stack.
#[derive(Default)]
struct Headers<'h> {
    list: [(&'h str, &'h [u8]); HEADERS_MAX],
    length: usize,
}

impl<'h> Headers<'h> {
    fn add(&mut self, name: &'h str, value: &'h str) {
        self.list[self.length] = (name, value.as_bytes());
        self.length += 1;
    }

    fn add_some(&mut self, name: &'h str, value: Option<&'h str>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    fn add_binary(&mut self, attributes: &'h Attributes, id: &'h str, received_at: &'h str) {
        self.add(HEADER_CONTENT_TYPE, "application/json");
        self.add(HEADER_SPECVERSION, "1.0");
        self.add(HEADER_ID, id);
        self.add(HEADER_TYPE, &attributes.event_type);
        self.add_some(HEADER_SOURCE, attributes.source.as_deref());
        self.add_some(HEADER_SUBJECT, attributes.subject.as_deref());
        self.add(HEADER_TIME, attributes.time.as_deref().unwrap_or(received_at));
        for (name, value) in &attributes.extensions {
            self.add(name, value);
        }
    }
}

impl Appended {
    /// Waits for the log, at most so long.
    pub async fn settled(&self, time_max: Duration) {
        tokio::select! {
            biased;
            () = self.acks.settled() => {}
            // What is open now is answered as unknown.
            () = tokio::time::sleep(time_max) => {}
        }
    }

    /// What became of each event, in the request's order.
    pub fn became(&self, checks: &mut Checks) -> Vec<Became> {
        let mut all: Vec<Became> = Vec::with_capacity(self.fates.len());
        for (fate, entry) in self.fates.iter().zip(&mut checks.events) {
            let became = match *fate {
                Fate::Refused => refused(entry),
                Fate::Behind => Became::Refused(Reject::BehindFailed),
                Fate::Ticket(index) => match self.acks.outcome(index) {
                    Ok(position) => Became::Accepted(position),
                    Err(error) => Became::Refused(error.into()),
                },
                Fate::Duplicate(first) => duplicate(&all[first]),
            };
            all.push(became);
        }
        all
    }
}

/// What would become of each event.
pub(crate) fn rehearsed(checks: &mut Checks) -> Vec<Became> {
    let valid = |entry: &mut crate::event::Entry| match &entry.verdict {
        Ok(Checked { duplicate_of: Some(_), .. }) => Became::Duplicate,
        Ok(_) => Became::Valid,
        Err(_) => refused(entry),
    };
    checks.events.iter_mut().map(valid).collect()
}

fn refused(entry: &crate::event::Entry) -> Became {
    match &entry.verdict {
        Err(reject) => Became::Refused(reject.clone()),
        Ok(_) => unreachable!("an event that was refused has a reason"),
    }
}

/// A repetition is a duplicate only of what is in the log.
fn duplicate(first: &Became) -> Became {
    match first {
        Became::Accepted(_) | Became::Valid | Became::Duplicate => Became::Duplicate,
        Became::Refused(reject) => Became::Refused(reject.clone()),
    }
}
