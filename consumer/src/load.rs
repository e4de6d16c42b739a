//! What the writers measure of themselves, what is told about it, and what they obey.
//!
//! Each writer keeps a [`gauge`]: how fast it is when it has work, what waits, whether its database is
//! there. Two tasks look at the gauges and never at the writers: the [`reporter`] tells everybody what was
//! measured, the [`controller`] runs the loop of `control` for each partition and says the limits. Either
//! may die and is started again by [`keep`]; consumption goes on meanwhile. The other way round, writers
//! of a lower class go by the [`shares`] that partitions of a higher class leave them.
//!
//! Nothing here touches the database, and no record waits for the control plane.

mod answers;
pub mod controller;
pub mod gauge;
pub mod heard;
pub mod keep;
pub mod metrics;
pub mod reporter;
pub mod shares;

use shared::config::ConsumerConfig;

pub use self::gauge::{Gauge, Gauges};
pub use self::shares::Shares;

/// A batch of a writer with a rate lasts at most so long: it reports and stops promptly.
const CAPPED_BATCH_S: f64 = 0.25;

/// What the workers and the two tasks share.
#[derive(Debug)]
pub struct Load {
    /// What each writer measures.
    pub gauges: Gauges,
    /// What lower classes may use.
    pub shares: Shares,
}

impl Load {
    /// Nothing measured, nothing to obey.
    pub fn new(config: &ConsumerConfig) -> Self {
        Self { gauges: Gauges::new(config), shares: Shares::default() }
    }
}

/// The most records of one batch: fewer where the writer's rate would make a full one last too long.
pub fn batch_records_max(config: &ConsumerConfig) -> usize {
    let most = config.batch_records_max;
    config.rate_per_s_max.map_or(most, |rate| {
        let capped = f64::from(rate.get()) * CAPPED_BATCH_S;
        most.min(capped as usize).max(1)
    })
}

/// What one writer is expected to do, events/s: never more than it may.
pub fn unit_per_s(config: &ConsumerConfig) -> f64 {
    let rate = config.rate_per_s_max.map_or(f64::INFINITY, |rate| f64::from(rate.get()));
    config.control.unit_per_s.min(rate)
}
