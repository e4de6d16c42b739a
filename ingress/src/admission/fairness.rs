//! Each tenant's fair part of each partition's limit: weighted max-min, ten times a second.
//!
//! Contracts come first: what is asked within them is taken off the limit, and the rest is divided
//! among the others' demand and what is beyond contracts (`control::fair`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::fair::{Alpha, Demand};
use control::number::weight;
use shared::config::ControlConfig;
use shared::position::{Class, PartitionId};
use shared::tenant::TenantId;

use super::flows::{Flow, Flows, Known};

/// Rates are smoothed over so long, s: a burst is answered by the bucket, a habit by the fair part.
const RATE_OVER_S: f64 = 0.5;
/// So much more is kept than there is room for: what is drawn at random comes unevenly, and the bucket has
/// the last word.
const FILL: f64 = 1.05;
/// A tenant that has asked for nothing for so long is forgotten.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Where no partition is limited, rates are taken this often.
const CALM_EVERY: Duration = Duration::from_millis(500);

/// One flow's rate.
#[derive(Clone, Copy, Debug)]
struct Asked {
    count: u64,
    per_s: f64,
    changed: Instant,
}

/// What is known of all flows.
#[derive(Debug)]
pub(super) struct Fairness {
    flows: HashMap<(PartitionId, TenantId), Asked>,
    tenants: HashMap<TenantId, f64>,
    stepped: Instant,
    /// Some flow may have less than everything.
    divided: bool,
}

impl Fairness {
    /// Nobody has asked.
    pub fn new(now: Instant) -> Self {
        Self { flows: HashMap::new(), tenants: HashMap::new(), stepped: now, divided: false }
    }

    /// What a tenant asks of this replica, events/s.
    pub fn tenant_per_s(&self, tenant: &TenantId) -> f64 {
        self.tenants.get(tenant).copied().unwrap_or(0.0)
    }

    /// How many there are.
    pub fn tenants(&self) -> usize {
        self.tenants.len()
    }

    /// Those with a contract or a ceiling that ask for the most.
    pub fn busiest(&self, flows: &Flows, most: usize) -> Vec<(TenantId, f64)> {
        let mut bound: Vec<(TenantId, f64)> = flows.with(|known| {
            let of = |tenant: &TenantId| (*tenant, self.tenant_per_s(tenant));
            let bound = known.tenants.iter().filter(|(_, tenant)| tenant.is_bound());
            bound.map(|(name, _)| of(name)).filter(|(_, rate)| *rate > 0.0).collect()
        });
        bound.sort_unstable_by(|a, b| b.1.total_cmp(&a.1));
        bound.truncate(most);
        bound
    }

    /// Takes the rates, divides each limit. `limit`: what this replica may let into a partition,
    /// events/s.
    pub fn step(
        &mut self,
        flows: &Flows,
        config: &ControlConfig,
        limit: impl Fn(PartitionId) -> Option<f64>,
        now: Instant,
    ) {
        let since = now.saturating_duration_since(self.stepped);
        let known: Vec<(PartitionId, TenantId, Arc<Flow>)> = flows
            .with(|known| {
                let calm = !self.divided && known.flows.keys().all(|(id, _)| limit(*id).is_none());
                if calm && since < CALM_EVERY {
                    return None;
                }
                Some(
                    known
                        .flows
                        .iter()
                        .map(|((id, name), flow)| (*id, *name, Arc::clone(flow)))
                        .collect(),
                )
            })
            .unwrap_or_default();
        if known.is_empty() {
            return;
        }
        self.stepped = now;
        self.take_rates(&known, since.as_secs_f64(), now);
        self.divide(&known, config, limit);
        flows.with(|known| self.forget(known, now));
    }

    fn take_rates(
        &mut self,
        known: &[(PartitionId, TenantId, Arc<Flow>)],
        dt_s: f64,
        now: Instant,
    ) {
        self.tenants.clear();
        for (id, tenant, flow) in known {
            let count = flow.offered.get();
            let fresh = Asked { count: 0, per_s: 0.0, changed: now };
            let asked = self.flows.entry((*id, *tenant)).or_insert(fresh);
            let new = count.saturating_sub(asked.count);
            if new > 0 {
                asked.changed = now;
            }
            asked.count = count;
            if dt_s > 0.0 {
                asked.per_s += weight(dt_s, RATE_OVER_S) * (new as f64 / dt_s - asked.per_s);
            }
            *self.tenants.entry(*tenant).or_default() += asked.per_s;
        }
    }

    fn divide(
        &mut self,
        known: &[(PartitionId, TenantId, Arc<Flow>)],
        config: &ControlConfig,
        limit: impl Fn(PartitionId) -> Option<f64>,
    ) {
        let weight_of_none = smallest_contract(config);
        let mut parties: HashMap<PartitionId, Vec<(Demand, &Flow)>> = HashMap::new();
        let mut left: HashMap<PartitionId, f64> = HashMap::new();
        let mut divided = false;
        for (id, tenant, flow) in known {
            let Some(limit) = limit(*id).filter(|_| id.class != Class::Control) else {
                flow.set_keep(1.0);
                continue;
            };
            divided = true;
            let rate = self.flows.get(&(*id, *tenant)).map_or(0.0, |asked| asked.per_s);
            let all = self.tenant_per_s(tenant).max(rate);
            // A contract covers all of a tenant's partitions, in proportion to what it asks of each.
            let covered = flow
                .tenant
                .contract_per_s()
                .map(|contract| if all > 0.0 { contract * rate / all } else { contract });
            let in_contract = covered.map_or(0.0, |contract| rate.min(contract));
            *left.entry(*id).or_insert(limit) -= in_contract;
            let weight = covered.unwrap_or(weight_of_none);
            let demand = Demand { demand: rate - in_contract, weight };
            parties.entry(*id).or_default().push((demand, flow));
        }
        for (id, parties) in parties {
            let mut demands: Vec<Demand> = parties.iter().map(|(demand, _)| *demand).collect();
            let alpha = Alpha::of(&mut demands, left.get(&id).copied().unwrap_or(0.0) * FILL);
            for (demand, flow) in parties {
                flow.set_keep(alpha.keeps(demand));
            }
        }
        self.divided = divided;
    }

    fn forget(&mut self, known: &mut Known, now: Instant) {
        let idle = |asked: &Asked| now.saturating_duration_since(asked.changed) > IDLE_MAX;
        let gone: Vec<_> =
            self.flows.iter().filter(|(_, asked)| idle(asked)).map(|(key, _)| *key).collect();
        if gone.is_empty() {
            return;
        }
        for key in gone {
            self.flows.remove(&key);
            if let Some(flow) = known.flows.remove(&key) {
                flow.retire();
            }
        }
        let busy: HashSet<TenantId> = known.flows.keys().map(|(_, tenant)| *tenant).collect();
        known.tenants.retain(|tenant, _| busy.contains(tenant));
    }
}

/// A tenant without a contract weighs as much as the smallest one.
fn smallest_contract(config: &ControlConfig) -> f64 {
    let all = config.contracts.values().chain([&config.contract]);
    let smallest = all.filter_map(|one| one.contract_per_s).fold(f64::INFINITY, f64::min);
    if smallest.is_finite() { smallest.max(1.0) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use shared::config::Contract;
    use shared::position::Partition;

    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).expect("a valid name")
    }

    fn place(class: Class, partition: u32) -> PartitionId {
        PartitionId { class, partition: Partition(partition) }
    }

    /// Tenants that ask for so much of a partition that is limited to so much: which share of what is
    /// not in contract each keeps, measured by a thousand draws.
    fn kept(
        config: &ControlConfig,
        asked: &[(&str, f64)],
        limit: Option<f64>,
        class: Class,
    ) -> Vec<f64> {
        let cache = super::super::flows::FlowCache::default();
        let flows = Flows::new(config);
        let id = place(class, 0);
        let begun = Instant::now();
        let mut fairness = Fairness::new(begun);
        for step in 1..=50 {
            for (name, per_s) in asked {
                let asked = (per_s / 10.0) as u32;
                cache.with(&flows, id, tenant(name), |flow| flow.offered.add(asked));
            }
            let now = begun + Duration::from_millis(100 * step);
            fairness.step(&flows, config, |_| limit, now);
        }
        let share = |name: &str| {
            let draws = |flow: &Flow| (0..1_000).filter(|_| flow.keeps()).count();
            cache.with(&flows, id, tenant(name), draws) as f64 / 1_000.0
        };
        asked.iter().map(|(name, _)| share(name)).collect()
    }

    #[test]
    fn without_contracts_a_greedy_tenant_takes_nobody_s_part() {
        let config = ControlConfig::default();
        let asked = [("a", 9_000.0), ("b", 300.0), ("c", 300.0)];
        let all = kept(&config, &asked, None, Class::Transactional);
        assert_eq!(all, [1.0; 3]);
        let all = kept(&config, &asked, Some(2_000.0), Class::Transactional);
        assert_eq!(all[1..], [1.0; 2]);
        assert!((0.1..0.21).contains(&all[0]), "1,400 of 9,000: {all:?}");
        let all = kept(&config, &asked, Some(2_000.0), Class::Control);
        assert_eq!(all, [1.0; 3], "control is not divided");
    }

    #[test]
    fn contracts_come_first_and_weigh() {
        let contract = |rate| Contract { contract_per_s: Some(rate), ceiling_per_s: None };
        let config = ControlConfig {
            contracts: HashMap::from([
                (tenant("a"), contract(1_000.0)),
                (tenant("b"), contract(100.0)),
            ]),
            ..ControlConfig::default()
        };
        // 1,100 in contract; of what is left, 1,100, a and b have ten parts and one.
        let asked = [("a", 3_000.0), ("b", 3_000.0)];
        let all = kept(&config, &asked, Some(2_200.0), Class::Transactional);
        assert!((0.42..0.58).contains(&all[0]), "1,000 of 2,000: {all:?}");
        assert!((0.01..0.08).contains(&all[1]), "100 of 2,900: {all:?}");
    }

    #[test]
    fn whoever_is_silent_is_forgotten_and_comes_back() {
        let (config, begun) = (ControlConfig::default(), Instant::now());
        let (cache, flows) = (super::super::flows::FlowCache::default(), Flows::new(&config));
        let mut fairness = Fairness::new(begun);
        let id = place(Class::Telemetry, 0);
        let asked = |events| {
            cache.with(&flows, id, tenant("a"), |flow| {
                flow.offered.add(events);
                flow.offered.get()
            })
        };
        assert_eq!((asked(1), asked(1)), (1, 2));
        for seconds in [1, 62, 63] {
            fairness.step(&flows, &config, |_| Some(1.0), begun + Duration::from_secs(seconds));
        }
        assert_eq!(flows.with(|known| (known.flows.len(), known.tenants.len())), (0, 0));
        assert_eq!(asked(1), 1, "another one, although the thread has held it");
        assert_eq!(flows.with(|known| known.flows.len()), 1);
    }
}
