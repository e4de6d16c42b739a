//! What operators have set: one entry for each subject, each with its end, its author and its reason.
//!
//! On Kafka, a record of `control.state`: the subject's text is the key, the entry's JSON the value, a
//! tombstone removes it. An entry of another version, or one that cannot be read, is as if it were not
//! there.

use std::collections::BTreeMap;
use std::fmt;

use control::mode::Mode;
use serde::{Deserialize, Serialize};

use super::decode::Ignored;
use crate::clock::Millis;
use crate::position::{Class, Partition, PartitionId};
use crate::tenant::TenantId;

/// The version that this build writes and understands.
pub const VERSION: u16 = 1;

/// The most entries that are kept. Only tenants are without number.
pub const ENTRIES_MAX: usize = 10_000;

/// A mode is pinned for so long at most, ms.
pub const MODE_MS_MAX: i64 = 24 * 60 * 60 * 1_000;

/// What an entry is about. Its text is the record's key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The mode; `mode`.
    Mode,
    /// One partition's limit; `limit/telemetry/7`.
    Partition(PartitionId),
    /// One tenant's contract and ceiling; `tenant/acme`.
    Tenant(TenantId),
}

/// What is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The version.
    pub v: u16,
    /// What it is.
    #[serde(flatten)]
    pub setting: Setting,
    /// It ends then; none: not by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
    /// Who has set it.
    pub by: String,
    /// Why.
    pub why: String,
    /// When.
    pub at_ms: i64,
}

/// A setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "set", rename_all = "snake_case")]
pub enum Setting {
    /// For [`Subject::Mode`].
    Mode {
        /// Pinned.
        #[serde(with = "mode_name")]
        mode: Mode,
    },
    /// For [`Subject::Partition`].
    Limit {
        /// Events/s of all replicas together; 0 closes it.
        limit_per_s: f64,
    },
    /// For [`Subject::Tenant`]: what is absent stays as configured.
    Tenant {
        /// Events/s that are in contract.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        contract_per_s: Option<f64>,
        /// Events/s at most.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ceiling_per_s: Option<f64>,
    },
}

/// A change of the state.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Of what.
    pub subject: Subject,
    /// To what; none: removed.
    pub entry: Option<Entry>,
}

/// All entries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State(BTreeMap<Subject, Entry>);

impl State {
    /// The same with a change.
    pub fn with(&self, change: Change) -> Self {
        let mut entries = self.0.clone();
        match change.entry {
            Some(entry) if entry.fits(&change.subject) => {
                entries.insert(change.subject, entry);
            }
            Some(_) | None => {
                entries.remove(&change.subject);
            }
        }
        Self(entries)
    }

    /// Makes a change that was read. Where the state is full, entries whose time is over make room.
    pub(super) fn apply(&mut self, change: Change, now: Millis) -> Result<(), Ignored> {
        let Some(entry) = change.entry else {
            self.0.remove(&change.subject);
            return Ok(());
        };
        if !entry.fits(&change.subject) {
            return Err(Ignored::Malformed);
        }
        if self.0.len() >= ENTRIES_MAX && !self.0.contains_key(&change.subject) {
            self.0.retain(|_, entry| entry.holds(now));
            if self.0.len() >= ENTRIES_MAX {
                return Err(Ignored::Full);
            }
        }
        self.0.insert(change.subject, entry);
        Ok(())
    }

    /// A subject's entry, whether its time is over or not.
    pub fn get(&self, subject: &Subject) -> Option<&Entry> {
        self.0.get(subject)
    }

    /// All entries, those whose time is over among them.
    pub fn all(&self) -> impl Iterator<Item = (&Subject, &Entry)> {
        self.0.iter()
    }

    /// The entries that are in effect at `now`.
    pub fn at(&self, now: Millis) -> impl Iterator<Item = (&Subject, &Entry)> {
        self.0.iter().filter(move |(_, entry)| entry.holds(now))
    }

    /// The pinned mode.
    pub fn mode(&self, now: Millis) -> Option<Mode> {
        let entry = self.0.get(&Subject::Mode).filter(|entry| entry.holds(now))?;
        match entry.setting {
            Setting::Mode { mode } => Some(mode),
            Setting::Limit { .. } | Setting::Tenant { .. } => None,
        }
    }

    /// A partition's pinned limit, events/s.
    pub fn limit(&self, id: PartitionId, now: Millis) -> Option<f64> {
        let entry = self.0.get(&Subject::Partition(id)).filter(|entry| entry.holds(now))?;
        match entry.setting {
            Setting::Limit { limit_per_s } => Some(limit_per_s),
            Setting::Mode { .. } | Setting::Tenant { .. } => None,
        }
    }
}

impl Entry {
    /// Whether its time is not over.
    pub fn holds(&self, now: Millis) -> bool {
        self.until_ms.is_none_or(|until| now.0 < until)
    }

    /// Whether it says what can be said of its subject, in numbers that are some.
    pub(super) fn fits(&self, subject: &Subject) -> bool {
        let rate = |rate: f64| rate.is_finite() && rate >= 0.0;
        let fits = match (&self.setting, subject) {
            // A mode that nobody takes back must end by itself.
            (Setting::Mode { .. }, Subject::Mode) => {
                self.until_ms.is_some_and(|until| until <= self.at_ms.saturating_add(MODE_MS_MAX))
            }
            (Setting::Limit { limit_per_s }, Subject::Partition(_)) => rate(*limit_per_s),
            (Setting::Tenant { contract_per_s, ceiling_per_s }, Subject::Tenant(_)) => {
                contract_per_s.is_none_or(rate) && ceiling_per_s.is_none_or(rate)
            }
            _ => false,
        };
        fits && self.v == VERSION
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.setting.fmt(f)?;
        match self.until_ms {
            Some(until) => write!(f, " until {}", Millis(until).rfc3339()),
            None => f.write_str(" until it is removed"),
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mode { mode } => f.write_str(mode.name()),
            Self::Limit { limit_per_s } => write!(f, "{limit_per_s} events/s"),
            Self::Tenant { contract_per_s, ceiling_per_s } => {
                let rate = |rate: &Option<f64>| match rate {
                    Some(rate) => format!("{rate} events/s"),
                    None => "as configured".to_owned(),
                };
                write!(f, "contract {}, ceiling {}", rate(contract_per_s), rate(ceiling_per_s))
            }
        }
    }
}

impl Subject {
    /// The subject of that text.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "mode" {
            return Some(Self::Mode);
        }
        match text.split_once('/')? {
            ("tenant", tenant) => TenantId::parse(tenant).ok().map(Self::Tenant),
            ("limit", place) => {
                let (class, partition) = place.split_once('/')?;
                let class = Class::parse(class)?;
                let partition = Partition(partition.parse().ok()?);
                Some(Self::Partition(PartitionId { class, partition }))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mode => f.write_str("mode"),
            Self::Partition(id) => write!(f, "limit/{}/{}", id.class, id.partition.0),
            Self::Tenant(tenant) => write!(f, "tenant/{tenant}"),
        }
    }
}

mod mode_name {
    use control::mode::Mode;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(mode: &Mode, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(mode.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Mode, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(from)?;
        Mode::parse(&name).ok_or_else(|| de::Error::custom("no mode of that name"))
    }
}
