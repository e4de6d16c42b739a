//! What both sides of the log share: the words (tenant, class, partition, record, identity) and the
//! plumbing (log, configuration, metrics, admin port, health, clock).
//!
//! An event arrives at the ingress, is routed ([`route`]) and becomes a [`log::NewRecord`]; the log
//! gives it a [`position::Position`]; the consumer reads it back as a [`log::Record`], decodes it
//! into an [`event::Event`] and knows it by its [`identity::Identity`]. Nothing in this crate
//! speaks HTTP to producers or SQL to a database.

pub mod admin;
pub mod clock;
pub mod config;
pub mod event;
pub mod health;
pub mod identity;
pub mod log;
pub mod metrics;
pub mod plane;
pub mod position;
pub mod process;
pub mod route;
pub mod skew;
pub mod tenant;

pub use self::process::Process;
pub use tokio_util::sync::CancellationToken as Shutdown;
