//! Checked events into the log, in the request's order, and what became of each.
//!
//! Once the log refuses an event, later events of its partition are not appended: what the sender
//! retries must not overtake what it has sent before.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use shared::clock::Millis;
use shared::log::{
    Acks, AcksPool, AppendError, CONTENT_TYPE_STRUCTURED, HEADER_CONTENT_TYPE, HEADER_ID,
    HEADER_SOURCE, HEADER_SPECVERSION, HEADER_SUBJECT, HEADER_TIME, HEADER_TRACEPARENT,
    HEADER_TRACESTATE, HEADER_TYPE, HEADERS_MAX, Log, NewRecord, Ticket,
};
use shared::position::Position;

use crate::core::Core;
use crate::desk::Desk;
use crate::event::{Attributes, Checked, Checks, Entry};
use crate::head::Trace;
use crate::reject::{Outcome, Reject};

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
pub(crate) struct Appended<'c> {
    /// `None` only while it is dropped.
    acks: Option<Acks>,
    pool: &'c AcksPool,
}

/// How an event went to the log.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// Not appended: its verdict says why.
    Refused,
    /// Appended under this ticket.
    Ticket(usize),
    /// Admitted with its party; not appended yet.
    Passes(usize),
    /// Not appended: its party has no more room.
    Shed(usize),
    /// Not appended: an earlier event of its key or its partition went to this book.
    Behind(Outcome),
    /// Shares the fate of this earlier event.
    Duplicate(usize),
}

/// What all records of a request have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received<'r> {
    /// When.
    pub at: Millis,
    /// The sender's trace context.
    pub trace: Trace<'r>,
}

/// Hands over every event that may go into the log.
pub(crate) fn append<'c>(
    core: &'c Core,
    desk: &mut Desk,
    body: &[u8],
    received: Received<'_>,
) -> Appended<'c> {
    let Desk { checks, fates, parties, refused, at_text, .. } = desk;
    if checks.events.iter().any(needs_time) {
        write_rfc3339(received.at, at_text);
    }
    let admitted = |fate: &&Fate| matches!(fate, Fate::Passes(_));
    let acks = core.acks.take(fates.iter().filter(admitted).count());
    let mut tickets = 0;
    for (fate, entry) in fates.iter_mut().zip(&checks.events) {
        let (Fate::Passes(party), Ok(checked)) = (*fate, &entry.verdict) else { continue };
        let (index, ticket) = (tickets, acks.ticket(tickets));
        tickets += 1;
        if refused.contains(&checked.id) {
            // Dropping the ticket settles it, so that nobody waits for it.
            *fate = Fate::Behind(Outcome::Failed);
            parties.failed(party);
            continue;
        }
        let failed_before = acks.failed();
        append_one(&core.shared.log, checks, checked, body, (received, &at_text.1), ticket);
        let failed = acks.failed() > failed_before;
        if failed && matches!(acks.outcome(index), Err(error) if is_refusal(error)) {
            refused.push(checked.id);
            parties.failed(party);
        }
        *fate = Fate::Ticket(index);
    }
    if !refused.is_empty() {
        core.shared.admission.give_back(&core.flows, parties);
    }
    Appended { acks: Some(acks), pool: &core.acks }
}

fn needs_time(entry: &Entry) -> bool {
    entry.verdict.as_ref().is_ok_and(|checked| !checked.timed)
}

/// Writes the time, unless it stands there already.
fn write_rfc3339(at: Millis, (written, text): &mut (Option<Millis>, String)) {
    if *written == Some(at) {
        return;
    }
    text.clear();
    let timestamp = Timestamp::from_millisecond(at.0).unwrap_or_default();
    DateTimePrinter::new().print_timestamp(&timestamp, text).expect("a string takes every text");
    *written = Some(at);
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
    (received, at_text): (Received<'_>, &str),
    ticket: Ticket,
) {
    let mut headers = Headers::default();
    let id = &checks.text[checked.event_id.clone()];
    if checks.attributes.event_type.is_some() {
        headers.add_binary(&checks.attributes, id, at_text);
    } else {
        headers.add(HEADER_CONTENT_TYPE, CONTENT_TYPE_STRUCTURED);
        headers.add_some(HEADER_ID, checked.minted.then_some(id));
        headers.add_some(HEADER_TIME, (!checked.timed).then_some(at_text));
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
        self.add(HEADER_TYPE, attributes.event_type());
        self.add_some(HEADER_SOURCE, attributes.find(attributes.source.as_ref()));
        self.add_some(HEADER_SUBJECT, attributes.find(attributes.subject.as_ref()));
        self.add(HEADER_TIME, attributes.find(attributes.time.as_ref()).unwrap_or(received_at));
        for (name, value) in &attributes.extensions {
            self.add(attributes.get(name), attributes.get(value));
        }
    }
}

impl Appended<'_> {
    /// Waits for the log, at most so long.
    pub async fn settled(&self, time_max: Duration) {
        let acks = self.acks();
        // Where the log answers at once, no timer is registered.
        if acks.is_settled() {
            return;
        }
        tokio::select! {
            biased;
            () = acks.settled() => {}
            // What is open now is answered as unknown.
            () = tokio::time::sleep(time_max) => {}
        }
    }

    /// Writes down what became of each event, in the request's order.
    pub fn tell(&self, desk: &mut Desk) {
        let Desk { checks, fates, parties, became, .. } = desk;
        for (fate, entry) in fates.iter().zip(&checks.events) {
            let one = match *fate {
                Fate::Refused => refused(entry),
                Fate::Shed(party) => Became::Refused(parties.get(party).reject()),
                Fate::Behind(cause) => Became::Refused(Reject::BehindFailed(cause)),
                Fate::Passes(_) => unreachable!("what was admitted has a ticket or stands behind"),
                Fate::Ticket(index) => match self.acks().outcome(index) {
                    Ok(position) => Became::Accepted(position),
                    Err(error) => Became::Refused(error.into()),
                },
                Fate::Duplicate(first) => duplicate(&became[first]),
            };
            became.push(one);
        }
    }

    const fn acks(&self) -> &Acks {
        self.acks.as_ref().expect("there until it is dropped")
    }
}

impl Drop for Appended<'_> {
    fn drop(&mut self) {
        if let Some(acks) = self.acks.take() {
            self.pool.put(acks);
        }
    }
}

/// Writes down what would become of each event.
pub(crate) fn rehearse(desk: &mut Desk) {
    let valid = |entry: &Entry| match &entry.verdict {
        Ok(Checked { duplicate_of: Some(_), .. }) => Became::Duplicate,
        Ok(_) => Became::Valid,
        Err(_) => refused(entry),
    };
    desk.became.extend(desk.checks.events.iter().map(valid));
}

fn refused(entry: &Entry) -> Became {
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
