//! Member names, hashed when a schema is compiled: one look-up decides what a member's name means.
//!
//! The table is fixed by the schema, so what a sender can choose is only which slot is looked at: a
//! look-up reads the slots of one probe run, whose longest is known at load, and compares a text
//! only where 16 bits of its hash agree.

use super::program::RuleId;

/// A table that holds more names than this is left to the library: slots keep 16-bit indexes.
pub(crate) const NAMES_MAX: usize = u16::MAX as usize - 1;

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

/// One name and the rule for its value.
#[derive(Clone, Copy, Debug)]
struct Name {
    start: u32,
    len: u32,
    /// `None`: required, but not declared.
    rule: Option<RuleId>,
}

impl NameTable {
    /// Adds a set of distinct names.
    pub fn add<'n>(
        &mut self,
        names: impl ExactSizeIterator<Item = (&'n str, Option<RuleId>)>,
    ) -> Names {
        let size = (names.len() * 2).next_power_of_two().max(2);
        let (slots, entries) = (self.slots.len(), self.entries.len());
        self.slots.resize(slots + size, 0);
        let set = Names { slots: slots as u32, mask: size as u32 - 1, entries: entries as u32 };
        for (index, (name, rule)) in names.enumerate() {
            let hash = hash(name.as_bytes());
            let mut at = hash & set.mask;
            while self.slots[slots + at as usize] != 0 {
                at = (at + 1) & set.mask;
            }
            self.slots[slots + at as usize] = (hash & 0xffff_0000) | (index as u32 + 1);
            let (start, len) = (self.text.len() as u32, name.len() as u32);
            self.text.extend_from_slice(name.as_bytes());
            self.entries.push(Name { start, len, rule });
        }
        set
    }

    /// The index of a name in its set, and the rule for its value.
    #[inline]
    pub fn find(&self, set: Names, name: &str) -> Option<(u32, Option<RuleId>)> {
        let name = name.as_bytes();
        let hash = hash(name);
        let slots = &self.slots[set.slots as usize..][..=set.mask as usize];
        let mut at = hash & set.mask;
        loop {
            let slot = slots[at as usize];
            if slot == 0 {
                return None;
            }
            if (slot ^ hash) & 0xffff_0000 == 0 {
                let index = (slot & 0xffff) - 1;
                let entry = &self.entries[(set.entries + index) as usize];
                if entry.len as usize == name.len()
                    && &self.text[entry.start as usize..][..name.len()] == name
                {
                    return Some((index, entry.rule));
                }
            }
            at = (at + 1) & set.mask;
        }
    }
}

/// A hash of the length, the first and the last eight bytes: enough to tell the names of one schema
/// apart, at a cost that does not grow with the name.
#[inline]
fn hash(name: &[u8]) -> u32 {
    let len = name.len();
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
    let mixed =
        (first ^ last.rotate_left(29) ^ (len as u64) << 56).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as u32 ^ mixed as u32
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
            assert_eq!(table.find(set, name), Some((index as u32, Some(RuleId::ANY))), "{name}");
            assert_eq!(table.find(other, name), None, "{name}");
        }
        for (name, expected) in [("", Some(1)), ("x", Some(0)), ("zzz", Some(3)), ("zzy", None)] {
            assert_eq!(table.find(other, name).map(|(index, _)| index), expected, "{name}");
            assert_eq!(table.find(set, name), None, "{name}");
        }
    }
}
