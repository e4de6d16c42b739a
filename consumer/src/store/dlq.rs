//! Parked rows as operators and the relay see them: walked in the log's order, redriven, dropped,
//! mirrored. What a writer does with them is elsewhere; nothing here moves a position or applies an
//! effect.

use bytes::Bytes;
use shared::clock::Millis;
use shared::log::Record;
use shared::position::{Class, Offset, PartitionId, Position};

use super::{Note, Store, headers_of};
use crate::failure::{Failure, StoreError};

/// What is to become of a parked row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It waits; where it has a time, its partition's writer tries it then.
    Parked,
    /// No more tries, until somebody redrives it.
    Dead,
    /// Somebody gave it up.
    Dropped,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Parked, Self::Dead, Self::Dropped];

    /// The name in the table, on the command line and in the DLQ topic.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parked => "parked",
            Self::Dead => "dead",
            Self::Dropped => "dropped",
        }
    }

    /// The state of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// Which parked row: its identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParkedKey {
    /// The tenant; empty where the record's key names none.
    pub tenant: String,
    /// The identity's digest, or that of the record's position.
    pub digest: Vec<u8>,
}

/// A parked row without its record's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// Which one.
    pub key: ParkedKey,
    /// Its record.
    pub position: Position,
    /// When the record was received.
    pub record_timestamp: Millis,
    /// Why it is parked ([`crate::batch::Poison::reason`]).
    pub reason: String,
    /// The database's code, where it refused.
    pub sqlstate: Option<String>,
    /// How often it was tried.
    pub attempts: i32,
    /// How many tries are left.
    pub tries_left: i32,
    /// The claim under which it was parked.
    pub epoch: Option<i64>,
    /// What is to become of it.
    pub state: State,
    /// Since when it is parked.
    pub at: Millis,
    /// When it is tried next.
    pub next_try_at: Option<Millis>,
}

/// A stretch of parked rows in the log's order: after one row, up to a place, both in the table's own
/// numbers, which have room for "before the first" and "after the last".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// After this class, partition, offset and digest.
    pub after: (i16, i32, i64, Vec<u8>),
    /// Up to this class, partition and offset, included.
    pub upto: (i16, i32, i64),
}

impl Stretch {
    /// All there is.
    pub const ALL: Self =
        Self { after: (-1, -1, -1, Vec::new()), upto: (i16::MAX, i32::MAX, i64::MAX) };

    /// Those of a class, of a partition of it, of an offset in that.
    pub fn of(class: Class, partition: Option<i32>, offset: Option<i64>) -> Self {
        let class = class as i16;
        Self {
            // An empty digest is before every digest.
            after: (class, partition.unwrap_or(-1), offset.unwrap_or(-1), Vec::new()),
            upto: (class, partition.unwrap_or(i32::MAX), offset.unwrap_or(i64::MAX)),
        }
    }

    /// What is behind a row of it.
    pub fn behind(&self, position: Position, digest: &[u8]) -> Self {
        let PartitionId { class, partition } = position.id;
        let after = (class as i16, partition.as_i32(), position.offset.0, digest.to_vec());
        Self { after, upto: self.upto }
    }
}

/// A row of the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audited {
    /// Its number; later ones are higher.
    pub id: i64,
    /// When.
    pub at: Millis,
    /// Who.
    pub author: String,
    /// `redrive` or `drop`.
    pub action: String,
    /// Why.
    pub reason: Option<String>,
    /// What was asked for, as JSON.
    pub filter: String,
    /// How many rows it changed.
    pub affected: i64,
}

impl Store {
    /// The next `rows_max` parked rows of a stretch.
    pub async fn parked_in(
        &self,
        stretch: &Stretch,
        rows_max: u16,
    ) -> Result<Vec<Parked>, StoreError> {
        match self {
            Self::Postgres(store) => store.parked_in(stretch, rows_max).await,
            Self::Sqlite(store) => store.parked_in(stretch, rows_max).await,
        }
    }

    /// The records of these rows, each with its key; one that is gone meanwhile is left out.
    pub async fn parked_records(
        &self,
        keys: &[&ParkedKey],
    ) -> Result<Vec<(ParkedKey, Record)>, StoreError> {
        match self {
            Self::Postgres(store) => store.parked_records(keys).await,
            Self::Sqlite(store) => store.parked_records(keys).await,
        }
    }

    /// Lets these rows be tried, each after its wait in milliseconds, where they are still in one of
    /// `states`; with the note, all or nothing. How many it were.
    pub async fn redrive(
        &self,
        rows: &[(ParkedKey, i64)],
        states: &[State],
        note: &Note,
        now: Millis,
    ) -> Result<u64, StoreError> {
        match self {
            Self::Postgres(store) => store.redrive(rows, states, note).await,
            Self::Sqlite(store) => store.redrive(rows, states, note, now).await,
        }
    }

    /// Gives these rows up, where they are still in one of `states`; with the note, all or nothing.
    pub async fn drop_parked(
        &self,
        keys: &[ParkedKey],
        states: &[State],
        note: &Note,
        now: Millis,
    ) -> Result<u64, StoreError> {
        match self {
            Self::Postgres(store) => store.drop_parked(keys, states, note).await,
            Self::Sqlite(store) => store.drop_parked(keys, states, note, now).await,
        }
    }

    /// What was done by hand, the newest first, before a number where one is given.
    pub async fn audit(
        &self,
        before: Option<i64>,
        rows_max: u16,
    ) -> Result<Vec<Audited>, StoreError> {
        let before = before.unwrap_or(i64::MAX);
        match self {
            Self::Postgres(store) => store.audit(before, rows_max).await,
            Self::Sqlite(store) => store.audit(before, rows_max).await,
        }
    }

    /// Rows of these partitions whose state the DLQ topic does not know yet, and how many there are,
    /// counted up to `count_max`.
    pub async fn unmirrored(
        &self,
        owned: &[PartitionId],
        rows_max: u16,
        count_max: u32,
    ) -> Result<(Vec<Parked>, u64), StoreError> {
        match self {
            Self::Postgres(store) => store.unmirrored(owned, rows_max, count_max).await,
            Self::Sqlite(store) => store.unmirrored(owned, rows_max, count_max).await,
        }
    }

    /// Notes that the DLQ topic knows these rows in these states.
    pub async fn mirrored(&self, rows: &[(ParkedKey, State)]) -> Result<(), StoreError> {
        match self {
            Self::Postgres(store) => store.mirrored(rows).await,
            Self::Sqlite(store) => store.mirrored(rows).await,
        }
    }
}

/// A state as the table has it.
pub(super) fn state_of(name: &str) -> Result<State, StoreError> {
    // Only states we wrote are there, but a database can be edited by hand.
    State::parse(name).ok_or_else(|| StoreError {
        failure: Failure::Halt,
        code: None,
        message: format!("a parked row is in a state {name:?}"),
    })
}

/// A record as the table keeps it.
pub(super) fn record_of(
    id: PartitionId,
    (offset, timestamp): (i64, i64),
    (key, value): (Vec<u8>, Vec<u8>),
    headers: &str,
) -> Result<Record, StoreError> {
    let headers = headers_of(headers)?;
    Ok(Record {
        position: Position { id, offset: Offset(offset) },
        timestamp: Millis(timestamp),
        key: Bytes::from(key),
        value: Bytes::from(value),
        headers,
    })
}
