//! Tells everybody what the writers of this process measure: every 250 ms, and at once where a capacity
//! has moved by a fifth. Decides nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use shared::plane::Plane;
use shared::plane::message::{Live, PartitionReport, Report};
use tokio::time::MissedTickBehavior;

use super::gauge::Reading;
use crate::worker::Shared;

/// Between two reports.
const PERIOD: Duration = Duration::from_millis(250);
/// What moves together is told together.
const GATHER: Duration = Duration::from_millis(20);

/// Reports for as long as the process lives.
pub async fn run(shared: Arc<Shared>, plane: Plane) -> Infallible {
    let mut tick = tokio::time::interval(PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silent = true;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = shared.load.gauges.moved() => {
                tokio::time::sleep(GATHER).await;
                tick.reset();
            }
        }
        let report = measured(&shared);
        // That nothing is ours any more is said once.
        let was_silent = std::mem::replace(&mut silent, report.partitions.is_empty());
        if silent && was_silent {
            continue;
        }
        plane.publish(Live::Report(report));
        shared.metrics.load.published.with_label_values(&["report"]).inc();
    }
}

fn measured(shared: &Shared) -> Report {
    let (now, time) = (shared.load.gauges.now(), shared.clock.now());
    let gauges = shared.load.gauges.all();
    let partitions = gauges.iter().filter_map(|gauge| {
        let reading = gauge.read(now, time)?;
        gauge.told(reading.capacity_per_s);
        Some(told(&reading))
    });
    Report { partitions: partitions.collect() }
}

fn told(reading: &Reading) -> PartitionReport {
    PartitionReport {
        place: reading.id.into(),
        epoch: reading.epoch,
        flow: reading.flow,
        backlog: reading.backlog,
        age_s: reading.age_s,
        capacity_per_s: reading.capacity_per_s,
        arrived_per_s: reading.arrived_per_s,
        applied_per_s: reading.applied_per_s,
        downstream_p99_s: reading.downstream_p99_s,
        // Retention is by bytes and time, a backlog is in records: neither log says how many fit.
        room: None,
    }
}
