//! A record's headers as the text that `parked` keeps, and back.
//!
//! JSON that both databases hold: `[{"name": …, "value": …}]`, with `name_hex` and `value_hex` where
//! the bytes are no text that `jsonb` takes.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use shared::log::Record;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_hex: Option<String>,
}

/// The headers of a record, as text.
pub fn to_json(record: &Record) -> String {
    let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => (Some(text.to_owned()), None),
        _ => (None, Some(hex::encode(bytes))),
    };
    let headers: Vec<_> = record
        .headers
        .iter()
        .map(|(name, value)| {
            let ((name, name_hex), (value, value_hex)) = (text(name.as_bytes()), text(value));
            Header { name, name_hex, value, value_hex }
        })
        .collect();
    serde_json::to_string(&headers).expect("text is JSON")
}

/// The same headers again; `None` where the text is not ours: a database can be edited by hand.
pub fn of_json(text: &str) -> Option<Vec<(String, Bytes)>> {
    let bytes = |text: Option<String>, hexed: Option<String>| match (text, hexed) {
        (Some(text), None) => Some(text.into_bytes()),
        (None, Some(hexed)) => hex::decode(hexed).ok(),
        _ => None,
    };
    let headers: Vec<Header> = serde_json::from_str(text).ok()?;
    headers
        .into_iter()
        .map(|header| {
            let name = String::from_utf8(bytes(header.name, header.name_hex)?).ok()?;
            Some((name, Bytes::from(bytes(header.value, header.value_hex)?)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use shared::clock::Millis;
    use shared::position::{Class, Offset, Partition, PartitionId, Position};

    use super::*;

    #[test]
    fn headers_come_back_as_they_went() {
        let id = PartitionId { class: Class::Control, partition: Partition(0) };
        let headers: Vec<(String, Bytes)> = [
            ("ce_id", b"1".as_slice()),
            ("", b""),
            ("n\0l", b"v\0l"),
            ("raw", b"\xff\x00"),
            ("ü\"", "ü\"".as_bytes()),
        ]
        .map(|(name, value)| (name.to_owned(), Bytes::copy_from_slice(value)))
        .into();
        let record = Record {
            position: Position { id, offset: Offset(0) },
            timestamp: Millis(0),
            key: Bytes::new(),
            value: Bytes::new(),
            headers: headers.clone(),
        };
        let text = to_json(&record);
        assert!(!text.contains("\\u0000"), "jsonb would refuse it: {text}");
        assert_eq!(of_json(&text), Some(headers));
        assert_eq!(of_json("[]"), Some(Vec::new()));
        for odd in ["{}", "[1]", r#"[{"name":"a"}]"#, r#"[{"name":"a","value_hex":"x"}]"#] {
            assert_eq!(of_json(odd), None, "{odd}");
        }
    }
}
