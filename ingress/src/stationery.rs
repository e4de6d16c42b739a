//! What answers are written on, per thread: one buffer from which bodies are cut, and header maps
//! that go from requests to answers.
//!
//! hyper keeps an answer's header map and reads the connection's next head into it. An answer without
//! fields would give it a map without room; so an answer gets the map of an earlier request, and
//! neither we nor hyper allocate one again.

use std::cell::RefCell;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use crate::problem::Answer;

/// The buffer: some hundreds of usual answers. When it is used up it begins again at its start, or,
/// where an answer cut from it is still being written, is replaced.
const PAPER_BYTES: usize = 32 * 1024;
/// Header maps kept; each has room for a request's fields.
const MAPS_MAX: usize = 64;
/// A map with more room than usual requests need is not kept.
const MAP_FIELDS_MAX: usize = 96;

/// A thread's.
#[derive(Debug)]
pub(crate) struct Stationery {
    paper: RefCell<BytesMut>,
    maps: RefCell<Vec<HeaderMap>>,
}

impl Default for Stationery {
    fn default() -> Self {
        let paper = RefCell::new(BytesMut::with_capacity(PAPER_BYTES));
        Self { paper, maps: RefCell::default() }
    }
}

impl Stationery {
    /// An answer without fields yet.
    pub fn answer(&self, status: StatusCode, body: Bytes) -> Answer {
        let mut answer = Response::new(Full::new(body));
        *answer.status_mut() = status;
        if let Some(map) = self.maps.borrow_mut().pop() {
            *answer.headers_mut() = map;
        }
        answer
    }

    /// A body.
    pub fn json(&self, document: &impl Serialize) -> Bytes {
        let mut paper = self.paper.borrow_mut();
        serde_json::to_writer((&mut *paper).writer(), document)
            .expect("a document of ours has only string keys, and memory takes every byte");
        paper.split().freeze()
    }

    /// Keeps a request's header map for a later answer.
    pub fn keep(&self, mut map: HeaderMap) {
        let mut maps = self.maps.borrow_mut();
        if maps.len() < MAPS_MAX && map.capacity() <= MAP_FIELDS_MAX {
            map.clear();
            maps.push(map);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::CONTENT_TYPE;

    use super::*;

    #[test]
    fn answers_do_not_share_what_they_say() {
        let stationery = Stationery::default();
        // More than the buffer holds at once, all held.
        let bodies: Vec<Bytes> = (0..20_000).map(|n| stationery.json(&n)).collect();
        for (n, body) in bodies.iter().enumerate() {
            assert_eq!(*body, n.to_string());
        }
    }

    #[test]
    fn an_answer_shows_no_field_of_a_request() {
        let stationery = Stationery::default();
        let mut fields = HeaderMap::new();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        stationery.keep(fields);
        let answer = stationery.answer(StatusCode::ACCEPTED, Bytes::new());
        assert!(answer.headers().is_empty() && answer.headers().capacity() > 0);
    }
}
