//! What can be wrong, and how it is said.

use std::fmt;

use crate::ledger::Identity;

/// How many faults a message lists; the rest is counted.
const LISTED_MAX: usize = 20;

/// One broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answered 202, no effect.
    LostEffect(Identity),
    /// More than one effect.
    RepeatedEffect(Identity, u32),
    /// Never accepted, and yet an effect.
    RefusedEffect(Identity),
    /// The effect's data are not what was posted.
    ChangedEffect(Identity),
    /// An effect that nobody sent (under this tenant).
    ForeignEffect(Identity),
    /// An effect whose record is not this event's.
    Origin(Identity),
    /// `then` was sent after `first` was answered, and yet took effect before it.
    Order {
        /// What was accepted first.
        first: Identity,
        /// What was sent later.
        then: Identity,
    },
    /// One key's effects came out of several partitions, so their order is not defined.
    SplitKey(String),
    /// Fewer records than 202 answers.
    LostRecord {
        /// Which event.
        identity: Identity,
        /// How often it was answered 202.
        accepted: u32,
        /// How many records there are.
        count: u32,
    },
    /// More records than 202 and unknown answers.
    ExcessRecord {
        /// Which event.
        identity: Identity,
        /// Answered 202 or unknown.
        promised: u32,
        /// How many records there are.
        count: u32,
    },
    /// A record whose bytes are not what was posted.
    ChangedRecord(Identity, String),
    /// A record that nobody sent.
    ForeignRecord(String),
    /// A position is past a record that has neither an effect nor is it parked.
    PositionAhead {
        /// The record's place.
        place: String,
    },
    /// A position beyond the log.
    PositionBeyond {
        /// The partition.
        partition: String,
        /// The position.
        next: i64,
        /// The log's end.
        end: i64,
    },
    /// A position went back although nobody moved it.
    WentBack {
        /// The partition.
        partition: String,
        /// From here.
        from: i64,
        /// To there.
        to: i64,
    },
    /// Parked, although nothing is wrong with it.
    SoundParked {
        /// The record's place.
        place: String,
        /// Why it is said to be.
        reason: String,
    },
    /// The database refuses it, and it is not parked.
    PoisonNotParked {
        /// The record's place.
        place: String,
    },
    /// Parked, and applied as well.
    ParkedAndApplied(Identity),
    /// The log is shorter than the 202 answers, or longer than those and the unanswered.
    LogLength {
        /// Records that were ever appended.
        appended: usize,
        /// 202 answers.
        accepted: usize,
        /// Postings without an answer.
        unanswered: usize,
    },
}

/// The sums and the faults of one reconciliation.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Distinct events that were sent.
    pub events: usize,
    /// Of these, answered 202 at least once.
    pub accepted: usize,
    /// Of these, never answered 202, and at least once without an answer.
    pub unknown: usize,
    /// Postings without an answer; each may have left a record.
    pub unanswered: usize,
    /// 202 answers beyond the first of each event.
    pub duplicates: usize,
    /// Rows of the effects table.
    pub effects: usize,
    /// Parked rows, where the tables were read.
    pub parked: Option<usize>,
    /// Records of the log.
    pub records: Option<usize>,
    /// Whether every record was read and compared, not only counted.
    pub values_compared: bool,
    /// Everything that is wrong.
    pub faults: Vec<Fault>,
}

impl Findings {
    /// Notes how many records a log has that cannot be read from outside, and checks
    /// accepted ≤ records ≤ accepted + unknown.
    pub fn note_appended(&mut self, appended: usize) {
        let (accepted, unanswered) = (self.accepted + self.duplicates, self.unanswered);
        if !(accepted..=accepted + unanswered).contains(&appended) {
            self.faults.push(Fault::LogLength { appended, accepted, unanswered });
        }
        self.records = Some(appended);
    }

    /// An error that lists the faults, if there are any.
    pub fn clean(self) -> anyhow::Result<Self> {
        anyhow::ensure!(self.faults.is_empty(), "the books do not balance: {self}");
        Ok(self)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.tenant, self.source, self.id)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LostEffect(id) => write!(f, "answered 202, no effect: {id}"),
            Self::RepeatedEffect(id, count) => write!(f, "{count} effects: {id}"),
            Self::RefusedEffect(id) => write!(f, "refused, and yet an effect: {id}"),
            Self::ChangedEffect(id) => write!(f, "the effect's data are not what was sent: {id}"),
            Self::ForeignEffect(id) => write!(f, "an effect that nobody sent: {id}"),
            Self::Origin(id) => write!(f, "the effect's position is another event's: {id}"),
            Self::Order { first, then } => {
                write!(f, "sent after the 202 of {first}, took effect before it: {then}")
            }
            Self::SplitKey(key) => write!(f, "effects out of several partitions: key {key}"),
            Self::LostRecord { identity, accepted, count } => {
                write!(f, "answered 202 {accepted} times, {count} records: {identity}")
            }
            Self::ExcessRecord { identity, promised, count } => {
                write!(f, "{count} records where at most {promised} may be: {identity}")
            }
            Self::ChangedRecord(id, place) => {
                write!(f, "the record at {place} is not byte for byte what was sent: {id}")
            }
            Self::ForeignRecord(place) => write!(f, "a record that nobody sent: {place}"),
            Self::PositionAhead { place } => write!(
                f,
                "the position is past a record that has no effect and is not parked: {place}"
            ),
            Self::PositionBeyond { partition, next, end } => {
                write!(f, "the position of {partition} is {next}, the log's end {end}")
            }
            Self::WentBack { partition, from, to } => {
                write!(f, "the position of {partition} went back from {from} to {to}")
            }
            Self::SoundParked { place, reason } => {
                write!(f, "sound, and yet parked ({reason}): {place}")
            }
            Self::PoisonNotParked { place } => {
                write!(f, "refused by the database, and yet not parked: {place}")
            }
            Self::ParkedAndApplied(id) => write!(f, "parked, and yet an effect: {id}"),
            Self::LogLength { appended, accepted, unanswered } => write!(
                f,
                "{appended} records of {accepted} 202 answers and {unanswered} unanswered postings"
            ),
        }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} events sent, {} accepted, {} unknown; {} postings unanswered, {} accepted again; {} \
             effects",
            self.events,
            self.accepted,
            self.unknown,
            self.unanswered,
            self.duplicates,
            self.effects
        )?;
        if let Some(parked) = self.parked {
            write!(f, ", {parked} parked")?;
        }
        if let Some(records) = self.records {
            write!(f, ", {records} records")?;
        }
        write!(f, ", {} faults", self.faults.len())?;
        for fault in self.faults.iter().take(LISTED_MAX) {
            write!(f, "\n  {fault}")?;
        }
        match self.faults.len().checked_sub(LISTED_MAX) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, "\n  and {more} more"),
        }
    }
}
