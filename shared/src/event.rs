//! A record's event, decoded: what the consumer knows of it before it touches the database.
//!
//! Two shapes of record (CloudEvents 1.0.2, Kafka protocol binding): *structured*, where the value is
//! the event as it was posted; and *binary*, where the value is a webhook's raw body and `ce_*`
//! headers carry the attributes. The ingress may add `ce_id` and `ce_time` to a structured record
//! whose value has none. Decoding borrows from the record and never fails on what a foreign writer
//! may put there: it names the reason, and the record is parked.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::identity::{Identity, SOURCE_DEFAULT};
use crate::log::{
    HEADER_ID, HEADER_SOURCE, HEADER_SPECVERSION, HEADER_SUBJECT, HEADER_TIME, HEADER_TYPE, Record,
};
use crate::tenant::TenantId;

/// An event read from the log.
#[derive(Debug)]
pub struct Event<'r> {
    /// Whose it is, from the record's key.
    pub tenant: TenantId,
    /// CloudEvents `source`, [`SOURCE_DEFAULT`] where there is none.
    pub source: Cow<'r, str>,
    /// CloudEvents `id`.
    pub id: Cow<'r, str>,
    /// CloudEvents `type`.
    pub event_type: Cow<'r, str>,
    /// CloudEvents `subject`: the entity.
    pub subject: Option<Cow<'r, str>>,
    /// CloudEvents `time` as it was written (RFC 3339).
    pub time: Option<Cow<'r, str>>,
    /// The payload as JSON text: member `data`, or the whole body of a webhook; `null` where the
    /// event has none.
    pub data: &'r str,
    /// The other members of a structured event, as one JSON object, where there are any.
    pub extensions: Option<String>,
}

/// Why a record is not an event. Its text is the reason in `parked`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// The key does not begin with a tenant's name.
    #[error("key_without_tenant")]
    Tenant,
    /// The value is empty (a tombstone).
    #[error("empty_value")]
    Empty,
    /// The value is not JSON, or not an object where one is needed.
    #[error("value_not_json")]
    Json,
    /// No id in the value or in the headers.
    #[error("id_missing")]
    Id,
    /// No type in the value or in the headers.
    #[error("type_missing")]
    Type,
    /// A header is not UTF-8.
    #[error("header_not_utf8")]
    Header,
}

impl<'r> Event<'r> {
    /// Decodes a record.
    pub fn decode(record: &'r Record) -> Result<Self, Undecodable> {
        let tenant = tenant_of_key(&record.key).ok_or(Undecodable::Tenant)?;
        if record.value.is_empty() {
            return Err(Undecodable::Empty);
        }
        let headers = Attributes::of_headers(record)?;
        let text = std::str::from_utf8(&record.value).map_err(|_| Undecodable::Json)?;
        let (inner, data) = if record.header(HEADER_SPECVERSION).is_some() {
            serde_json::from_str::<IgnoredAny>(text).map_err(|_| Undecodable::Json)?;
            (Attributes::default(), text)
        } else {
            let inner: Attributes<'r> =
                serde_json::from_str(text).map_err(|_| Undecodable::Json)?;
            let data = inner.data.map_or("null", RawValue::get);
            (inner, data)
        };
        Ok(Self {
            tenant,
            source: inner.source.or(headers.source).unwrap_or(Cow::Borrowed(SOURCE_DEFAULT)),
            id: inner.id.or(headers.id).ok_or(Undecodable::Id)?,
            event_type: inner.event_type.or(headers.event_type).ok_or(Undecodable::Type)?,
            subject: inner.subject.or(headers.subject),
            time: inner.time.or(headers.time),
            data,
            extensions: object_text(&inner.extensions),
        })
    }

    /// What deduplication compares.
    pub fn identity(&self) -> Identity {
        Identity::new(self.tenant, &self.source, &self.id)
    }
}

/// The tenant of a record's key: all of it, or what stands before the first `/`.
pub fn tenant_of_key(key: &[u8]) -> Option<TenantId> {
    let name = key.split(|byte| *byte == b'/').next()?;
    TenantId::parse(std::str::from_utf8(name).ok()?).ok()
}

/// The attributes of an event, wherever they stand.
#[derive(Default)]
struct Attributes<'r> {
    source: Option<Cow<'r, str>>,
    id: Option<Cow<'r, str>>,
    event_type: Option<Cow<'r, str>>,
    subject: Option<Cow<'r, str>>,
    time: Option<Cow<'r, str>>,
    data: Option<&'r RawValue>,
    extensions: Vec<(Cow<'r, str>, &'r RawValue)>,
}

impl<'r> Attributes<'r> {
    fn of_headers(record: &'r Record) -> Result<Self, Undecodable> {
        let text = |name: &str| match record.header(name).map(std::str::from_utf8) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(Cow::Borrowed(text))),
            Some(Err(_)) => Err(Undecodable::Header),
        };
        Ok(Self {
            source: text(HEADER_SOURCE)?,
            id: text(HEADER_ID)?,
            event_type: text(HEADER_TYPE)?,
            subject: text(HEADER_SUBJECT)?,
            time: text(HEADER_TIME)?,
            ..Self::default()
        })
    }
}

/// A JSON string, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'r>(#[serde(borrow)] Cow<'r, str>);

impl<'r> Deserialize<'r> for Attributes<'r> {
    fn deserialize<D: Deserializer<'r>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'r> Visitor<'r> for Members {
            type Value = Attributes<'r>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event: a JSON object")
            }

            fn visit_map<A: MapAccess<'r>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut found = Attributes::default();
                let (mut source, mut id, mut event_type) = (None, None, None);
                let (mut subject, mut time) = (None, None);
                // The last of duplicate members wins, as the ingress checked it: the others may be
                // anything, so only the last is read.
                while let Some(Text(name)) = map.next_key()? {
                    match name.as_ref() {
                        "source" => source = Some(map.next_value()?),
                        "id" => id = Some(map.next_value()?),
                        "type" => event_type = Some(map.next_value()?),
                        "subject" => subject = Some(map.next_value()?),
                        "time" => time = Some(map.next_value()?),
                        "data" => found.data = Some(map.next_value()?),
                        "specversion" => drop(map.next_value::<IgnoredAny>()?),
                        _ => found.extensions.push((name, map.next_value()?)),
                    }
                }
                found.source = read::<Text<'r>, _>(source)?.map(|text| text.0);
                found.id = read::<Text<'r>, _>(id)?.map(|text| text.0);
                found.event_type = read::<Text<'r>, _>(event_type)?.map(|text| text.0);
                found.subject = read::<Option<Text<'r>>, _>(subject)?.flatten().map(|text| text.0);
                found.time = read::<Option<Text<'r>>, _>(time)?.flatten().map(|text| text.0);
                Ok(found)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// Reads a member that was only delimited so far.
fn read<'r, T: Deserialize<'r>, E: serde::de::Error>(
    member: Option<&'r RawValue>,
) -> Result<Option<T>, E> {
    member.map(|text| serde_json::from_str(text.get()).map_err(E::custom)).transpose()
}

/// The members as the text of one JSON object; `None` where there are none. A later duplicate
/// stands later, and so wins for whoever reads the text.
fn object_text(members: &[(Cow<'_, str>, &RawValue)]) -> Option<String> {
    if members.is_empty() {
        return None;
    }
    let mut text = String::from("{");
    for (name, value) in members {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&serde_json::Value::from(name.as_ref()).to_string());
        text.push(':');
        text.push_str(value.get());
    }
    text.push('}');
    Some(text)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::clock::Millis;
    use crate::position::{Class, Offset, Partition, PartitionId, Position};

    fn record(key: &str, value: &str, headers: &[(&str, &str)]) -> Record {
        let id = PartitionId { class: Class::Transactional, partition: Partition(0) };
        Record {
            position: Position { id, offset: Offset(0) },
            timestamp: Millis(0),
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Bytes::copy_from_slice(value.as_bytes()),
            headers: headers
                .iter()
                .map(|(k, v)| ((*k).to_owned(), Bytes::copy_from_slice(v.as_bytes())))
                .collect(),
        }
    }

    #[test]
    fn structured_event_with_minted_id() {
        let value = r#"{"type":"a.b","subject":"x/1","data":{"n":1.50},"trace":"t","time":null}"#;
        let record = record("acme/x", value, &[("ce_id", "minted"), ("ce_time", "now")]);
        let event = Event::decode(&record).expect("decodes");
        assert_eq!(event.tenant.as_str(), "acme");
        assert_eq!((event.id.as_ref(), event.source.as_ref()), ("minted", "/"));
        assert_eq!(event.data, r#"{"n":1.50}"#);
        assert_eq!(event.subject.as_deref(), Some("x/1"));
        assert_eq!(event.time.as_deref(), Some("now"));
        assert_eq!(event.extensions.as_deref(), Some(r#"{"trace":"t"}"#));
    }

    #[test]
    fn binary_event_keeps_the_body_whole() {
        let headers = [
            ("ce_specversion", "1.0"),
            ("ce_id", "d-1"),
            ("ce_type", "com.github.push"),
            ("ce_source", "github"),
        ];
        let record = record("acme", r#"[ 1,2 ]"#, &headers);
        let event = Event::decode(&record).expect("decodes");
        assert_eq!((event.data, event.event_type.as_ref()), ("[ 1,2 ]", "com.github.push"));
    }

    #[test]
    fn the_last_duplicate_wins_and_escapes_are_undone() {
        let record = record("acme", r#"{"id":"1","type":"\u0061","id":"2"}"#, &[]);
        let event = Event::decode(&record).expect("decodes");
        assert_eq!((event.id.as_ref(), event.event_type.as_ref()), ("2", "a"));
    }

    /// What the ingress looks at is the last of them: an earlier one must not park the event.
    #[test]
    fn only_the_last_duplicate_has_to_be_right() {
        let value = r#"{"id":"1","type":"a","time":1,"subject":{},"source":[],"id":7,
            "time":"t","subject":null,"source":"/s","id":"2"}"#;
        let record = record("acme", value, &[]);
        let event = Event::decode(&record).expect("decodes");
        assert_eq!((event.id.as_ref(), event.source.as_ref()), ("2", "/s"));
        assert_eq!((event.time.as_deref(), event.subject), (Some("t"), None));
    }

    #[test]
    fn what_is_not_an_event_has_a_reason() {
        let check = |key: &str, value: &str, headers: &[(&str, &str)], reason| {
            let record = record(key, value, headers);
            assert_eq!(Event::decode(&record).map(|_| ()), Err(reason), "{key} {value}");
        };
        check("", r#"{"id":"1","type":"a"}"#, &[], Undecodable::Tenant);
        check("a b", r#"{"id":"1","type":"a"}"#, &[], Undecodable::Tenant);
        check("acme", "", &[], Undecodable::Empty);
        check("acme", "{", &[], Undecodable::Json);
        check("acme", "[]", &[], Undecodable::Json);
        check("acme", r#"{"id":1,"type":"a"}"#, &[], Undecodable::Json);
        check("acme", r#"{"type":"a"}"#, &[], Undecodable::Id);
        check("acme", r#"{"id":"1"}"#, &[], Undecodable::Type);
        check("acme", "{", &[("ce_specversion", "1.0")], Undecodable::Json);
    }
}
