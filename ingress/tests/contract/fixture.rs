//! An ingress on port 0 with a log in memory, a clock that stands, and two schemas.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use control::mode::Mode;
use hmac::{Hmac, KeyInit, Mac};
use ingress::{Ingress, Reload, ServeError};
use sha2::{Digest, Sha256};
use shared::clock::{Clock, Millis};
use shared::config::{
    ControlConfig, EdgeConfig, Extract, IngressConfig, JsonProfile, KeyConfig, KeyState,
    ProxyProtocol, SchemaEntry, SchemaMode, SchemasConfig, Scopes, SignatureConfig,
    SignatureScheme, SourceConfig, UnknownType,
};
use shared::health::Health;
use shared::log::memory::MemoryLog;
use shared::log::{Log, Record};
use shared::metrics::Registry;
use shared::plane::Plane;
use shared::plane::state::{Change, Entry, Setting, Subject, VERSION};
use shared::position::Class;
use shared::route::{ClassRule, Router};
use shared::tenant::TenantId;
use shared::{Process, Shutdown};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// The time of every test: 2026-01-02T03:04:05.678Z.
pub const NOW: Millis = Millis(1_767_323_045_678);
/// The same as the ingress writes it.
pub const NOW_TEXT: &str = "2026-01-02T03:04:05.678Z";
/// The key of tenant acme.
pub const KEY: &str = "Bearer k1.secret";
/// The secret of the source `github`.
const SECRET: &[u8] = b"It's a Secret to Everybody";
const SCHEMA: &str = r#"{"type":"object","required":["n"],"properties":{"n":{"type":"integer"}}}"#;

/// A running ingress.
pub struct Fixture {
    pub log: MemoryLog,
    pub registry: Arc<Registry>,
    pub health: Health,
    pub plane: Plane,
    pub clock: Clock,
    pub router: Router,
    pub address: SocketAddr,
    pub shutdown: Shutdown,
    pub serving: JoinHandle<Result<(), ServeError>>,
    pub reload: Reload,
    /// What it was started with.
    pub config: IngressConfig,
    _schemas: TempDir,
}

impl Fixture {
    /// With the bounds of [`config`].
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// With other bounds.
    pub fn start_with(change: impl FnOnce(&mut IngressConfig)) -> Self {
        let schemas = TempDir::new().expect("a temporary directory");
        let file = schemas.path().join("order.json");
        std::fs::write(&file, SCHEMA).expect("written");
        let mut config = config(file);
        change(&mut config);
        let metrics = ClassRule { pattern: "metrics.*".to_owned(), class: Class::Telemetry };
        let router = Router::new([1, 4, 4], vec![metrics]);
        let log = MemoryLog::new(router.ids());
        let process = Process::alone(Clock::manual(NOW));
        let bound = Ingress::bind(&config, router.clone(), Log::Memory(log.clone()), &process);
        let Process { registry, health, plane, clock } = process;
        let ingress = bound.expect("binds");
        let (address, reload, shutdown) = (ingress.local_addr(), ingress.reload(), Shutdown::new());
        let serving = tokio::spawn(ingress.serve(shutdown.clone()));
        Self {
            log,
            registry,
            health,
            plane,
            clock,
            router,
            address,
            shutdown,
            serving,
            reload,
            config,
            _schemas: schemas,
        }
    }

    /// Why it does not start with such a configuration.
    pub fn bind_error(change: impl FnOnce(&mut IngressConfig)) -> String {
        let mut config = config("absent.json".into());
        config.schemas.entries.clear();
        change(&mut config);
        let router = Router::new([1, 4, 4], Vec::new());
        let log = Log::Memory(MemoryLog::new(router.ids()));
        let bound = Ingress::bind(&config, router, log, &Process::alone(Clock::manual(NOW)));
        bound.expect_err("it cannot start").to_string()
    }

    /// Drains, and says whether that went well.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.serving.await.expect("no panic").expect("a clean end");
    }

    /// The one record there is.
    pub fn only_record(&self) -> Record {
        let mut records = self.log.records();
        assert_eq!(records.len(), 1, "{records:?}");
        records.remove(0)
    }

    /// Sets something as an operator does, for ten seconds of the clock that stands.
    pub async fn set(&self, subject: Subject, setting: Setting) {
        let entry = Entry {
            v: VERSION,
            setting,
            until_ms: Some(NOW.0 + 10_000),
            by: "sre".to_owned(),
            why: "a test".to_owned(),
            at_ms: NOW.0,
        };
        self.plane.change(Change { subject, entry: Some(entry) }).await.expect("taken");
    }

    /// Pins the limit of every partition of a class, and waits until it is in effect.
    pub async fn pin(&self, class: Class, limit_per_s: f64) {
        for id in self.router.ids().filter(|id| id.class == class) {
            self.set(Subject::Partition(id), Setting::Limit { limit_per_s }).await;
        }
        let partitions = self.router.partitions(class) as usize;
        let pinned = format!("shock_ingress_limit_source{{class=\"{class}\"");
        self.shows(|text| text.lines().filter(|it| it.starts_with(&pinned)).count() == partitions)
            .await;
    }

    /// Pins the mode, and waits until it is in effect.
    pub async fn pin_mode(&self, mode: Mode) {
        self.set(Subject::Mode, Setting::Mode { mode }).await;
        let entered = format!("shock_ingress_mode{{mode=\"{}\"}} 1", mode.name());
        self.shows(|text| text.contains(&entered)).await;
    }

    /// Waits until the metrics are so.
    pub async fn shows(&self, holds: impl Fn(&str) -> bool) {
        let shown = async {
            while !holds(&self.registry.text()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), shown).await.expect("shown in time");
    }

    /// Waits until a metric that grows has this value.
    pub async fn metric_reaches(&self, name: &str, value: u64) {
        let reached = async {
            while self.metric(name) < value {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), reached).await;
        assert!(waited.is_ok() && self.metric(name) == value, "{name} is {}", self.metric(name));
    }

    /// The value of a metric, summed over its labels.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.registry.text();
        let lines = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        lines
            .map(|line| line.rsplit(' ').next().expect("a value").parse::<u64>().expect("whole"))
            .sum()
    }
}

/// What GitHub would sign.
pub fn signature(body: &[u8]) -> String {
    let mut hmac = Hmac::<Sha256>::new_from_slice(SECRET).expect("any length");
    hmac.update(body);
    format!("sha256={}", hex::encode(hmac.finalize().into_bytes()))
}

/// A key of tenant acme.
pub fn key(id: &str, secret: &str) -> KeyConfig {
    KeyConfig {
        id: id.to_owned(),
        secret_sha256: Sha256::digest(secret.as_bytes()).into(),
        scopes: Scopes::of(TenantId::parse("acme").expect("a valid name")),
        rate: None,
        state: KeyState::Active,
        not_after: None,
    }
}

fn config(schema: std::path::PathBuf) -> IngressConfig {
    let entry = |event_type: &str| SchemaEntry {
        event_type: event_type.to_owned(),
        file: schema.clone(),
        tenant: None,
    };
    IngressConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        threads: 2,
        body_bytes_max: 1 << 20,
        inflated_bytes_max: 2 << 20,
        inflate_ratio_max: 100,
        event_bytes_max: 256 << 10,
        batch_events_max: 100,
        json_depth_max: 64,
        json_members_max: 1000,
        json_profile: JsonProfile::Postgres,
        cors_origins: Vec::new(),
        inflight_bytes_max: 4 << 20,
        connections_max: 64,
        head_timeout: Duration::from_millis(400),
        body_timeout: Duration::from_millis(400),
        request_timeout: Duration::from_millis(400),
        drain_timeout: Duration::from_secs(5),
        clock_skew_max: Duration::from_secs(300),
        edge: edge(),
        schemas: SchemasConfig {
            mode: SchemaMode::Enforce,
            unknown_type: UnknownType::Reject,
            entries: vec![entry("order.placed"), entry("metrics.cpu")],
        },
        keys: vec![key("k1", "secret")],
        failed_logins_per_minute: NonZeroU32::new(1_000).expect("not zero"),
        certificates: Vec::new(),
        insecure: false,
        sources: vec![github()],
        control: ControlConfig::default(),
    }
}

fn edge() -> EdgeConfig {
    EdgeConfig {
        connections_per_address_max: 64,
        requests_max: 64,
        memory_bytes_max: 0,
        idle_timeout: Duration::from_secs(5),
        handshake_timeout: Duration::from_millis(400),
        body_bytes_per_s_min: 0,
        trusted_networks: Vec::new(),
        proxy_protocol: ProxyProtocol::Off,
        tls: None,
    }
}

fn github() -> SourceConfig {
    let pointer = |text: &str| Extract::Pointer(text.to_owned());
    SourceConfig {
        name: "github".to_owned(),
        source: "https://github.com".to_owned(),
        signature: Some(SignatureConfig {
            scheme: SignatureScheme::Body {
                header: "x-hub-signature-256".to_owned(),
                prefix: "sha256=".to_owned(),
            },
            secrets: vec![SECRET.to_vec()],
        }),
        id: Extract::Header("x-github-delivery".to_owned()),
        event_type: Extract::Header("x-github-event".to_owned()),
        type_prefix: "com.github.".to_owned(),
        tenant: vec![pointer("/organization/login"), pointer("/repository/owner/login")],
        tenant_default: None,
        entity: vec![pointer("/repository/full_name")],
        schema: None,
    }
}
