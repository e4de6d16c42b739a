//! How the settings have to fit together: each contradiction is a fault at the place that was typed.
//!
//! A relation with a faulty member is not looked at: nothing is known of its value.

use super::build::{integer, topic_path};
use super::settings::Settings;
use super::value::Wrong;
use super::{Backend, Config, Insecure, Origin, Purpose, SignatureScheme, SourceConfig, control};
use crate::log::kafka::{Durability, MESSAGE_TIMEOUT_MS, TopicSpec};
use crate::position::Class;

/// By how much a request's deadline has to be later, so that Kafka's verdict comes first.
pub const REQUEST_MARGIN_MS: u64 = 1_000;
/// How much of a Kafka message key, headers and batch overhead may take.
pub const RECORD_OVERHEAD_BYTES_MAX: u64 = 16_384;
/// The longest outage of consumers or database that retention has to outlast in any case, in
/// milliseconds.
pub const OUTAGE_BUDGET_MS: u64 = 30 * 60 * 1_000;

/// Checks all relations.
pub(super) fn check(
    settings: &mut Settings,
    config: &Config,
    insecure: Insecure,
    purpose: Purpose,
) {
    sizes(settings);
    consumer(settings);
    listeners(settings, config, purpose);
    match &config.backend {
        Backend::Embedded(_) => {
            for class in Class::ALL {
                retention(settings, "embedded.retention_ms", outage_ms(config, class));
            }
        }
        Backend::Cluster { kafka, .. } => {
            deadline(settings);
            for class in Class::ALL {
                let topic = kafka.topics[class.index()];
                let path = topic_path(settings, class, "retention_ms");
                retention(settings, &path, outage_ms(config, class));
                message(settings, class);
                replicas(settings, class, topic, kafka.durability);
            }
        }
    }
    if matches!(purpose, Purpose::Ingress | Purpose::Check) {
        producers(settings, insecure);
    }
    control::relations::check(settings, &config.consumer.control);
    certificates(settings, config);
    open_door(settings, config, insecure);
    for source in &config.ingress.sources {
        replay(settings, source);
    }
}

fn sizes(settings: &mut Settings) {
    at_least(settings, "ingress.inflated_bytes_max", "ingress.body_bytes_max");
    at_least(settings, "ingress.inflated_bytes_max", "ingress.event_bytes_max");
    at_least(settings, "ingress.inflight_bytes_max", "ingress.body_bytes_max");
    at_least(settings, "ingress.inflight_bytes_max", "ingress.inflated_bytes_max");
}

fn consumer(settings: &mut Settings) {
    at_least(settings, "consumer.batch_bytes_max", "ingress.event_bytes_max");
    at_least(settings, "consumer.retry_backoff_ms_max", "consumer.retry_backoff_ms_min");
    at_least(settings, "consumer.parked_retry_ms_max", "consumer.parked_retry_ms_min");
    if is_embedded(settings) {
        at_least(settings, "embedded.queue_bytes_max", "ingress.event_bytes_max");
    }
}

fn is_embedded(settings: &Settings) -> bool {
    super::build::text(settings, "backend").as_deref() == Some("embedded")
}

fn listeners(settings: &mut Settings, config: &Config, purpose: Purpose) {
    let (ingress, admin) = (config.ingress.listen, config.admin_listen);
    let both = !matches!(purpose, Purpose::Consumer | Purpose::Operate | Purpose::Topics);
    let same_ip =
        ingress.ip() == admin.ip() || ingress.ip().is_unspecified() || admin.ip().is_unspecified();
    let clash = both && ingress.port() != 0 && ingress.port() == admin.port() && same_ip;
    relation(settings, &["admin.listen", "ingress.listen"], !clash, || {
        format!("{admin} is `ingress.listen`'s port too")
    });
}

fn deadline(settings: &mut Settings) {
    let path = "ingress.request_timeout_ms";
    let timeout = integer::<u64>(settings, path);
    let least = MESSAGE_TIMEOUT_MS + REQUEST_MARGIN_MS;
    relation(settings, &[path], timeout > least, || {
        format!("{timeout} has to be more than {least}: Kafka's message timeout and a margin")
    });
}

/// The longest outage of a class that retention has to outlast, in milliseconds.
fn outage_ms(config: &Config, class: Class) -> u64 {
    let budget_s = config.consumer.control.policies[class.index()].outage_budget_s;
    OUTAGE_BUDGET_MS.max((budget_s * 1_000.0) as u64)
}

fn retention(settings: &mut Settings, path: &str, outage_ms: u64) {
    let window = "consumer.dedupe_window_s";
    let retention = integer::<u64>(settings, path);
    let least = integer::<u64>(settings, window) * 1_000 + outage_ms;
    relation(settings, &[path, window], retention >= least, || {
        format!(
            "{retention} has to be at least {least}: `{window}` and the outage budget of {} s",
            outage_ms / 1_000
        )
    });
}

fn message(settings: &mut Settings, class: Class) {
    let (path, event) =
        (topic_path(settings, class, "message_bytes_max"), "ingress.event_bytes_max");
    let message = integer::<u64>(settings, &path);
    let least = integer::<u64>(settings, event) + RECORD_OVERHEAD_BYTES_MAX;
    relation(settings, &[&path, event], message >= least, || {
        format!(
            "{message} has to be at least {least}: `{event}` and {RECORD_OVERHEAD_BYTES_MAX} for \
             key, headers and batch overhead"
        )
    });
}

fn replicas(settings: &mut Settings, class: Class, topic: TopicSpec, durability: Durability) {
    let replication = topic_path(settings, class, "replication");
    let in_sync = topic_path(settings, class, "min_insync_replicas");
    let (copies, needed) = (topic.replication, topic.min_insync_replicas);
    relation(settings, &[&in_sync, &replication], needed <= copies, || {
        format!("{needed} is more than `{replication}`, which is {copies}")
    });
    let path = "kafka.durability";
    let single = durability == Durability::Single;
    relation(settings, &[&replication, path], single || copies >= 3, || {
        format!("{copies} has to be at least 3 with `{path}` = `replicated`")
    });
    relation(settings, &[&in_sync, path], single || needed >= 2, || {
        format!("{needed} has to be at least 2 with `{path}` = `replicated`")
    });
}

/// An ingress nobody may post to is a mistake. What could not be read (it has no path) may name them.
fn producers(settings: &mut Settings, insecure: Insecure) {
    if insecure != Insecure::No
        || settings.is_faulty("")
        || has_credentials(settings)
        || !settings.names("source").is_empty()
    {
        return;
    }
    let wrong = Wrong {
        message: "neither a key nor a source is configured: nobody could post".to_owned(),
        hint: Some(
            "add what `shock ctl key new TENANT` prints, a `[[certificate]]` or a `[source.NAME]`"
                .to_owned(),
        ),
    };
    settings.contradiction(Origin::Default, "key", wrong);
}

/// A client certificate that no handshake asks for lets nobody in.
fn certificates(settings: &mut Settings, config: &Config) {
    let asked = config.ingress.edge.tls.as_ref().is_some_and(|tls| tls.clients.is_some());
    if asked || config.ingress.certificates.is_empty() {
        return;
    }
    let files = ["cert_file", "key_file", "client_ca_file"];
    let files = files.map(|file| format!("ingress.tls.{file}"));
    for entry in settings.entries("certificate") {
        let san = format!("{entry}.san");
        let paths = [&san, &files[0], &files[1], &files[2]].map(String::as_str);
        relation(settings, &paths, false, || {
            format!("no client shows a certificate without `{}`", files[2])
        });
    }
}

fn has_credentials(settings: &Settings) -> bool {
    ["key", "certificate"].iter().any(|table| !settings.entries(table).is_empty())
}

/// `--insecure` is for trying out and for a proxy beside us that checks: never beside keys that would
/// then mean nothing, and on an address that others reach only when it was said twice.
fn open_door(settings: &mut Settings, config: &Config, insecure: Insecure) {
    if insecure == Insecure::No {
        return;
    }
    if has_credentials(settings) {
        let message = "`--insecure` lets anybody post, and a key or certificate is configured";
        let wrong =
            Wrong { message: message.to_owned(), hint: Some("leave one of them out".to_owned()) };
        settings.contradiction(Origin::Command, "", wrong);
    }
    let listen = config.ingress.listen;
    if insecure == Insecure::OnLoopback && !listen.ip().is_loopback() {
        let wrong = Wrong {
            message: format!("{listen} is no loopback address, and `--insecure` lets anybody post"),
            hint: Some("listen on 127.0.0.1, or say `--insecure` twice".to_owned()),
        };
        let path = "ingress.listen";
        settings.contradiction(settings.origin(path), path, wrong);
    }
}

/// A signed delivery that somebody sends again within the tolerance is a duplicate only inside the
/// deduplication window.
fn replay(settings: &mut Settings, source: &SourceConfig) {
    let tolerance = match source.signature.as_ref().map(|signature| &signature.scheme) {
        Some(
            SignatureScheme::Stripe { tolerance } | SignatureScheme::StandardWebhooks { tolerance },
        ) => tolerance.as_secs(),
        Some(SignatureScheme::Body { .. }) | None => return,
    };
    let path = format!("source.{}.signature.tolerance_s", source.name);
    let window = "consumer.dedupe_window_s";
    let most = integer::<u64>(settings, window);
    relation(settings, &[&path, window], tolerance <= most, || {
        format!("{tolerance} has to be at most `{window}`, which is {most}")
    });
}

fn at_least(settings: &mut Settings, greater: &str, lesser: &str) {
    let (most, least) = (integer::<u64>(settings, greater), integer::<u64>(settings, lesser));
    relation(settings, &[greater, lesser], most >= least, || {
        format!("{most} has to be at least `{lesser}`, which is {least}")
    });
}

/// Notes a contradiction once, at the first of its keys that was typed.
pub(super) fn relation(
    settings: &mut Settings,
    paths: &[&str],
    holds: bool,
    message: impl Fn() -> String,
) {
    advised(settings, paths, holds, || Wrong::new(message()));
}

/// The same with what to do about it.
pub(super) fn advised(
    settings: &mut Settings,
    paths: &[&str],
    holds: bool,
    wrong: impl Fn() -> Wrong,
) {
    if holds || paths.iter().any(|path| settings.is_faulty(path)) {
        return;
    }
    let typed = paths.iter().find(|path| settings.origin(path) != Origin::Default);
    let place = settings.origin(typed.unwrap_or(&paths[0]));
    settings.contradiction(place, paths[0], wrong());
}
