//! How a worker ends, and why a partition stands still.

use shared::log::ReadError;
use shared::position::Offset;

use crate::failure::StoreError;

/// Why a worker ended.
#[derive(Debug)]
pub enum End {
    /// It was told to.
    Stopped,
    /// Another writer has claimed the partition; what was in hand is dropped.
    Fenced,
    /// The log took the partition away.
    Revoked,
    /// The partition stands still until somebody acts.
    Halted(Halt),
}

/// Why a partition stands still. Its neighbours go on.
#[derive(Debug, thiserror::Error)]
pub enum Halt {
    /// The stored position is outside the log: only `shock ctl recover` moves it.
    #[error("{0}")]
    Gap(ReadError),
    /// The database refused a statement for a reason no record is to blame for.
    #[error("{0}")]
    Statement(StoreError),
    /// The progress row is gone; any position we could seed might skip records.
    #[error("the progress row is gone: `shock ctl recover` makes it anew")]
    Vanished,
    /// The database refused even to park this one record.
    #[error(
        "offset {offset} cannot be parked: {code}",
        offset = .0.0, code = .1.code.as_deref().unwrap_or("no code")
    )]
    Unparkable(Offset, StoreError),
    /// A record would have to be parked, and `consumer.on_poison` is `halt`.
    #[error("offset {offset} would be parked: {reason}", offset = .0.0, reason = .1)]
    Poison(Offset, &'static str),
    /// Too many of the last records would be parked: something is wrong with all of them.
    #[error(
        "{parked} of the last {records} records would be parked, at offset {offset}: {reason}",
        offset = offset.0
    )]
    Storm {
        /// The first of the batch that was too much.
        offset: Offset,
        /// Why that one would be parked.
        reason: &'static str,
        /// So many.
        parked: usize,
        /// Of so many.
        records: usize,
    },
}

impl Halt {
    /// The metric's label: a closed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Gap(_) => "log_gap",
            Self::Statement(_) => "statement",
            Self::Vanished => "progress_vanished",
            Self::Unparkable(..) => "unparkable",
            Self::Poison(..) => "poison",
            Self::Storm { .. } => "poison_storm",
        }
    }
}
