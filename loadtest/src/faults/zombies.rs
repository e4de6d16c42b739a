//! A consumer stands still (SIGSTOP) at a step for longer than a session in the group, another one takes
//! its partitions and goes on, then it wakes (SIGCONT) and finishes what it had begun.

use anyhow::Context;

use super::Place;
use super::scene::Scene;
use crate::verify::Findings;

/// What it has in hand when it stands still.
const STEPS: [&str; 4] = ["decoded", "sending", "committed", "retrying"];

pub async fn run(place: Place<'_>) -> anyhow::Result<Findings> {
    let events = place.scale.events;
    let mut scene = Scene::new(place, &[]).await?;
    for _ in 0..place.scale.rounds {
        for step in STEPS {
            asleep(&mut scene, step, events).await.with_context(|| format!("asleep at {step}"))?;
        }
    }
    scene.cluster.consumer_start(0).await?;
    scene.end().await
}

async fn asleep(scene: &mut Scene, step: &str, events: u64) -> anyhow::Result<()> {
    scene.start_failing(0, &format!("{step}=stop@2")).await?;
    scene.post(events).await?;
    scene.poison(4).await?;
    scene.post(events).await?;
    scene.cluster.consumer(0)?.stands_still().await?;
    scene.cluster.consumer_start(1).await?;
    // Everything is there only when the other one has taken over what the sleeper had.
    scene.settled().await.context("its successor")?;
    scene.cluster.consumer(0)?.resume()?;
    scene.post(events).await?;
    scene.poison(4).await?;
    scene.settled().await.context("after it woke")?;
    scene.cluster.consumer_stop(0).await?;
    scene.cluster.consumer_stop(1).await
}
