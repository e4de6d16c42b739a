//! The log on a real Kafka: what is acknowledged is there, byte for byte and in order; a partition is
//! fetched only after its start; and an outage settles every record as one of three things.
//!
//! `SHOCK_SERVICES` is the path of the `services.json` that `cargo xtask services up` writes.

#[path = "world_kafka/append.rs"]
mod append;
#[path = "world_kafka/books.rs"]
mod books;
#[path = "world_kafka/breaker.rs"]
mod breaker;
#[path = "world_kafka/broker.rs"]
mod broker;
#[path = "world_kafka/clock.rs"]
mod clock;
#[path = "world_kafka/control.rs"]
mod control;
#[path = "world_kafka/group.rs"]
mod group;
#[path = "world_kafka/leader.rs"]
mod leader;
#[path = "world_kafka/outage.rs"]
mod outage;
#[path = "world_kafka/secured.rs"]
mod secured;
#[path = "world_kafka/support.rs"]
mod support;
#[path = "world_kafka/topics.rs"]
mod topics;
