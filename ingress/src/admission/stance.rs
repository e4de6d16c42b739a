//! How it is decided at the moment: the mode, what it admits, and whether refusals are meant.

use control::level::{Class as LoopClass, Level, ShedOrder};
use control::mode::{Effect, Mode};
use serde_json::json;
use shared::config::{ControlConfig, Enforcement, Essential};
use shared::position::Class;
use shared::route::{Router, matched};
use shared::tenant::TenantId;

use crate::grant::Grant;
use crate::reject::Reject;

/// Whoever meets a mode should come back after this long, s: modes are left after half a minute at
/// the earliest.
const MODE_AFTER_S: u32 = 30;

/// What is in effect for every decision.
#[derive(Debug)]
pub(super) struct Stance {
    /// Whether a refusal is meant.
    pub enforcement: Enforcement,
    /// What is given up first.
    pub shed_order: ShedOrder,
    /// The mode.
    pub mode: Mode,
    /// What it admits.
    pub effect: Effect,
    essential: Essential,
}

impl Stance {
    /// Of a configuration, in a mode.
    pub fn new(config: &ControlConfig, mode: Mode) -> Self {
        Self {
            enforcement: config.enforcement,
            shed_order: config.shed_order,
            mode,
            effect: config.modes[mode as usize],
            essential: config.essential.clone(),
        }
    }

    /// Whether read-only keeps it.
    pub fn is_essential(&self, event_type: &str, tenant: &TenantId) -> bool {
        let Essential { types, tenants } = &self.essential;
        tenants.contains(tenant) || types.iter().any(|one| matched(one, event_type).is_some())
    }

    /// Whether a sender can write nothing that read-only keeps, as far as its rights tell: class
    /// control is kept, too.
    pub fn nothing_essential_in(&self, grant: &Grant, router: &Router) -> bool {
        self.essential.types.is_empty()
            && !grant.may_write_for(&self.essential.tenants)
            && !grant.may_write_class(Class::Control, router)
    }

    /// The mode and what it admits, as JSON.
    pub fn describe(&self) -> String {
        let Effect { closed_from, last_level_share, limit_factor, essential_only } = self.effect;
        let open = closed_from.map_or(Level::COUNT, Level::index);
        json!({
            "mode": self.mode.name(),
            "levels_open": open,
            "last_level_share": last_level_share,
            "limit_factor": limit_factor,
            "essential_only": essential_only,
        })
        .to_string()
    }

    /// The refusal of a mode.
    pub fn closed(&self) -> Reject {
        Reject::ModeClosed { mode: self.mode.name(), after_s: MODE_AFTER_S }
    }
}

/// Whether a class passes whatever the mode keeps.
pub(super) fn passes_always(class: LoopClass) -> bool {
    class == LoopClass::Control
}
