//! Where a partition's log ends, as seen from outside its reader.

use super::{ReadError, embedded, kafka, memory};
use crate::position::Offset;

/// A look at one partition's end, from [`super::Reader::watch_end`]: whoever measures a writer sees
/// what waits for it even while the writer itself waits for a database.
#[derive(Debug)]
pub enum LogEnd {
    /// As the last fetch saw it; no I/O.
    Kafka(kafka::PartitionEnd),
    /// The durable watermark.
    Embedded(embedded::PartitionEnd),
    /// What memory holds.
    Memory(memory::PartitionEnd),
}

impl LogEnd {
    /// The offset after the newest record; 0 where it is not known, or not ours any more.
    pub fn get(&self) -> Offset {
        match self {
            Self::Kafka(end) => end.get(),
            Self::Embedded(end) => end.get(),
            Self::Memory(end) => end.get(),
        }
    }

    /// The same, asked of the log itself: what was in it before the question lies before the answer.
    pub async fn ask(&self) -> Result<Offset, ReadError> {
        match self {
            Self::Kafka(end) => end.ask().await,
            Self::Embedded(end) => Ok(end.get()),
            Self::Memory(end) => Ok(end.get()),
        }
    }
}
