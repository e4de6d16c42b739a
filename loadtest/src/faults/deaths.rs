//! A record that kills whoever applies it: found by the mark that outlives its process, parked as
//! `crash`, and everything beside and behind it is applied.

use anyhow::ensure;

use super::Place;
use super::scene::{DEADLINE, POISON, Scene};
use crate::deployment::producers;
use crate::verify::Findings;
use crate::wait::{Seen, wait_until};

/// The first batch, again, alone, alone again; more than this is too many (ADR 20).
const DEATHS_MAX: u32 = 5;

pub async fn run(place: Place<'_>) -> anyhow::Result<Findings> {
    let mut scene = Scene::new(place, &["consumer.parked_tries_max=0"]).await?;
    scene.sql("alter table events drop constraint no_poison").await?;
    scene.post(place.scale.events).await?;
    let victim = producers().remove(0);
    scene.post_as(POISON, vec![victim], 1).await?;
    scene.post(place.scale.events).await?;
    // Its load was the second.
    let failpoints = format!("event[{POISON}2-0]=kill");
    let mut deaths = 0;
    loop {
        scene.start_failing(0, &failpoints).await?;
        if !dies(&mut scene).await? {
            break;
        }
        deaths += 1;
        ensure!(deaths <= DEATHS_MAX, "the record that kills is not found");
    }
    ensure!(deaths > 1, "parked after {deaths} death, on no evidence");
    let reasons = "select string_agg(reason, ' ') from parked";
    let reasons: String = sqlx::query_scalar(reasons).fetch_one(&mut scene.database).await?;
    ensure!(reasons == "crash", "parked for {reasons}");
    scene.end().await
}

/// Whether the consumer dies before the record is parked.
async fn dies(scene: &mut Scene) -> anyhow::Result<bool> {
    let parked = "select count(*) from parked";
    let ended = wait_until("a death or a parked record", DEADLINE, async || {
        if scene.cluster.consumer_has_ended(0)? {
            return Ok(Seen::There(true));
        }
        let parked: i64 = sqlx::query_scalar(parked).fetch_one(&mut scene.database).await?;
        Ok(if parked > 0 { Seen::There(false) } else { Seen::NotYet("neither".to_owned()) })
    })
    .await?;
    if ended {
        scene.cluster.consumer_died(0).await?;
    }
    Ok(ended)
}
