//! The configuration: from what was typed (files, environment, flags) to one checked [`Config`].
//!
//! Two levels. What was typed is a flat list of settings with their origin (file and line, variable,
//! flag); what the program uses is this ready-built tree, parsed and checked as a whole. All faults
//! are reported at once, each with its place and the nearest valid name, before a port is bound.

mod build;
mod control;
mod credentials;
mod document;
mod edge;
mod entries;
mod fault;
mod keys;
mod nearest;
mod network;
mod projection;
mod reference;
mod relations;
pub mod reload;
mod settings;
mod sink;
mod summary;
#[cfg(test)]
mod tests;
mod value;
mod watch;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

pub use self::control::{
    BreakerIngress, Contract, ControlConfig, Enforcement, Essential, WebhookUrl,
};
pub use self::credentials::{
    CertificateConfig, KeyConfig, KeyState, RateBound, Scopes, SignatureConfig, SignatureScheme,
};
pub use self::edge::{ClientCertificates, EdgeConfig, ProxyProtocol, TlsConfig};
pub use self::fault::{ConfigError, Fault, Origin};
pub use self::keys::{KEYS, Key, Kind, Unit};
pub use self::network::Network;
pub use self::projection::{DdlFile, ProjectionConfig, ProjectionsConfig, RUNTIME_ROLE};
pub use self::reference::{Explanation, explain, reference_markdown};
pub use self::relations::{OUTAGE_BUDGET_MS, RECORD_OVERHEAD_BYTES_MAX, REQUEST_MARGIN_MS};
use self::settings::InEffect;
pub use self::settings::{Insecure, Purpose, Sources};
pub use self::sink::{LOG_SINK, SinkConfig, SinkOrder, SinkTarget, WebhookConfig};
pub use self::watch::{Files, Watch};
use crate::log::kafka::KafkaConfig;
use crate::route::{ClassRule, Router};
use crate::tenant::TenantId;

/// Everything a process needs to know, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where events and effects live.
    pub backend: Backend,
    /// Type → class → partition.
    pub router: Router,
    /// The class table the router was built from, for people to read.
    pub classes: Vec<ClassRule>,
    /// The HTTP side.
    pub ingress: IngressConfig,
    /// The applying side.
    pub consumer: ConsumerConfig,
    /// What the user's own SQL makes of the events.
    pub projections: ProjectionsConfig,
    /// Where events go besides the database. Only where events are applied or all is checked.
    pub sinks: Vec<SinkConfig>,
    /// Where `/metrics`, `/livez`, `/readyz` and the look-ups are served.
    pub admin_listen: SocketAddr,
}

/// A configuration with what a reload compares: every setting, and the files it was read from.
#[derive(Clone)]
pub struct Loaded {
    /// Ready to use.
    pub config: Config,
    settings: BTreeMap<String, InEffect>,
    files: Files,
}

impl Loaded {
    /// The settings in effect by path; some are secret.
    fn settings(&self) -> &BTreeMap<String, InEffect> {
        &self.settings
    }

    /// The files it was read from, secrets and schemas too, as they were then.
    pub fn files(&self) -> &Files {
        &self.files
    }
}

/// The two ways the same code runs.
#[derive(Clone, Debug)]
pub enum Backend {
    /// One process, no services: embedded log and SQLite under one directory.
    Embedded(EmbeddedConfig),
    /// Apache Kafka and PostgreSQL.
    Cluster {
        /// How to reach the log.
        kafka: KafkaConfig,
        /// How to reach the database.
        postgres: PostgresConfig,
    },
}

/// The embedded log and its neighbour, the SQLite database.
#[derive(Clone, Debug)]
pub struct EmbeddedConfig {
    /// Holds `lock`, `log/`, `effects.sqlite` and `dev-key`.
    pub data_dir: PathBuf,
    /// Retention: the log's oldest applied records go when it is larger than this.
    pub retention_bytes: u64,
    /// Retention: applied records older than this go.
    pub retention_ms: u64,
    /// The most records one group commit holds.
    pub commit_records_max: usize,
    /// The most bytes that wait for the group commit; beyond it appends are refused as full.
    pub queue_bytes_max: usize,
}

/// PostgreSQL.
#[derive(Clone)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database`; the password is never printed.
    pub url: String,
    /// Connections of one process.
    pub connections_max: u32,
}

impl std::fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("url", &"(secret)")
            .field("connections_max", &self.connections_max)
            .finish()
    }
}

/// The ingress and its bounds.
#[derive(Clone, Debug)]
pub struct IngressConfig {
    /// Where producers post.
    pub listen: SocketAddr,
    /// Threads, one current-thread runtime each; 0 = one per core.
    pub threads: usize,
    /// The largest body on the wire, in bytes.
    pub body_bytes_max: usize,
    /// The largest body after inflating, in bytes.
    pub inflated_bytes_max: usize,
    /// The largest factor inflating may gain over what was sent.
    pub inflate_ratio_max: usize,
    /// The largest single event, in bytes.
    pub event_bytes_max: usize,
    /// The most events in one request.
    pub batch_events_max: usize,
    /// The deepest nesting of a JSON text.
    pub json_depth_max: usize,
    /// The most members of one JSON object.
    pub json_members_max: usize,
    /// Which JSON texts an event may be.
    pub json_profile: JsonProfile,
    /// Web origins whose scripts may post and read the answers; `*` = every one, none = no CORS.
    pub cors_origins: Vec<String>,
    /// The most bytes of bodies held at one time by the process; beyond it 503.
    pub inflight_bytes_max: usize,
    /// The most connections open at one time.
    pub connections_max: usize,
    /// From a head's first byte to its last.
    pub head_timeout: Duration,
    /// From the head to the body's last byte.
    pub body_timeout: Duration,
    /// From the append to the answer; later is 504.
    pub request_timeout: Duration,
    /// A drain lets requests in flight finish for so long.
    pub drain_timeout: Duration,
    /// How far our clock may be from Kafka's.
    pub clock_skew_max: Duration,
    /// What bounds connections, and who they are from.
    pub edge: EdgeConfig,
    /// What is known of the types that may be posted.
    pub schemas: SchemasConfig,
    /// Wrong credentials that one address may send in a minute, before it gets 429 for them.
    pub failed_logins_per_minute: NonZeroU32,
    /// Who may post to `/v1/events` with a key.
    pub keys: Vec<KeyConfig>,
    /// Who may post to `/v1/events` with a certificate.
    pub certificates: Vec<CertificateConfig>,
    /// Anybody may post to `/v1/events`, for any tenant.
    pub insecure: bool,
    /// Webhook sources by name: `/v1/sources/{name}`.
    pub sources: Vec<SourceConfig>,
    /// How load is limited.
    pub control: ControlConfig,
}

/// The schema registry of `/v1/events`.
#[derive(Clone, Debug)]
pub struct SchemasConfig {
    /// What a violation leads to.
    pub mode: SchemaMode,
    /// Whether a type without a schema is refused (422) or accepted unchecked.
    pub unknown_type: UnknownType,
    /// The registered schemas.
    pub entries: Vec<SchemaEntry>,
}

/// One registered schema: checks the `data` of events of `event_type`.
#[derive(Clone, Debug)]
pub struct SchemaEntry {
    /// The exact type.
    pub event_type: String,
    /// The JSON Schema file (draft 2020-12 or draft-07).
    pub file: PathBuf,
    /// Only for this tenant; `None` = for all.
    pub tenant: Option<TenantId>,
}

/// Which JSON texts an event may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonProfile {
    /// What PostgreSQL's `jsonb` can hold.
    Postgres,
    /// Every text that RFC 8259 calls valid.
    Rfc8259,
}

/// What a schema violation leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaMode {
    /// 422.
    Enforce,
    /// Counted and logged, accepted.
    Warn,
    /// Not looked at.
    Off,
}

/// What an event whose type has no schema leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownType {
    /// 422 `unknown_type`.
    Reject,
    /// Accepted without a check.
    Accept,
}

/// A webhook source.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// The last segment of its path.
    pub name: String,
    /// CloudEvents `source` of its events.
    pub source: String,
    /// How the sender signs; `None` only where the config says `signature = "none"`.
    pub signature: Option<SignatureConfig>,
    /// Where the event's id comes from (the sender's delivery id).
    pub id: Extract,
    /// Where the type comes from.
    pub event_type: Extract,
    /// Put before the extracted type: `com.github.` + `push`.
    pub type_prefix: String,
    /// Where the tenant comes from, first match wins; a text that is no tenant name is skipped.
    pub tenant: Vec<Extract>,
    /// The tenant when none of them matches; `None` = 422.
    pub tenant_default: Option<TenantId>,
    /// Where the entity comes from, first match wins; none is fine.
    pub entity: Vec<Extract>,
    /// The schema of the bodies, if any.
    pub schema: Option<SourceSchema>,
}

/// A JSON Schema file for a source's bodies.
#[derive(Clone, Debug)]
pub struct SourceSchema {
    /// The file.
    pub file: PathBuf,
    /// JSON Pointers into it with `{type}` for the extracted type: `#/definitions/{type}_event`. The
    /// first definition that is there checks a type; a type without one is unknown (422). Without a
    /// pointer the whole file applies.
    pub pointers: Vec<String>,
    /// What a violation leads to.
    pub mode: SchemaMode,
}

/// Where a text comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extract {
    /// A header, lower case: `header:x-github-delivery`.
    Header(String),
    /// A JSON Pointer (RFC 6901) into the body to a string or an integer: `pointer:/repository/id`.
    Pointer(String),
}

/// What a record that cannot be applied does to its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnPoison {
    /// It is parked, later records go on.
    Skip,
    /// It is parked, and later records of its entity wait behind it; those of others go on.
    Entity,
    /// The partition stands still before it.
    Halt,
}

/// The consumer and its bounds.
#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// The pipeline's name: Kafka's group id and part of every progress row's key.
    pub pipeline: String,
    /// This process in the group (`group.instance.id`); the host name by default.
    pub instance: String,
    /// The most records of one batch, and so of one transaction.
    pub batch_records_max: usize,
    /// The most bytes of one batch.
    pub batch_bytes_max: usize,
    /// How long a read waits for the first record.
    pub poll_wait: Duration,
    /// Deduplication window: one effect per identity within it. Also the width of an id bucket.
    pub dedupe_window: Duration,
    /// The first wait after a transient failure; doubles, with full jitter.
    pub retry_backoff_min: Duration,
    /// The longest wait between tries.
    pub retry_backoff_max: Duration,
    /// How often what the database refuses is tried again before it is parked.
    pub retries_max: u32,
    /// How often a parked record is tried again by itself.
    pub parked_tries_max: u32,
    /// The wait before the first such try.
    pub parked_retry_min: Duration,
    /// The longest one.
    pub parked_retry_max: Duration,
    /// By how much it grows.
    pub parked_retry_factor: u32,
    /// What a record that cannot be applied does to its partition.
    pub on_poison: OnPoison,
    /// So many percent parked of the last records halt the partition; 0: none do.
    pub storm_percent: u8,
    /// How many are the last records.
    pub storm_records: usize,
    /// A drain lets the running batch finish for so long.
    pub drain_timeout: Duration,
    /// Memory of the filter of the ids of the bucket before; 0: none is kept.
    pub filter_bytes_max: usize,
    /// The most records/s that one partition's writer applies; none: as fast as it goes.
    pub rate_per_s_max: Option<NonZeroU32>,
    /// Whether parked records are copied to the DLQ topic.
    pub dlq_mirror: bool,
    /// How far our clock may be from the database's.
    pub clock_skew_max: Duration,
    /// How load is limited.
    pub control: ControlConfig,
}
