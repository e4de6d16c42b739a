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
    #[error("the progress row is gone")]
    Vanished,
    /// The database refused even to park this one record.
    #[error("offset {offset} cannot be parked: {error}", offset = .0.0, error = .1)]
    Unparkable(Offset, StoreError),
}

impl Halt {
    /// The metric's label: a closed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Gap(_) => "log_gap",
            Self::Statement(_) => "statement",
            Self::Vanished => "progress_vanished",
            Self::Unparkable(..) => "unparkable",
        }
    }
}
