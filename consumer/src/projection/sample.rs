//! Sample events as rows of `fresh`.

use serde_json::{Map, Value, json};
use shared::position::Class;

/// Each event so often, one behind the other, so that one batch has every key more than once.
const TIMES: i64 = 2;
/// No partition has this number: what a sample writes cannot meet what is there.
const PARTITION: i64 = -1;
/// The time of samples that name none.
const TIME: &str = "2026-01-01T00:00:00.000Z";

/// A JSON array of the rows.
pub(super) fn rows(sample: &[String], class: Class) -> String {
    let mut rows = Vec::new();
    for event in sample {
        let event: Map<String, Value> = serde_json::from_str(event).unwrap_or_default();
        for _ in 0..TIMES {
            let position = rows.len() as i64 + 1;
            rows.push(row(&event, class, position));
        }
    }
    Value::Array(rows).to_string()
}

fn row(event: &Map<String, Value>, class: Class, position: i64) -> Value {
    let text = |name: &str, absent: &str| {
        event.get(name).and_then(Value::as_str).unwrap_or(absent).to_owned()
    };
    json!({
        "class": class as i16,
        "partition": PARTITION,
        "position": position,
        "tenant": text("tenant", "shock-sample"),
        "entity": event.get("subject"),
        "type": text("type", ""),
        "time": text("time", TIME),
        "received_at": TIME,
        "source": text("source", "shock-sample"),
        "id": format!("shock-sample-{position}"),
        "data": event.get("data"),
    })
}
