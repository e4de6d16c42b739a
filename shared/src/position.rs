//! Where a record stands: class, partition, offset; and the epoch under which a writer may act.
//!
//! Newtypes, because an index is not a count and an offset is not a partition.

use std::fmt;

/// The class of an event: its priority, and by default its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// Small and never shed inside its cap: what steers other systems.
    Control = 0,
    /// What a business loses money over. The default of a type that no rule names.
    Transactional = 1,
    /// What may be late, and is shed first.
    Telemetry = 2,
}

impl Class {
    /// All classes, highest priority first.
    pub const ALL: [Self; 3] = [Self::Control, Self::Transactional, Self::Telemetry];

    /// The name in config, metrics and topic names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Transactional => "transactional",
            Self::Telemetry => "telemetry",
        }
    }

    /// The class of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    /// The index into tables that hold one entry per class.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl From<Class> for control::level::Class {
    fn from(class: Class) -> Self {
        match class {
            Class::Control => Self::Control,
            Class::Transactional => Self::Transactional,
            Class::Telemetry => Self::Telemetry,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A partition's number inside its topic, from 0. At most `i32::MAX`, as in Kafka's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u32);

impl Partition {
    /// The number as Kafka's protocol and PostgreSQL's `integer` hold it.
    pub fn as_i32(self) -> i32 {
        i32::try_from(self.0).expect("partitions are numbered up to i32::MAX")
    }
}

/// A record's number inside its partition, from 0, never reused, never decreasing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub i64);

impl Offset {
    /// The offset after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The fencing epoch of one assignment: a writer acts only while its epoch is the stored one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub i64);

/// One partition of one class: the unit that has exactly one writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId {
    /// Which topic.
    pub class: Class,
    /// Which partition of it.
    pub partition: Partition,
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.class, self.partition.0)
    }
}

/// A record's place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The partition.
    pub id: PartitionId,
    /// The offset in it.
    pub offset: Offset,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.id, self.offset.0)
    }
}
