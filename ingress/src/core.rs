//! What the pipeline works with: shared by all threads, and a thread's own buffers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use shared::clock::Clock;
use shared::config::{IngressConfig, SourceConfig};
use shared::log::Log;
use shared::metrics::Registry;
use shared::route::Router;

use crate::body::Pool;
use crate::budget::Budget;
use crate::credential::Keyring;
use crate::metrics::Metrics;
use crate::schema::{SchemaError, Schemas};
use crate::source::Source;
use crate::tape::{JsonBounds, Parser};

/// One ingress: configuration, ready to use, and the log.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The bounds.
    pub config: IngressConfig,
    /// Who may post.
    pub keyring: Keyring,
    /// Webhook sources by name.
    pub sources: HashMap<String, Source>,
    /// Schemas by type.
    pub schemas: Schemas,
    /// Where events go.
    pub router: Router,
    /// Where records go.
    pub log: Log,
    /// What is counted.
    pub metrics: Metrics,
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
        let source = |source: &SourceConfig| Ok((source.name.clone(), Source::load(source)?));
        Ok(Self {
            keyring: Keyring::new(&config.keys),
            sources: config.sources.iter().map(source).collect::<Result<_, SchemaError>>()?,
            schemas: Schemas::load(&config.schemas)?,
            budget: Budget::new(config.inflight_bytes_max, metrics.inflight_bytes.clone()),
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
        Self { shared, pool: Pool::default(), parser: RefCell::new(Parser::new(bounds)) }
    }
}
