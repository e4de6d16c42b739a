//! SIGKILL before and after each step: of a claim, a batch, a try of what is parked, a mark, the making
//! and dropping of buckets, an operator's move. A sound consumer then goes on where the dead one stood.

use std::time::Duration;

use anyhow::Context;
use shared::clock::Clock;

use super::Place;
use super::feed::{Feed, Stamp};
use super::scene::Scene;
use crate::verify::Findings;

/// Where, and at the how manieth time; in the order in which they come.
const STEPS: [(&str, u32); 16] = [
    ("claiming", 1),
    ("claimed", 1),
    ("started", 1),
    ("polled", 2),
    ("making_buckets", 1),
    ("made_buckets", 1),
    ("decoded", 2),
    ("sending", 2),
    ("committed", 1),
    ("mirrored", 1),
    ("picked", 1),
    ("retrying", 1),
    ("retried", 1),
    ("settled", 1),
    ("forgetting", 1),
    ("forgotten", 1),
];

/// The narrowest window: its buckets are dropped within seconds.
const WINDOW: &str = "consumer.dedupe_window_s=60";
/// Older than a window and all that a bucket waits for.
const LONG_AGO: Duration = Duration::from_secs(600);

pub async fn run(place: Place<'_>) -> anyhow::Result<Findings> {
    let events = place.scale.events;
    let mut scene = Scene::new(place, &[WINDOW]).await?;
    let feed = Feed::open(scene.cluster.topics(), &scene.ledger)?;
    for round in 0..place.scale.rounds {
        // A bucket that is to be dropped.
        let old = format!("old-{round}");
        feed.write(&old, Stamp::ago(LONG_AGO), events / 10)?;
        for (step, nth) in STEPS {
            dies(&mut scene, &format!("{step}=kill@{nth}"), events)
                .await
                .with_context(|| format!("killed at {step}"))?;
            lives(&mut scene).await.with_context(|| format!("after {step}"))?;
        }
        marked(&mut scene, events).await?;
        moved(&mut scene, events).await?;
    }
    healed(&mut scene, events).await?;
    scene.end().await
}

/// A consumer at work that ends there.
async fn dies(scene: &mut Scene, failpoints: &str, events: u64) -> anyhow::Result<()> {
    scene.post(events).await?;
    scene.poison(2).await?;
    scene.start_failing(0, failpoints).await?;
    scene.cluster.consumer_died(0).await
}

/// A sound consumer, until there is nothing left to do.
async fn lives(scene: &mut Scene) -> anyhow::Result<()> {
    scene.cluster.consumer_start(0).await?;
    scene.settled().await?;
    scene.cluster.consumer_stop(0).await
}

/// Around the mark that a record gets which goes alone: that needs a death before it.
async fn marked(scene: &mut Scene, events: u64) -> anyhow::Result<()> {
    for step in ["marking", "marked"] {
        dies(scene, "sending=kill", events).await.context("the death before the mark")?;
        dies(scene, &format!("{step}=kill"), events)
            .await
            .with_context(|| format!("killed at {step}"))?;
        lives(scene).await.with_context(|| format!("after {step}"))?;
    }
    Ok(())
}

/// Around the move of a position, by whoever moves it; a consumer reads again what is known.
async fn moved(scene: &mut Scene, events: u64) -> anyhow::Result<()> {
    let time = Clock::System.now().rfc3339();
    scene.post(events).await?;
    lives(scene).await?;
    let mut replay = vec!["ctl", "replay", "transactional", "--from-time", &time];
    replay.extend(["--by", "ops", "--why", "a test"]);
    for step in ["moving", "moved"] {
        scene.cluster.ctl_dies(&replay, &format!("{step}=kill")).await?;
        lives(scene).await.with_context(|| format!("after {step}"))?;
    }
    scene.cluster.ctl(&replay).await?;
    lives(scene).await.context("after the move")
}

/// Around a try that succeeds. What a dead process was trying is due again after a minute: an operator does
/// not wait for it.
async fn healed(scene: &mut Scene, events: u64) -> anyhow::Result<()> {
    scene.mend().await?;
    for step in ["retrying", "retried"] {
        dies(scene, &format!("{step}=kill"), events)
            .await
            .with_context(|| format!("killed at {step}, healed"))?;
        let redrive = ["ctl", "dlq", "redrive", "--reason", "refused_by_store"];
        scene.cluster.ctl(&[&redrive[..], &["--by", "ops", "--why", "a test"]].concat()).await?;
    }
    lives(scene).await.context("after a try that succeeded")
}
