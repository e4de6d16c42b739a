//! What was heard on the control plane, as far as an owner needs it: what replicas are asked for, what
//! other owners have said of limits and of shares.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::number::amount;
use shared::plane::message::{Demand, Limits, Live, PartitionLimit};
use shared::plane::{self};
use shared::position::{Class, PartitionId};

use super::shares::SHARE_TTL_S;

/// A replica that has said nothing for so long is gone.
const DEMAND_TTL: Duration = Duration::from_secs(3);
/// A limit of a former owner is worth taking over for so long: a rebalance and a claim.
const LIMIT_TTL: Duration = Duration::from_secs(60);
/// The most replicas that are listened to; more are ignored until some are silent.
const REPLICAS_MAX: usize = 1_024;

/// What is asked for on one partition, all replicas together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Asked {
    /// Events/s, refused ones included.
    pub offered_per_s: f64,
    /// Events/s let in.
    pub admitted_per_s: f64,
}

/// The last word of the owner before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Before {
    /// How old it is.
    pub ago: Duration,
    /// Its limit; none: no limit.
    pub limit_per_s: Option<f64>,
    /// What the wait was held to, with what outages had left.
    pub setpoint_s: f64,
}

/// The newest of every kind, from everybody.
#[derive(Debug, Default)]
pub struct Heard {
    demands: HashMap<Arc<str>, (Instant, Demand)>,
    limits: HashMap<PartitionId, (Instant, PartitionLimit)>,
    /// The longest way of one of our limits to its use, since it was asked for.
    applied_after_s: Option<f64>,
}

impl Heard {
    /// Takes in a word. `us` is our own name.
    pub fn hear(&mut self, word: &plane::Heard, us: &str) {
        let sent = word.at.checked_sub(word.age).unwrap_or(word.at);
        match &word.live {
            Live::Report(_) => {}
            Live::Demand(demand) => self.demand(&word.from, sent, demand, us),
            Live::Limits(limits) => self.limits(sent, limits),
        }
    }

    /// Forgets what is too old to matter.
    pub fn forget(&mut self, now: Instant) {
        self.demands.retain(|_, (at, _)| now.saturating_duration_since(*at) <= DEMAND_TTL);
        self.limits.retain(|_, (at, _)| now.saturating_duration_since(*at) <= LIMIT_TTL);
    }

    /// What is asked for; `None` where no replica is heard.
    pub fn asked(&self, id: PartitionId) -> Option<Asked> {
        if self.demands.is_empty() {
            return None;
        }
        let all = self.demands.values().flat_map(|(_, demand)| &demand.partitions);
        let its = all.filter(|one| PartitionId::from(one.place) == id);
        Some(its.fold(Asked::default(), |sum, one| Asked {
            offered_per_s: sum.offered_per_s + amount(one.offered_per_s, 0.0),
            admitted_per_s: sum.admitted_per_s + amount(one.admitted_per_s, 0.0),
        }))
    }

    /// p99 of the slowest replica's answers, s.
    pub fn ingress_p99_s(&self) -> f64 {
        let all = self.demands.values().map(|(_, demand)| amount(demand.p99_s, 0.0));
        all.fold(0.0, f64::max)
    }

    /// How long our limits took to their use, by the slowest replica that has said so since the last
    /// question.
    pub fn applied_after_s(&mut self) -> Option<f64> {
        self.applied_after_s.take()
    }

    /// What an owner before `epoch` has said of this partition last, in the last minute.
    pub fn before(&self, id: PartitionId, epoch: u64, now: Instant) -> Option<Before> {
        let (at, said) = self.limits.get(&id).filter(|(_, said)| said.epoch < epoch)?;
        Some(Before {
            ago: now.saturating_duration_since(*at),
            limit_per_s: said.limit_per_s.map(|limit| amount(limit, 0.0)),
            setpoint_s: amount(said.setpoint_s, 0.0),
        })
    }

    /// The smallest shares that anybody's waiting partitions leave to the classes below, by
    /// `class.index()`.
    pub fn shares(&self, now: Instant) -> [f64; Class::ALL.len()] {
        let fresh = |at: &Instant| now.saturating_duration_since(*at).as_secs_f64() <= SHARE_TTL_S;
        let mut shares = [1.0; Class::ALL.len()];
        for (id, (_, said)) in self.limits.iter().filter(|(_, (at, _))| fresh(at)) {
            give_way(&mut shares, id.class, said.lower_classes_share);
        }
        shares
    }

    fn demand(&mut self, from: &Arc<str>, sent: Instant, demand: &Demand, us: &str) {
        for way in demand.applied.iter().filter(|way| way.owner == us) {
            let after_s = amount(way.after_s, 0.0);
            self.applied_after_s = Some(self.applied_after_s.map_or(after_s, |s| s.max(after_s)));
        }
        if self.demands.len() < REPLICAS_MAX || self.demands.contains_key(from) {
            self.demands.insert(Arc::clone(from), (sent, demand.clone()));
        }
    }

    fn limits(&mut self, sent: Instant, limits: &Limits) {
        for said in &limits.partitions {
            let newest = self.limits.get(&said.place.into());
            // Nobody who owns a partition is silent for so long: then any epoch counts again, or one
            // wrong number would be the last word.
            let is_newer = |(at, last): &(Instant, PartitionLimit)| {
                (said.epoch, said.seq) > (last.epoch, last.seq)
                    || sent.saturating_duration_since(*at).as_secs_f64() > SHARE_TTL_S
            };
            if newest.is_none_or(is_newer) {
                self.limits.insert(said.place.into(), (sent, *said));
            }
        }
    }
}

/// Lowers the shares of the classes below `class` to `share`.
pub fn give_way(shares: &mut [f64; Class::ALL.len()], class: Class, share: f64) {
    if share.is_finite() {
        for below in &mut shares[class.index() + 1..] {
            *below = below.min(share);
        }
    }
}

#[cfg(test)]
mod tests;
