//! What a process has in common with the others of its kind, and its place on the control plane.

use std::path::Path;
use std::sync::Arc;

use shared::Process;
use shared::clock::Clock;
use shared::health::Health;
use shared::log::kafka::KafkaConfig;
use shared::metrics::Registry;
use shared::plane::Plane;

use crate::exit::End;
use crate::secret::random_hex;

/// What keeps the replicas of one host apart, in bytes.
const SUFFIX_BYTES: usize = 3;

/// One whose control plane is on Kafka.
pub fn on_kafka(name: &str, kafka: &KafkaConfig) -> Result<Process, End> {
    let clock = Clock::System;
    let (health, registry) = (Health::new(clock.clone()), Arc::new(Registry::new()));
    let plane = Plane::kafka(name, kafka, clock.clone(), &health, &registry)
        .map_err(|error| End::Config(error.to_string()))?;
    Ok(Process { clock, health, registry, plane })
}

/// One that is everything, with what operators have set in its data directory.
pub fn in_directory(directory: &Path) -> Result<Process, End> {
    let clock = Clock::System;
    let (health, registry) = (Health::new(clock.clone()), Arc::new(Registry::new()));
    let plane = Plane::kept("dev", clock.clone(), directory, &registry)
        .map_err(|error| End::Unavailable(error.to_string()))?;
    Ok(Process { clock, health, registry, plane })
}

/// The name of one of several that need no names of their own: `ingress-HOST-1a2b3c`.
pub fn replica(kind: &str) -> anyhow::Result<String> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "host",
        host => host,
    };
    Ok(format!("{kind}-{host}-{}", random_hex::<SUFFIX_BYTES>()?))
}
