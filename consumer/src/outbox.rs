//! The outbox: what goes elsewhere than the database is a row in the transaction that has the effect,
//! and a relay sends it afterwards.
//!
//! So it is sent **at least once** if the event had its effect, and never otherwise; each time with the
//! same id, so that a receiver that remembers ids has it once. Here is which events go to which sink;
//! `relay` sends them, to a webhook or a topic (`target`). No batch ever waits for an answer: only
//! a sink that is full (`Sinks::full_for`) makes the writers wait, so that nothing is dropped.

mod lane;
pub mod metrics;
mod own_log;
mod pace;
pub(crate) mod relay;
pub mod retry_after;
pub mod signature;
pub mod target;
pub mod webhook;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};
use shared::config::{SinkConfig, SinkOrder, SinkTarget};
use shared::identity::Identity;
use shared::log::kafka::{KafkaConfig, KafkaError, TopicPublisher};
use shared::log::{Log, Publisher, Record};
use shared::position::Class;
use shared::route::{Router, matched};
use tokio::sync::Notify;
use tokio::time::Instant;

use self::own_log::OwnLog;
use self::target::Target;
use self::webhook::Webhook;
use crate::batch::{Row, entity};

/// The sink of what follows from events: the log itself. No other is called so.
pub const LOG_SINK: &str = shared::config::LOG_SINK;

/// What a message's id begins with.
const MESSAGE_PREFIX: &str = "msg_";

/// All sinks of a pipeline, in the configuration's order.
#[derive(Debug, Default)]
pub struct Sinks(Vec<Arc<Sink>>);

/// One sink.
#[derive(Debug)]
pub struct Sink {
    config: SinkConfig,
    target: Target,
    /// As many rows wait as may.
    full: AtomicBool,
    /// Something was written for it, or it is to stop.
    pub(crate) woken: Notify,
    stopping: AtomicBool,
    /// Nothing is under way any more.
    pub(crate) finished: Notify,
}

/// An event on its way into the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing<'r> {
    /// Which sink's.
    pub sink: &'r str,
    /// Its record.
    pub record: &'r Record,
    /// The same each time that it is sent.
    pub message_id: String,
    /// What must not overtake one another.
    pub entity: Option<String>,
}

impl Sinks {
    /// As configured. Contacts nobody.
    pub fn connect(
        configs: &[SinkConfig],
        kafka: Option<&KafkaConfig>,
    ) -> Result<Self, KafkaError> {
        let sink = |config: &SinkConfig| {
            let target = match (&config.target, kafka) {
                (SinkTarget::Webhook(webhook), _) => {
                    Target::Webhook(Box::new(Webhook::new(webhook)))
                }
                (SinkTarget::Kafka { topic }, Some(kafka)) => {
                    Target::Topic(Publisher::Kafka(TopicPublisher::sink(kafka, topic)?))
                }
                (SinkTarget::Kafka { .. } | SinkTarget::Log, _) => {
                    let message = format!("sink {} has nowhere to go", config.name);
                    return Err(KafkaError::Config(message));
                }
            };
            Ok(Sink::new(config.clone(), target))
        };
        Ok(Self::of(configs.iter().map(sink).collect::<Result<_, _>>()?))
    }

    /// These.
    pub fn of(sinks: Vec<Sink>) -> Self {
        Self(sinks.into_iter().map(Arc::new).collect())
    }

    /// With the way back into the log, for what follows from events.
    pub fn with_log(mut self, log: Log, router: Router) -> Self {
        let target = Target::Log(Arc::new(OwnLog::new(log, router)));
        let config = SinkConfig::of_log();
        self.0.push(Arc::new(Sink::new(config, target)));
        self
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Sink>> {
        self.0.iter()
    }

    /// What an event is for the sinks that select it.
    pub fn outgoing<'b>(&'b self, row: &'b Row<'_>) -> impl Iterator<Item = Outgoing<'b>> {
        self.0.iter().filter(|sink| sink.selects(row)).map(|sink| Outgoing {
            sink: &sink.config.name,
            record: row.record,
            message_id: message_id(&sink.config.name, &row.identity),
            entity: entity(row.record, Some(&row.event)),
        })
    }

    /// A sink that is full and may get rows of these.
    pub(crate) fn full_for(&self, rows: &[Row<'_>]) -> Option<&Sink> {
        let full = |sink: &&Arc<Sink>| {
            sink.full.load(Ordering::Relaxed) && rows.iter().any(|row| sink.concerns(row))
        };
        self.0.iter().find(full).map(Arc::as_ref)
    }

    /// Some of these may have become rows.
    pub(crate) fn wake(&self, rows: &[Row<'_>]) {
        for sink in &self.0 {
            if rows.iter().any(|row| sink.concerns(row)) {
                sink.woken.notify_one();
            }
        }
    }

    /// Sends nothing more, and waits until what is under way is settled, or the time is over.
    pub(crate) async fn finish(&self, deadline: Instant) {
        for sink in &self.0 {
            sink.stopping.store(true, Ordering::Relaxed);
            sink.woken.notify_one();
        }
        for sink in &self.0 {
            if tokio::time::timeout_at(deadline, sink.finished.notified()).await.is_err() {
                tracing::warn!(sink = sink.name(), "requests of a sink did not end in time");
            }
        }
    }
}

impl Sink {
    /// A sink that nothing waits for yet.
    pub fn new(config: SinkConfig, target: Target) -> Self {
        Self {
            config,
            target,
            full: AtomicBool::new(false),
            woken: Notify::new(),
            stopping: AtomicBool::new(false),
            finished: Notify::new(),
        }
    }

    /// What messages and metrics call it.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Whether rows of one entity keep their order.
    pub(crate) fn is_ordered(&self) -> bool {
        self.config.order == SinkOrder::Entity
    }

    pub(crate) fn config(&self) -> &SinkConfig {
        &self.config
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Whether it was.
    pub(crate) fn set_full(&self, full: bool) -> bool {
        self.full.swap(full, Ordering::Relaxed)
    }

    /// Whether a batch with this event may add rows to it: what follows from any event is for our own log.
    fn concerns(&self, row: &Row<'_>) -> bool {
        matches!(self.target, Target::Log(_)) || self.selects(row)
    }

    fn selects(&self, row: &Row<'_>) -> bool {
        self.selects_type(row.record.position.id.class, &row.event.event_type)
    }

    fn selects_type(&self, class: Class, event_type: &str) -> bool {
        self.config.class.is_none_or(|only| only == class)
            && self.config.types.iter().any(|pattern| matched(pattern, event_type).is_some())
    }
}

/// The id under which a sink's receiver knows an event: 128 bits of SHA-256 over sink, tenant and
/// identity, each behind its length. Whatever is replayed, it stays.
pub fn message_id(sink: &str, identity: &Identity) -> String {
    let mut hash = Sha256::new();
    for part in [sink.as_bytes(), identity.tenant.as_str().as_bytes(), &identity.digest] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    format!("{MESSAGE_PREFIX}{}", hex::encode(&hash.finalize()[..16]))
}

#[cfg(test)]
mod tests {
    use shared::tenant::TenantId;

    use super::*;

    /// Receivers remember them: a change here would let every replay through.
    #[test]
    fn message_ids_are_pinned_and_differ() {
        let identity =
            |tenant: &str| Identity::new(TenantId::parse(tenant).expect("a valid name"), "/", "1");
        let id = message_id("crm", &identity("acme"));
        assert_eq!(id.len(), 4 + 32);
        assert_eq!(id, message_id("crm", &identity("acme")));
        assert_ne!(id, message_id("crm2", &identity("acme")));
        assert_ne!(id, message_id("crm", &identity("zeta")));
        assert_eq!(id, "msg_58d30325d4613da2a116d0743256af5f");
    }
}
