//! Topics beside the log: copies of what consumers have parked, and what sinks send.
//!
//! Nothing here reads them, and nothing that is written here decides anything: what is parked or waits
//! for a sink is so in the database, whether a copy of it is here or not.

use bytes::Bytes;

use super::{kafka, memory};

/// A record for such a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The record's key.
    pub key: Bytes,
    /// Its value, verbatim.
    pub value: Bytes,
    /// Its headers, then what is said about it.
    pub headers: Vec<(String, Bytes)>,
}

/// Why it is not in the topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unpublished {
    /// It is larger than the topic takes, and always will be.
    #[error("it is larger than the topic takes")]
    TooLarge,
    /// The topic cannot be written now, or nobody said that it was.
    #[error("the topic cannot be written: {0}")]
    Unavailable(String),
}

/// Writes one topic.
#[derive(Clone, Debug)]
pub enum Publisher {
    /// A topic of Apache Kafka.
    Kafka(kafka::TopicPublisher),
    /// For tests: keeps records in memory, can be told to fail.
    Memory(memory::PublisherMemory),
}

impl Publisher {
    /// Writes these; returns when each is in the topic or is known not to be, one answer each in their
    /// order. Bounded by the topic's own time-outs. One that fails may be there all the same.
    pub async fn publish(&self, publications: Vec<Publication>) -> Vec<Result<(), Unpublished>> {
        match self {
            Self::Kafka(topic) => topic.publish(publications).await,
            Self::Memory(memory) => memory.publish(publications),
        }
    }
}
