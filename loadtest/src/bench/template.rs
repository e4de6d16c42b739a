//! The bytes of one request, built once; only the numbers in its events' ids change from one sending
//! to the next, so that a request costs the load generator next to nothing.

use crate::deployment::producers;
use crate::load::event;

/// Stands in a body wherever a number of the request is to go: digits, so that the length stays.
pub const NUMBER: &str = "000000000000";

/// A request, head and body.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Vec<u8>,
    /// Where each [`NUMBER`] begins.
    numbers: Vec<usize>,
}

impl Template {
    /// A POST of `body` to `/v1/events`, with `key` (`ID.SECRET`).
    pub fn events(key: &str, content_type: &str, body: &[u8]) -> Self {
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\
             content-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut bytes = head.into_bytes();
        let body_at = bytes.len();
        bytes.extend_from_slice(body);
        let mut numbers = Vec::new();
        let mut at = body_at;
        while let Some(window) = bytes.get(at..at + NUMBER.len()) {
            if window == NUMBER.as_bytes() {
                numbers.push(at);
                at += NUMBER.len();
            } else {
                at += 1;
            }
        }
        Self { bytes, numbers }
    }

    /// How many events it holds: one number each.
    pub fn count(&self) -> u64 {
        self.numbers.len() as u64
    }

    /// Numbers the events from `first` on.
    pub fn number(&mut self, first: u64) {
        for (&at, number) in self.numbers.iter().zip(first..) {
            let mut rest = number;
            for digit in self.bytes[at..at + NUMBER.len()].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
    }

    /// The bytes to send.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A single event per request; a template for each tenant that has a key.
pub fn singles() -> Vec<Template> {
    templates("application/json", &one())
}

/// So many events per request, as NDJSON; a template for each tenant that has a key.
pub fn batches(events: usize) -> Vec<Template> {
    let mut line = one();
    line.push(b'\n');
    templates("application/x-ndjson", &line.repeat(events))
}

fn templates(content_type: &str, body: &[u8]) -> Vec<Template> {
    let template = |key: &str| Template::events(key, content_type, body);
    producers().iter().map(|producer| template(&producer.key)).collect()
}

/// An event whose tenant is decided by the key alone.
fn one() -> Vec<u8> {
    event("", &format!("bench-{NUMBER}")).0.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_a_number_of_its_own() {
        let body = format!("{{\"id\":\"a-{NUMBER}\"}}\n{{\"id\":\"a-{NUMBER}\"}}\n");
        let mut template = Template::events("k.s", "application/x-ndjson", body.as_bytes());
        assert_eq!(template.count(), 2);
        template.number(1234);
        let text = String::from_utf8(template.bytes().to_vec()).expect("ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert_eq!(body, "{\"id\":\"a-000000001234\"}\n{\"id\":\"a-000000001235\"}\n");
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
    }

    #[test]
    fn what_is_measured_is_events_of_one_size() {
        assert_eq!((one().len(), singles()[0].count()), (crate::load::EVENT_BYTES, 1));
        assert_eq!(batches(100)[3].count(), 100);
    }
}
