//! The outbox as a relay sees it: rows that wait for a sink, and what became of them.

use std::time::Duration;

use shared::clock::Millis;
use shared::log::Record;
use shared::position::{Epoch, PartitionId};

use super::Store;
use crate::failure::StoreError;

/// A stretch of the outbox that is a relay's own: a partition that this process has claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The partition.
    pub id: PartitionId,
    /// The claim. Under another one nothing is found.
    pub epoch: Epoch,
    /// No row below this number waits.
    pub floor: i64,
}

/// What a relay asks for.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// The sink.
    pub sink: &'a str,
    /// Whether rows of one entity keep their order.
    pub ordered: bool,
    /// Where to look.
    pub slices: &'a [Slice],
    /// Rows that are being sent.
    pub under_way: &'a [i64],
    /// Entities that have one, where order is kept.
    pub busy: &'a [String],
    /// So many rows at most.
    pub rows_max: u16,
    /// So many bytes of values at most, or one row.
    pub bytes_max: u32,
}

/// A row that may be sent now: none before it of its entity waits for a later try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Its number.
    pub seq: i64,
    /// What is sent.
    pub record: Record,
    /// The same each time that it is sent.
    pub message_id: String,
    /// What must not overtake one another.
    pub entity: Option<String>,
    /// How often it has failed.
    pub attempts: i32,
    /// Since when it waits.
    pub created_at: Millis,
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was sent, and goes.
    Sent,
    /// It failed, and is tried again after so long.
    Again(Duration, String),
    /// It is refused for good, and stays until an operator decides.
    Dead(String),
}

/// A row and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The row's partition.
    pub id: PartitionId,
    /// Its number.
    pub seq: i64,
    /// What became of it.
    pub fate: Fate,
}

/// What waits in a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The partition.
    pub id: PartitionId,
    /// How many rows, counted up to a bound.
    pub rows: u64,
    /// The first one's number.
    pub first: Option<i64>,
    /// Since when the first waits.
    pub since: Option<Millis>,
}

impl Store {
    /// Rows that may be sent, by number.
    pub async fn outbox_page(&self, ask: &Ask<'_>, now: Millis) -> Result<Vec<Due>, StoreError> {
        match self {
            Self::Postgres(store) => store.outbox_page(ask).await,
            Self::Sqlite(store) => store.outbox_page(ask, now).await,
        }
    }

    /// Keeps what became of rows, all or nothing. One that is gone meanwhile is left alone.
    pub async fn outbox_settle(
        &self,
        sink: &str,
        settled: &[Settled],
        now: Millis,
    ) -> Result<(), StoreError> {
        match self {
            Self::Postgres(store) => store.outbox_settle(sink, settled).await,
            Self::Sqlite(store) => store.outbox_settle(sink, settled, now).await,
        }
    }

    /// What waits in these slices, each counted up to `count_max`.
    pub async fn outbox_waiting(
        &self,
        sink: &str,
        slices: &[Slice],
        count_max: u32,
    ) -> Result<Vec<Waiting>, StoreError> {
        match self {
            Self::Postgres(store) => store.outbox_waiting(sink, slices, count_max).await,
            Self::Sqlite(store) => store.outbox_waiting(sink, slices, count_max).await,
        }
    }

    /// How many rows a sink has in all, counted up to `count_max`, and how many of them are dead.
    pub async fn outbox_rows(&self, sink: &str, count_max: u64) -> Result<(u64, u64), StoreError> {
        let count_max = i64::try_from(count_max).unwrap_or(i64::MAX);
        match self {
            Self::Postgres(store) => store.outbox_rows(sink, count_max).await,
            Self::Sqlite(store) => store.outbox_rows(sink, count_max).await,
        }
    }
}

impl Settled {
    /// What the table keeps of one that was not sent: the wait until its next try, where there is one,
    /// and why.
    pub(super) fn failure(&self) -> Option<(Option<i64>, &str)> {
        match &self.fate {
            Fate::Sent => None,
            Fate::Again(wait, why) => {
                Some((Some(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)), why))
            }
            Fate::Dead(why) => Some((None, why)),
        }
    }
}
