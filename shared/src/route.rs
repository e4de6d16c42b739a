//! Which class and partition an event goes to: a pure function of type, tenant and entity.
//!
//! The partition is Kafka's own: murmur2 over the record's key, made positive, modulo the number of
//! partitions, as the Java client's default partitioner computes it. Any Kafka client that writes
//! with the same key lands on the same partition, and a consumer can recompute every record's route.

use crate::position::{Class, Partition, PartitionId};

/// How many partitions a topic may have here. Kafka allows more; one writer each is what we mean.
pub const PARTITIONS_MAX: u32 = 10_000;

/// Type → class → partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Router {
    partitions: [u32; Class::ALL.len()],
    rules: Vec<ClassRule>,
}

/// One line of the class table: a type, or a prefix of types, and the class it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassRule {
    /// `order.paid`, or `metrics.*` for everything that begins with `metrics.`.
    pub pattern: String,
    /// The class of the types that match.
    pub class: Class,
}

impl ClassRule {
    /// How specific a match is (the number of bytes that matched), or `None` where there is none.
    fn matched(&self, event_type: &str) -> Option<usize> {
        matched(&self.pattern, event_type)
    }
}

/// How much of a text a pattern, a whole text or the beginning of texts with `*` at its end, matches,
/// in bytes; `None` where it does not.
pub fn matched(pattern: &str, text: &str) -> Option<usize> {
    match pattern.strip_suffix('*') {
        Some(prefix) => text.starts_with(prefix).then_some(prefix.len()),
        // An exact pattern beats every prefix of the same text.
        None => (pattern == text).then_some(usize::MAX),
    }
}

impl Router {
    /// A router over `partitions[class.index()]` partitions per class.
    ///
    /// # Panics
    /// When a class has no partition or more than [`PARTITIONS_MAX`]: configuration checks that.
    pub fn new(partitions: [u32; Class::ALL.len()], rules: Vec<ClassRule>) -> Self {
        assert!(partitions.iter().all(|n| (1..=PARTITIONS_MAX).contains(n)), "checked by config");
        Self { partitions, rules }
    }

    /// The number of partitions of a class.
    pub fn partitions(&self, class: Class) -> u32 {
        self.partitions[class.index()]
    }

    /// Every partition there is, class by class.
    pub fn ids(&self) -> impl Iterator<Item = PartitionId> + '_ {
        Class::ALL.into_iter().flat_map(|class| {
            (0..self.partitions(class)).map(move |n| PartitionId { class, partition: Partition(n) })
        })
    }

    /// The class of a type: the longest rule that matches, transactional where none does.
    pub fn class(&self, event_type: &str) -> Class {
        self.rules
            .iter()
            .filter_map(|rule| rule.matched(event_type).map(|length| (length, rule.class)))
            .max_by_key(|(length, _)| *length)
            .map_or(Class::Transactional, |(_, class)| class)
    }

    /// Whether a type can be of this class.
    pub fn has_class(&self, class: Class) -> bool {
        class == Class::Transactional || self.rules.iter().any(|rule| rule.class == class)
    }

    /// The partition of `key` in the topic of `class`.
    pub fn partition(&self, class: Class, key: &[u8]) -> PartitionId {
        let partition = to_positive(murmur2(key)) % self.partitions(class);
        PartitionId { class, partition: Partition(partition) }
    }
}

/// Java's `Utils.toPositive`: the sign bit cleared (not the absolute value).
const fn to_positive(hash: i32) -> u32 {
    (hash & 0x7fff_ffff) as u32
}

/// MurmurHash2 as `org.apache.kafka.common.utils.Utils.murmur2` computes it (32 bits, fixed seed).
pub fn murmur2(data: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;

    // Java's length is an int; keys here are at most a few hundred bytes.
    let mut hash = SEED ^ data.len() as u32;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        k = k.wrapping_mul(M);
        k ^= k >> R;
        k = k.wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let tail = chunks.remainder();
    if !tail.is_empty() {
        for (index, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    (hash ^ (hash >> 15)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_is_kafkas() {
        let check =
            |key: &str, expected: i32| assert_eq!(murmur2(key.as_bytes()), expected, "{key}");
        check("21", -973_932_308);
        check("foobar", -790_332_482);
        check("a-little-bit-long-string", -985_981_536);
        check("a-little-bit-longer-string", -1_486_304_829);
        check("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971);
        check("abc", 479_470_107);
    }

    #[test]
    fn longest_rule_decides_the_class() {
        let rule = |pattern: &str, class| ClassRule { pattern: pattern.to_owned(), class };
        let router = Router::new(
            [1, 4, 4],
            vec![
                rule("metrics.*", Class::Telemetry),
                rule("metrics.billing.*", Class::Transactional),
                rule("metrics.reset", Class::Control),
            ],
        );
        let check = |event_type: &str, expected| assert_eq!(router.class(event_type), expected);
        check("metrics.cpu", Class::Telemetry);
        check("metrics.billing.hours", Class::Transactional);
        check("metrics.reset", Class::Control);
        check("order.paid", Class::Transactional);
    }

    #[test]
    fn every_partition_is_listed_and_reached() {
        let router = Router::new([1, 3, 2], Vec::new());
        assert_eq!(router.ids().count(), 6);
        let reached: std::collections::BTreeSet<_> = (0..100)
            .map(|n| router.partition(Class::Transactional, format!("tenant-{n}").as_bytes()))
            .collect();
        assert_eq!(reached.len(), 3);
    }
}
