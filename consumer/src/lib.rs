//! The consumer: from a record in the log to its one effect in the store.
//!
//! The way of a batch is [`worker`], read from top to bottom: poll the partition's own queue, decode
//! or poison, drop what lies below the stored position, then one transaction that moves the position
//! under the fence, keeps the identities, writes the effects of the fresh ones and parks the
//! poisoned; then mirror the offset to the log. [`Consumer`] starts and stops one worker per
//! partition as the log assigns them. [`resolution`] decides what a refused or unanswered commit
//! means; [`failure`] what a database error means. [`load`] measures the workers, tells the limits that
//! follow from it, and makes lower classes give way. [`lookup`] answers what became of an event.
//! [`dlq`] lets an operator see, redrive and drop what is parked; [`mirror`] copies it to the DLQ topic.
//! A [`handler`] is the user's own Rust over a batch's fresh events, with state per partition.
//! What goes elsewhere than the database waits in the [`outbox`], and is sent from there.
//!
//! The truth about a partition is its progress row in the [`store`], never the log's own offset.
//! Nothing in this crate speaks HTTP to producers or writes to the log: the topics that [`mirror`] and the
//! [`outbox`] write are beside it, and nothing here reads them.

#[macro_use]
mod failpoint;

pub mod backoff;
pub mod batch;
pub mod bucket;
mod clocks;
mod consumer;
pub mod dlq;
mod expiry;
pub mod failure;
mod filter;
pub mod handler;
pub mod headers;
pub mod load;
pub mod log_limit;
pub mod lookup;
pub mod metrics;
pub mod mirror;
pub mod outbox;
pub mod projection;
pub mod recovery;
pub mod resolution;
pub mod retry;
pub mod store;
pub mod worker;

pub use self::consumer::{Consumer, ConsumerError, Reload};
pub use self::lookup::Lookup;
pub use self::recovery::Recovery;
pub use self::store::Store;
