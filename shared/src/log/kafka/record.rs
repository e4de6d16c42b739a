//! A Kafka message as a [`Record`]: one copy of each part, nothing of librdkafka's kept.

use bytes::Bytes;
use rdkafka::Message;
use rdkafka::message::BorrowedMessage;

use super::native;
use crate::clock::Millis;
use crate::log::Record;
use crate::position::{Offset, PartitionId, Position};

/// Copies a message of partition `id`.
pub(super) fn copied(id: PartitionId, message: &BorrowedMessage<'_>) -> Record {
    let part = |bytes: Option<&[u8]>| bytes.map_or_else(Bytes::new, Bytes::copy_from_slice);
    Record {
        position: Position { id, offset: Offset(message.offset()) },
        // A message without a timestamp (a format before 0.10) counts as of the epoch.
        timestamp: Millis(message.timestamp().to_millis().unwrap_or(0)),
        key: part(message.key()),
        value: part(message.payload()),
        headers: native::headers(message),
    }
}
