//! What a worker asks of its supervisor, which holds the membership; never answered by it in place.

use shared::log::{ReadError, Reader};
use shared::position::{Offset, PartitionId};
use tokio::sync::oneshot;

/// What a worker needs from the log's membership, which its supervisor holds.
#[derive(Debug)]
pub enum Request {
    /// Where a partition without a row begins.
    FirstPosition(PartitionId, oneshot::Sender<Result<Offset, ReadError>>),
    /// Delivery from an offset.
    Start(PartitionId, Offset, oneshot::Sender<Result<Reader, ReadError>>),
}
