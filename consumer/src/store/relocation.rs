//! A position moved on purpose ([`crate::recovery`]), and what is kept of that.

use shared::clock::Millis;
use shared::position::{Epoch, Offset};

/// Where an operator puts a partition.
#[derive(Clone, Copy, Debug)]
pub struct Relocation<'a> {
    /// The epoch of the row that the decision rests on; `None`: there was no row.
    pub seen: Option<Epoch>,
    /// The record to apply next.
    pub next: Offset,
    /// Its timestamp, where there is such a record.
    pub record_timestamp: Option<Millis>,
    /// For a row that is gone: an epoch above every one that it may have had.
    pub epoch_min: Epoch,
    /// What is kept of it, in the same transaction.
    pub note: &'a Note,
    /// How many records it concerns.
    pub affected: i64,
}

/// What an operator does by hand, and why: what the audit keeps, with how many rows or records it
/// concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Who.
    pub author: String,
    /// What: a word.
    pub action: &'static str,
    /// Why.
    pub reason: String,
    /// What was asked for, as JSON.
    pub filter: String,
}

/// The owner of a row that an operator has moved and nobody has claimed since begins with it. No
/// instance is called so: Kafka's names have no colon.
pub const OPERATOR_PREFIX: &str = "operator: ";
