//! The storm guard: many records parked in a row mean that something is wrong with all of them, and
//! emptying the topic into `parked` would be no help. Here it is decided whether a batch may park at all.

use std::collections::VecDeque;

use shared::config::{ConsumerConfig, OnPoison};
use shared::position::Offset;

use super::{End, Halt, Worker};
use crate::batch::Batch;

/// How many of the last records were parked. It begins empty with every claim.
#[derive(Debug)]
pub(super) struct Storm {
    /// So many records are looked at.
    records_max: usize,
    /// So many parked ones among them are a storm; `None`: there is none.
    parked_max: Option<usize>,
    /// Batches: records, and parked ones among them.
    batches: VecDeque<(usize, usize)>,
    records: usize,
    parked: usize,
}

impl Storm {
    pub(super) fn new(config: &ConsumerConfig) -> Self {
        let records_max = config.storm_records;
        let parked_max = (config.storm_percent > 0)
            .then(|| (records_max * usize::from(config.storm_percent)).div_ceil(100));
        Self { records_max, parked_max, batches: VecDeque::new(), records: 0, parked: 0 }
    }

    /// Whether so many more parked ones among so many more records make a storm: how many, of how many.
    pub(super) fn would_be(&self, records: usize, parked: usize) -> Option<(usize, usize)> {
        let parked_max = self.parked_max.filter(|_| parked > 0)?;
        let (mut of, mut all) = (self.records + records, self.parked + parked);
        for (records, parked) in &self.batches {
            if of - records < self.records_max {
                break;
            }
            (of, all) = (of - records, all - parked);
        }
        (all >= parked_max).then_some((all, of))
    }

    /// They were committed.
    pub(super) fn add(&mut self, records: usize, parked: usize) {
        self.batches.push_back((records, parked));
        (self.records, self.parked) = (self.records + records, self.parked + parked);
        while let Some((records, parked)) = self.batches.front().copied()
            && self.records - records >= self.records_max
        {
            self.batches.pop_front();
            (self.records, self.parked) = (self.records - records, self.parked - parked);
        }
    }
}

impl Worker {
    /// Whether what is to be parked of a batch may be parked. Where the partition has to halt for a
    /// record, and others of the batch stand before it, its offset.
    pub(super) fn weigh(&self, batch: &Batch<'_>) -> Result<Option<Offset>, End> {
        let Some(first) = batch.poisoned().next() else { return Ok(None) };
        let (offset, reason) = (first.record.position.offset, first.poison.reason());
        if self.shared.config.on_poison == OnPoison::Halt {
            let applied = batch.rows.first().map(|row| row.record.position.offset);
            return match applied {
                Some(applied) if applied < offset => Ok(Some(offset)),
                _ => Err(End::Halted(Halt::Poison(offset, reason))),
            };
        }
        match self.storm.would_be(batch.records(), batch.poisoned().count()) {
            None => Ok(None),
            Some((parked, records)) => {
                Err(End::Halted(Halt::Storm { offset, reason, parked, records }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storm(records_max: usize, parked_max: Option<usize>) -> Storm {
        Storm { records_max, parked_max, batches: VecDeque::new(), records: 0, parked: 0 }
    }

    #[test]
    fn only_the_last_records_count() {
        let mut storm = storm(100, Some(50));
        for _ in 0..20 {
            assert_eq!(storm.would_be(10, 4), None);
            storm.add(10, 4);
        }
        assert_eq!((storm.records, storm.parked), (100, 40));
        storm.add(10, 9);
        assert_eq!(storm.would_be(10, 0), None, "what is not parked is no storm");
        assert_eq!(storm.would_be(10, 9), Some((50, 100)));
        assert_eq!(storm.would_be(10, 8), None);
        for _ in 0..10 {
            storm.add(10, 0);
        }
        assert_eq!(storm.would_be(49, 49), None);
        assert_eq!(storm.would_be(50, 50), Some((50, 100)));
    }

    #[test]
    fn one_batch_may_be_a_storm_and_none_is_where_it_is_off() {
        assert_eq!(storm(100, Some(50)).would_be(60, 50), Some((50, 60)));
        assert_eq!(storm(100, None).would_be(1_000, 1_000), None);
    }
}
