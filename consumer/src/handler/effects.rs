//! What a handler says is to be done, all of it in the batch's transaction.

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shared::log::Record;

use super::Fresh;
use crate::batch::entity;
use crate::outbox::{LOG_SINK, Outgoing};

/// A statement in both dialects. Parameters are `$1`, `$2` on PostgreSQL, `?1`, `?2` on SQLite. On PostgreSQL
/// tables are named with their schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sql {
    /// On PostgreSQL.
    pub postgres: &'static str,
    /// On SQLite.
    pub sqlite: &'static str,
}

/// A parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    /// A whole number: `bigint`, `integer`.
    Integer(i64),
    /// A text; `None` is null.
    Text(Option<String>),
    /// JSON, as text: many rows in one statement, through `jsonb_to_recordset($1::jsonb)` or
    /// `json_each(?1)`.
    Json(Value),
}

/// One statement with its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// What runs.
    pub sql: Sql,
    /// With what.
    pub params: Vec<Param>,
}

/// An event that follows from another, on its way back into the log.
#[derive(Clone, Debug, PartialEq)]
struct FollowUp {
    record: Record,
    message_id: String,
    entity: Option<String>,
}

/// What a batch does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// Run in this order. Each costs a round trip while the progress row is locked: write many rows with
    /// one.
    pub statements: Vec<Effect>,
    follow_ups: Vec<FollowUp>,
}

impl Effects {
    /// One more statement.
    pub fn run(&mut self, sql: Sql, params: impl IntoIterator<Item = Param>) {
        self.statements.push(Effect { sql, params: params.into_iter().collect() });
    }

    /// One more event for the log, of the same tenant and entity as the one it follows from. It has an
    /// identity that follows from that one's and its type, so that the log may get it more than once and
    /// it has one effect. One event has at most one follow-up of a type.
    pub fn follow(&mut self, cause: &Fresh<'_>, event_type: &str, data: &Value) {
        let id = follow_up_id(cause, event_type);
        let mut event = json!({
            "id": id,
            "source": SOURCE,
            "type": event_type,
            "causeid": cause.id(),
            "data": data,
        });
        if let Some(subject) = cause.subject() {
            event["subject"] = Value::from(subject);
        }
        let row = cause.row();
        let record = Record {
            position: row.record.position,
            timestamp: row.record.timestamp,
            key: row.record.key.clone(),
            value: Bytes::from(event.to_string()),
            headers: Vec::new(),
        };
        let entity = entity(row.record, Some(&row.event));
        self.follow_ups.push(FollowUp { record, message_id: id, entity });
    }

    pub(crate) fn outgoing(&self) -> Vec<Outgoing<'_>> {
        self.follow_ups
            .iter()
            .map(|one| Outgoing {
                sink: LOG_SINK,
                record: &one.record,
                message_id: one.message_id.clone(),
                entity: one.entity.clone(),
            })
            .collect()
    }
}

/// CloudEvents `source` of what follows: no producer's event can have the same identity by chance.
pub const SOURCE: &str = "/shock/follow-up";

/// 128 bits of SHA-256 over the cause's identity and the type.
fn follow_up_id(cause: &Fresh<'_>, event_type: &str) -> String {
    let identity = &cause.row().identity;
    let mut hash = Sha256::new();
    for part in [identity.digest.as_slice(), event_type.as_bytes()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex::encode(&hash.finalize()[..16])
}
