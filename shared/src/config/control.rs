//! The control loop's configuration: profiles and budgets per class, contracts, modes.

mod contracts;
mod read;
pub(super) mod relations;

use std::collections::HashMap;
use std::fmt;

use control::level::{Class as LoopClass, ShedOrder};
use control::mode::{Effect, Mode};
use control::profile::{Policy, Profile};

pub(super) use self::read::{control, derived, overflow_name};
use crate::tenant::TenantId;

/// How load is limited.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlConfig {
    /// What a decision against an event does.
    pub enforcement: Enforcement,
    /// What the policies start from.
    pub profile: Profile,
    /// How each class is limited, by `class.index()`.
    pub policies: [Policy; 3],
    /// The policies' gains are an operator's; otherwise they follow the measured dead time.
    pub gains_fixed: bool,
    /// How much of a topic's retention may wait there before it counts as full.
    pub retention_share: f64,
    /// What one writer is expected to do, events/s, until it is measured.
    pub unit_per_s: f64,
    /// What is given up first.
    pub shed_order: ShedOrder,
    /// What every tenant has that is not named.
    pub contract: Contract,
    /// What named tenants have.
    pub contracts: HashMap<TenantId, Contract>,
    /// Whether modes are entered by rule; pins work always.
    pub automatic_modes: bool,
    /// What each mode admits, by `mode as usize`.
    pub modes: [Effect; 4],
    /// What read-only keeps.
    pub essential: Essential,
    /// Told of each change of the mode.
    pub webhook_url: Option<WebhookUrl>,
    /// What an open breaker of a writer means to the ingress.
    pub breaker_ingress: BreakerIngress,
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

impl Enforcement {
    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
            Self::Off => "off",
        }
    }
}

/// What the ingress does for the partitions of a writer whose breaker is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BreakerIngress {
    /// An outage like any other: it is absorbed as the class's policy says.
    #[default]
    Absorb,
    /// Everything is refused until the breaker lets calls through again.
    Reject,
}

/// A URL whose path is often a token: never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl(String);

impl WebhookUrl {
    /// A URL that the configuration has checked.
    pub const fn new(url: String) -> Self {
        Self(url)
    }

    /// To call it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookUrl(secret)")
    }
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
            profile: Profile::default(),
            policies: LoopClass::ALL.map(|class| Profile::default().policy(class)),
            gains_fixed: false,
            retention_share: 0.5,
            unit_per_s: 20_000.0,
            shed_order: ShedOrder::default(),
            contract: Contract::default(),
            contracts: HashMap::new(),
            automatic_modes: true,
            modes: Mode::ALL.map(Mode::effect),
            essential: Essential::default(),
            webhook_url: None,
            breaker_ingress: BreakerIngress::default(),
        }
    }
}

impl ControlConfig {
    /// What a tenant has.
    pub fn contract(&self, tenant: &TenantId) -> Contract {
        self.contracts.get(tenant).copied().unwrap_or(self.contract)
    }
}
