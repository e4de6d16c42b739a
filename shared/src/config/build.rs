//! From the checked settings to the [`Config`] tree.
//!
//! It always builds one, with defaults where a setting is faulty, so that one run finds all faults;
//! [`Config::load`] hands it out only when there are none.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use super::control::control;
use super::settings::Settings;
use super::value::{Value, Wrong, postgres_url};
use super::{
    Backend, Config, ConsumerConfig, ControlConfig, EmbeddedConfig, IngressConfig, Insecure,
    JsonProfile, OnPoison, PostgresConfig, Purpose, SchemaMode, SchemasConfig, Sources,
    UnknownType, edge, entries, relations,
};
use crate::log::kafka::{
    Cleanup, Durability, GroupProtocol, KafkaConfig, PROPERTIES_OF_CLASSIC, PROPERTIES_RESERVED,
    Timestamps, TopicSpec,
};
use crate::position::Class;
use crate::route::{ClassRule, Router};

/// Builds the tree and checks how its parts fit together.
pub(super) fn config(settings: &mut Settings, sources: &Sources, purpose: Purpose) -> Config {
    let classes = classes(settings);
    let backend = backend(settings, purpose);
    let partitions = match &backend {
        Backend::Embedded(_) => [integer(settings, "embedded.partitions"); 3],
        Backend::Cluster { kafka, .. } => kafka.topics.map(|topic| topic.partitions),
    };
    let control = control(settings);
    let config = Config {
        router: Router::new(partitions, classes.clone()),
        classes,
        ingress: ingress(settings, sources, purpose, control.clone()),
        consumer: consumer(settings, sources, control),
        projections: entries::projections(settings, purpose, &backend),
        sinks: entries::sinks(settings, sources, purpose, &backend),
        admin_listen: address(settings, "admin.listen"),
        backend,
    };
    relations::check(settings, &config, sources.insecure, purpose);
    config
}

fn backend(settings: &mut Settings, purpose: Purpose) -> Backend {
    if name(settings, "backend") == "embedded" {
        return Backend::Embedded(EmbeddedConfig {
            data_dir: path(settings, "embedded.data_dir").expect("it has a default"),
            retention_bytes: integer(settings, "embedded.retention_bytes"),
            retention_ms: integer(settings, "embedded.retention_ms"),
            commit_records_max: integer(settings, "embedded.commit_records_max"),
            queue_bytes_max: integer(settings, "embedded.queue_bytes_max"),
        });
    }
    Backend::Cluster { kafka: kafka(settings), postgres: postgres(settings, purpose) }
}

fn kafka(settings: &mut Settings) -> KafkaConfig {
    let brokers = text(settings, "kafka.brokers");
    if brokers.is_none() && !settings.is_faulty("kafka.brokers") {
        let wrong = Wrong {
            message: "is missing, and `backend` is `kafka`".to_owned(),
            hint: Some("give HOST:PORT,HOST:PORT".to_owned()),
        };
        settings.fault(settings.origin("backend"), "kafka.brokers", wrong);
    }
    let group_protocol = match name(settings, "kafka.group_protocol") {
        "consumer" => GroupProtocol::Consumer,
        _ => GroupProtocol::Classic,
    };
    KafkaConfig {
        brokers: brokers.unwrap_or_default(),
        topic_prefix: text(settings, "kafka.topic_prefix").expect("it has a default"),
        topics: Class::ALL.map(|class| topic(settings, class)),
        durability: match name(settings, "kafka.durability") {
            "single" => Durability::Single,
            _ => Durability::Replicated,
        },
        group_protocol,
        properties: properties(settings, group_protocol),
    }
}

fn properties(settings: &mut Settings, protocol: GroupProtocol) -> BTreeMap<String, String> {
    let properties = settings.below("kafka.properties");
    for name in properties.keys() {
        let name = name.as_str();
        let message = if PROPERTIES_RESERVED.contains(&name) {
            "is set by this program: the guarantees rest on it"
        } else if protocol == GroupProtocol::Consumer && PROPERTIES_OF_CLASSIC.contains(&name) {
            "is the brokers' to say where `kafka.group_protocol` is `consumer`"
        } else {
            continue;
        };
        let path = format!("kafka.properties.{name}");
        let wrong = Wrong { message: message.to_owned(), hint: None };
        settings.fault(settings.origin(&path), &path, wrong);
    }
    properties
}

fn topic(settings: &Settings, class: Class) -> TopicSpec {
    let of = |member: &str| {
        let own = topic_path(settings, class, member);
        integer::<u64>(settings, &own)
    };
    let exact = "the key's bound fits the type";
    TopicSpec {
        partitions: u32::try_from(of("partitions")).expect(exact),
        replication: u16::try_from(of("replication")).expect(exact),
        min_insync_replicas: u16::try_from(of("min_insync_replicas")).expect(exact),
        retention_ms: of("retention_ms"),
        message_bytes_max: u32::try_from(of("message_bytes_max")).expect(exact),
        timestamps: Timestamps::Create,
        cleanup: Cleanup::Delete,
        segment_ms: None,
    }
}

/// The key that decides a member of a class's topic: its own, or the one of all topics.
pub(super) fn topic_path(settings: &Settings, class: Class, member: &str) -> String {
    let own = format!("topics.{class}.{member}");
    if settings.value(&own).is_some() { own } else { format!("topics.{member}") }
}

fn postgres(settings: &mut Settings, purpose: Purpose) -> PostgresConfig {
    let connections_max = integer(settings, "postgres.connections_max");
    let file = path(settings, "postgres.url_file");
    let url = text(settings, "postgres.url");
    let needed = matches!(purpose, Purpose::Consumer | Purpose::Operate | Purpose::Check);
    let faulty = settings.is_faulty("postgres.url") || settings.is_faulty("postgres.url_file");
    let url = match (url, file) {
        (Some(_), Some(_)) => {
            let message = "`postgres.url` is given too; one of them is enough".to_owned();
            let origin = settings.origin("postgres.url_file");
            settings.fault(origin, "postgres.url_file", Wrong { message, hint: None });
            String::new()
        }
        (Some(url), None) => url,
        (None, Some(file)) if needed => url_from(settings, &file),
        (None, None) if needed && !faulty => {
            let wrong = Wrong {
                message: "is missing, and `backend` is `kafka`".to_owned(),
                hint: Some("set SHOCK_POSTGRES_URL, or `postgres.url_file`".to_owned()),
            };
            let origin = settings.origin("backend");
            settings.fault(origin, "postgres.url", wrong);
            String::new()
        }
        _ => String::new(),
    };
    PostgresConfig { url, connections_max }
}

fn url_from(settings: &mut Settings, file: &std::path::Path) -> String {
    let wrong = match entries::secret_file(file) {
        Ok(url) if postgres_url(&url) => return url,
        Ok(_) => Wrong::new(format!("{} does not hold a PostgreSQL URL", file.display())),
        Err(wrong) => wrong,
    };
    settings.fault(settings.origin("postgres.url_file"), "postgres.url_file", wrong);
    String::new()
}

fn ingress(
    settings: &mut Settings,
    sources: &Sources,
    purpose: Purpose,
    control: ControlConfig,
) -> IngressConfig {
    let schemas = SchemasConfig {
        mode: mode(settings, "schemas.mode"),
        unknown_type: match name(settings, "schemas.unknown_type") {
            "accept" => UnknownType::Accept,
            _ => UnknownType::Reject,
        },
        entries: entries::schemas(settings),
    };
    let keys = entries::keys(settings, sources, purpose);
    let certificates = entries::certificates(settings, purpose);
    let webhooks = entries::sources(settings, sources, purpose);
    IngressConfig {
        listen: address(settings, "ingress.listen"),
        threads: integer(settings, "ingress.threads"),
        body_bytes_max: integer(settings, "ingress.body_bytes_max"),
        inflated_bytes_max: integer(settings, "ingress.inflated_bytes_max"),
        inflate_ratio_max: integer(settings, "ingress.inflate_ratio_max"),
        event_bytes_max: integer(settings, "ingress.event_bytes_max"),
        batch_events_max: integer(settings, "ingress.batch_events_max"),
        json_depth_max: integer(settings, "ingress.json_depth_max"),
        json_members_max: integer(settings, "ingress.json_members_max"),
        json_profile: match name(settings, "ingress.json_profile") {
            "rfc8259" => JsonProfile::Rfc8259,
            _ => JsonProfile::Postgres,
        },
        cors_origins: origins(settings, "ingress.cors_origins"),
        inflight_bytes_max: integer(settings, "ingress.inflight_bytes_max"),
        connections_max: integer(settings, "ingress.connections_max"),
        head_timeout: milliseconds(settings, "ingress.head_timeout_ms"),
        body_timeout: milliseconds(settings, "ingress.body_timeout_ms"),
        request_timeout: milliseconds(settings, "ingress.request_timeout_ms"),
        drain_timeout: milliseconds(settings, "ingress.drain_timeout_ms"),
        clock_skew_max: milliseconds(settings, "clock.skew_ms_max"),
        edge: edge::edge(settings),
        schemas,
        failed_logins_per_minute: NonZeroU32::new(integer(
            settings,
            "ingress.failed_logins_per_minute",
        ))
        .expect("the key's bound"),
        keys,
        certificates,
        insecure: sources.insecure != Insecure::No,
        sources: webhooks,
        control,
    }
}

fn consumer(settings: &Settings, sources: &Sources, control: ControlConfig) -> ConsumerConfig {
    ConsumerConfig {
        pipeline: text(settings, "consumer.pipeline").expect("it has a default"),
        instance: text(settings, "consumer.instance").unwrap_or_else(|| host(sources)),
        batch_records_max: integer(settings, "consumer.batch_records_max"),
        batch_bytes_max: integer(settings, "consumer.batch_bytes_max"),
        poll_wait: milliseconds(settings, "consumer.poll_wait_ms"),
        dedupe_window: Duration::from_secs(integer(settings, "consumer.dedupe_window_s")),
        retry_backoff_min: milliseconds(settings, "consumer.retry_backoff_ms_min"),
        retry_backoff_max: milliseconds(settings, "consumer.retry_backoff_ms_max"),
        retries_max: integer(settings, "consumer.retries_max"),
        parked_tries_max: integer(settings, "consumer.parked_tries_max"),
        parked_retry_min: milliseconds(settings, "consumer.parked_retry_ms_min"),
        parked_retry_max: milliseconds(settings, "consumer.parked_retry_ms_max"),
        parked_retry_factor: integer(settings, "consumer.parked_retry_factor"),
        on_poison: match name(settings, "consumer.on_poison") {
            "halt" => OnPoison::Halt,
            "entity" => OnPoison::Entity,
            _ => OnPoison::Skip,
        },
        storm_percent: integer(settings, "consumer.storm_percent"),
        storm_records: integer(settings, "consumer.storm_records"),
        drain_timeout: milliseconds(settings, "consumer.drain_timeout_ms"),
        filter_bytes_max: integer(settings, "consumer.filter_bytes_max"),
        rate_per_s_max: NonZeroU32::new(integer(settings, "consumer.rate_per_s_max")),
        dlq_mirror: boolean(settings, "consumer.dlq_mirror"),
        clock_skew_max: milliseconds(settings, "clock.skew_ms_max"),
        control,
    }
}

/// The host's name: a pod's is stable where static membership matters.
fn host(sources: &Sources) -> String {
    let kernel = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = sources.variable("HOSTNAME").map(str::to_owned).or_else(kernel);
    let name = name.as_deref().map_or("", str::trim);
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

fn classes(settings: &mut Settings) -> Vec<ClassRule> {
    let mut rules: Vec<ClassRule> = Vec::new();
    for class in Class::ALL {
        let path = format!("classes.{class}");
        let Some(Value::Patterns(patterns)) = settings.value(&path).cloned() else { continue };
        for pattern in patterns {
            match rules.iter().find(|rule| rule.pattern == pattern) {
                Some(rule) if rule.class != class => {
                    let message = format!("`{pattern}` is already of class {}", rule.class);
                    let origin = settings.origin(&path);
                    settings.fault(origin, &path, Wrong { message, hint: None });
                }
                Some(_) => {}
                None => rules.push(ClassRule { pattern, class }),
            }
        }
    }
    rules
}

/// A text, if there is one.
pub(super) fn text(settings: &Settings, path: &str) -> Option<String> {
    match settings.value(path) {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    }
}

fn origins(settings: &Settings, path: &str) -> Vec<String> {
    match settings.value(path) {
        Some(Value::Origins(origins)) => origins.clone(),
        _ => Vec::new(),
    }
}

/// A path, if there is one.
pub(super) fn path(settings: &Settings, path: &str) -> Option<PathBuf> {
    match settings.value(path) {
        Some(Value::Path(path)) => Some(path.clone()),
        _ => None,
    }
}

/// A mode; enforce where nothing else is said.
pub(super) fn mode(settings: &Settings, path: &str) -> SchemaMode {
    match name(settings, path) {
        "warn" => SchemaMode::Warn,
        "off" => SchemaMode::Off,
        _ => SchemaMode::Enforce,
    }
}

/// A number whose key has a default.
pub(super) fn integer<T: TryFrom<u64>>(settings: &Settings, path: &str) -> T {
    match settings.value(path) {
        Some(Value::Integer(number)) => {
            T::try_from(*number).ok().expect("the key's bound fits the type")
        }
        _ => unreachable!("the integer key {path} has a default"),
    }
}

/// One of the names of a key that has a default.
pub(super) fn name<'s>(settings: &'s Settings, path: &str) -> &'s str {
    match settings.value(path) {
        Some(Value::Text(text)) => text,
        _ => "",
    }
}

/// A number with a fraction, if there is one.
pub(super) fn decimal(settings: &Settings, path: &str) -> Option<f64> {
    match settings.value(path) {
        Some(Value::Decimal(number)) => Some(*number),
        _ => None,
    }
}

/// Yes or no; no where nothing is said.
pub(super) fn boolean(settings: &Settings, path: &str) -> bool {
    matches!(settings.value(path), Some(Value::Boolean(true)))
}

/// A wait whose key has a default.
pub(super) fn milliseconds(settings: &Settings, path: &str) -> Duration {
    Duration::from_millis(integer(settings, path))
}

fn address(settings: &Settings, path: &str) -> SocketAddr {
    match settings.value(path) {
        Some(Value::Address(address)) => *address,
        _ => unreachable!("the address key {path} has a default"),
    }
}
