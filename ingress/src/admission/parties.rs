//! A request's events by (class, partition) and tenant: each such party is asked for once.
//!
//! After the first event of a key that does not pass, later events of that key are not appended:
//! what the sender retries must not overtake what it has sent before. A key's events are all in one
//! party.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use shared::position::{Class, PartitionId};
use shared::tenant::TenantId;

use super::decision::{Decision, Permits};
use super::stance::Stance;
use crate::append::Fate;
use crate::event::Entry;
use crate::reject::{Outcome, Reject};

/// Events of one tenant for one (class, partition).
#[derive(Debug)]
pub(crate) struct Party {
    /// Where to.
    pub id: PartitionId,
    /// Whose.
    pub tenant: TenantId,
    /// How many may be asked for.
    pub asked: u32,
    /// How many more there are that the mode closes, those behind them among them.
    pub closed: u32,
    /// How many of those that pass are not given out yet.
    left: u32,
    /// Why the rest does not pass.
    refused: Option<Reject>,
    /// An event of it was refused: what comes later waits behind it.
    stopped: bool,
    permits: Permits,
    /// How many of those that passed the log has refused at once.
    failed: u32,
}

/// All of a request.
#[derive(Debug, Default)]
pub(crate) struct Parties {
    list: Vec<Party>,
    /// By (class, partition) and tenant, once there is more than one.
    index: HashTable<usize>,
    hasher: DefaultHashBuilder,
}

impl Party {
    fn new(id: PartitionId, tenant: TenantId) -> Self {
        Self {
            id,
            tenant,
            asked: 0,
            closed: 0,
            left: 0,
            refused: None,
            stopped: false,
            permits: Permits::default(),
            failed: 0,
        }
    }

    /// Why an event of it was refused.
    pub fn reject(&self) -> Reject {
        self.refused.clone().unwrap_or(Reject::BehindFailed(Outcome::Shed))
    }

    /// The book of what stands behind that one.
    fn cause(&self) -> Outcome {
        self.refused.as_ref().map_or(Outcome::Shed, |reject| reject.row().outcome)
    }

    /// What was taken for it, and how many of its events did not use it.
    pub(super) const fn unused(&self) -> (&Permits, u32) {
        (&self.permits, self.failed)
    }

    /// Takes the decision in.
    pub(super) fn settle(&mut self, decision: Decision) {
        self.left = decision.events;
        self.permits = decision.permits;
        if let Some((_, reject)) = decision.refused {
            self.refused = Some(reject);
        }
    }
}

impl Parties {
    /// Counts an event with its party, and says what becomes of it if all of the party pass.
    pub(super) fn enter(&mut self, entry: &Entry, stance: &Stance) -> Fate {
        let Ok(checked) = &entry.verdict else { return Fate::Refused };
        if let Some(first) = checked.duplicate_of {
            return Fate::Duplicate(first);
        }
        let place = self.place(checked.id, checked.tenant);
        let party = &mut self.list[place];
        if party.stopped {
            party.closed += 1;
            return Fate::Behind(party.cause());
        }
        if checked.closed && checked.id.class != Class::Control {
            party.stopped = true;
            party.closed += 1;
            party.refused = Some(stance.closed());
            return Fate::Shed(place);
        }
        party.asked += 1;
        Fate::Passes(place)
    }

    /// The party at a place.
    pub fn get(&self, place: usize) -> &Party {
        &self.list[place]
    }

    /// The log refuses an event of this party that was admitted.
    pub fn failed(&mut self, place: usize) {
        self.list[place].failed += 1;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Party> {
        self.list.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Party> {
        self.list.iter_mut()
    }

    /// Whether one of them was refused something.
    pub(super) fn refused(&self) -> bool {
        self.list.iter().any(|party| party.left < party.asked)
    }

    /// Gives out what passes, in the request's order.
    pub(super) fn distribute(&mut self, fates: &mut [Fate]) {
        for party in &mut self.list {
            party.stopped = false;
        }
        for fate in fates {
            let (Fate::Passes(place) | Fate::Shed(place)) = *fate else { continue };
            let party = &mut self.list[place];
            let shed = matches!(fate, Fate::Shed(_));
            if party.stopped {
                *fate = Fate::Behind(party.cause());
            } else if shed || party.left == 0 {
                party.stopped = true;
                *fate = Fate::Shed(place);
            } else {
                party.left -= 1;
            }
        }
    }

    fn place(&mut self, id: PartitionId, tenant: TenantId) -> usize {
        let same = |party: &Party| party.id == id && party.tenant == tenant;
        if let Some(last) = self.list.last()
            && same(last)
        {
            return self.list.len() - 1;
        }
        let Self { list, index, hasher } = self;
        if list.is_empty() {
            list.push(Party::new(id, tenant));
            return 0;
        }
        let hash_of = |place: &usize| hasher.hash_one((list[*place].id, list[*place].tenant));
        if index.is_empty() {
            index.insert_unique(hash_of(&0), 0, hash_of);
        }
        let hash = hasher.hash_one((id, tenant));
        if let Some(place) = index.find(hash, |place| same(&list[*place])) {
            return *place;
        }
        let place = list.len();
        list.push(Party::new(id, tenant));
        let hash_of = |place: &usize| hasher.hash_one((list[*place].id, list[*place].tenant));
        index.insert_unique(hash, place, hash_of);
        place
    }

    /// Forgets everything but the room.
    pub fn reset(&mut self) {
        self.list.clear();
        self.index.clear();
    }

    /// The room in bytes.
    pub fn bytes(&self) -> usize {
        self.list.capacity() * size_of::<Party>() + self.index.capacity() * size_of::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use control::mode::Mode;
    use shared::config::ControlConfig;
    use shared::position::Partition;

    use super::super::decision::Step;
    use super::*;
    use crate::event::Checked;

    /// An event of a tenant in a partition; a small letter: not essential.
    fn entry(tenant: &str, partition: u32, closed: bool) -> Entry {
        let class = Class::Transactional;
        let checked = Checked {
            tenant: TenantId::parse(tenant).expect("a valid name"),
            id: PartitionId { class, partition: Partition(partition) },
            value: 0..0,
            event_id: 0..0,
            source: 0..0,
            minted: false,
            timed: false,
            closed,
            duplicate_of: None,
        };
        Entry { id: None, verdict: Ok(checked) }
    }

    /// What becomes of events, each named by its tenant, where so many of each party pass: `+` in,
    /// `-` refused, `.` behind.
    fn check(events: &str, passing: &[u32], expected: &str) {
        let stance = Stance::new(&ControlConfig::default(), Mode::ReadOnly);
        let mut parties = Parties::default();
        let mut fates: Vec<Fate> = events
            .chars()
            .map(|name| {
                let tenant = name.to_ascii_lowercase().to_string();
                parties.enter(&entry(&tenant, u32::from(name) % 2, name.is_uppercase()), &stance)
            })
            .collect();
        for (party, passing) in parties.iter_mut().zip(passing) {
            let events = party.asked.min(*passing);
            let decision = Decision { events, ..Decision::open(0) };
            party.settle(decision);
        }
        if parties.refused() {
            parties.distribute(&mut fates);
        }
        let told: String = fates
            .iter()
            .map(|fate| match fate {
                Fate::Passes(_) => '+',
                Fate::Shed(_) => '-',
                _ => '.',
            })
            .collect();
        assert_eq!(told, expected, "{events} {passing:?}");
    }

    #[test]
    fn the_front_of_each_party_passes_and_the_rest_stands_behind() {
        check("aaaa", &[9], "++++");
        check("aaaa", &[0], "-...");
        check("aaaa", &[3], "+++-");
        check("abab", &[1, 9], "++-+");
        check("abcabcabc", &[2, 1, 0], "++-+-.-..");
        check("aaabbb", &[3, 0], "+++-..");
    }

    #[test]
    fn what_stands_behind_goes_to_the_book_of_what_it_waits_for() {
        let check = |reject: Reject, expected| {
            let stance = Stance::new(&ControlConfig::default(), Mode::Normal);
            let mut parties = Parties::default();
            let mut fates = [0; 3].map(|_| parties.enter(&entry("a", 0, false), &stance));
            let decision = Decision { refused: Some((Step::Ceiling, reject)), ..Decision::open(1) };
            parties.iter_mut().for_each(|party| party.settle(decision.clone()));
            parties.distribute(&mut fates);
            assert!(matches!(fates[1], Fate::Shed(0)), "{fates:?}");
            assert!(matches!(fates[2], Fate::Behind(cause) if cause == expected), "{fates:?}");
        };
        let limited = Reject::OverCeiling { ceiling_per_1000_s: 1, after_s: 1 };
        check(limited, Outcome::Limited);
        check(Reject::NoCapacity { after_s: 1 }, Outcome::Shed);
    }

    #[test]
    fn what_a_mode_closes_stops_its_key() {
        check("aAa", &[9], "+-.");
        check("aAb", &[9, 9], "+-+");
        check("aaA", &[1], "+-.");
        check("A", &[9], "-");
    }
}
