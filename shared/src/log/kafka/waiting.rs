//! Records that wait for their partition's turn, in one block of bytes that is used again.

use crate::clock::Millis;
use crate::log::{HEADERS_MAX, NewRecord};
use crate::position::PartitionId;

/// What has gone is cut away when it is at least so many records and half of all: a partition whose
/// records never all go must not keep what went, and each record is moved at most once on average.
const GONE_MIN: usize = 1_024;
/// An empty queue keeps so much room: a burst at one partition must not be paid for at all of them.
const KEPT_BYTES_MAX: usize = 64 * 1024;
const KEPT_ENTRIES_MAX: usize = 256;

/// Records of one partition in their order, with the words they will travel with.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// Entries before this one have gone, and bytes before `gone_bytes` with them.
    gone: usize,
    gone_bytes: usize,
}

/// A record's place in the bytes: key, value, then name and value of each header.
#[derive(Clone, Copy, Debug)]
struct Entry {
    word: usize,
    since_ms: u64,
    timestamp: Millis,
    key: usize,
    value: usize,
    headers: usize,
    /// Lengths of names and values.
    lengths: [(usize, usize); HEADERS_MAX],
}

impl Waiting {
    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.gone == self.entries.len()
    }

    /// When the one that waits longest came, on the producer's clock.
    pub fn oldest_ms(&self) -> Option<u64> {
        self.entries.get(self.gone).map(|entry| entry.since_ms)
    }

    /// Copies a record behind the others.
    pub fn push(&mut self, record: &NewRecord<'_>, word: usize, since_ms: u64) {
        assert!(record.headers.len() <= HEADERS_MAX, "a record of ours has no more headers");
        self.bytes.extend_from_slice(record.key);
        self.bytes.extend_from_slice(record.value);
        let mut lengths = [(0, 0); HEADERS_MAX];
        for (length, (name, value)) in lengths.iter_mut().zip(record.headers) {
            self.bytes.extend_from_slice(name.as_bytes());
            self.bytes.extend_from_slice(value);
            *length = (name.len(), value.len());
        }
        self.entries.push(Entry {
            word,
            since_ms,
            timestamp: record.timestamp,
            key: record.key.len(),
            value: record.value.len(),
            headers: record.headers.len(),
            lengths,
        });
    }

    /// Calls `go` with each record of partition `id` in order, until it says false; that one stays,
    /// and those behind it.
    pub fn drain(&mut self, id: PartitionId, mut go: impl FnMut(&NewRecord<'_>, usize) -> bool) {
        while let Some(entry) = self.entries.get(self.gone) {
            let mut rest = &self.bytes[self.gone_bytes..];
            let whole = rest.len();
            let mut part = |length: usize| rest.split_off(..length).expect("pushed whole");
            let (key, value) = (part(entry.key), part(entry.value));
            let mut headers: [(&str, &[u8]); HEADERS_MAX] = [("", &[]); HEADERS_MAX];
            for (header, (name, value)) in headers.iter_mut().zip(&entry.lengths[..entry.headers]) {
                let name = std::str::from_utf8(part(*name)).expect("pushed as text");
                *header = (name, part(*value));
            }
            let headers = &headers[..entry.headers];
            let record = NewRecord { id, timestamp: entry.timestamp, key, value, headers };
            if !go(&record, entry.word) {
                return self.cut();
            }
            let left = rest.len();
            self.gone_bytes += whole - left;
            self.gone += 1;
        }
        self.clear();
    }

    /// The words of all that wait; nobody does then.
    pub fn words(&mut self) -> Vec<usize> {
        let words = self.entries[self.gone..].iter().map(|entry| entry.word).collect();
        self.clear();
        words
    }

    /// Forgets those that have gone, where they are many.
    fn cut(&mut self) {
        if self.gone < GONE_MIN || self.gone * 2 < self.entries.len() {
            return;
        }
        self.bytes.drain(..self.gone_bytes);
        self.entries.drain(..self.gone);
        (self.gone, self.gone_bytes) = (0, 0);
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
        self.entries.clear();
        self.entries.shrink_to(KEPT_ENTRIES_MAX);
        (self.gone, self.gone_bytes) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{Class, Partition};

    const ID: PartitionId = PartitionId { class: Class::Control, partition: Partition(3) };

    fn record<'a>(value: &'a [u8], headers: &'a [(&'a str, &'a [u8])]) -> NewRecord<'a> {
        NewRecord { id: ID, timestamp: Millis(7), key: b"acme", value, headers }
    }

    fn drained(waiting: &mut Waiting, count: usize) -> Vec<(String, usize, usize)> {
        let mut seen = Vec::new();
        waiting.drain(ID, |record, word| {
            if seen.len() == count {
                return false;
            }
            assert_eq!((record.id, record.timestamp, record.key), (ID, Millis(7), &b"acme"[..]));
            seen.push((String::from_utf8_lossy(record.value).into(), word, record.headers.len()));
            true
        });
        seen
    }

    #[test]
    fn records_come_back_whole_and_in_order_and_the_rest_stays() {
        let mut waiting = Waiting::default();
        waiting.push(&record(b"a", &[("ce_id", b"1"), ("", b"")]), 10, 0);
        waiting.push(&record(b"", &[]), 11, 0);
        waiting.push(&record(b"c", &[("x", b"\xff")]), 12, 0);
        assert_eq!(drained(&mut waiting, 1), [("a".to_owned(), 10, 2)]);

        assert!(!waiting.is_empty());
        waiting.push(&record(b"d", &[]), 13, 0);
        let rest = [(String::new(), 11, 0), ("c".to_owned(), 12, 1), ("d".to_owned(), 13, 0)];
        assert_eq!(drained(&mut waiting, 9), rest);
        assert!(waiting.is_empty());
    }

    #[test]
    fn headers_come_back_as_they_were() {
        let mut waiting = Waiting::default();
        let headers: [(&str, &[u8]); 2] = [("ce_id", b"\x00\xfe"), ("ce_id", b"")];
        waiting.push(&record(b"a", &headers), 1, 0);
        waiting.drain(ID, |record, _| {
            assert_eq!(record.headers, headers);
            true
        });
    }

    #[test]
    fn neither_those_that_went_nor_a_burst_are_kept() {
        let (mut waiting, value) = (Waiting::default(), [0; 100]);
        // One more waits after each round than before: they never all go.
        for round in 0..20 {
            for word in 0..=GONE_MIN {
                waiting.push(&record(&value, &[]), word, 0);
            }
            assert_eq!(drained(&mut waiting, GONE_MIN).len(), GONE_MIN);
            assert!(waiting.bytes.len() <= 4 * GONE_MIN * 104, "round {round}");
        }
        assert_eq!(drained(&mut waiting, usize::MAX).len(), 20);
        assert!(waiting.bytes.capacity() <= KEPT_BYTES_MAX, "{}", waiting.bytes.capacity());
        assert!(waiting.entries.capacity() <= KEPT_ENTRIES_MAX);
    }

    #[test]
    fn the_oldest_is_the_first_that_has_not_gone() {
        let mut waiting = Waiting::default();
        assert_eq!(waiting.oldest_ms(), None);
        waiting.push(&record(b"a", &[]), 1, 5);
        waiting.push(&record(b"b", &[]), 2, 7);
        assert_eq!(waiting.oldest_ms(), Some(5));
        drained(&mut waiting, 1);
        assert_eq!(waiting.oldest_ms(), Some(7));
        drained(&mut waiting, 1);
        assert_eq!(waiting.oldest_ms(), None);
    }

    #[test]
    fn words_are_all_that_is_left_to_refuse() {
        let mut waiting = Waiting::default();
        for word in 0..3 {
            waiting.push(&record(b"x", &[]), word, 0);
        }
        drained(&mut waiting, 1);
        assert_eq!(waiting.words(), [1, 2]);
        assert!(waiting.is_empty());
    }
}
