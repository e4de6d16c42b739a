//! The DLQ topic: copies of what consumers have parked, for whoever watches Kafka.
//!
//! It is beside the log, not part of it: nothing here reads it, and what is parked is parked in the
//! database whether a copy of it is here or not.

use bytes::Bytes;

use super::{kafka, memory};

/// A copy of a parked record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The record's key.
    pub key: Bytes,
    /// Its value, verbatim.
    pub value: Bytes,
    /// Its headers, then what is said about it.
    pub headers: Vec<(String, Bytes)>,
}

/// Why a copy is not in the topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unpublished {
    /// It is larger than the topic takes, and always will be.
    #[error("it is larger than the topic takes")]
    TooLarge,
    /// The topic cannot be written now, or nobody said that it was.
    #[error("the topic cannot be written: {0}")]
    Unavailable(String),
}

/// Writes copies.
#[derive(Clone, Debug)]
pub enum DeadLetters {
    /// A topic of Apache Kafka.
    Kafka(kafka::DeadLetterTopic),
    /// For tests: keeps copies in memory, can be told to fail.
    Memory(memory::DeadLetterMemory),
}

impl DeadLetters {
    /// Writes these; returns when each is in the topic or is known not to be, one answer each in their
    /// order. Bounded by the topic's own time-outs. One that fails may be there all the same.
    pub async fn publish(&self, letters: Vec<DeadLetter>) -> Vec<Result<(), Unpublished>> {
        match self {
            Self::Kafka(topic) => topic.publish(letters).await,
            Self::Memory(memory) => memory.publish(letters),
        }
    }
}
