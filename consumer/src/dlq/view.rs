//! What is told of parked rows, as JSON. Payloads are in [`Whole`] only.

use serde::{Deserialize, Serialize};
use shared::log::Record;

use super::filter::Named;
use crate::headers;
use crate::store::dlq::{Audited, Parked};

/// One parked row. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// `CLASS/PARTITION@OFFSET`: what `show` takes.
    pub place: String,
    /// Whose; empty where the record's key names nobody.
    pub tenant: String,
    /// The event's type, where it is one.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    /// Its source.
    pub source: Option<String>,
    /// Its id.
    pub id: Option<String>,
    /// Why it is parked.
    pub reason: String,
    /// The database's code, where it refused.
    pub sqlstate: Option<String>,
    /// How often it was tried.
    pub attempts: i32,
    /// How many tries are left.
    pub tries_left: i32,
    /// `parked`, `dead` or `dropped`.
    pub state: String,
    /// When it is tried next; none: not by itself.
    pub next_try_at_ms: Option<i64>,
    /// Since when it is parked.
    pub parked_at_ms: i64,
}

/// Some rows, and where it goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// In the log's order, partition by partition.
    pub rows: Vec<Row>,
    /// Where the next page begins; none: that was all.
    pub next: Option<String>,
}

/// Rows that have all of this in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Why they are parked.
    pub reason: String,
    /// Whose they are.
    pub tenant: String,
    /// Their type, where they are events.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    /// What is to become of them.
    pub state: String,
    /// How many.
    pub count: u64,
    /// When the first of them was parked.
    pub oldest_ms: i64,
    /// And the last.
    pub newest_ms: i64,
}

/// How many there are of each kind, as far as was looked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The largest first.
    pub groups: Vec<Group>,
    /// Where the look goes on; none: that was all.
    pub next: Option<String>,
}

/// One row with its record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Whole {
    /// The row.
    #[serde(flatten)]
    pub row: Row,
    /// When the record was received.
    pub record_timestamp_ms: i64,
    /// The claim under which it was parked.
    pub epoch: Option<i64>,
    /// The record's key.
    #[serde(flatten, with = "key")]
    pub key: Bytes,
    /// Its headers, in their order: `name` or `name_hex`, and `value` or `value_hex`.
    pub headers: serde_json::Value,
    /// Its value.
    #[serde(flatten, with = "value")]
    pub value: Bytes,
}

/// Bytes as JSON holds them: as text where they are UTF-8, in hex where they are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

macro_rules! as_text_or_hex {
    ($module:ident, $text:literal, $hex:literal) => {
        mod $module {
            use serde::{Deserialize, Deserializer, Serialize, Serializer};

            use super::Bytes;

            #[derive(Serialize, Deserialize)]
            enum Form {
                #[serde(rename = $text)]
                Text(String),
                #[serde(rename = $hex)]
                Hex(String),
            }

            pub(super) fn serialize<S: Serializer>(
                bytes: &Bytes,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                match String::from_utf8(bytes.0.clone()) {
                    Ok(text) => Form::Text(text),
                    Err(_) => Form::Hex(hex::encode(&bytes.0)),
                }
                .serialize(serializer)
            }

            pub(super) fn deserialize<'de, D: Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Bytes, D::Error> {
                match Form::deserialize(deserializer)? {
                    Form::Text(text) => Ok(Bytes(text.into_bytes())),
                    Form::Hex(text) => {
                        hex::decode(text).map(Bytes).map_err(serde::de::Error::custom)
                    }
                }
            }
        }
    };
}

as_text_or_hex!(key, "key", "key_hex");
as_text_or_hex!(value, "value", "value_hex");

/// What was done by hand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditRow {
    /// Its number; later ones are higher.
    pub id: i64,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Who.
    pub author: String,
    /// `redrive` or `drop`.
    pub action: String,
    /// Why.
    pub reason: Option<String>,
    /// What was asked for.
    pub filter: serde_json::Value,
    /// How many rows it changed.
    pub affected: i64,
}

impl Row {
    pub(super) fn of(row: &Parked, named: Named) -> Self {
        Self {
            place: row.position.to_string(),
            tenant: row.key.tenant.clone(),
            event_type: named.event_type,
            source: named.source,
            id: named.id,
            reason: row.reason.clone(),
            sqlstate: row.sqlstate.clone(),
            attempts: row.attempts,
            tries_left: row.tries_left,
            state: row.state.name().to_owned(),
            next_try_at_ms: row.next_try_at.map(|at| at.0),
            parked_at_ms: row.at.0,
        }
    }
}

impl Whole {
    pub(super) fn of(row: &Parked, record: &Record) -> Self {
        let headers = headers::to_json(record);
        Self {
            row: Row::of(row, Named::of(record)),
            record_timestamp_ms: row.record_timestamp.0,
            epoch: row.epoch,
            key: Bytes(record.key.to_vec()),
            headers: serde_json::from_str(&headers).expect("it was just written"),
            value: Bytes(record.value.to_vec()),
        }
    }
}

impl From<Audited> for AuditRow {
    fn from(row: Audited) -> Self {
        Self {
            id: row.id,
            at_ms: row.at.0,
            author: row.author,
            action: row.action,
            reason: row.reason,
            // The table holds JSON; a hand-edited row of SQLite shows as its text.
            filter: serde_json::from_str(&row.filter)
                .unwrap_or_else(|_| serde_json::Value::String(row.filter.clone())),
            affected: row.affected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `shock ctl` reads what the admin port wrote.
    #[test]
    fn a_row_comes_back_as_it_went() {
        let row = Row {
            place: "control/0@1".to_owned(),
            tenant: "acme".to_owned(),
            event_type: None,
            source: None,
            id: None,
            reason: "value_not_json".to_owned(),
            sqlstate: None,
            attempts: 1,
            tries_left: 0,
            state: "dead".to_owned(),
            next_try_at_ms: None,
            parked_at_ms: 3,
        };
        let whole = Whole {
            row,
            record_timestamp_ms: 1,
            epoch: Some(2),
            key: Bytes(b"acme".to_vec()),
            headers: serde_json::json!([{"name": "a", "value_hex": "ff"}]),
            value: Bytes(vec![0xff, b'{']),
        };
        let text = serde_json::to_string(&whole).expect("JSON");
        assert!(
            text.contains(r#""key":"acme""#) && text.contains(r#""value_hex":"ff7b""#),
            "{text}"
        );
        let read: Whole = serde_json::from_str(&text).expect("the same");
        assert_eq!(read, whole);
    }
}
