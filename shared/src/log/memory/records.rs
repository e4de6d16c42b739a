//! One partition's records, one after the other in flat buffers: once the buffers have grown, an
//! append allocates nothing, so that what a bench or a test counts is the caller's.
//!
//! A log that keeps everything has one segment that grows. One that keeps a bounded amount has two:
//! when the newer is full, the older is forgotten and its buffers serve as the next newer one.

use bytes::Bytes;

use crate::clock::Millis;
use crate::log::{NewRecord, Record};
use crate::position::{Offset, PartitionId, Position};

/// A partition's records and where they begin.
#[derive(Debug)]
pub(super) struct Records {
    low: Offset,
    older: Segment,
    newer: Segment,
    segment_bytes_max: usize,
}

#[derive(Debug, Default)]
struct Segment {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

/// Where a record's parts stand: key, value, then name and value of each header.
#[derive(Debug)]
struct Entry {
    timestamp: Millis,
    start: usize,
    key_bytes: usize,
    value_bytes: usize,
    /// Lengths of name and value stand in front of each.
    headers: usize,
}

impl Records {
    /// Nothing yet. A segment takes no more records once it holds this many bytes.
    pub(super) fn new(segment_bytes_max: usize) -> Self {
        let (older, newer) = (Segment::default(), Segment::default());
        Self { low: Offset(0), older, newer, segment_bytes_max }
    }

    /// The offset of the oldest record kept.
    pub(super) const fn low(&self) -> Offset {
        self.low
    }

    /// The offset of the next record.
    pub(super) fn end(&self) -> Offset {
        Offset(self.low.0 + (self.older.entries.len() + self.newer.entries.len()) as i64)
    }

    /// Copies a record; its offset.
    pub(super) fn push(&mut self, record: &NewRecord<'_>) -> Offset {
        if self.newer.bytes.len() >= self.segment_bytes_max {
            self.low.0 += self.older.entries.len() as i64;
            std::mem::swap(&mut self.older, &mut self.newer);
            self.newer.bytes.clear();
            self.newer.entries.clear();
        }
        let offset = self.end();
        self.newer.push(record);
        offset
    }

    /// The records of `id`, which these are, from `from` on.
    pub(super) fn from(&self, id: PartitionId, from: Offset) -> impl Iterator<Item = Record> {
        let skipped = usize::try_from(from.0.saturating_sub(self.low.0)).unwrap_or_default();
        let segments = [&self.older, &self.newer];
        let all = segments.into_iter().flat_map(|one| one.entries.iter().map(move |e| (one, e)));
        let first = self.low.0;
        all.enumerate().skip(skipped).map(move |(index, (segment, entry))| {
            let position = Position { id, offset: Offset(first + index as i64) };
            segment.record(position, entry)
        })
    }
}

impl Segment {
    fn push(&mut self, record: &NewRecord<'_>) {
        self.entries.push(Entry {
            timestamp: record.timestamp,
            start: self.bytes.len(),
            key_bytes: record.key.len(),
            value_bytes: record.value.len(),
            headers: record.headers.len(),
        });
        self.bytes.extend_from_slice(record.key);
        self.bytes.extend_from_slice(record.value);
        for (name, value) in record.headers {
            for part in [name.as_bytes(), value] {
                self.bytes.extend_from_slice(&part.len().to_le_bytes());
                self.bytes.extend_from_slice(part);
            }
        }
    }

    fn record(&self, position: Position, entry: &Entry) -> Record {
        let (key, rest) = self.bytes[entry.start..].split_at(entry.key_bytes);
        let (value, mut rest) = rest.split_at(entry.value_bytes);
        let mut part = || {
            let (length, after) = rest.split_first_chunk().expect("as it was pushed");
            let (part, after) = after.split_at(usize::from_le_bytes(*length));
            rest = after;
            part
        };
        let mut header = |_| {
            let name = String::from_utf8_lossy(part()).into_owned();
            (name, Bytes::copy_from_slice(part()))
        };
        Record {
            position,
            timestamp: entry.timestamp,
            key: Bytes::copy_from_slice(key),
            value: Bytes::copy_from_slice(value),
            headers: (0..entry.headers).map(&mut header).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{Class, Partition};

    const ID: PartitionId = PartitionId { class: Class::Control, partition: Partition(0) };

    fn push(records: &mut Records, value: &str) -> Offset {
        let headers: &[(&str, &[u8])] = &[("a", b"1"), ("", b""), ("bc", b"23")];
        let (timestamp, key, value) = (Millis(7), &b"key"[..], value.as_bytes());
        records.push(&NewRecord { id: ID, timestamp, key, value, headers })
    }

    #[test]
    fn records_come_back_as_they_were() {
        let mut records = Records::new(usize::MAX);
        for (offset, value) in ["", "{}", "three"].into_iter().enumerate() {
            assert_eq!(push(&mut records, value), Offset(offset as i64));
        }
        let found: Vec<Record> = records.from(ID, Offset(1)).collect();
        let header = |name: &str, value: &str| (name.to_owned(), Bytes::from(value.to_owned()));
        let expected = |offset, value: &'static str| Record {
            position: Position { id: ID, offset: Offset(offset) },
            timestamp: Millis(7),
            key: Bytes::from("key"),
            value: Bytes::from(value),
            headers: vec![header("a", "1"), header("", ""), header("bc", "23")],
        };
        assert_eq!(found, [expected(1, "{}"), expected(2, "three")]);
    }

    #[test]
    fn a_bounded_partition_forgets_its_oldest_and_keeps_its_offsets() {
        let mut records = Records::new(100);
        for n in 0..1_000 {
            assert_eq!(push(&mut records, &format!("{n:04}")), Offset(n));
            assert_eq!(records.end(), Offset(n + 1));
            let first = records.from(ID, records.low()).next().expect("at least the newest");
            assert_eq!(first.position.offset, records.low());
            assert_eq!(first.value, format!("{:04}", records.low().0));
        }
        assert!(records.low().0 > 990, "about two segments are kept: {:?}", records.low());
        assert_eq!(records.from(ID, Offset(999)).count(), 1);
    }
}
