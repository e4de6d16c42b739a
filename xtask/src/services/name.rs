//! The services by the names that a person types. Knows nothing of where they run.

use clap::ValueEnum;
use rustix::process::Signal;

/// The services by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    Postgres,
    #[value(name = "kafka-1")]
    Kafka1,
    #[value(name = "kafka-2")]
    Kafka2,
    #[value(name = "kafka-3")]
    Kafka3,
}

impl Name {
    /// Kafka's nodes in the order of their ids.
    pub const KAFKA: [Self; 3] = [Self::Kafka1, Self::Kafka2, Self::Kafka3];

    /// The name as it is typed and written down.
    pub fn text(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Kafka1 => "kafka-1",
            Self::Kafka2 => "kafka-2",
            Self::Kafka3 => "kafka-3",
        }
    }

    /// Kafka's node ids count from 1; PostgreSQL has none.
    pub fn node_id(self) -> Option<usize> {
        Self::KAFKA.iter().position(|name| *name == self).map(|index| index + 1)
    }

    /// What asks the service for a clean end.
    pub fn stop_signal(self) -> Signal {
        match self {
            // PostgreSQL's "fast" shutdown: SIGTERM would wait for the clients to leave.
            Self::Postgres => Signal::INT,
            _ => Signal::TERM,
        }
    }
}
