//! The database is replaced by an older copy of itself while the consumer lives, as after a restore or a
//! failover to a replica that was behind. What the copy lacks comes again from the log: also where nothing
//! new is posted, and the consumer would have no reason to look.

use std::time::Instant;

use anyhow::Context;

use super::Place;
use super::scene::Scene;
use crate::verify::Findings;
use crate::wait::let_pass;

/// Whether the batch statement compares epoch and position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// It does.
    Held,
    /// It does not: nobody ships that, and the checker has to find what it breaks.
    Removed,
}

impl Fence {
    /// What a consumer is told.
    pub fn failpoints(self) -> Option<&'static str> {
        match self {
            Self::Held => None,
            Self::Removed => Some("unfenced=on"),
        }
    }
}

pub async fn run(place: Place<'_>, fence: Fence) -> anyhow::Result<Findings> {
    let events = place.scale.events;
    let mut scene = Scene::new(place, &[]).await?;
    match fence {
        Fence::Held => scene.cluster.consumer_start(0).await?,
        // It looks where it stands, too, when it is idle: a batch has to be on its way before that.
        Fence::Removed => {
            let failpoints = fence.failpoints().unwrap_or_default();
            scene.start_failing(0, &format!("event[sound-5-0]=stop;{failpoints}")).await?;
        }
    }
    scene.post(events).await?;
    scene.poison(4).await?;
    scene.settled().await.context("before the copy")?;
    scene.cluster.copy_database().await?;
    let copied = Instant::now();
    scene.post(events).await?;
    scene.poison(4).await?;
    scene.settled().await.context("after the copy")?;
    let_pass(place.scale.copy_age.saturating_sub(copied.elapsed())).await;

    match fence {
        Fence::Held => {
            scene.cluster.restore_database().await?;
            scene.reconnect().await?;
            scene.settled().await.context("what the copy lacked")?;
            scene.post(events).await?;
            scene.settled().await?;
        }
        Fence::Removed => {
            // The fifth load: before its first batch is sent the database is another one.
            scene.post(events).await?;
            scene.cluster.consumer(0)?.stands_still().await?;
            scene.cluster.restore_database().await?;
            scene.reconnect().await?;
            scene.cluster.consumer(0)?.resume()?;
            // What is lost would never come.
            scene.read_to_the_end().await?;
        }
    }
    let findings = scene.judge().await?;
    drop(scene.database);
    scene.cluster.stop().await?;
    Ok(findings)
}
