//! Tenants, and what each of them asks of each partition.
//!
//! A thread finds a flow in a table of its own; only the first event of a tenant on a thread takes the
//! lock of the table that all share. A flow that nobody has asked for is forgotten, and so is every
//! thread's hold on it the next time it is met.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use control::gcra::Bucket;
use hashbrown::{DefaultHashBuilder, HashTable};
use parking_lot::Mutex;
use shared::config::{Contract, ControlConfig};
use shared::position::PartitionId;
use shared::tenant::TenantId;

use super::gate::Count;

/// The most flows; beyond it a tenant that is not known yet counts with all others like it.
const FLOWS_MAX: usize = 200_000;
/// The most that a thread remembers before it asks again.
const CACHED_MAX: usize = 100_000;
/// Control beyond this part of the contract is excess: otherwise it would be the way round every limit.
const CONTROL_SHARE: f64 = 0.05;
/// No contract.
const NONE: f64 = f64::NAN;

/// One tenant.
#[derive(Debug)]
pub(super) struct Tenant {
    /// Beyond it, 429.
    pub ceiling: Bucket,
    /// Within it, in contract.
    pub contract: Bucket,
    /// The same for class control.
    pub control: Bucket,
    /// This replica's part of it, events/s, as bits; NaN: none.
    contract_per_s: AtomicU64,
    /// All replicas together, events in 1,000 s; 0: none.
    ceiling_per_1000_s: AtomicU64,
}

/// What one tenant asks of one partition.
#[derive(Debug)]
pub(super) struct Flow {
    /// Where to.
    id: PartitionId,
    /// Whose, by name.
    name: TenantId,
    /// Whose.
    pub tenant: Arc<Tenant>,
    /// Asked for, events.
    pub offered: Count,
    /// The share of what is not in contract that is let in, of `u32::MAX`.
    keep: AtomicU32,
    /// It is forgotten: whoever holds it should ask again.
    retired: AtomicBool,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Flows {
    known: Mutex<Known>,
    /// Whoever there is no room for.
    stranger: Arc<Tenant>,
}

/// By name.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// What tenants have that are met for the first time.
    rules: Rules,
    pub tenants: HashMap<TenantId, Arc<Tenant>>,
    pub flows: HashMap<(PartitionId, TenantId), Arc<Flow>>,
}

/// Contracts and the replica's part of them, for tenants that come.
#[derive(Debug, Default)]
struct Rules {
    config: ControlConfig,
    replicas: usize,
}

impl Tenant {
    pub fn new(contract: Contract, share: f64) -> Self {
        let tenant = Self {
            ceiling: Bucket::new(None),
            contract: Bucket::new(None),
            control: Bucket::new(None),
            contract_per_s: AtomicU64::new(NONE.to_bits()),
            ceiling_per_1000_s: AtomicU64::new(0),
        };
        tenant.set(contract, share, share);
        tenant
    }

    /// Changes its rates in place: nothing is refilled. The shares are this replica's part of the
    /// contract and of the ceiling.
    pub fn set(&self, contract: Contract, contract_share: f64, ceiling_share: f64) {
        let own = contract.contract_per_s.map(|rate| rate * contract_share);
        self.ceiling.set_rate(contract.ceiling_per_s.map(|rate| rate * ceiling_share));
        self.contract.set_rate(own);
        self.control.set_rate(own.map(|rate| rate * CONTROL_SHARE));
        self.contract_per_s.store(own.unwrap_or(NONE).to_bits(), Ordering::Relaxed);
        let ceiling = contract.ceiling_per_s.map_or(0, |rate| ((rate * 1e3) as u64).max(1));
        self.ceiling_per_1000_s.store(ceiling, Ordering::Relaxed);
    }

    /// Whether something was promised to it.
    pub fn has_contract(&self) -> bool {
        self.contract_per_s().is_some()
    }

    /// This replica's part of its contract, events/s.
    pub fn contract_per_s(&self) -> Option<f64> {
        let own = f64::from_bits(self.contract_per_s.load(Ordering::Relaxed));
        (!own.is_nan()).then_some(own)
    }

    /// Whether its rates are divided among the replicas.
    pub fn is_bound(&self) -> bool {
        self.has_contract() || self.ceiling_per_1000_s() > 0
    }

    /// Its ceiling, all replicas together, events in 1,000 s.
    pub fn ceiling_per_1000_s(&self) -> u64 {
        self.ceiling_per_1000_s.load(Ordering::Relaxed)
    }
}

impl Flow {
    pub fn of(id: PartitionId, name: TenantId, tenant: Arc<Tenant>) -> Self {
        Self {
            id,
            name,
            tenant,
            offered: Count::default(),
            keep: AtomicU32::new(u32::MAX),
            retired: AtomicBool::new(false),
        }
    }

    /// Sets the share, in `[0, 1]`, of what is not in contract that is let in.
    pub fn set_keep(&self, share: f64) {
        self.keep.store((share * f64::from(u32::MAX)) as u32, Ordering::Relaxed);
    }

    /// Whether one more is let in.
    pub fn keeps(&self) -> bool {
        match self.keep.load(Ordering::Relaxed) {
            u32::MAX => true,
            share => rand::random::<u32>() < share,
        }
    }

    /// Tells its holders to ask again.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }
}

impl Flows {
    /// Nobody is known yet.
    pub fn new(config: &ControlConfig) -> Self {
        let rules = Rules { config: config.clone(), replicas: 1 };
        Self {
            known: Mutex::new(Known { rules, ..Known::default() }),
            stranger: Arc::new(Tenant::new(config.contract, 1.0)),
        }
    }

    /// Other contracts, for tenants that come; those that are there are [`super::steer`]'s.
    pub fn reload(&self, config: &ControlConfig) {
        let mut known = self.known.lock();
        known.rules.config = config.clone();
        let share = known.rules.share();
        self.stranger.set(config.contract, share, share);
    }

    /// How many replicas share the contracts of tenants that come.
    pub fn set_replicas(&self, replicas: usize) {
        self.known.lock().rules.replicas = replicas;
    }

    /// Looks at all of them.
    pub fn with<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.known.lock())
    }

    /// The flow, and whether a thread may keep it: whoever there is no room for asks again, and those with
    /// a contract of their own always find room.
    fn find(&self, id: PartitionId, tenant: TenantId) -> (Arc<Flow>, bool) {
        let Known { rules, tenants, flows } = &mut *self.known.lock();
        if let Some(flow) = flows.get(&(id, tenant)) {
            return (Arc::clone(flow), true);
        }
        if flows.len() >= FLOWS_MAX && !rules.config.contracts.contains_key(&tenant) {
            return (Arc::new(Flow::of(id, tenant, Arc::clone(&self.stranger))), false);
        }
        let whose = tenants.entry(tenant).or_insert_with(|| {
            Arc::new(Tenant::new(rules.config.contract(&tenant), rules.share()))
        });
        let flow = Arc::new(Flow::of(id, tenant, Arc::clone(whose)));
        flows.insert((id, tenant), Arc::clone(&flow));
        (flow, true)
    }
}

impl Rules {
    fn share(&self) -> f64 {
        1.0 / self.replicas.max(1) as f64
    }
}

/// A thread's hold on the flows that it serves. Found by what the flows say of themselves: one pointer
/// each, so that the table of 10,000 tenants stays in a core's own cache.
#[derive(Debug, Default)]
pub(crate) struct FlowCache(RefCell<Held>);

#[derive(Debug, Default)]
struct Held {
    flows: HashTable<Arc<Flow>>,
    hasher: DefaultHashBuilder,
}

impl FlowCache {
    /// Looks at a tenant's flow to a partition.
    pub(super) fn with<T>(
        &self,
        flows: &Flows,
        id: PartitionId,
        tenant: TenantId,
        look: impl FnOnce(&Flow) -> T,
    ) -> T {
        let held = &mut *self.0.borrow_mut();
        let hash = held.hasher.hash_one((id, tenant));
        let same = |flow: &Arc<Flow>| flow.id == id && flow.name == tenant;
        match held.flows.find(hash, same) {
            Some(flow) if !flow.retired.load(Ordering::Relaxed) => look(flow),
            Some(_) | None => {
                let (flow, kept) = flows.find(id, tenant);
                if kept {
                    held.keep(hash, &flow);
                }
                look(&flow)
            }
        }
    }
}

impl Held {
    /// In place of the one before it, if there is one.
    fn keep(&mut self, hash: u64, flow: &Arc<Flow>) {
        let Self { flows, hasher } = self;
        if flows.len() >= CACHED_MAX {
            flows.clear();
        }
        let same = |held: &Arc<Flow>| held.id == flow.id && held.name == flow.name;
        let hash_of = |held: &Arc<Flow>| hasher.hash_one((held.id, held.name));
        flows.entry(hash, same, hash_of).insert(Arc::clone(flow));
    }
}
