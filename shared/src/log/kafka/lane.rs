//! A partition's lane: one batch of it is under way at a time, and what comes meanwhile waits.
//!
//! librdkafka's idempotent producer sends nothing more to a partition that has five *records* in
//! flight (2.12: `rktp_msgs_inflight` is compared with the bound on requests), so in practice it has
//! one batch under way as well. But while more records wait past their linger, its broker thread
//! polls without a pause: a core for as long as the acknowledgement takes, which on a small machine
//! slows the broker down, which lengthens the wait. A record that is not given to librdkafka before
//! its turn cannot do that, joins one large batch when the turn comes, and can still be refused as
//! not written: a failed batch refuses those that wait behind it, so that a later record of the
//! partition never lands before the earlier one is tried again.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::waiting::Waiting;
use crate::log::NewRecord;
use crate::position::{Class, Partition, PartitionId};

/// A partition whose records wait longer than this for their turn is given more than it takes: it
/// refuses what comes, so that it neither answers late nor fills the room of all the others.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// A moment on both clocks that a lane goes by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// By which librdkafka lingers.
    pub at: Instant,
    /// The producer's own clock, by which ages are judged.
    pub clock_ms: u64,
}

/// When a batch takes more records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Boarding {
    /// After its first record, for this long: less than librdkafka lingers.
    pub window: Duration,
    /// Keys and values, so that librdkafka makes one request of it.
    pub bytes_max: usize,
}

/// One partition's.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Records that librdkafka has and has not reported.
    aboard: usize,
    aboard_bytes: usize,
    /// When the first of them went; none while there are none.
    since: Option<Moment>,
    pub waiting: Waiting,
}

/// What is to be done with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Give it to librdkafka, now, under the lane's lock.
    Now,
    /// It waits for the reports of the batch that is under way.
    Later,
    /// Too many wait already.
    Full,
}

impl Lane {
    /// Whether a record of so many bytes goes now.
    pub fn turn(&self, bytes: usize, boarding: &Boarding, now: Moment) -> Turn {
        let joins = |since: Moment| {
            now.at.saturating_duration_since(since.at) < boarding.window
                && self.aboard_bytes + bytes <= boarding.bytes_max
        };
        let age = |since_ms| Duration::from_millis(now.clock_ms.saturating_sub(since_ms));
        match (self.waiting.oldest_ms(), self.aboard, self.since) {
            (None, 0, _) => Turn::Now,
            (None, _, Some(since)) if joins(since) => Turn::Now,
            (Some(oldest_ms), ..) if age(oldest_ms) > WAIT_MAX => Turn::Full,
            _ => Turn::Later,
        }
    }

    /// Since when librdkafka has records of the partition, on the producer's clock.
    pub fn aboard_ms(&self) -> Option<u64> {
        self.since.map(|since| since.clock_ms)
    }

    /// librdkafka has taken a record.
    pub fn boarded(&mut self, bytes: usize, now: Moment) {
        if self.aboard == 0 {
            self.since = Some(now);
            self.aboard_bytes = 0;
        }
        self.aboard += 1;
        self.aboard_bytes += bytes;
    }

    /// A record was reported; whether those that wait are to go.
    pub fn landed(&mut self) -> bool {
        self.aboard = self.aboard.saturating_sub(1);
        if self.aboard > 0 {
            return false;
        }
        self.since = None;
        !self.waiting.is_empty()
    }

    /// Lets those that wait go, as far as they fit into a batch; a record that `go` could not give to
    /// librdkafka counts as reported.
    pub fn board(
        &mut self,
        id: PartitionId,
        boarding: &Boarding,
        now: Moment,
        mut go: impl FnMut(&NewRecord<'_>, usize) -> bool,
    ) {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.drain(id, |record, word| {
            let bytes = size(record);
            if self.aboard > 0 && self.aboard_bytes + bytes > boarding.bytes_max {
                return false;
            }
            if go(record, word) {
                self.boarded(bytes, now);
            }
            true
        });
        self.waiting = waiting;
    }

    /// Nothing of the instance will be reported any more.
    pub fn reset(&mut self) {
        (self.aboard, self.aboard_bytes, self.since) = (0, 0, None);
    }
}

/// What a record counts for against the bounds in bytes: a little more than it will take in a batch.
pub(super) fn size(record: &NewRecord<'_>) -> usize {
    const OVERHEAD_BYTES: usize = 40;
    let headers = record.headers.iter().map(|(name, value)| name.len() + value.len() + 4);
    OVERHEAD_BYTES + record.key.len() + record.value.len() + headers.sum::<usize>()
}

/// Every partition's lane.
#[derive(Debug)]
pub(super) struct Lanes([Box<[Mutex<Lane>]>; Class::ALL.len()]);

impl Lanes {
    /// Partitions by class.
    pub fn new(partitions: [u32; Class::ALL.len()]) -> Self {
        Self(partitions.map(|count| (0..count).map(|_| Mutex::default()).collect()))
    }

    /// A partition's; none where the configuration has no such partition.
    pub fn of(&self, id: PartitionId) -> Option<&Mutex<Lane>> {
        self.0[id.class.index()].get(id.partition.0 as usize)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (PartitionId, &Mutex<Lane>)> {
        Class::ALL.into_iter().flat_map(|class| {
            let lanes = (0_u32..).zip(&self.0[class.index()]);
            lanes.map(move |(number, lane)| {
                (PartitionId { class, partition: Partition(number) }, lane)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Millis;

    const ID: PartitionId = PartitionId { class: Class::Control, partition: Partition(0) };
    const BOARDING: Boarding = Boarding { window: Duration::from_millis(1), bytes_max: 100 };

    fn record(value: &[u8]) -> NewRecord<'_> {
        NewRecord { id: ID, timestamp: Millis(1), key: b"", value, headers: &[] }
    }

    fn moment(at: Instant) -> Moment {
        Moment { at, clock_ms: 0 }
    }

    #[test]
    fn a_batch_takes_records_while_its_window_is_open_and_there_is_room() {
        let (mut lane, begun) = (Lane::default(), Instant::now());
        let start = moment(begun);
        let soon = moment(begun + Duration::from_micros(900));
        let late = moment(begun + Duration::from_millis(1));
        assert_eq!(lane.turn(500, &BOARDING, start), Turn::Now, "the first always goes");
        lane.boarded(50, start);
        assert_eq!(lane.turn(50, &BOARDING, soon), Turn::Now);
        assert_eq!(lane.turn(51, &BOARDING, soon), Turn::Later, "no room");
        assert_eq!(lane.turn(50, &BOARDING, late), Turn::Later, "too late");
        assert!(!lane.landed(), "nobody waits");
        assert_eq!(lane.turn(10, &BOARDING, late), Turn::Now);
    }

    #[test]
    fn nobody_overtakes_those_that_wait() {
        let (mut lane, start) = (Lane::default(), moment(Instant::now()));
        lane.boarded(1, start);
        lane.waiting.push(&record(b"first"), 1, 0);
        assert_eq!(lane.turn(1, &BOARDING, start), Turn::Later);
        assert!(lane.landed());
        assert_eq!(lane.turn(1, &BOARDING, start), Turn::Later, "they go first");
    }

    #[test]
    fn those_that_wait_go_together_as_far_as_they_fit() {
        let (mut lane, start) = (Lane::default(), moment(Instant::now()));
        for (word, value) in
            [&b"0123456789"[..], b"refused", b"0123456789", b"x"].iter().enumerate()
        {
            lane.waiting.push(&record(value), word, 0);
        }
        let mut gone = Vec::new();
        lane.board(ID, &BOARDING, start, |_, word| {
            gone.push(word);
            word != 1
        });
        assert_eq!(gone, [0, 1, 2]);
        assert!(!lane.waiting.is_empty());
        assert!(!lane.landed());
        assert!(lane.landed(), "the last one's turn has come");
    }

    #[test]
    fn a_lane_ages_from_its_boarding_and_not_while_it_waits() {
        let at = Instant::now();
        let moment = |clock_ms| Moment { at, clock_ms };
        let mut lane = Lane::default();
        assert_eq!(lane.aboard_ms(), None);
        lane.boarded(1, moment(1_000));
        lane.waiting.push(&record(b"waits"), 1, 1_100);
        assert_eq!(lane.aboard_ms(), Some(1_000));
        assert!(lane.landed());
        lane.board(ID, &BOARDING, moment(5_000), |_, _| true);
        assert_eq!(lane.aboard_ms(), Some(5_000), "not since it was handed over");
        assert!(!lane.landed());
        assert_eq!(lane.aboard_ms(), None);
    }

    #[test]
    fn what_comes_is_refused_while_others_have_waited_for_too_long() {
        let at = Instant::now();
        let mut lane = Lane::default();
        lane.boarded(1, Moment { at, clock_ms: 0 });
        lane.waiting.push(&record(b"waits"), 1, 1_000);
        let turn = |clock_ms| lane.turn(1, &BOARDING, Moment { at, clock_ms });
        assert_eq!(turn(3_000), Turn::Later);
        assert_eq!(turn(3_001), Turn::Full);
    }
}
