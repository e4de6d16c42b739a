//! What happens to one partition does not touch its neighbours in the same process: it hangs, or it halts
//! in a storm of poison, and they go on to the last effect. How fast is a benchmark's to say.

use anyhow::{Context, ensure};

use super::Place;
use super::scene::{DEADLINE, POISON, Scene, partition_of};
use crate::admin;
use crate::deployment::{Start, producers};
use crate::load::Producer;
use crate::verify::Findings;
use crate::wait::{Seen, wait_until};

/// So many poisoned in a row are a storm.
const STORM: [&str; 2] = ["consumer.storm_percent=50", "consumer.storm_records=50"];
const POISONED: u64 = 200;

pub async fn run(place: Place<'_>) -> anyhow::Result<Findings> {
    let events = place.scale.events;
    let mut scene = Scene::new(place, &[]).await?;
    let victim = producers().remove(0);
    let stands = partition_of(&victim.tenant);
    let (behind, others): (Vec<_>, Vec<_>) =
        producers().into_iter().partition(|one| partition_of(&one.tenant) == stands);
    ensure!(!others.is_empty(), "every tenant is in the partition of {victim:?}");

    let hang = format!("sending[transactional/{stands}]=hang");
    scene.start_failing(0, &hang).await?;
    scene.post_as("sound-", behind.clone(), events).await?;
    scene.post_as("sound-", others.clone(), events).await?;
    go_on(&mut scene, &others, events).await.context("beside one that hangs")?;
    let (status, said) = admin::get(scene.cluster.consumer_admin(0)?, "/livez").await?;
    ensure!(status == 200, "one partition hangs, and the process is not alive: {said}");
    ensure!(effects(&mut scene, &behind).await? == 0, "it does not hang");
    scene.cluster.consumer_kill(0).await?;

    let start = Start { set: &STORM, ..Start::default() };
    scene.cluster.consumer_start_as(0, &start).await?;
    scene.settled().await.context("after it hung")?;
    scene.post_as(POISON, vec![victim], POISONED).await?;
    let consumer = scene.cluster.consumer_admin(0)?;
    wait_until("the storm to halt its partition", DEADLINE, async || {
        let halted = admin::metric(consumer, "shock_consumer_halted").await?;
        Ok(if halted == 1.0 { Seen::There(()) } else { Seen::NotYet(format!("{halted}")) })
    })
    .await?;
    scene.post_as("sound-", behind, events).await?;
    scene.post_as("sound-", others.clone(), events).await?;
    go_on(&mut scene, &others, 2 * events).await.context("beside one that halted")?;
    let parked = "select count(*) from parked";
    let parked: i64 = sqlx::query_scalar(parked).fetch_one(&mut scene.database).await?;
    ensure!(parked < POISONED as i64, "the topic was emptied into the table");

    scene.mend().await?;
    scene.cluster.consumer_stop(0).await?;
    scene.cluster.consumer_start(0).await?;
    scene.end().await
}

/// The neighbours' events have their effect while the one stands still.
async fn go_on(scene: &mut Scene, tenants: &[Producer], count: u64) -> anyhow::Result<()> {
    wait_until(format!("{count} effects of the neighbours"), DEADLINE, async || {
        let there = effects(scene, tenants).await?;
        let enough = there == count as i64;
        Ok(if enough { Seen::There(()) } else { Seen::NotYet(format!("{there}")) })
    })
    .await
}

async fn effects(scene: &mut Scene, tenants: &[Producer]) -> anyhow::Result<i64> {
    let names: Vec<String> = tenants.iter().map(|one| one.tenant.clone()).collect();
    let count = sqlx::query_scalar("select count(*) from events where tenant = any($1)");
    count.bind(names).fetch_one(&mut scene.database).await.context("count")
}
