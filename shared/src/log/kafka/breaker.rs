//! The breaker: what goes to a broker that no longer answers is refused at once, and what goes to
//! the others goes on.
//!
//! A partition's leader is learned from the reports of its own records, so it costs no request. A
//! record that librdkafka has had for too long opens the breaker of its partition's leader (or of
//! the partition alone, while nobody is known to lead it), and every partition of that leader is
//! refused. From time to time one record of each is let through. The first answer of the broker
//! closes the breaker; a partition that another broker answers for has moved, and is free at once.
//! A record that is stuck while its broker answers for others (too few replicas are in sync, say)
//! closes its own partition only.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::position::{Class, Partition, PartitionId};

/// A record that librdkafka has had for longer opens the breaker.
pub(super) const OPEN_AFTER: Duration = Duration::from_secs(2);
/// The pause between two records that try an open partition.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// A broker that answered for others so long after a record was sent to it is not silent.
const ALIVE_AFTER: Duration = Duration::from_secs(1);
const CLOSED: u8 = 0;
const OPEN: u8 = 1;
const PROBE: u8 = 2;

/// What stands before every append: one atomic load.
#[derive(Debug)]
pub(super) struct Gates([Box<[AtomicU8]>; Class::ALL.len()]);

impl Gates {
    /// All open to traffic; partitions by class.
    pub fn new(partitions: [u32; Class::ALL.len()]) -> Self {
        Self(partitions.map(|count| (0..count).map(|_| AtomicU8::new(CLOSED)).collect()))
    }

    /// Whether a record may go to a partition. One that may as a probe is the only one.
    pub fn pass(&self, id: PartitionId) -> bool {
        let Some(gate) = self.gate(id) else { return true };
        match gate.load(Ordering::Relaxed) {
            CLOSED => true,
            PROBE => {
                gate.compare_exchange(PROBE, OPEN, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            }
            _ => false,
        }
    }

    /// Whether records go to a partition without a question.
    pub fn is_closed(&self, id: PartitionId) -> bool {
        self.gate(id).is_none_or(|gate| gate.load(Ordering::Relaxed) == CLOSED)
    }

    fn gate(&self, id: PartitionId) -> Option<&AtomicU8> {
        self.0[id.class.index()].get(id.partition.0 as usize)
    }
}

/// Who is not answered by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Suspect {
    /// A broker, by its id.
    Broker(i32),
    /// A partition that no broker has answered for yet, or that alone is stuck.
    Partition(PartitionId),
}

/// What is known of one partition.
#[derive(Clone, Copy, Debug)]
struct Known {
    leader: Option<i32>,
    /// When its leader last acknowledged a record of it.
    answered_ms: u64,
    /// Since when librdkafka has records of it, as seen in one look.
    flying_ms: Option<u64>,
    probed_ms: u64,
}

/// The state behind the gates; one thread has it.
#[derive(Debug)]
pub(super) struct Breaker {
    known: [Vec<Known>; Class::ALL.len()],
    /// What is open, and whether it has answered since.
    open: BTreeMap<Suspect, bool>,
}

impl Breaker {
    /// Nothing is known of any partition.
    pub fn new(partitions: [u32; Class::ALL.len()]) -> Self {
        let fresh = Known { leader: None, answered_ms: 0, flying_ms: None, probed_ms: 0 };
        Self { known: partitions.map(|count| vec![fresh; count as usize]), open: BTreeMap::new() }
    }

    /// A record of a partition was acknowledged by a broker.
    pub fn acknowledged(&mut self, id: PartitionId, broker: i32, now_ms: u64) {
        let Some(known) = self.known[id.class.index()].get_mut(id.partition.0 as usize) else {
            return;
        };
        known.leader = Some(broker);
        known.answered_ms = now_ms;
        if self.open.is_empty() {
            return;
        }
        for suspect in [Suspect::Broker(broker), Suspect::Partition(id)] {
            if let Some(answered) = self.open.get_mut(&suspect) {
                *answered = true;
            }
        }
    }

    /// Begins a look at what is in flight: [`Breaker::see`] each partition, then [`Breaker::judge`].
    pub fn look(&mut self) {
        self.known.iter_mut().flatten().for_each(|known| known.flying_ms = None);
    }

    /// librdkafka has records of a partition, the oldest for so long. Not those that wait for their
    /// turn: they say nothing about the broker.
    pub fn see(&mut self, id: PartitionId, since_ms: u64) {
        if let Some(known) = self.known[id.class.index()].get_mut(id.partition.0 as usize) {
            known.flying_ms = Some(since_ms);
        }
    }

    /// Ends a look: opens, closes, and sets the gates. How many breakers are open.
    pub fn judge(&mut self, gates: &Gates, now_ms: u64) -> usize {
        let led = self.suspects(now_ms);
        for (suspect, _) in led.iter().filter(|(_, stuck)| **stuck) {
            if self.open.insert(*suspect, false).is_none() {
                tracing::warn!(?suspect, "kafka does not answer: refusing what goes there");
            }
        }
        self.open.retain(|suspect, answered| {
            // What leads nothing any more has nothing to be refused for.
            let keep = led.get(suspect).is_some_and(|stuck| *stuck || !*answered);
            if !keep {
                tracing::info!(?suspect, "kafka answers again");
            }
            keep
        });
        self.set(gates, now_ms);
        self.open.len()
    }

    /// Who could be open: every leader, every partition without one, and what is stuck though its
    /// leader answers. True where something is stuck.
    fn suspects(&self, now_ms: u64) -> BTreeMap<Suspect, bool> {
        let mut answered: BTreeMap<i32, u64> = BTreeMap::new();
        for (broker, known) in self.known.iter().flatten().filter_map(|it| Some((it.leader?, it))) {
            let last_ms = answered.entry(broker).or_default();
            *last_ms = known.answered_ms.max(*last_ms);
        }
        let passed =
            |from_ms: u64, to_ms: u64| Duration::from_millis(to_ms.saturating_sub(from_ms));
        let mut led: BTreeMap<Suspect, bool> = BTreeMap::new();
        for (id, known) in entries(&self.known) {
            let stuck = known.flying_ms.filter(|since| passed(*since, now_ms) > OPEN_AFTER);
            let alone = stuck.zip(known.leader).is_some_and(|(since_ms, broker)| {
                answered.get(&broker).is_some_and(|last| passed(since_ms, *last) > ALIVE_AFTER)
            });
            if alone {
                led.insert(Suspect::Partition(id), true);
            } else {
                *led.entry(known.suspect(id)).or_default() |= stuck.is_some();
            }
        }
        led
    }

    fn set(&mut self, gates: &Gates, now_ms: u64) {
        let probe_ms = PROBE_INTERVAL.as_millis() as u64;
        for class in Class::ALL {
            for (number, known) in self.known[class.index()].iter_mut().enumerate() {
                let id = PartitionId { class, partition: Partition(number as u32) };
                let gate = &gates.0[class.index()][number];
                let open = |suspect: Suspect| self.open.contains_key(&suspect);
                if !open(known.suspect(id)) && !open(Suspect::Partition(id)) {
                    gate.store(CLOSED, Ordering::Relaxed);
                } else if known.flying_ms.is_some() {
                    gate.store(OPEN, Ordering::Relaxed);
                } else if now_ms.saturating_sub(known.probed_ms) >= probe_ms {
                    known.probed_ms = now_ms;
                    gate.store(PROBE, Ordering::Relaxed);
                }
            }
        }
    }
}

impl Known {
    fn suspect(&self, id: PartitionId) -> Suspect {
        self.leader.map_or(Suspect::Partition(id), Suspect::Broker)
    }
}

fn entries(known: &[Vec<Known>; Class::ALL.len()]) -> impl Iterator<Item = (PartitionId, &Known)> {
    Class::ALL.into_iter().flat_map(move |class| {
        known[class.index()].iter().enumerate().map(move |(number, known)| {
            (PartitionId { class, partition: Partition(number as u32) }, known)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Partition;

    const PARTITIONS: [u32; 3] = [0, 4, 0];

    fn id(partition: u32) -> PartitionId {
        PartitionId { class: Class::Transactional, partition: Partition(partition) }
    }

    /// Partitions 0 and 1 are led by broker 1, 2 by broker 2, and nobody is known to lead 3.
    struct Bench {
        breaker: Breaker,
        gates: Gates,
    }

    impl Bench {
        fn new() -> Self {
            let mut breaker = Breaker::new(PARTITIONS);
            breaker.acknowledged(id(0), 1, 0);
            breaker.acknowledged(id(1), 1, 0);
            breaker.acknowledged(id(2), 2, 0);
            Self { breaker, gates: Gates::new(PARTITIONS) }
        }

        fn look(&mut self, flying: &[(u32, u64)], now_ms: u64) -> usize {
            self.breaker.look();
            for (partition, since_ms) in flying {
                self.breaker.see(id(*partition), *since_ms);
            }
            self.breaker.judge(&self.gates, now_ms)
        }

        fn passes(&self) -> [bool; 4] {
            [0, 1, 2, 3].map(|partition| self.gates.pass(id(partition)))
        }
    }

    #[test]
    fn one_silent_broker_closes_its_own_partitions_and_no_others() {
        let mut bench = Bench::new();
        assert_eq!(bench.look(&[(0, 1_000), (2, 1_000)], 3_000), 0);
        assert_eq!(bench.passes(), [true; 4]);
        assert_eq!(bench.look(&[(0, 1_000), (1, 2_900), (2, 3_000)], 3_001), 1);
        assert_eq!(bench.passes(), [false, false, true, true]);
    }

    #[test]
    fn a_partition_without_a_known_leader_stands_alone() {
        let mut bench = Bench::new();
        assert_eq!(bench.look(&[(3, 1_000)], 4_000), 1);
        assert_eq!(bench.passes(), [true, true, true, false]);
        bench.breaker.acknowledged(id(3), 2, 0);
        assert_eq!(bench.look(&[], 4_100), 0);
        assert_eq!(bench.passes(), [true; 4]);
    }

    #[test]
    fn one_record_at_a_time_probes_and_an_answer_closes() {
        let mut bench = Bench::new();
        bench.look(&[(0, 1_000)], 4_000);
        assert_eq!(bench.passes(), [false, true, true, true], "1 has nothing in flight: a probe");
        assert_eq!(bench.passes(), [false, false, true, true], "and only one");
        // It is in flight now, and nothing else is let through.
        bench.look(&[(1, 4_000)], 5_000);
        assert_eq!(bench.passes(), [true, false, true, true]);
        bench.look(&[], 5_500);
        assert_eq!(bench.passes(), [false, true, true, true], "the next in a second");
        bench.breaker.acknowledged(id(1), 1, 0);
        assert_eq!(bench.look(&[], 5_600), 0);
        assert_eq!(bench.passes(), [true; 4]);
    }

    #[test]
    fn an_answer_does_not_close_while_another_record_is_stuck() {
        let mut bench = Bench::new();
        bench.look(&[(0, 1_000)], 4_000);
        bench.breaker.acknowledged(id(1), 1, 0);
        assert_eq!(bench.look(&[(0, 1_000)], 4_100), 1);
    }

    #[test]
    fn a_partition_that_moved_is_free_and_a_broker_that_leads_nothing_is_forgotten() {
        let mut bench = Bench::new();
        bench.look(&[(0, 1_000), (1, 1_000)], 4_000);
        bench.breaker.acknowledged(id(0), 2, 0);
        assert_eq!(bench.look(&[(1, 1_000)], 4_100), 1);
        assert_eq!(bench.passes(), [true, false, true, true]);
        bench.breaker.acknowledged(id(1), 2, 0);
        assert_eq!(bench.look(&[], 4_200), 0);
    }

    #[test]
    fn a_partition_that_is_stuck_while_its_broker_answers_is_refused_alone() {
        let mut bench = Bench::new();
        bench.breaker.acknowledged(id(1), 1, 2_900);
        assert_eq!(bench.look(&[(0, 1_000)], 3_500), 1);
        assert_eq!(bench.passes(), [false, true, true, true]);
        // The broker falls silent as well: for what is in flight to it since.
        assert_eq!(bench.look(&[(0, 1_000), (1, 3_000)], 5_100), 2);
        assert_eq!(bench.passes(), [false, false, true, true]);
        bench.breaker.acknowledged(id(1), 1, 5_200);
        bench.breaker.acknowledged(id(0), 1, 5_200);
        assert_eq!(bench.look(&[], 5_300), 0);
        assert_eq!(bench.passes(), [true; 4]);
    }
}
