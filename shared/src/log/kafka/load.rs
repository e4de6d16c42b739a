//! What the producer holds in all, and the bound beyond which it takes nothing more.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Records that are not settled, and their bytes.
#[derive(Debug)]
pub(super) struct Load {
    records: AtomicUsize,
    bytes: AtomicUsize,
    records_max: usize,
    bytes_max: usize,
}

impl Load {
    /// Nothing yet, and at most so much.
    pub const fn new(records_max: usize, bytes_max: usize) -> Self {
        let (records, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { records, bytes, records_max, bytes_max }
    }

    /// Makes room for a record of so many bytes; false where there is none.
    pub fn take(&self, bytes: usize) -> bool {
        let records = self.records.fetch_add(1, Ordering::Relaxed);
        let held = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        // One record always fits, however large: librdkafka has the last word on it.
        let fits = records < self.records_max && (held == 0 || held + bytes <= self.bytes_max);
        if !fits {
            self.give_back(1, bytes);
        }
        fits
    }

    /// So many records of so many bytes in all are settled.
    pub fn give_back(&self, records: usize, bytes: usize) {
        self.records.fetch_sub(records, Ordering::Release);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// How many records are held.
    pub fn records(&self) -> usize {
        self.records.load(Ordering::Acquire)
    }

    /// Whether everything is settled.
    pub fn is_empty(&self) -> bool {
        self.records() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bounds_are_kept_and_room_comes_back() {
        let load = Load::new(2, 100);
        assert!(load.take(60));
        assert!(!load.take(41), "too many bytes");
        assert!(load.take(40));
        assert!(!load.take(0), "too many records");
        load.give_back(2, 100);
        assert!(load.is_empty());
        assert!(load.take(1_000), "a large one alone");
        assert!(!load.take(1));
    }
}
