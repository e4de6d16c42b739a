//! What every long-running part of a process works with besides its own configuration.

use std::sync::Arc;

use crate::clock::Clock;
use crate::health::Health;
use crate::metrics::Registry;
use crate::plane::Plane;

/// One process's. All clones are one.
#[derive(Clone, Debug)]
pub struct Process {
    /// The time of day.
    pub clock: Clock,
    /// Whether it is alive and ready.
    pub health: Health,
    /// What it exports.
    pub registry: Arc<Registry>,
    /// What it tells others about load, and hears from them.
    pub plane: Plane,
}

impl Process {
    /// A process that is alone: the control plane does not reach beyond it.
    pub fn alone(clock: Clock) -> Self {
        Self {
            health: Health::new(clock.clone()),
            registry: Arc::new(Registry::new()),
            plane: Plane::local("here", clock.clone()),
            clock,
        }
    }
}
