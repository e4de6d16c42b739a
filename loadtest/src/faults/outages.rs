//! Kafka and PostgreSQL are killed and come back; sessions of the database are ended in the middle of a
//! commit; a consumer is killed in the middle of one, and the server commits after its death.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sqlx::{Connection, PgConnection};

use super::Place;
use super::scene::{DEADLINE, Scene};
use crate::verify::Findings;
use crate::wait::{Seen, let_pass, wait_until};

const RATE_PER_S: u32 = 200;
const ENDED_EVERY: Duration = Duration::from_millis(150);

/// Kafka, killed under load.
pub async fn broker(place: Place<'_>) -> anyhow::Result<Findings> {
    let mut scene = Scene::new(place, &[]).await?;
    scene.cluster.consumer_start(0).await?;
    for _ in 0..place.scale.rounds {
        let posting = scene.posting(RATE_PER_S);
        let_pass(place.scale.storm_every).await;
        place.services.tell("kill", "kafka-1").await?;
        let_pass(place.scale.storm_every).await;
        place.services.tell("start", "kafka-1").await?;
        let_pass(place.scale.storm_every).await;
        posting.stop().await?;
        scene.settled().await?;
    }
    scene.end().await
}

/// PostgreSQL, in the middle of a commit.
pub async fn postgres(place: Place<'_>) -> anyhow::Result<Findings> {
    let events = place.scale.events;
    let mut scene = Scene::new(place, &[]).await?;
    scene.cluster.consumer_start(0).await?;
    scene.post(events).await?;
    scene.settled().await?;
    for _ in 0..place.scale.rounds {
        sessions_end(&mut scene, events).await.context("sessions ended in mid-commit")?;
        consumer_dies(&mut scene, events).await.context("the consumer killed in mid-commit")?;
        server_dies(&mut scene, place).await.context("the server killed in mid-commit")?;
        again_and_again(&mut scene, place).await.context("sessions ended over and over")?;
    }
    scene.end().await
}

async fn sessions_end(scene: &mut Scene, events: u64) -> anyhow::Result<()> {
    let lock = mid_commit(scene, events).await?;
    let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
               where datname = current_database() and wait_event_type = 'Lock'";
    let ended: i64 = sqlx::query_scalar(end).fetch_one(&mut scene.database).await.context(end)?;
    ensure!(ended > 0, "nothing was under way");
    lock.close().await.context("let go")?;
    scene.settled().await
}

async fn consumer_dies(scene: &mut Scene, events: u64) -> anyhow::Result<()> {
    let lock = mid_commit(scene, events).await?;
    let positions = "select sum(next_offset)::bigint from progress";
    let before: i64 =
        sqlx::query_scalar(positions).fetch_one(&mut scene.database).await.context(positions)?;
    scene.cluster.consumer_kill(0).await?;
    lock.close().await.context("let go")?;
    // The server goes on with what it has, whoever asked for it.
    wait_until("a commit after its sender's death", DEADLINE, async || {
        let now: i64 = sqlx::query_scalar(positions).fetch_one(&mut scene.database).await?;
        Ok(if now > before { Seen::There(()) } else { Seen::NotYet(format!("{now}")) })
    })
    .await?;
    scene.cluster.consumer_start(0).await?;
    scene.settled().await
}

async fn server_dies(scene: &mut Scene, place: Place<'_>) -> anyhow::Result<()> {
    let lock = mid_commit(scene, place.scale.events).await?;
    place.services.tell("kill", "postgres").await?;
    drop(lock);
    place.services.tell("start", "postgres").await?;
    scene.reconnect().await?;
    scene.settled().await
}

async fn again_and_again(scene: &mut Scene, place: Place<'_>) -> anyhow::Result<()> {
    let posting = scene.posting(RATE_PER_S);
    let begun = Instant::now();
    while begun.elapsed() < place.scale.ended_for {
        scene.cluster.disconnect().await?;
        let_pass(ENDED_EVERY).await;
    }
    posting.stop().await?;
    scene.reconnect().await?;
    scene.settled().await
}

/// Posts, and waits until a batch's statement waits for a lock: sent, begun, not committed. It goes on when
/// the connection is closed that is returned.
async fn mid_commit(scene: &mut Scene, events: u64) -> anyhow::Result<PgConnection> {
    let mut lock = scene.cluster.effects().postgres().await?;
    let begin = "begin; lock table events in share row exclusive mode";
    sqlx::raw_sql(begin).execute(&mut lock).await.context(begin)?;
    scene.post(events).await?;
    wait_until("a statement in mid-commit", DEADLINE, async || {
        let waits = "select count(*) from pg_stat_activity where datname = current_database() \
                     and wait_event_type = 'Lock' and query like '%fence as (%'";
        let waits: i64 = sqlx::query_scalar(waits).fetch_one(&mut scene.database).await?;
        Ok(if waits > 0 { Seen::There(()) } else { Seen::NotYet("none".to_owned()) })
    })
    .await?;
    Ok(lock)
}
