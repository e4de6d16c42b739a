//! The forgetting of ids: what partitions say for it, and what it does.

use shared::clock::Millis;
use shared::position::{Epoch, Offset, PartitionId};

use crate::bucket::Bucket;

/// A partition's word that everything was applied that the log held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaughtUp {
    /// The partition.
    pub id: PartitionId,
    /// The claim it is said under.
    pub epoch: Epoch,
    /// The position, which was the log's end.
    pub next: Offset,
    /// When the log was asked: what it held then is applied.
    pub at: Millis,
}

/// What one step of forgetting did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Buckets that are gone now.
    pub buckets: Vec<Bucket>,
    /// There may be more to do at once.
    pub more: bool,
}

/// The buckets of ids there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdBuckets {
    /// How many.
    pub count: u64,
    /// The oldest.
    pub oldest: Option<Bucket>,
    /// The partition whose position has passed the least: the oldest bucket waits for it.
    pub behind: Option<PartitionId>,
}
