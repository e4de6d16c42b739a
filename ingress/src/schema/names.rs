//! Member names, hashed when a schema is compiled: one look-up decides what a member's name means.
//!
//! The table is fixed by the schema, so what a sender can choose is only which slot is looked at: a
//! look-up reads the slots of one probe run, whose longest is known at load, and compares a name
//! only where 16 bits of its hash agree.

use super::program::RuleId;

/// A table that holds more names than this is left to the library: slots keep 16-bit indexes.
pub(crate) const NAMES_MAX: usize = u16::MAX as usize - 1;
/// Slots for each name: more of them until no run is longer than wanted, up to a bound.
const SLOTS_LEAST: usize = 2;
const SLOTS_MOST: usize = 32;
/// Slots that are taken one after the other: what the names of a sender can make a look-up read.
const RUN_MAX: usize = 2;
/// The first and the last eight bytes of a name are kept with it: this long, they are all of it.
const ENDS: usize = 16;

/// All names of a program.
#[derive(Debug, Default)]
pub(crate) struct NameTable {
    /// A tag in the upper and an index plus one in the lower 16 bits; 0 is empty.
    slots: Vec<u32>,
    entries: Vec<Name>,
    text: Vec<u8>,
}

/// One set of names in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    slots: u32,
    mask: u32,
    entries: u32,
}

/// What a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meaning {
    /// Its index in its set.
    pub index: u32,
    /// The rule for its value; `None`: required, but not declared.
    pub rule: Option<RuleId>,
}

/// One name.
#[derive(Clone, Copy, Debug)]
struct Name {
    ends: Ends,
    /// Where the whole of it stands.
    start: u32,
    meaning: Meaning,
}

/// The length of a name, its first and its last bytes; where they are fewer, the rest is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    first: u64,
    last: u64,
    len: u32,
}

impl NameTable {
    /// Adds a set of distinct names.
    pub fn add<'n>(
        &mut self,
        names: impl ExactSizeIterator<Item = (&'n str, Option<RuleId>)>,
    ) -> Names {
        let (start, entries) = (self.slots.len(), self.entries.len());
        let mut hashes = Vec::with_capacity(names.len());
        for (index, (name, rule)) in names.enumerate() {
            let ends = Ends::of(name.as_bytes());
            hashes.push(ends.hash());
            let meaning = Meaning { index: index as u32, rule };
            self.entries.push(Name { ends, start: self.text.len() as u32, meaning });
            self.text.extend_from_slice(name.as_bytes());
        }
        let mut size = (hashes.len() * SLOTS_LEAST).next_power_of_two().max(2);
        while !self.fill(start, size, &hashes) && size < hashes.len() * SLOTS_MOST {
            size *= 2;
        }
        Names { slots: start as u32, mask: size as u32 - 1, entries: entries as u32 }
    }

    /// Makes the table's end, from `start` on, the slots of a set; whether no run of them is longer
    /// than [`RUN_MAX`].
    fn fill(&mut self, start: usize, size: usize, hashes: &[u32]) -> bool {
        self.slots.truncate(start);
        self.slots.resize(start + size, 0);
        let (slots, mask) = (&mut self.slots[start..], size - 1);
        for (index, hash) in hashes.iter().enumerate() {
            let mut at = *hash as usize & mask;
            while slots[at] != 0 {
                at = (at + 1) & mask;
            }
            slots[at] = (hash & 0xffff_0000) | (index as u32 + 1);
        }
        let long = |at: &usize| (0..=RUN_MAX).all(|more| slots[(at + more) & mask] != 0);
        !(0..size).any(|at| long(&at))
    }

    /// What a name means in a set.
    #[inline]
    pub fn find(&self, set: Names, name: &str) -> Option<Meaning> {
        self.find_counting(set, name, || {})
    }

    /// The same; `read` is called for each slot that is read.
    #[inline(always)]
    fn find_counting(&self, set: Names, name: &str, mut read: impl FnMut()) -> Option<Meaning> {
        let name = name.as_bytes();
        let ends = Ends::of(name);
        let hash = ends.hash();
        let mut at = hash & set.mask;
        loop {
            read();
            let slot = self.slots[(set.slots + at) as usize];
            if slot == 0 {
                return None;
            }
            if (slot ^ hash) & 0xffff_0000 == 0 {
                let entry = &self.entries[(set.entries + (slot & 0xffff) - 1) as usize];
                let whole = || self.text[entry.start as usize..].starts_with(name);
                if entry.ends == ends && (name.len() <= ENDS || whole()) {
                    return Some(entry.meaning);
                }
            }
            at = (at + 1) & set.mask;
        }
    }
}

impl Ends {
    #[inline]
    fn of(name: &[u8]) -> Self {
        let len = name.len() as u32;
        let (first, last) = match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
            (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
            _ => match (name.first_chunk::<4>(), name.last_chunk::<4>()) {
                (Some(first), Some(last)) => {
                    (u64::from(u32::from_le_bytes(*first)), u64::from(u32::from_le_bytes(*last)))
                }
                _ => match *name {
                    [a, b, c] => (u64::from(u32::from_le_bytes([a, b, c, 0])), 0),
                    [a, b] => (u64::from(u32::from_le_bytes([a, b, 0, 0])), 0),
                    [a] => (u64::from(a), 0),
                    _ => (0, 0),
                },
            },
        };
        Self { first, last, len }
    }

    /// Enough to tell the names of one schema apart, at a cost that does not grow with the name.
    #[inline]
    fn hash(self) -> u32 {
        let ends = self.first ^ self.last.rotate_left(29) ^ (u64::from(self.len) << 56);
        let mixed = ends.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as u32 ^ mixed as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_no_other() {
        let names: Vec<String> =
            (0..500).map(|n| format!("{}{n}", "a_long_name_".repeat(n % 4))).collect();
        let mut table = NameTable::default();
        let other = table.add(["x", "", "yy", "zzz"].into_iter().map(|name| (name, None)));
        let set = table.add(names.iter().map(|name| (name.as_str(), Some(RuleId::ANY))));
        for (index, name) in names.iter().enumerate() {
            let meaning = Meaning { index: index as u32, rule: Some(RuleId::ANY) };
            assert_eq!(table.find(set, name), Some(meaning), "{name}");
            assert_eq!(table.find(other, name), None, "{name}");
        }
        for (name, expected) in [("", Some(1)), ("x", Some(0)), ("zzz", Some(3)), ("zzy", None)] {
            assert_eq!(table.find(other, name).map(|found| found.index), expected, "{name}");
            assert_eq!(table.find(set, name), None, "{name}");
        }
    }

    /// A sender who knows the schema sends the names that cost most: all in the slot where the longest
    /// run begins. What 100,000 of them cost is what as many random ones do, within a factor of two:
    /// a name is hashed, and slots are read.
    #[test]
    fn names_that_collide_cost_no_more_than_twice_what_random_ones_do() {
        for declared in [5, 64, 500] {
            let mut table = NameTable::default();
            let names: Vec<String> = (0..declared).map(|n| format!("member_{n}")).collect();
            let set = table.add(names.iter().map(|name| (name.as_str(), Some(RuleId::ANY))));
            let slots_read = |name: &str| {
                let mut read = 0_u64;
                assert_eq!(table.find_counting(set, name, || read += 1), None, "{name}");
                read
            };
            let random =
                || (0_u64..).map(|n| format!("x{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            let usual: u64 = random().take(100_000).map(|name| 1 + slots_read(&name)).sum();
            let most = random().take(100_000).map(|name| slots_read(&name)).max().unwrap_or(0);
            let colliding = random().filter(|name| slots_read(name) == most).take(1_000);
            let worst = 100 * colliding.map(|name| 1 + slots_read(&name)).sum::<u64>();
            assert!(worst <= 2 * usual, "{declared} names: {worst} against {usual}");
        }
    }
}
