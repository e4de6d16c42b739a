//! Sinks: where events go besides the database, as configured.

use std::time::Duration;

use super::WebhookUrl;
use crate::position::Class;

/// What no sink may be called: the way back into the log.
pub const LOG_SINK: &str = "log";

/// The most sinks: each is a task with requests of its own.
pub(super) const SINKS_MAX: usize = 16;
/// Requests of one webhook at once, where nothing is said.
pub(super) const CONCURRENCY: u64 = 16;
/// The longest a connection may take, where nothing is said, ms.
pub(super) const CONNECT_TIMEOUT_MS: u64 = 2_000;
/// The longest an answer may take, where nothing is said, ms.
pub(super) const TIMEOUT_MS: u64 = 10_000;
/// The wait after a first failure, where nothing is said, ms.
pub(super) const BACKOFF_MS_MIN: u64 = 1_000;
/// The wait after many failures, where nothing is said, ms.
pub(super) const BACKOFF_MS_MAX: u64 = 300_000;
/// The most rows that wait for one sink, where nothing is said.
pub(super) const ROWS_MAX: u64 = 1_000_000;

/// One sink.
#[derive(Clone, Debug)]
pub struct SinkConfig {
    /// Unique.
    pub name: String,
    /// Types, and prefixes of types that end in `*`.
    pub types: Vec<String>,
    /// Only this class's events.
    pub class: Option<Class>,
    /// What waits for what.
    pub order: SinkOrder,
    /// Where they go.
    pub target: SinkTarget,
    /// The longest wait after a first failure.
    pub retry_backoff_min: Duration,
    /// The longest wait after many.
    pub retry_backoff_max: Duration,
    /// What waits longer is given up; `None`: never.
    pub age_max: Option<Duration>,
    /// So many rows wait at most, about; then the writers wait, too.
    pub rows_max: u64,
}

impl SinkConfig {
    /// The way back into the log: it selects no event by itself.
    pub fn of_log() -> Self {
        Self {
            name: LOG_SINK.to_owned(),
            types: Vec::new(),
            class: None,
            order: SinkOrder::Entity,
            target: SinkTarget::Log,
            retry_backoff_min: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(10),
            age_max: None,
            rows_max: ROWS_MAX,
        }
    }
}

/// What waits for what in a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkOrder {
    /// Events of one entity go one after the other.
    Entity,
    /// Nothing waits.
    None,
}

/// Where a sink's events go.
#[derive(Clone, Debug)]
pub enum SinkTarget {
    /// A POST each.
    Webhook(WebhookConfig),
    /// A topic of the Kafka that holds the log.
    Kafka {
        /// Its name.
        topic: String,
    },
    /// The log itself; never configured, but there for what follows from events.
    Log,
}

/// A webhook.
#[derive(Clone)]
pub struct WebhookConfig {
    /// Where to.
    pub url: WebhookUrl,
    /// Each signs: a receiver that knows one of them is content. None: unsigned.
    pub secrets: Vec<Vec<u8>>,
    /// Requests at once.
    pub concurrency: usize,
    /// The longest a connection may take.
    pub connect_timeout: Duration,
    /// The longest an answer may take, the connection included.
    pub timeout: Duration,
}

impl std::fmt::Debug for WebhookConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookConfig")
            .field("url", &self.url)
            .field("secrets", &self.secrets.len())
            .field("concurrency", &self.concurrency)
            .field("connect_timeout", &self.connect_timeout)
            .field("timeout", &self.timeout)
            .finish()
    }
}
