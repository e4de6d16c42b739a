//! What a consumer holds in RAM while its writers are slow and everything that it may fetch ahead is
//! fetched.

use std::path::Path;
use std::time::{Duration, Instant};

use shared::position::Class;

use super::feed::Feed;
use super::scene::Scene;
use crate::bench::report::{Direction, Report};
use crate::services::Services;
use crate::wait::let_pass;

/// Partitions of each of the three classes, and bytes for each of them: more than a queue's bound, which
/// is 256 MiB over all partitions, and at least 1 MiB.
const SIZES: [(u32, u64); 2] = [(32, 4 << 20), (167, 5 << 18)];
/// The size of an event.
const EVENT_BYTES: usize = 4_096;
/// Memory that has not grown for so long is all of it.
const SETTLED: Duration = Duration::from_secs(5);
const DEADLINE: Duration = Duration::from_secs(90);
const MIB: f64 = 1_048_576.0;
const MOST_MIB: f64 = 512.0;

/// Measures each size with a process of its own.
pub async fn memory(dir: &Path, services: &Services, report: &mut Report) -> anyhow::Result<()> {
    for (each, bytes) in SIZES {
        let partitions = each * Class::ALL.len() as u32;
        let slow = ["consumer.rate_per_s_max=1"];
        let mut scene =
            Scene::new(dir, &format!("memory-{partitions}"), services, each, &slow).await?;
        for class in Class::ALL {
            let records = bytes / EVENT_BYTES as u64;
            scene.feed(class, records, |feed| Feed { bytes: EVENT_BYTES, ..feed }).await?;
        }
        scene.cluster.consumer_up(0).await?;
        let peak = settled(&scene).await?;
        let name = format!("memory at {partitions} partitions with full queues, the most");
        report.note_against(name, peak / MIB, "MiB", (Direction::AtMost, MOST_MIB));
        // Killed: it would wait for its writers' rate.
        scene.cluster.consumer_kill(0).await?;
        scene.cluster.stop().await?;
    }
    Ok(())
}

/// The most that the process has held when that grows no more.
async fn settled(scene: &Scene) -> anyhow::Result<f64> {
    let process = scene.cluster.consumer(0)?;
    let began = Instant::now();
    let (mut peak, mut grown) = (0.0, Instant::now());
    while grown.elapsed() < SETTLED && began.elapsed() < DEADLINE {
        let now = process.resident_bytes_peak()? as f64;
        if now > peak + MIB {
            (peak, grown) = (now, Instant::now());
        }
        let_pass(Duration::from_millis(200)).await;
    }
    Ok(peak)
}
