//! The control loop's configuration: profiles and budgets per class, contracts, modes.

use control::level::{Class as LoopClass, ShedOrder};
use control::mode::{Effect, Mode};
use control::profile::{Policy, Profile};

use crate::tenant::TenantId;

/// How load is limited.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlConfig {
    /// What a decision against an event does.
    pub enforcement: Enforcement,
    /// How each class is limited, by `class.index()`.
    pub policies: [Policy; 3],
    /// How much of a topic's retention may wait there before it counts as full.
    pub retention_share: f64,
    /// What one writer is expected to do, events/s, until it is measured.
    pub unit_per_s: f64,
    /// What is given up first.
    pub shed_order: ShedOrder,
    /// What every tenant has that is not named.
    pub contract: Contract,
    /// What named tenants have.
    pub contracts: Vec<(TenantId, Contract)>,
    /// Whether modes are entered by rule; pins work always.
    pub automatic_modes: bool,
    /// What each mode admits, by `mode as usize`.
    pub modes: [Effect; 4],
    /// What read-only keeps.
    pub essential: Essential,
}

/// What a decision against an event does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enforcement {
    /// It is refused.
    #[default]
    Enforce,
    /// It is counted, and let in.
    Shadow,
    /// No decision is made.
    Off,
}

/// What a tenant may count on, and what it may not exceed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Contract {
    /// Events/s in contract. None: as much as is fair at the moment.
    pub contract_per_s: Option<f64>,
    /// Events/s at most; beyond it 429. None: no such bound.
    pub ceiling_per_s: Option<f64>,
}

/// What is essential: either is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Essential {
    /// Types, or beginnings of types with `*`.
    pub types: Vec<String>,
    /// Tenants.
    pub tenants: Vec<TenantId>,
}

impl Default for ControlConfig {
    fn default() -> Self {
        Self {
            enforcement: Enforcement::Enforce,
            policies: LoopClass::ALL.map(|class| Profile::Absorb.policy(class)),
            retention_share: 0.5,
            unit_per_s: 20_000.0,
            shed_order: ShedOrder::default(),
            contract: Contract::default(),
            contracts: Vec::new(),
            automatic_modes: true,
            modes: Mode::ALL.map(Mode::effect),
            essential: Essential::default(),
        }
    }
}

impl ControlConfig {
    /// What a tenant has.
    pub fn contract(&self, tenant: &TenantId) -> Contract {
        let own = self.contracts.iter().find(|(named, _)| named == tenant);
        own.map_or(self.contract, |(_, contract)| *contract)
    }
}
