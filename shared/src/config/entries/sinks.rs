//! The sinks: which events, where to, how patiently.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::build::{name, text};
use super::super::settings::Settings;
use super::super::sink::{
    BACKOFF_MS_MAX, BACKOFF_MS_MIN, CONCURRENCY, CONNECT_TIMEOUT_MS, LOG_SINK, ROWS_MAX, SINKS_MAX,
    TIMEOUT_MS,
};
use super::super::value::{Value, Wrong};
use super::super::{
    Backend, Purpose, SinkConfig, SinkOrder, SinkTarget, Sources, WebhookConfig, WebhookUrl,
};
use super::projections::patterns;
use super::required;
use super::signature::{self, refuse};
use crate::position::Class;

/// The settings that only webhooks have.
const OF_WEBHOOKS: [&str; 8] = [
    "url",
    "signature",
    "secret_env",
    "secret_file",
    "concurrency",
    "connect_timeout_ms",
    "timeout_ms",
    // A topic that fails, fails for all: nothing of it is given up.
    "age_s_max",
];

/// The sinks; none in a process that applies nothing, so that it needs none of their secrets.
pub(in super::super) fn sinks(
    settings: &mut Settings,
    sources: &Sources,
    purpose: Purpose,
    backend: &Backend,
) -> Vec<SinkConfig> {
    match purpose {
        Purpose::Ingress | Purpose::Operate | Purpose::Topics => return Vec::new(),
        Purpose::Dev | Purpose::Consumer | Purpose::Check => {}
    }
    let entries = settings.entries("sink");
    if let Some(beyond) = entries.get(SINKS_MAX) {
        let message = format!("{} sinks are above the bound of {SINKS_MAX}", entries.len());
        settings.fault(settings.origin(beyond), beyond, Wrong::new(message));
    }
    let (mut sinks, mut named) = (Vec::new(), BTreeMap::<String, String>::new());
    for entry in entries.iter().take(SINKS_MAX) {
        let path = format!("{entry}.name");
        if let Some(name) = text(settings, &path) {
            if let Some(first) = named.get(&name) {
                let wrong = Wrong {
                    message: format!("another sink is called `{name}`"),
                    hint: Some(format!("the first is at {}", settings.origin(first))),
                };
                settings.fault(settings.origin(&path), &path, wrong);
            }
            if name == LOG_SINK {
                let message = format!("`{LOG_SINK}` is the way back into the log");
                settings.fault(settings.origin(&path), &path, Wrong::new(message));
            }
            named.entry(name).or_insert(path);
        }
        sinks.extend(sink(settings, sources, backend, entry));
    }
    sinks
}

fn sink(
    settings: &mut Settings,
    sources: &Sources,
    backend: &Backend,
    entry: &str,
) -> Option<SinkConfig> {
    let called = required(settings, entry, "name", text);
    let types = required(settings, entry, "types", patterns);
    let path = format!("{entry}.types");
    if types.as_ref().is_some_and(Vec::is_empty) {
        settings.fault(settings.origin(&path), &path, Wrong::new("names no type"));
    }
    let kind = required(settings, entry, "kind", text);
    let target = match kind?.as_str() {
        "kafka" => topic(settings, backend, entry),
        _ => webhook(settings, sources, entry),
    };
    let member = |member: &str| format!("{entry}.{member}");
    let class = name(settings, &member("class"));
    let class = Class::ALL.into_iter().find(|one| one.name() == class);
    let order = match name(settings, &member("order")) {
        "none" => SinkOrder::None,
        _ => SinkOrder::Entity,
    };
    let (least, most) = (member("retry_backoff_ms_min"), member("retry_backoff_ms_max"));
    let backoff = [(&least, BACKOFF_MS_MIN), (&most, BACKOFF_MS_MAX)]
        .map(|(path, default)| number(settings, path, default));
    if backoff[0] > backoff[1] {
        let message = format!("{} has to be at least `retry_backoff_ms_min`", backoff[1]);
        settings.fault(settings.origin(&most), &most, Wrong::new(message));
    }
    let age_s = number(settings, &member("age_s_max"), 0);
    let rows_max = number(settings, &member("rows_max"), ROWS_MAX);
    Some(SinkConfig {
        name: called?,
        types: types?,
        class,
        order,
        target: target?,
        retry_backoff_min: Duration::from_millis(backoff[0]),
        retry_backoff_max: Duration::from_millis(backoff[1]),
        age_max: (age_s > 0).then(|| Duration::from_secs(age_s)),
        rows_max,
    })
}

fn topic(settings: &mut Settings, backend: &Backend, entry: &str) -> Option<SinkTarget> {
    refuse(settings, entry, &OF_WEBHOOKS, "kind", "kafka");
    let topic = required(settings, entry, "topic", text)?;
    let path = format!("{entry}.topic");
    match backend {
        Backend::Embedded(_) => {
            let path = format!("{entry}.kind");
            let message = "`kafka` needs `backend = \"kafka\"`: the embedded log has no topics";
            settings.fault(settings.origin(&path), &path, Wrong::new(message));
            return None;
        }
        Backend::Cluster { kafka, .. } => {
            // What is read there would be sent there again.
            if kafka.wanted_topics().iter().any(|(name, _)| *name == topic) {
                let message = format!("`{topic}` is one of the log's own topics");
                settings.fault(settings.origin(&path), &path, Wrong::new(message));
                return None;
            }
        }
    }
    Some(SinkTarget::Kafka { topic })
}

fn webhook(settings: &mut Settings, sources: &Sources, entry: &str) -> Option<SinkTarget> {
    refuse(settings, entry, &["topic"], "kind", "webhook");
    let url = required(settings, entry, "url", text);
    let secrets = match name(settings, &format!("{entry}.signature")) {
        "none" => {
            refuse(settings, entry, &["secret_env", "secret_file"], "signature", "none");
            Some(Vec::new())
        }
        _ => {
            let typed = signature::secrets(settings, sources, true, entry)?;
            signature::decoded(settings, entry, &typed)
        }
    };
    let member = |member: &str| format!("{entry}.{member}");
    let concurrency = number(settings, &member("concurrency"), CONCURRENCY);
    let connect = number(settings, &member("connect_timeout_ms"), CONNECT_TIMEOUT_MS);
    let answer = number(settings, &member("timeout_ms"), TIMEOUT_MS);
    if connect > answer {
        let path = member("timeout_ms");
        let message =
            format!("{answer} has to be at least `connect_timeout_ms`, which is {connect}");
        settings.fault(settings.origin(&path), &path, Wrong::new(message));
    }
    Some(SinkTarget::Webhook(WebhookConfig {
        url: WebhookUrl::new(url?),
        secrets: secrets?,
        concurrency: usize::try_from(concurrency).unwrap_or(1),
        connect_timeout: Duration::from_millis(connect),
        timeout: Duration::from_millis(answer),
    }))
}

fn number(settings: &Settings, path: &str, default: u64) -> u64 {
    match settings.value(path) {
        Some(Value::Integer(number)) => *number,
        _ => default,
    }
}
