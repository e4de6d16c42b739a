//! How many consumers there should be, by offered load and backlog.

use std::collections::BTreeMap;
use std::time::Instant;

use control::scale::{Load, ScaleConfig, Scaler};
use control::time::Nanos;
use shared::position::PartitionId;

use super::seat::Seat;

/// The rule.
#[derive(Debug)]
pub(super) struct Wanted {
    scaler: Scaler,
    unit_per_s: f64,
    /// Consumers when some were heard last.
    owners: u32,
}

impl Wanted {
    /// At most one consumer a partition.
    pub fn new(partitions: usize, unit_per_s: f64) -> Self {
        let consumers_max = u32::try_from(partitions.max(1)).unwrap_or(u32::MAX);
        let scaler = Scaler::new(ScaleConfig { consumers_max, ..ScaleConfig::default() });
        Self { scaler, unit_per_s, owners: 0 }
    }

    /// How many. `offered_per_s`: asked of all replicas; `owners`: consumers that are heard.
    pub fn step(
        &mut self,
        seats: &BTreeMap<PartitionId, Seat>,
        offered_per_s: f64,
        owners: usize,
        at: Nanos,
        now: Instant,
    ) -> u32 {
        let reports = || seats.values().filter_map(|seat| seat.report(now));
        let (count, capacity) =
            reports().fold((0.0, 0.0), |(count, sum), one| (count + 1.0, sum + one.capacity_per_s));
        if count > 0.0 {
            self.unit_per_s = capacity / count;
        }
        // That nobody is heard is an outage, and no word on how many there should be.
        if owners > 0 {
            self.owners = u32::try_from(owners).unwrap_or(u32::MAX);
        }
        let load = Load {
            offered_per_s,
            backlog: seats.values().map(|seat| seat.backlog(now)).sum(),
            unit_per_s: self.unit_per_s,
            processed_per_s: reports().map(|report| report.applied_per_s).sum(),
            ready: self.owners,
            ordered: self.owners,
        };
        self.scaler.step(&load, at)
    }
}
