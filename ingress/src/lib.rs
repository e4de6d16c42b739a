//! Bytes in, 202 out: the HTTP side, from a producer's connection to an acknowledged record.
//!
//! # The way of an event
//! A connection is accepted by one of the threads ([`Ingress::serve`]), each with a runtime and a
//! listener of its own. A request goes down one function, `pipeline::handle`: its head is checked and
//! routed, its sender authenticated and its bytes admitted before the body is read; the body is
//! inflated under bounds, parsed to a tape, and every event in it checked against the envelope, the
//! store and its schema; what passed is routed and appended; when the log has acknowledged, the
//! answer says what became of each. Whatever is refused is one row of the table in `reject`.
//!
//! # What never happens here
//! No 2xx for an event that the log has not acknowledged. No retry of an append: the sender does that,
//! with the same id. No waiting at a bound: it is refused at once. No SQL.

mod accept;
mod addresses;
mod admission;
mod answer;
mod append;
mod batch;
mod binary;
mod body;
mod budget;
mod connection;
mod core;
mod cors;
mod courtesy;
mod credential;
mod deadlines;
mod descriptors;
mod desk;
mod document;
mod elements;
mod envelope;
mod event;
mod eventless;
mod fixed_limits;
mod framing;
mod grant;
mod guard;
mod head;
mod inflate;
mod listener;
mod live;
mod memory;
mod metrics;
mod openapi;
mod peer;
mod pipeline;
mod pointer;
mod pool;
#[doc(hidden)]
pub mod probe;
mod problem;
mod proxy;
mod pulse;
mod reject;
mod schema;
mod serve;
mod server;
mod signature;
mod source;
mod stand_in;
mod stationery;
mod storable;
mod tally;
mod tape;
mod tls;
mod transport;
mod turn;
mod violation;

pub use self::reject::problems_markdown;
pub use self::schema::{Coverage, Gap, SchemaError, coverage};
pub use self::server::{BindError, Ingress, Reload, ServeError};
pub use self::tls::TlsError;

/// Reads every file that an ingress of this configuration starts with, and starts nothing: schemas
/// compile, certificate and key make a server.
pub fn check(config: &shared::config::IngressConfig) -> Result<(), BindError> {
    live::Policy::load(config, None)?;
    config.edge.tls.as_ref().map_or(Ok(()), tls::Tls::check)?;
    Ok(())
}

/// Registers every family the ingress exports, without an ingress: for the reference page.
pub fn describe(registry: &shared::metrics::Registry) {
    metrics::Metrics::new(registry);
    metrics::Registered::new(registry);
    admission::Metrics::new(registry);
}
