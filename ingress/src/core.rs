//! What the pipeline works with: shared by all threads, and a thread's own buffers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use shared::Process;
use shared::clock::Clock;
use shared::config::IngressConfig;
use shared::log::{AcksPool, Log};
use shared::route::Router;

use crate::addresses::Addresses;
use crate::admission::{self, Admission, FlowCache};
use crate::body::Buffer;
use crate::budget::Budget;
use crate::cors::Cors;
use crate::descriptors;
use crate::desk::Desk;
use crate::fixed_limits::FailedLogins;
use crate::live::{Live, Policy, View};
use crate::memory::Watermark;
use crate::metrics::{Metrics, Registered};
use crate::pool::{Pool, Pooled};
use crate::server::BindError;
use crate::stationery::Stationery;
use crate::tape::{JsonBounds, Parser};
use crate::tls::Tls;

/// One ingress: configuration, ready to use, and the log.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The bounds. Keys, sources and schemas are in `live`: here stand those of the start.
    pub config: IngressConfig,
    /// Who may post, from where, and what.
    pub live: Live,
    /// Which events may go to the log now.
    pub admission: Admission,
    /// Who has sent wrong credentials.
    pub failed_logins: FailedLogins,
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
    /// How many connections may be open.
    pub connections_max: usize,
    /// Open connections, all threads.
    pub connections: AtomicUsize,
    /// Requests being served, all threads.
    pub requests: AtomicUsize,
    /// Open connections of each address.
    pub addresses: Addresses,
    /// TLS, where it is spoken.
    pub tls: Option<Arc<Tls>>,
    /// Whether memory is short.
    pub watermark: Watermark,
}

/// A thread's part.
pub(crate) struct Core {
    /// What all threads share.
    pub shared: Arc<Shared>,
    /// The policy in effect.
    pub view: View,
    /// Buffers for bodies.
    pub pool: Pool<Buffer>,
    /// What requests work on.
    pub desks: Pool<Desk>,
    /// What they wait for the log with.
    pub acks: AcksPool,
    /// What tenants ask for, as far as this thread serves them.
    pub flows: FlowCache,
    /// What they are answered on.
    pub stationery: Stationery,
    parsers: Pool<Parser>,
}

impl Shared {
    /// Loads keys, sources, schemas and certificates.
    pub fn load(
        config: &IngressConfig,
        router: Router,
        log: Log,
        process: &Process,
    ) -> Result<Self, BindError> {
        let registry = &*process.registry;
        let metrics = Metrics::new(registry);
        Ok(Self {
            live: Live::new(Policy::load(config, None)?, config, Registered::new(registry)),
            admission: Admission::new(&router, &config.control, admission::Metrics::new(registry)),
            failed_logins: FailedLogins::new(config.failed_logins_per_minute),
            budget: Budget::new(config.inflight_bytes_max, metrics.inflight_bytes.clone()),
            cors: Cors::new(&config.cors_origins),
            addresses: Addresses::new(config.edge.connections_per_address_max),
            tls: match &config.edge.tls {
                Some(files) => Some(Arc::new(Tls::load(files, metrics.tls_reloads.clone())?)),
                None => None,
            },
            watermark: Watermark::new(
                config.edge.memory_bytes_max,
                metrics.memory_bytes.clone(),
                metrics.memory_shedding.clone(),
            ),
            config: config.clone(),
            router,
            log,
            metrics,
            clock: process.clock.clone(),
            draining: AtomicBool::new(false),
            connections_max: descriptors::room_for(config.connections_max),
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
        })
    }
}

impl Core {
    /// The part of one thread.
    pub fn new(shared: Arc<Shared>) -> Self {
        let view = View::of(&shared.live);
        Self {
            shared,
            view,
            pool: Pool::default(),
            desks: Pool::default(),
            acks: AcksPool::default(),
            flows: FlowCache::default(),
            stationery: Stationery::default(),
            parsers: Pool::default(),
        }
    }

    /// A parser. Nearly always the same one: only a request that gives way in the middle of its
    /// events keeps one while others need theirs.
    pub fn parser(&self) -> Pooled<'_, Parser> {
        let config = &self.shared.config;
        self.parsers.take_or_else(|| {
            let bounds = JsonBounds {
                depth_max: config.json_depth_max,
                members_max: config.json_members_max,
            };
            Parser::with_profile(bounds, config.json_profile)
        })
    }
}
