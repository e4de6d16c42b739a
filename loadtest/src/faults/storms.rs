//! A rebalance storm: beside two consumers a third one joins or leaves all the time, by SIGTERM and by
//! SIGKILL in turn, under a steady load.

use anyhow::Context;

use super::Place;
use super::scene::Scene;
use crate::verify::Findings;
use crate::wait::let_pass;

const RATE_PER_S: u32 = 200;
/// The one that comes and goes.
const RESTLESS: usize = 2;

pub async fn run(place: Place<'_>) -> anyhow::Result<Findings> {
    let mut scene = Scene::new(place, &[]).await?;
    for index in 0..RESTLESS {
        scene.cluster.consumer_start(index).await?;
    }
    let posting = scene.posting(RATE_PER_S);
    for change in 0..place.scale.storm_changes {
        match change % 4 {
            1 => scene.cluster.consumer_stop(RESTLESS).await.context("leaves")?,
            3 => scene.cluster.consumer_kill(RESTLESS).await.context("is killed")?,
            _ => scene.cluster.consumer_start(RESTLESS).await.context("joins")?,
        }
        let_pass(place.scale.storm_every).await;
    }
    posting.stop().await?;
    scene.end().await
}
