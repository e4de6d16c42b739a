//! The filters of closed buckets, as the rest of the consumer sees them: what they know, and what they
//! spared.

use std::time::Duration;

/// What one look at a bucket that is over led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Its ids were read.
    Read {
        /// How many.
        ids: u64,
        /// In which time.
        took: Duration,
    },
    /// They are known.
    Known,
    /// It has no table, a position has not passed it and ids are still added, or it could not be locked.
    NotYet,
    /// Ids were added while they were read.
    Unsealed {
        /// What was spent.
        took: Duration,
    },
    /// So many that a filter within the bound would spare too little.
    TooMany(u64),
}

/// What the filters of a process hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Ids.
    pub ids: u64,
    /// Memory.
    pub bytes: u64,
}

/// What the filters did for a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filtered {
    /// Events for whose bucket before there was a filter.
    pub asked: u64,
    /// Those of them that it did not clear.
    pub positive: u64,
    /// Of these, the ones that the database did not have either.
    pub false_positive: u64,
    /// Look-ups that were spared.
    pub spared: u64,
}
