//! The table of all keys: path, kind, bounds, default and why. docs/CONFIG.md is printed from it.

use super::{Key, Kind, Unit};
use crate::route::PARTITIONS_MAX;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The longest wait that may be configured, in milliseconds.
const TIMEOUT_MS_MAX: u64 = 10 * 60 * 1000;
/// The longest retention that may be configured.
const RETENTION_MS_MAX: u64 = 3_650 * DAY_MS;

const CLASS_PARTITIONS: Kind = integer(1, PARTITIONS_MAX as u64, Unit::Count);
const REPLICATION: Kind = integer(1, 32, Unit::Count);
const RETENTION_MS: Kind = integer(60_000, RETENTION_MS_MAX, Unit::Milliseconds);
const MESSAGE_BYTES: Kind = integer(32 * KIB, 100 * MIB, Unit::Bytes);
const MODES: Kind = Kind::Name(&["enforce", "warn", "off"]);
const RATE: Kind = integer(1, 1_000_000, Unit::Count);
const CLASSES: Kind = Kind::Names(&["control", "transactional", "telemetry"]);
const TIMEOUT_MS: Kind = integer(10, TIMEOUT_MS_MAX, Unit::Milliseconds);

const EVENTS_PER_S: Kind = decimal(0.001, 10_000_000.0, Unit::EventsPerSecond);
const GAIN: Kind = decimal(0.0, 1_000.0, Unit::Count);
const OVERFLOW: Kind = Kind::Name(&["absorb", "bound", "shed"]);
const WAIT_MS: Kind = integer(0, DAY_MS, Unit::Milliseconds);
const OUTAGE_MS: Kind = integer(1_000, RETENTION_MS_MAX, Unit::Milliseconds);
/// Five levels, 0 to 4; level 0 is never closed, and from 5 on there is nothing to close.
const LEVEL: Kind = integer(1, 5, Unit::Count);
const SHARE: Kind = decimal(0.0, 1.0, Unit::Count);
const FACTOR: Kind = decimal(0.01, 1.0, Unit::Count);

const fn integer(min: u64, max: u64, unit: Unit) -> Kind {
    Kind::Integer { min, max, unit }
}

const fn decimal(min: f64, max: f64, unit: Unit) -> Kind {
    Kind::Decimal { min, max, unit }
}

const fn key(path: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { path, kind, default, secret: false, doc }
}

const fn secret(path: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { path, kind, default: "", secret: true, doc }
}

/// Every key there is, in the order of the reference page.
pub static KEYS: &[Key] = &[
    key(
        "backend",
        Kind::Name(&["embedded", "kafka"]),
        "embedded",
        "Where events and effects live: `embedded` (one process, embedded log and SQLite under `embedded.data_dir`) or `kafka` (Apache Kafka and PostgreSQL).",
    ),
    key("ingress.listen", Kind::Address, "127.0.0.1:8080", "Where producers post."),
    key(
        "ingress.threads",
        integer(0, 1024, Unit::Count),
        "0",
        "Threads, one current-thread runtime each; 0 = one per core.",
    ),
    key(
        "ingress.body_bytes_max",
        integer(KIB, 256 * MIB, Unit::Bytes),
        "1048576",
        "The largest body on the wire; beyond it 413.",
    ),
    key(
        "ingress.inflated_bytes_max",
        integer(KIB, GIB, Unit::Bytes),
        "20971520",
        "The largest body after inflating; beyond it 413. At least `ingress.body_bytes_max`.",
    ),
    key(
        "ingress.inflate_ratio_max",
        integer(2, 10_000, Unit::Count),
        "100",
        "The largest factor inflating may gain over what was sent; beyond it 413 (a compression bomb).",
    ),
    key(
        "ingress.event_bytes_max",
        integer(KIB, 100 * MIB, Unit::Bytes),
        "983616",
        "The largest single event; beyond it 413. The default is Kafka's message of 1,000,000 bytes less 16,384 for key, headers and batch overhead; that headroom is asserted.",
    ),
    key(
        "ingress.batch_events_max",
        integer(1, 100_000, Unit::Count),
        "1000",
        "The most events in one request; beyond it 413.",
    ),
    key(
        "ingress.json_depth_max",
        integer(1, 1_000, Unit::Count),
        "64",
        "The deepest nesting of a JSON text; beyond it 413.",
    ),
    key(
        "ingress.json_members_max",
        integer(1, 1_000_000, Unit::Count),
        "1000",
        "The most members of one JSON object; beyond it 413.",
    ),
    key(
        "ingress.json_profile",
        Kind::Name(&["postgres", "rfc8259"]),
        "postgres",
        "Which JSON texts an event may be: `postgres` = those that `jsonb` can hold (no U+0000, no lone surrogate, no number out of range: 422); `rfc8259` = every valid one, and what the store cannot hold is parked. docs/HTTP.md has the table.",
    ),
    key(
        "ingress.cors_origins",
        Kind::Origins,
        "",
        "Web origins whose scripts may post and read the answers (CORS), such as `https://app.example.com`, or `*` for every one. Without it none; credentials such as cookies are never allowed.",
    ),
    key(
        "ingress.inflight_bytes_max",
        integer(MIB, 1024 * GIB, Unit::Bytes),
        "268435456",
        "The most bytes of bodies the process holds at one time; beyond it 503 at once. It bounds the ingress's memory.",
    ),
    key(
        "ingress.connections_max",
        integer(1, 1_000_000, Unit::Count),
        "16384",
        "The most connections open at one time; more are closed at once. Held to 80 % of the open files that the system allows.",
    ),
    key(
        "ingress.connections_per_address_max",
        integer(1, 1_000_000, Unit::Count),
        "4096",
        "The most connections of one address (of one /64 in IPv6); more are closed at once. The address is the PROXY protocol's where that is required. A proxy in `ingress.trusted_networks` without it is not bounded so; the requests it forwards are, by the client that its `X-Forwarded-For` names.",
    ),
    key(
        "ingress.requests_max",
        integer(1, 1_000_000, Unit::Count),
        "16384",
        "The most requests served at one time; beyond it 503 at once.",
    ),
    key(
        "ingress.memory_bytes_max",
        integer(0, 1024 * GIB, Unit::Bytes),
        "0",
        "What the process may take in all. Above nine tenths of it requests get 503 before their bodies are read. 0 = what the control group (`memory.max`) allows; no bound without one.",
    ),
    key(
        "ingress.idle_timeout_ms",
        TIMEOUT_MS,
        "60000",
        "A connection on which nothing is asked for so long is closed. Longer than a proxy in front keeps idle connections.",
    ),
    key(
        "ingress.handshake_timeout_ms",
        TIMEOUT_MS,
        "10000",
        "From a connection's start to the end of the PROXY protocol's header and of TLS's handshake, each; later it is closed.",
    ),
    key(
        "ingress.body_bytes_per_s_min",
        integer(0, GIB, Unit::Bytes),
        "1024",
        "The slowest body, on average, after its first five seconds; slower is 408. 0 = only `ingress.body_timeout_ms` bounds it.",
    ),
    key(
        "ingress.trusted_networks",
        Kind::Networks,
        "",
        "Networks of the proxies in front: only they are believed about a client's address, by the PROXY protocol or by `X-Forwarded-For`.",
    ),
    key(
        "ingress.proxy_protocol",
        Kind::Name(&["off", "required"]),
        "off",
        "Whether each connection begins with a header of the PROXY protocol (version 1 or 2). `required`: a connection without one, or from outside `ingress.trusted_networks`, is closed.",
    ),
    key(
        "ingress.tls.cert_file",
        Kind::Path,
        "",
        "PEM: the certificate and its intermediates. With it and `key_file` the port speaks TLS 1.2 and 1.3 only, HTTP/2 and HTTP/1.1. The files are read again when they change: connections that are open go on, a pair that does not fit changes nothing.",
    ),
    key("ingress.tls.key_file", Kind::Path, "", "PEM: the certificate's key."),
    key(
        "ingress.tls.client_ca_file",
        Kind::Path,
        "",
        "PEM: the authorities whose client certificates are taken (mutual TLS). Without it none is asked for.",
    ),
    key(
        "ingress.tls.client_certificates",
        Kind::Name(&["required", "optional"]),
        "required",
        "With `client_ca_file`: whether a connection without a certificate is refused.",
    ),
    key(
        "ingress.head_timeout_ms",
        TIMEOUT_MS,
        "10000",
        "From the first byte of a request's head to its last; later is 408, and the connection is closed.",
    ),
    key(
        "ingress.body_timeout_ms",
        TIMEOUT_MS,
        "30000",
        "From the head to the body's last byte; later is 408. A sender that takes nothing of its answers for so long is closed.",
    ),
    key(
        "ingress.request_timeout_ms",
        TIMEOUT_MS,
        "10000",
        "From the append to the answer; later is 504. On Kafka more than its message timeout of 8,000 ms plus 1,000 ms, so that Kafka's own verdict comes first.",
    ),
    key(
        "ingress.drain_timeout_ms",
        TIMEOUT_MS,
        "30000",
        "A stop lets requests in flight finish for so long.",
    ),
    key(
        "ingress.failed_logins_per_minute",
        integer(1, 1_000_000, Unit::Count),
        "60",
        "Wrong credentials that one address (one /64 of IPv6) may send in a minute; further ones get 429 `too_many_failed_logins` instead of 401. A right credential passes always.",
    ),
    key(
        "schemas.mode",
        MODES,
        "enforce",
        "What a schema violation of an event posted to `/v1/events` leads to: `enforce` = 422, `warn` = accepted, counted and logged, `off` = schemas are not looked at.",
    ),
    key(
        "schemas.unknown_type",
        Kind::Name(&["reject", "accept"]),
        "reject",
        "What an event whose type has no schema leads to: `reject` = 422, `accept` = accepted unchecked. `shock dev` starts from `accept`.",
    ),
    key(
        "schema[].type",
        Kind::Text { empty: false },
        "",
        "The exact type whose `data` the schema checks. Required.",
    ),
    key(
        "schema[].file",
        Kind::Path,
        "",
        "The JSON Schema file (draft 2020-12 or draft-07). Required.",
    ),
    key("schema[].tenant", Kind::Tenant, "", "Only for this tenant; without it for all."),
    key(
        "key[].id",
        Kind::Identifier,
        "",
        "The key's public part: producers present `Authorization: Bearer ID.SECRET`. Required, and unique.",
    ),
    key(
        "key[].tenant",
        Kind::Tenant,
        "",
        "The tenant the key writes for: the one of every event that names none. Required without `tenants`.",
    ),
    key(
        "key[].tenants",
        Kind::Patterns,
        "",
        "Tenants that an event may name beside it (`tenant`, or the header `ce-tenant`): for a forwarder that is trusted to say whose events it passes on. Names and prefixes: `[\"acme\", \"team-*\"]`. Without `tenant` every event has to name one.",
    ),
    key(
        "key[].types",
        Kind::Patterns,
        "",
        "The types it may write, as in `classes.control`; without it all. Others get 403 `type_forbidden`.",
    ),
    key(
        "key[].sources",
        Kind::Patterns,
        "",
        "The CloudEvents sources it may write: `[\"https://shop.example/*\"]`; without it all. An event without a source has the source `/`. Others get 403 `source_forbidden`.",
    ),
    key(
        "key[].classes",
        CLASSES,
        "",
        "The classes it may write; without it all. Others get 403 `class_forbidden`.",
    ),
    key(
        "key[].requests_per_s",
        RATE,
        "",
        "The requests it may send per second, the same however busy we are; beyond it 429 `rate_limited`. Without it no limit of its own.",
    ),
    key(
        "key[].requests_burst",
        RATE,
        "",
        "The requests it may send at once; without it `requests_per_s`.",
    ),
    key(
        "key[].state",
        Kind::Name(&["active", "disabled"]),
        "",
        "`active`, or without it the same. `disabled`: whoever shows it gets 401 `key_disabled`, and the key can be made active again.",
    ),
    key(
        "key[].not_after",
        Kind::Time,
        "",
        "The last moment at which the key is taken; then 401 `key_expired`. Without it the key does not end by itself.",
    ),
    secret(
        "key[].secret_sha256",
        Kind::Digest,
        "SHA-256 of the key's secret, in hex: `printf %s SECRET | sha256sum`. This or `secret_sha256_env`.",
    ),
    key(
        "key[].secret_sha256_env",
        Kind::Variable,
        "",
        "The environment variable that holds the SHA-256 of the key's secret, in hex.",
    ),
    key(
        "certificate[].san",
        Kind::Text { empty: false },
        "",
        "A name of a client certificate that posts without a key: one of its subject alternative names, a DNS name or a URI (`spiffe://example.org/shop`), to the letter. Required, and unique. TLS verifies the certificate; where a request shows a key, the key decides.",
    ),
    key("certificate[].tenant", Kind::Tenant, "", "As `key[].tenant`."),
    key("certificate[].tenants", Kind::Patterns, "", "As `key[].tenants`."),
    key("certificate[].types", Kind::Patterns, "", "As `key[].types`."),
    key("certificate[].sources", Kind::Patterns, "", "As `key[].sources`."),
    key("certificate[].classes", CLASSES, "", "As `key[].classes`."),
    key("certificate[].requests_per_s", RATE, "", "As `key[].requests_per_s`."),
    key("certificate[].requests_burst", RATE, "", "As `key[].requests_burst`."),
    key(
        "classes.control",
        Kind::Patterns,
        "",
        "Types of class control: small, and never shed inside its cap. A type (`mode.changed`) or a prefix (`mode.*`); the longest match over all classes decides.",
    ),
    key(
        "classes.transactional",
        Kind::Patterns,
        "",
        "Types of class transactional; also the class of every type that nothing matches.",
    ),
    key(
        "classes.telemetry",
        Kind::Patterns,
        "",
        "Types of class telemetry: may be late, and is shed first.",
    ),
    key(
        "source.<name>.source",
        Kind::Text { empty: false },
        "",
        "CloudEvents `source` of the events of `/v1/sources/NAME`, part of their identity. Required.",
    ),
    key(
        "source.<name>.id",
        Kind::Extract,
        "",
        "Where an event's id comes from: the sender's delivery id, the same when it retries. Required.",
    ),
    key("source.<name>.type", Kind::Extract, "", "Where the type comes from. Required."),
    key(
        "source.<name>.type_prefix",
        Kind::Text { empty: true },
        "",
        "Put before the extracted type: `com.github.` + `push`.",
    ),
    key(
        "source.<name>.tenant",
        Kind::Extracts,
        "",
        "Where the tenant comes from; the first that yields a valid tenant name wins. This or `tenant_default`.",
    ),
    key(
        "source.<name>.tenant_default",
        Kind::Tenant,
        "",
        "The tenant where none of them matches; without it 422.",
    ),
    key(
        "source.<name>.entity",
        Kind::Extracts,
        "",
        "Where the entity (CloudEvents `subject`) comes from; the first match wins, none is fine.",
    ),
    key(
        "source.<name>.signature",
        Kind::Name(&["none"]),
        "",
        "`\"none\"`: the sender does not sign, whoever reaches the port may post. Otherwise a table as below; one of them is required.",
    ),
    key(
        "source.<name>.signature.scheme",
        Kind::Name(&["hmac-sha256", "stripe", "standard-webhooks"]),
        "",
        "How the sender signs. `hmac-sha256`: over the raw body, hex in `header` (GitHub). `stripe`: over time and body, in `Stripe-Signature`. `standard-webhooks`: over id, time and body, in `webhook-signature`.",
    ),
    key(
        "source.<name>.signature.header",
        Kind::Header,
        "",
        "The header with the signature: `X-Hub-Signature-256`. Required with `hmac-sha256`.",
    ),
    key(
        "source.<name>.signature.prefix",
        Kind::Text { empty: true },
        "",
        "What stands before the hex digits: `sha256=`.",
    ),
    key(
        "source.<name>.signature.secret_env",
        Kind::Variables,
        "",
        "The environment variable that holds the shared secret, or up to four of them, any of which verifies. This or `secret_file`; the secret itself never stands in a configuration.",
    ),
    key(
        "source.<name>.signature.secret_file",
        Kind::Paths,
        "",
        "The file that holds the shared secret, or up to four of them; line ends at its end are cut. Read again when it changes.",
    ),
    key(
        "source.<name>.signature.tolerance_s",
        integer(1, 3_600, Unit::Seconds),
        "",
        "By how much the sender's time and ours may differ, with `stripe` and `standard-webhooks`; without it 300. Beyond it 401 `signature_expired`. At most `consumer.dedupe_window_s`: inside it a repeated delivery is a duplicate.",
    ),
    key(
        "source.<name>.schema.file",
        Kind::Path,
        "",
        "A JSON Schema file for the bodies. Without it they are parsed but not checked, and `pointer` and `mode` have no effect.",
    ),
    key(
        "source.<name>.schema.pointer",
        Kind::SchemaPointers,
        "",
        "JSON Pointers into the file, with `{type}` for the extracted type, such as `[\"#/definitions/{type}_event\"]`. The first definition that is there checks the type; a type without one is 422. Without a pointer the whole file applies.",
    ),
    key(
        "source.<name>.schema.mode",
        MODES,
        "",
        "As `schemas.mode`, for this source; without it `enforce`.",
    ),
    key(
        "consumer.pipeline",
        Kind::Identifier,
        "shock",
        "The pipeline's name: the last part of Kafka's group id (PREFIX.PIPELINE), and part of every progress row's key. Another name reads the log from its start.",
    ),
    key(
        "consumer.instance",
        Kind::KafkaName,
        "",
        "This process in the group (`group.instance.id`): unique per process, the same after its restart. Without it the host's name.",
    ),
    key(
        "consumer.batch_records_max",
        integer(1, 100_000, Unit::Count),
        "1000",
        "The most records of one batch, and so of one transaction.",
    ),
    key(
        "consumer.batch_bytes_max",
        integer(64 * KIB, GIB, Unit::Bytes),
        "8388608",
        "The most bytes of one batch. At least `ingress.event_bytes_max`.",
    ),
    key(
        "consumer.poll_wait_ms",
        integer(1, 10_000, Unit::Milliseconds),
        "100",
        "How long a read waits for the first record.",
    ),
    key(
        "consumer.dedupe_window_s",
        integer(60, 30 * 86_400, Unit::Seconds),
        "86400",
        "One effect per identity within this time; also the width of a bucket of ids. Retention has to be longer by the outage budget of 1,800 s.",
    ),
    key(
        "consumer.retry_backoff_ms_min",
        integer(1, 60_000, Unit::Milliseconds),
        "100",
        "The first wait after a transient failure; doubles, with full jitter.",
    ),
    key(
        "consumer.retry_backoff_ms_max",
        integer(10, TIMEOUT_MS_MAX, Unit::Milliseconds),
        "10000",
        "The longest wait between tries.",
    ),
    key(
        "consumer.retries_max",
        integer(0, 20, Unit::Count),
        "3",
        "How often a record that the database refuses for its content is tried again, alone and with full jitter from `consumer.retry_backoff_ms_min` on, before it is parked. Its partition waits meanwhile.",
    ),
    key(
        "consumer.parked_tries_max",
        integer(0, 100, Unit::Count),
        "5",
        "How often a parked record that may heal is tried again by itself before it is dead. 0 = never: only an operator redrives it. docs/FAILURES.md tells all of it.",
    ),
    key(
        "consumer.parked_retry_ms_min",
        integer(10, 86_400_000, Unit::Milliseconds),
        "60000",
        "The wait before a parked record's first try by itself; half of it is random.",
    ),
    key(
        "consumer.parked_retry_ms_max",
        integer(10, 7 * 86_400_000, Unit::Milliseconds),
        "3600000",
        "The longest wait between a parked record's tries.",
    ),
    key(
        "consumer.parked_retry_factor",
        integer(1, 100, Unit::Count),
        "4",
        "By how much that wait grows from try to try.",
    ),
    key(
        "consumer.on_poison",
        Kind::Name(&["skip", "entity", "halt"]),
        "skip",
        "What a record that cannot be applied does: `skip` = it is parked, later records go on; `entity` = it is parked, and later records of its entity are parked behind it, to be applied in order when it has its effect, is dead or is dropped; `halt` = its partition stands still before it until somebody acts. docs/FAILURES.md.",
    ),
    key(
        "consumer.storm_percent",
        integer(0, 100, Unit::Count),
        "50",
        "So many percent parked of the last `consumer.storm_records` records are a storm: the partition halts (`poison_storm`) instead of emptying the topic into `parked`. 0 = never.",
    ),
    key(
        "consumer.storm_records",
        integer(10, 1_000_000, Unit::Count),
        "1000",
        "How many of the last records of a partition the storm guard looks at.",
    ),
    key(
        "consumer.drain_timeout_ms",
        TIMEOUT_MS,
        "5000",
        "A stop lets the running batch finish for so long.",
    ),
    key(
        "consumer.filter_bytes_max",
        integer(0, GIB, Unit::Bytes),
        "67108864",
        "Memory of the filter that spares look-ups of ids in the bucket before the present one: 18 MB for 10 million ids, twice as much while a new one is read. Where a bucket has more than ten ids for each eight bytes of it, there is none. 0 = never. PostgreSQL only.",
    ),
    key(
        "consumer.rate_per_s_max",
        integer(0, 10_000_000, Unit::Count),
        "0",
        "The most records per second that one partition's writer applies: what protects a database that others need, too. 0 = as fast as it goes. Batches are then kept so small that one lasts a quarter of a second.",
    ),
    key(
        "consumer.dlq_mirror",
        Kind::Boolean,
        "true",
        "Whether what is parked is copied to the topic PREFIX-dlq, too, for whoever watches Kafka. The table is the truth either way, and `shock dev` has no such topic.",
    ),
    key(
        "control.enforcement",
        Kind::Name(&["enforce", "shadow", "off"]),
        "enforce",
        "What a decision against an event does: `enforce` = it is refused, `shadow` = it is counted and let in, `off` = no decision is made. Begin with `shadow` where nobody knows yet what would be shed.",
    ),
    key(
        "control.profile",
        Kind::Name(&["absorb", "bounded-lag"]),
        "absorb",
        "What the classes start from: `absorb` = bursts and outages wait in the log, limits begin where a budget of wait is used (15 s transactional, 60 s telemetry); `bounded-lag` = the least lag (0.4 s, 3 s), more is shed. docs/CONTROL.md tells how to choose.",
    ),
    key(
        "control.transactional.overflow",
        OVERFLOW,
        "",
        "What happens to what capacity does not serve: `absorb` = it waits in the log until the budget is used, `bound` = the limit holds the wait at the setpoint, `shed` = as `bound`, and an empty queue is not filled either. Without it the profile's.",
    ),
    key(
        "control.transactional.setpoint_ms",
        WAIT_MS,
        "",
        "The budget of wait of `absorb`, the setpoint of `bound` and `shed`. Without it 15,000 with `absorb`, 400 otherwise. With a p99 as `control.signal` it is required.",
    ),
    key(
        "control.transactional.outage_budget_ms",
        OUTAGE_MS,
        "",
        "With `absorb`: how long events go on being taken while consumers or database are away. Without it 1,800,000, or `control.retention_share` of the topic's retention if that is less; never more than that share.",
    ),
    key("control.telemetry.overflow", OVERFLOW, "", "As `control.transactional.overflow`."),
    key(
        "control.telemetry.setpoint_ms",
        WAIT_MS,
        "",
        "As `control.transactional.setpoint_ms`. Without it 60,000 with `absorb`, 3,000 otherwise.",
    ),
    key(
        "control.telemetry.outage_budget_ms",
        OUTAGE_MS,
        "",
        "As `control.transactional.outage_budget_ms`.",
    ),
    key(
        "control.retention_share",
        decimal(0.01, 0.9, Unit::Count),
        "0.5",
        "How much of a topic's retention may wait there before it counts as full: the rest is what is left to mend things.",
    ),
    key(
        "control.shed_order",
        Kind::Name(&["contract_first", "class_first"]),
        "contract_first",
        "What is given up first: `contract_first` = everybody's excess before anybody's contract, `class_first` = telemetry before transactional, whatever the contract.",
    ),
    key(
        "control.unit_per_s",
        decimal(1.0, 10_000_000.0, Unit::EventsPerSecond),
        "20000",
        "What one writer is expected to do until it is measured; limits of a partition whose database is away, and of `control.form = \"incremental\"`, are parts of it.",
    ),
    key(
        "control.signal",
        Kind::Name(&["drain", "lag_seconds", "downstream_p99", "ingress_p99"]),
        "drain",
        "What is held at the setpoint: `drain` = backlog over measured capacity, `lag_seconds` = the oldest record's age, `downstream_p99` and `ingress_p99` = the 99th percentile of the database's and the ingress's answers.",
    ),
    key(
        "control.rule",
        Kind::Name(&["loop", "paper", "aimd"]),
        "loop",
        "What makes a limit: `loop` = the control loop; to compare with, `paper` = a share of the load is dropped above 15 s of lag, `aimd` = +5 % or ×0.7 by the lag. The other two know neither setpoint nor budget.",
    ),
    key(
        "control.form",
        Kind::Name(&["positional", "incremental"]),
        "positional",
        "How the terms become a limit: `positional` = on top of measured capacity, `incremental` = as increments on the last one (equation (5) of the paper), times `control.unit_per_s`.",
    ),
    key(
        "control.kp",
        GAIN,
        "",
        "Proportional gain, 1/s; telemetry has half of it. Without it the gains follow the measured dead time, which is 0.5 at 1 s. Less than π/2.",
    ),
    key(
        "control.ki",
        GAIN,
        "",
        "Integral gain, 1/s²; telemetry has a quarter of it. Without it a quarter of the square of `control.kp`, at most that square. Only with `control.kp`.",
    ),
    key(
        "control.kd",
        GAIN,
        "",
        "Derivative gain, on the measurement; without it 0. Less than 1. Only with `control.kp`.",
    ),
    key(
        "control.u_min",
        decimal(0.001, 1.0, Unit::Count),
        "",
        "The limit never goes below this share of capacity. Without it 0.9 where `overflow` is `absorb`, whose budget a burst may overshoot, and 0.05 elsewhere.",
    ),
    key(
        "control.u_max",
        decimal(0.01, 10.0, Unit::Count),
        "1.5",
        "The limit never goes above this multiple of capacity. 1 at most counts where `overflow` is `shed`.",
    ),
    key(
        "limits.contract_per_s",
        EVENTS_PER_S,
        "",
        "What every tenant may count on that has no `[[contract]]` of its own: up to it events are in contract, beyond it excess, which is served where there is room. Without it as much as is fair at the moment.",
    ),
    key(
        "limits.ceiling_per_s",
        EVENTS_PER_S,
        "",
        "What no such tenant may exceed, however much room there is; beyond it 429. Without it no such bound.",
    ),
    key("contract[].tenant", Kind::Tenant, "", "Whose contract it is. Required, and unique."),
    key(
        "contract[].contract_per_s",
        EVENTS_PER_S,
        "",
        "As `limits.contract_per_s`, which counts without it. This or `ceiling_per_s` is required.",
    ),
    key(
        "contract[].ceiling_per_s",
        EVENTS_PER_S,
        "",
        "As `limits.ceiling_per_s`, which counts without it. At least the contract.",
    ),
    key(
        "mode.automatic",
        Kind::Boolean,
        "true",
        "Whether modes are entered by rule. A pin of `shock ctl` works always.",
    ),
    key(
        "mode.essential_types",
        Kind::Patterns,
        "",
        "The types that a mode with `essential_only` lets in, as in `classes.control`; a type or a tenant that is named is enough. Without both it lets in nothing.",
    ),
    key(
        "mode.essential_tenants",
        Kind::Tenants,
        "",
        "The tenants that a mode with `essential_only` lets in.",
    ),
    secret("mode.webhook_url", Kind::WebUrl, "Told of each change of the mode by a POST."),
    key(
        "mode.aggressive.closed_from_level",
        LEVEL,
        "5",
        "The first level that is closed: 1 in-contract transactional, 2 in-contract telemetry, 3 excess transactional, 4 excess telemetry (2 and 3 change places with `class_first`); 5 = none.",
    ),
    key(
        "mode.aggressive.sample_share",
        SHARE,
        "1",
        "What share of the last open level's events is let in before the limit is asked.",
    ),
    key("mode.aggressive.limit_factor", FACTOR, "1", "On all limits."),
    key(
        "mode.aggressive.essential_only",
        Kind::Boolean,
        "false",
        "Only what is essential is let in.",
    ),
    key("mode.survival.closed_from_level", LEVEL, "3", "As `mode.aggressive.closed_from_level`."),
    key("mode.survival.sample_share", SHARE, "1", "As `mode.aggressive.sample_share`."),
    key("mode.survival.limit_factor", FACTOR, "1", "As `mode.aggressive.limit_factor`."),
    key(
        "mode.survival.essential_only",
        Kind::Boolean,
        "false",
        "As `mode.aggressive.essential_only`.",
    ),
    key("mode.read-only.closed_from_level", LEVEL, "3", "As `mode.aggressive.closed_from_level`."),
    key("mode.read-only.sample_share", SHARE, "1", "As `mode.aggressive.sample_share`."),
    key("mode.read-only.limit_factor", FACTOR, "1", "As `mode.aggressive.limit_factor`."),
    key(
        "mode.read-only.essential_only",
        Kind::Boolean,
        "true",
        "As `mode.aggressive.essential_only`.",
    ),
    key(
        "breaker.ingress",
        Kind::Name(&["absorb", "reject"]),
        "absorb",
        "What the ingress does for the partitions of a writer whose breaker is open: `absorb` = as in every outage, `reject` = 503 until it lets calls through again.",
    ),
    key(
        "clock.skew_ms_max",
        integer(100, DAY_MS, Unit::Milliseconds),
        "300000",
        "How far this process's clock may be from Kafka's (ingress) or the database's (consumer). Beyond it the ingress is not ready, and the consumer applies nothing until the clocks agree.",
    ),
    key(
        "admin.listen",
        Kind::Address,
        "127.0.0.1:9090",
        "Where metrics, health and look-ups are served, and where `shock ctl` changes limits, modes, positions and parked records without a key. Not for the public.",
    ),
    key(
        "projections.schema",
        Kind::Identifier,
        "projections",
        "The schema of PostgreSQL that `shock ctl migrate` makes for the tables of projections, and in which their `ddl` runs. Statements name it: `insert into projections.balances`.",
    ),
    key(
        "projections.runtime_role",
        Kind::Identifier,
        "",
        "The role that the consumer connects as, where it is another one than the role that migrates: `shock ctl migrate` grants it what a consumer needs, and `{runtime_role}` in `ddl` stands for it.",
    ),
    key(
        "projection[].name",
        Kind::Identifier,
        "",
        "What messages call it, and what its `ddl` is remembered under. docs/PROJECTIONS.md explains projections.",
    ),
    key(
        "projection[].types",
        Kind::Patterns,
        "",
        "The types whose events it sees, as in `classes.control`.",
    ),
    key(
        "projection[].class",
        Kind::Name(&["control", "transactional", "telemetry"]),
        "",
        "Only the events of this class; without it of every class.",
    ),
    key(
        "projection[].sql.postgres",
        Kind::Sql,
        "",
        "With `backend = \"kafka\"`: one insert, update or delete over `fresh`, the events that have their effect now. It runs in the batch's own statement, once per batch.",
    ),
    key("projection[].sql.postgres_file", Kind::Path, "", "The same in a file."),
    key(
        "projection[].sql.sqlite",
        Kind::Sql,
        "",
        "The same with `backend = \"embedded\"`, in the batch's transaction.",
    ),
    key("projection[].sql.sqlite_file", Kind::Path, "", "The same in a file."),
    key(
        "projection[].ddl.postgres",
        Kind::Paths,
        "",
        "Files of SQL that make its tables, in their order: `shock ctl migrate` runs each once. A file that was run must not change; what is to change goes into a further file.",
    ),
    key(
        "projection[].ddl.sqlite",
        Kind::Paths,
        "",
        "The same for `shock dev`, which runs them at its start.",
    ),
    key(
        "projection[].sample",
        Kind::Objects,
        "",
        "Events to try the statement on before anything is consumed, each as an event is posted: `{\"type\": …, \"subject\": …, \"data\": {…}}`, with `tenant` where it matters. Each is tried twice in one batch, and everything is rolled back.",
    ),
    key(
        "sink[].name",
        Kind::Identifier,
        "",
        "What messages and metrics call it. It stands in the rows that wait for it: another name is another sink. docs/SINKS.md explains sinks.",
    ),
    key(
        "sink[].kind",
        Kind::Name(&["webhook", "kafka"]),
        "",
        "`webhook` = a POST for each event; `kafka` = a record for each in a topic of `kafka.brokers`. Both at least once, each time with the same id.",
    ),
    key(
        "sink[].types",
        Kind::Patterns,
        "",
        "The types whose events go there, as in `classes.control`.",
    ),
    key(
        "sink[].class",
        Kind::Name(&["control", "transactional", "telemetry"]),
        "",
        "Only the events of this class; without it of every class.",
    ),
    key(
        "sink[].order",
        Kind::Name(&["entity", "none"]),
        "",
        "`entity` (default) = of one entity one at a time, in the log's order: none overtakes one that is tried again; `none` = each by itself.",
    ),
    secret(
        "sink[].url",
        Kind::WebUrl,
        "Where the webhook is. Often a secret itself, so it is never shown.",
    ),
    key(
        "sink[].topic",
        Kind::KafkaName,
        "",
        "The topic, with `kind = \"kafka\"`. It has to be there, and cannot be one of the log's own.",
    ),
    key(
        "sink[].signature",
        Kind::Name(&["standard-webhooks", "none"]),
        "",
        "How a webhook's requests are signed: `standard-webhooks` (default; HMAC-SHA256 over id, time and body) or not at all.",
    ),
    key(
        "sink[].secret_env",
        Kind::Variables,
        "",
        "The variable that holds the secret, `whsec_BASE64`; while one is exchanged for another, a list: each signs. At most 4.",
    ),
    key("sink[].secret_file", Kind::Paths, "", "The same in a file, or in several."),
    key(
        "sink[].concurrency",
        integer(1, 256, Unit::Count),
        "",
        "Requests of a webhook at once, of one process (16).",
    ),
    key(
        "sink[].connect_timeout_ms",
        TIMEOUT_MS,
        "",
        "The longest a connection to a webhook may take (2000).",
    ),
    key(
        "sink[].timeout_ms",
        TIMEOUT_MS,
        "",
        "The longest a webhook's answer may take, the connection included (10000); beyond it, it counts as failed and is tried again.",
    ),
    key(
        "sink[].retry_backoff_ms_min",
        TIMEOUT_MS,
        "",
        "After a first failure an event is tried again after up to so long (1000); that doubles with each, with full jitter.",
    ),
    key(
        "sink[].retry_backoff_ms_max",
        integer(10, DAY_MS, Unit::Milliseconds),
        "",
        "The longest such wait (300000).",
    ),
    key(
        "sink[].age_s_max",
        integer(0, RETENTION_MS_MAX / 1000, Unit::Seconds),
        "",
        "What has waited so long is given up at its next failure, and stays as a dead row; 0 (default) = nothing is ever given up for its age.",
    ),
    key(
        "sink[].rows_max",
        integer(1, 100_000_000, Unit::Count),
        "",
        "About so many rows wait for it at most, dead ones included (1000000). Then the writers wait before events that go there, and the log takes what comes; nothing is dropped.",
    ),
    key(
        "embedded.data_dir",
        Kind::Path,
        "shock-data",
        "Holds the embedded log, the SQLite database and the development key; one process at a time. Events get 503 while its disk has less than 256 MiB and `embedded.queue_bytes_max` left.",
    ),
    key(
        "embedded.partitions",
        CLASS_PARTITIONS,
        "4",
        "Partitions per class. A change moves tenants between partitions.",
    ),
    key(
        "embedded.retention_bytes",
        integer(64 * MIB, 1024 * 1024 * GIB, Unit::Bytes),
        "8589934592",
        "The log's oldest applied records go when it is larger than this.",
    ),
    key(
        "embedded.retention_ms",
        RETENTION_MS,
        "604800000",
        "Applied records older than this go. At least the deduplication window and the outage budget.",
    ),
    key(
        "embedded.commit_records_max",
        integer(1, 1_000_000, Unit::Count),
        "4096",
        "The most records one group commit (one fsync) holds.",
    ),
    key(
        "embedded.queue_bytes_max",
        integer(MIB, 16 * GIB, Unit::Bytes),
        "67108864",
        "The most bytes that wait for the group commit; beyond it 503.",
    ),
    key(
        "kafka.brokers",
        Kind::Text { empty: false },
        "",
        "`bootstrap.servers`: HOST:PORT,HOST:PORT. Required with `backend = \"kafka\"`.",
    ),
    key(
        "kafka.topic_prefix",
        Kind::KafkaName,
        "events",
        "Topics are named PREFIX.CLASS: `events.transactional`.",
    ),
    key(
        "kafka.durability",
        Kind::Name(&["replicated", "single"]),
        "replicated",
        "What a 202 survives. `replicated`: the loss of any one failure domain; topics need replication ≥ 3 and `min.insync.replicas` ≥ 2. `single`: whatever the topics give, for development.",
    ),
    key(
        "kafka.group_protocol",
        Kind::Name(&["classic", "consumer"]),
        "classic",
        "How consumers agree on who owns which partition. `classic`: a consumer that is restarted within its session (10 s) takes its own place. `consumer`: KIP-848, on brokers from 4.0 on, which also say how long a session is (45 s where nothing is set there); a consumer that dies is missed for so long.",
    ),
    secret(
        "kafka.properties.<property>",
        Kind::Text { empty: true },
        "Further librdkafka settings, passed through: `security.protocol`, `sasl.mechanism`, `ssl.ca.location`, … Passwords by variable: `SHOCK_KAFKA_PROPERTIES_SASL_PASSWORD`. Settings that the guarantees rest on are refused.",
    ),
    key(
        "topics.partitions",
        CLASS_PARTITIONS,
        "96",
        "Partitions of each class's topic; one writer each. A change moves tenants between partitions.",
    ),
    key("topics.replication", REPLICATION, "3", "Replication factor of each class's topic."),
    key(
        "topics.min_insync_replicas",
        REPLICATION,
        "2",
        "`min.insync.replicas`: how many replicas have a record before it is acknowledged.",
    ),
    key(
        "topics.retention_ms",
        RETENTION_MS,
        "604800000",
        "`retention.ms`. At least the deduplication window and the outage budget.",
    ),
    key(
        "topics.message_bytes_max",
        MESSAGE_BYTES,
        "1000000",
        "`max.message.bytes`. At least `ingress.event_bytes_max` plus 16,384.",
    ),
    key(
        "topics.control.partitions",
        CLASS_PARTITIONS,
        "",
        "Partitions of the control topic; without it `topics.partitions`.",
    ),
    key(
        "topics.control.replication",
        REPLICATION,
        "",
        "Replication of the control topic; without it `topics.replication`.",
    ),
    key(
        "topics.control.min_insync_replicas",
        REPLICATION,
        "",
        "`min.insync.replicas` of the control topic; without it `topics.min_insync_replicas`.",
    ),
    key(
        "topics.control.retention_ms",
        RETENTION_MS,
        "",
        "Retention of the control topic; without it `topics.retention_ms`.",
    ),
    key(
        "topics.control.message_bytes_max",
        MESSAGE_BYTES,
        "",
        "`max.message.bytes` of the control topic; without it `topics.message_bytes_max`.",
    ),
    key(
        "topics.transactional.partitions",
        CLASS_PARTITIONS,
        "",
        "Partitions of the transactional topic; without it `topics.partitions`.",
    ),
    key(
        "topics.transactional.replication",
        REPLICATION,
        "",
        "Replication of the transactional topic; without it `topics.replication`.",
    ),
    key(
        "topics.transactional.min_insync_replicas",
        REPLICATION,
        "",
        "`min.insync.replicas` of the transactional topic; without it `topics.min_insync_replicas`.",
    ),
    key(
        "topics.transactional.retention_ms",
        RETENTION_MS,
        "",
        "Retention of the transactional topic; without it `topics.retention_ms`.",
    ),
    key(
        "topics.transactional.message_bytes_max",
        MESSAGE_BYTES,
        "",
        "`max.message.bytes` of the transactional topic; without it `topics.message_bytes_max`.",
    ),
    key(
        "topics.telemetry.partitions",
        CLASS_PARTITIONS,
        "",
        "Partitions of the telemetry topic; without it `topics.partitions`.",
    ),
    key(
        "topics.telemetry.replication",
        REPLICATION,
        "",
        "Replication of the telemetry topic; without it `topics.replication`.",
    ),
    key(
        "topics.telemetry.min_insync_replicas",
        REPLICATION,
        "",
        "`min.insync.replicas` of the telemetry topic; without it `topics.min_insync_replicas`.",
    ),
    key(
        "topics.telemetry.retention_ms",
        RETENTION_MS,
        "",
        "Retention of the telemetry topic; without it `topics.retention_ms`.",
    ),
    key(
        "topics.telemetry.message_bytes_max",
        MESSAGE_BYTES,
        "",
        "`max.message.bytes` of the telemetry topic; without it `topics.message_bytes_max`.",
    ),
    secret(
        "postgres.url",
        Kind::PostgresUrl,
        "`postgres://user:password@host:port/database`. With `backend = \"kafka\"` the consumer needs this or `postgres.url_file`; better by `SHOCK_POSTGRES_URL` than in a file others read.",
    ),
    key(
        "postgres.url_file",
        Kind::Path,
        "",
        "A file that holds the URL, such as a mounted secret.",
    ),
    key(
        "postgres.connections_max",
        integer(1, 1_000, Unit::Count),
        "8",
        "Connections of one process.",
    ),
];
