//! The log between ingress and consumer: Apache Kafka, the embedded log, or memory.
//!
//! [`Log`] is the writing side, [`Subscription`] and [`Reader`] the reading side, [`Scanner`] looks
//! without consuming; [`Publisher`] writes a topic beside it. A record is *in the log* when its [`Ticket`] was settled with a position, not
//! before: Kafka's acknowledgement by all in-sync replicas, or an fsync of the embedded log. No side
//! of this module retries an append: the producer of the event does, with the same id.

mod acks;
pub mod embedded;
mod end;
pub mod kafka;
pub mod memory;
mod publisher;
mod reading;

use bytes::Bytes;

pub use self::acks::{Acks, AcksPool, AppendError, Outcome, Ticket};
pub use self::end::LogEnd;
pub use self::publisher::{Publication, Publisher, Unpublished};
pub use self::reading::{Change, Drained, ReadBounds, ReadError, Reader, Scanner, Subscription};
use crate::clock::Millis;
use crate::position::{PartitionId, Position};

/// Header of a record: how its value is to be read.
pub const HEADER_CONTENT_TYPE: &str = "content-type";
/// `content-type` of a value that is one structured CloudEvent.
pub const CONTENT_TYPE_STRUCTURED: &str = "application/cloudevents+json; charset=UTF-8";
/// Header for an id that the value does not carry (minted, or a webhook's delivery id).
pub const HEADER_ID: &str = "ce_id";
/// Header for a type that the value does not carry.
pub const HEADER_TYPE: &str = "ce_type";
/// Header for a source that the value does not carry.
pub const HEADER_SOURCE: &str = "ce_source";
/// Header for a subject (the entity) that the value does not carry.
pub const HEADER_SUBJECT: &str = "ce_subject";
/// Header for a time that the value does not carry.
pub const HEADER_TIME: &str = "ce_time";
/// Header that marks a record in CloudEvents binary mode (Kafka protocol binding 1.0.2, 3.2).
pub const HEADER_SPECVERSION: &str = "ce_specversion";
/// Header of W3C trace context.
pub const HEADER_TRACEPARENT: &str = "traceparent";
/// The other header of W3C trace context; never without the first.
pub const HEADER_TRACESTATE: &str = "tracestate";

/// The most headers a record of ours carries; a foreign record may carry more.
pub const HEADERS_MAX: usize = 13;

/// A record on its way into the log. Borrowed: the log copies what it must keep.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// Where it goes: routing has decided, the log does not.
    pub id: PartitionId,
    /// When the ingress received it; becomes the record's timestamp.
    pub timestamp: Millis,
    /// Tenant, or tenant `/` entity where the tenant is spread.
    pub key: &'a [u8],
    /// The event's bytes as they came.
    pub value: &'a [u8],
    /// What the value cannot carry, names as in the constants of this module.
    pub headers: &'a [(&'a str, &'a [u8])],
}

/// A record read from the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it stands.
    pub position: Position,
    /// The time the ingress received it (or the foreign writer's, or the broker's).
    pub timestamp: Millis,
    /// The key; empty where a foreign writer gave none.
    pub key: Bytes,
    /// The value; empty for a tombstone.
    pub value: Bytes,
    /// Headers in the record's order.
    pub headers: Vec<(String, Bytes)>,
}

impl Record {
    /// The value of the first header of that name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_ref())
    }

    /// What the record costs in memory, for bounds in bytes.
    pub fn size_bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(k, v)| k.len() + v.len() + 48).sum();
        size_of::<Self>() + self.key.len() + self.value.len() + headers
    }
}

/// The writing side.
#[derive(Debug)]
pub enum Log {
    /// Apache Kafka, through one idempotent producer.
    Kafka(kafka::Producer),
    /// The durable log of one process.
    Embedded(embedded::EmbeddedLog),
    /// For tests and benches: keeps records in memory, can be told to fail.
    Memory(memory::MemoryLog),
}

impl Log {
    /// Hands one record over. Never waits: the ticket is settled now (full, away) or later.
    pub fn append(&self, record: &NewRecord<'_>, ticket: Ticket) {
        match self {
            Self::Kafka(producer) => producer.append(record, ticket),
            Self::Embedded(log) => log.append(record, ticket),
            Self::Memory(log) => log.append(record, ticket),
        }
    }

    /// Settles this thread's tickets on this thread, as long as the future is polled: its requests
    /// then wake locally, many at a time. A thread that serves requests spawns it beside them;
    /// without it tickets are settled wherever the log learns of them.
    pub async fn attend(&self) {
        match self {
            Self::Kafka(producer) => producer.attend().await,
            Self::Embedded(_) | Self::Memory(_) => {}
        }
    }

    /// Whether the log has been usable once (a fresh replica is ready only then); the text says why
    /// not. A log that goes away later leaves it true: a running replica's 503 says more than a load
    /// balancer's.
    pub fn usable(&self) -> Result<(), String> {
        match self {
            Self::Kafka(producer) => producer.usable(),
            Self::Embedded(_) | Self::Memory(_) => Ok(()),
        }
    }

    /// Waits (bounded by the log's own time-outs) until every ticket handed over is settled.
    pub async fn flush(&self) {
        match self {
            Self::Kafka(producer) => producer.flush().await,
            Self::Embedded(log) => log.flush().await,
            Self::Memory(_) => {}
        }
    }
}
