//! The words of `control.live`: JSON, versioned, one record each. This is their specification.
//!
//! ```json
//! {"v":1,"from":"consumer-0","at_ms":1790000000000,"kind":"report","partitions":[…]}
//! ```
//!
//! `v` is the version: a listener ignores another one. `kind` is `report` (a consumer, every 250 ms,
//! and at once where a capacity has moved by a fifth), `limits` (the owner of partitions, every 500 ms)
//! or `demand` (an ingress replica, every 500 ms). Members that are not known are ignored; a member
//! that is missing, `null` or of another type makes the record malformed, and it changes nothing.

use control::outage::Flow;
use control::tick::Reason;
use serde::{Deserialize, Serialize};

use crate::position::{Class, Partition, PartitionId};

/// The version that this build writes and understands.
pub const VERSION: u16 = control::accept::VERSION;

/// A word of one process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Live {
    /// What a consumer has measured.
    Report(Report),
    /// What the owner of partitions allows.
    Limits(Limits),
    /// What an ingress replica is asked for.
    Demand(Demand),
}

impl Live {
    /// Its kind's name in records and metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Report(_) => "report",
            Self::Limits(_) => "limits",
            Self::Demand(_) => "demand",
        }
    }
}

/// No rate, events/s, and no other number of a word is larger: seconds, or a factor.
pub(super) const NUMBER_MAX: f64 = 1e8;
/// No backlog is larger, records.
const BACKLOG_MAX: u64 = 1_000_000_000_000;

impl Live {
    /// Whether a process can have measured that: anybody who may write to the topic may have made it up.
    pub(crate) fn is_plausible(&self) -> bool {
        let amount = |number: f64| (0.0..=NUMBER_MAX).contains(&number);
        match self {
            Self::Report(report) => report.partitions.iter().all(|one| {
                let rates = [one.age_s, one.capacity_per_s, one.arrived_per_s, one.applied_per_s];
                one.backlog <= BACKLOG_MAX
                    && rates.into_iter().all(amount)
                    && amount(one.downstream_p99_s)
                    && one.room.is_none_or(|room| room >= 0.0)
            }),
            // A limit itself is `control::accept`'s.
            Self::Limits(limits) => limits.partitions.iter().all(|one| {
                let seconds = [one.signal_s, one.setpoint_s, one.drain_s];
                seconds.into_iter().all(amount)
                    && amount(one.capacity_per_s)
                    && (0.0..=1.0).contains(&one.lower_classes_share)
            }),
            Self::Demand(demand) => {
                let partitions = &demand.partitions;
                partitions.iter().all(|one| amount(one.offered_per_s) && amount(one.admitted_per_s))
                    && demand.tenants.iter().all(|one| amount(one.offered_per_s))
                    && demand.applied.iter().all(|one| amount(one.after_s))
                    && amount(demand.p99_s)
            }
        }
    }
}

/// Where a word belongs to; `{"class":"telemetry","partition":7}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    #[serde(with = "class_name")]
    class: Class,
    partition: u32,
}

impl From<PartitionId> for Place {
    fn from(id: PartitionId) -> Self {
        Self { class: id.class, partition: id.partition.0 }
    }
}

impl From<Place> for PartitionId {
    fn from(place: Place) -> Self {
        Self { class: place.class, partition: Partition(place.partition) }
    }
}

/// Measured by the writers of one consumer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// All partitions that it owns.
    pub partitions: Vec<PartitionReport>,
}

/// One partition's figures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartitionReport {
    /// Which.
    #[serde(flatten)]
    pub place: Place,
    /// The writer's fencing epoch.
    pub epoch: u64,
    /// Whether its capacity can be measured.
    #[serde(with = "flow_name")]
    pub flow: Flow,
    /// Records that wait.
    pub backlog: u64,
    /// Age of the oldest of them, s.
    pub age_s: f64,
    /// Measured capacity, events/s.
    pub capacity_per_s: f64,
    /// What came into the partition, events/s.
    pub arrived_per_s: f64,
    /// What was applied, events/s.
    pub applied_per_s: f64,
    /// p99 of the database's answers to batches, s.
    pub downstream_p99_s: f64,
    /// Records that the log still takes before its retention drops what is not applied; none: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<f64>,
}

/// What an owner allows on its partitions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Those it owns.
    pub partitions: Vec<PartitionLimit>,
}

/// One limit and how it came about.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartitionLimit {
    /// Whose.
    #[serde(flatten)]
    pub place: Place,
    /// The owner's fencing epoch.
    pub epoch: u64,
    /// Counts the owner's limits on this partition.
    pub seq: u64,
    /// Events/s of all replicas together. Absent: no limit; `null` is malformed, because that is how a
    /// number that is none would be written.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number")]
    pub limit_per_s: Option<f64>,
    /// Why.
    #[serde(with = "reason_name")]
    pub reason: Reason,
    /// What is held at the setpoint, s.
    pub signal_s: f64,
    /// The setpoint, s.
    pub setpoint_s: f64,
    /// Backlog over capacity, s.
    pub drain_s: f64,
    /// Capacity that the limit is made of, events/s.
    pub capacity_per_s: f64,
    /// Proportional term.
    pub p: f64,
    /// Integral term.
    pub i: f64,
    /// Derivative term.
    pub d: f64,
    /// The factor on capacity.
    pub u: f64,
    /// What share of its capacity telemetry of the same shard may use while this partition waits.
    pub lower_classes_share: f64,
}

/// What one ingress replica is asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Demand {
    /// Partitions that something was asked for.
    pub partitions: Vec<PartitionDemand>,
    /// Tenants with a contract, those that ask for the most first; at most [`TENANTS_MAX`].
    pub tenants: Vec<TenantDemand>,
    /// How long ago each owner's newest limits were sent when they were applied here.
    pub applied: Vec<Applied>,
    /// p99 of the answers, s.
    pub p99_s: f64,
}

/// The most tenants in one demand.
pub const TENANTS_MAX: usize = 64;

/// Of one partition, events/s.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartitionDemand {
    /// Which.
    #[serde(flatten)]
    pub place: Place,
    /// Asked for, refused ones included.
    pub offered_per_s: f64,
    /// Let in.
    pub admitted_per_s: f64,
}

/// Of one tenant, events/s.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TenantDemand {
    /// Which.
    pub tenant: String,
    /// Asked for.
    pub offered_per_s: f64,
}

/// A limit's way to its use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    /// Whose limits.
    pub owner: String,
    /// From their sending to their use, s.
    pub after_s: f64,
}

/// A record of `control.live`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Envelope {
    /// The version.
    pub v: u16,
    /// Who says it.
    pub from: String,
    /// When, by the sender's clock.
    pub at_ms: i64,
    /// What.
    #[serde(flatten)]
    pub live: Live,
}

/// A number that must not be `null` where it is there.
fn number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    f64::deserialize(deserializer).map(Some)
}

mod class_name {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    use crate::position::Class;

    pub(super) fn serialize<S: Serializer>(class: &Class, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(class.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Class, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(from)?;
        Class::parse(&name).ok_or_else(|| de::Error::custom("no class of that name"))
    }
}

mod flow_name {
    use control::outage::Flow;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    const NAMES: [(Flow, &str); 3] = [
        (Flow::Running, "running"),
        (Flow::StoreGone, "store_gone"),
        (Flow::OwnerGone, "owner_gone"),
    ];

    pub(super) fn serialize<S: Serializer>(flow: &Flow, to: S) -> Result<S::Ok, S::Error> {
        let named = NAMES.iter().find(|(one, _)| one == flow);
        to.serialize_str(named.map_or("running", |(_, name)| name))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Flow, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(from)?;
        let named = NAMES.iter().find(|(_, one)| *one == name);
        named.map(|(flow, _)| *flow).ok_or_else(|| de::Error::custom("no flow of that name"))
    }
}

mod reason_name {
    use control::tick::Reason;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(reason: &Reason, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(reason.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Reason, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(from)?;
        Reason::parse(&name).ok_or_else(|| de::Error::custom("no reason of that name"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(limit_per_s: Option<f64>) -> PartitionLimit {
        PartitionLimit {
            place: PartitionId { class: Class::Telemetry, partition: Partition(7) }.into(),
            epoch: 3,
            seq: 9,
            limit_per_s,
            reason: Reason::Limiting,
            signal_s: 0.5,
            setpoint_s: 0.4,
            drain_s: 0.5,
            capacity_per_s: 1_000.0,
            p: -0.05,
            i: 0.0,
            d: 0.0,
            u: 0.95,
            lower_classes_share: 1.0,
        }
    }

    #[test]
    fn words_come_back_as_they_went() {
        for limit_per_s in [Some(950.0), None] {
            let live = Live::Limits(Limits { partitions: vec![limit(limit_per_s)] });
            let sent = Envelope { v: VERSION, from: "a".to_owned(), at_ms: 1, live };
            let text = serde_json::to_string(&sent).expect("written");
            let heard: Envelope = serde_json::from_str(&text).expect("read");
            assert_eq!(heard.live, sent.live);
            assert!(text.contains(r#""kind":"limits","partitions":[{"class":"telemetry","#));
        }
    }

    #[test]
    fn a_number_that_is_none_is_no_missing_limit() {
        let live = Live::Limits(Limits { partitions: vec![limit(Some(f64::NAN))] });
        let text = serde_json::to_string(&live).expect("written");
        assert!(text.contains(r#""limit_per_s":null"#));
        serde_json::from_str::<Live>(&text).expect_err("malformed");
    }
}
