//! `shock simulate`: what the limits would do, before the day on which they have to.
//!
//! A scenario ([`scenario::Scenario`], TOML) says what is offered, what consumers can do, and which rule
//! limits. [`run::run`] steps through it, 50 ms at a time, with the code of `control` inside: the same
//! loop, shares, levels and scaling that a running system has. It gives a [`trace::Trace`], from which
//! [`summary`] makes figures and [`page`] a page.
//!
//! The same seed gives the same bits on every platform: [`random`] is our own, and nothing here uses the
//! platform's mathematics. It prints nothing and reads no file.

mod admission;
mod arrivals;
pub mod catalogue;
pub mod compare;
mod consumers;
mod loops;
pub mod page;
pub mod partitions;
mod queue;
pub mod random;
pub mod replicas;
pub mod requests;
pub mod run;
pub mod scenario;
mod series;
pub mod summary;
pub mod table;
mod tenants;
pub mod trace;

pub use run::run;
pub use scenario::Scenario;
