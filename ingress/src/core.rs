//! What the pipeline works with: shared by all threads, and a thread's own buffers.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use shared::clock::Clock;
use shared::config::IngressConfig;
use shared::log::Log;
use shared::metrics::Registry;
use shared::route::Router;

use crate::body::Pool;
use crate::budget::Budget;
use crate::cors::Cors;
use crate::live::{Live, Policy, View};
use crate::metrics::{Metrics, Registered};
use crate::schema::SchemaError;
use crate::tape::{JsonBounds, Parser};

/// One ingress: configuration, ready to use, and the log.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The bounds. Keys, sources and schemas are in `live`: here stand those of the start.
    pub config: IngressConfig,
    /// Who may post, from where, and what.
    pub live: Live,
    /// Where events go.
    pub router: Router,
    /// Where records go.
    pub log: Log,
    /// What is counted.
    pub metrics: Metrics,
    /// Which scripts of browsers may post.
    pub cors: Cors,
    /// Bytes in flight.
    pub budget: Budget,
    /// The receive time.
    pub clock: Clock,
    /// Answers close their connections from now on.
    pub draining: AtomicBool,
    /// Open connections, all threads.
    pub connections: AtomicUsize,
}

/// A thread's part.
pub(crate) struct Core {
    /// What all threads share.
    pub shared: Arc<Shared>,
    /// The policy in effect.
    pub view: View,
    /// Buffers for bodies.
    pub pool: Pool,
    /// The parser; borrowed only between two awaits.
    pub parser: RefCell<Parser>,
}

impl Shared {
    /// Loads keys, sources and schemas.
    pub fn load(
        config: &IngressConfig,
        router: Router,
        log: Log,
        registry: &Registry,
        clock: Clock,
    ) -> Result<Self, SchemaError> {
        let metrics = Metrics::new(registry);
        Ok(Self {
            live: Live::new(Policy::load(config)?, config, Registered::new(registry)),
            budget: Budget::new(config.inflight_bytes_max, metrics.inflight_bytes.clone()),
            cors: Cors::new(&config.cors_origins),
            config: config.clone(),
            router,
            log,
            metrics,
            clock,
            draining: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
        })
    }
}

impl Core {
    /// The part of one thread.
    pub fn new(shared: Arc<Shared>) -> Self {
        let bounds = JsonBounds {
            depth_max: shared.config.json_depth_max,
            members_max: shared.config.json_members_max,
        };
        let view = View::of(&shared.live);
        let parser = Parser::with_profile(bounds, shared.config.json_profile);
        Self { shared, view, pool: Pool::default(), parser: RefCell::new(parser) }
    }
}
