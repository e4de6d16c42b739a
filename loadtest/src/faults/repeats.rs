//! Repeats of an event where they are hardest to know: over a bucket's edge, hours ago by the records'
//! clock, and in another partition than the first one, as after a change of routes.

use std::time::Duration;

use super::Place;
use super::feed::{Feed, Stamp};
use super::scene::{Scene, partition_of};
use crate::deployment::{PARTITIONS, producers};
use crate::verify::Findings;

/// Buckets are as wide.
const WINDOW: Duration = Duration::from_secs(3_600);
const LAG: Duration = Duration::from_secs(5 * 3_600);
const A_MINUTE: Duration = Duration::from_secs(60);

pub async fn run(place: Place<'_>) -> anyhow::Result<Findings> {
    let each = place.scale.events / 4;
    let mut scene = Scene::new(place, &["consumer.dedupe_window_s=3600"]).await?;
    let feed = Feed::open(scene.cluster.topics(), &scene.ledger)?;

    // Five hours of lag: all of it stands in the log when the consumer starts.
    let edge = Stamp::ago(LAG).edge(WINDOW);
    feed.write("edge", edge.before(Duration::from_millis(1)), each)?;
    feed.write("edge", edge, each)?;
    feed.write("wide", edge.before(A_MINUTE), each)?;
    feed.write("between", edge.after(WINDOW / 2), each)?;
    feed.write("wide", edge.before(A_MINUTE).after(WINDOW), each)?;
    for hour in 1..=4 {
        feed.write(&format!("hour-{hour}"), edge.after(hour * WINDOW), each)?;
    }
    scene.post(place.scale.events).await?;
    scene.cluster.consumer_start(0).await?;
    scene.settled().await?;

    // The consumer is away between an event and its repeat, on both sides of an edge.
    let edge = Stamp::ago(Duration::ZERO).edge(WINDOW);
    feed.write("away", edge.before(A_MINUTE), each)?;
    scene.settled().await?;
    scene.cluster.consumer_kill(0).await?;
    feed.write("away", edge.after(A_MINUTE), each)?;
    scene.cluster.consumer_start(0).await?;
    scene.settled().await?;

    // Each tenant's events again, in the next partition; then in its own, once more.
    feed.write("moved", Stamp::ago(A_MINUTE), each)?;
    scene.settled().await?;
    for tenant in producers().into_iter().map(|producer| producer.tenant) {
        let next = (partition_of(&tenant) + 1) % PARTITIONS;
        feed.write_to(&tenant, next, "moved", Stamp::ago(Duration::ZERO), each)?;
        feed.write_to(&tenant, partition_of(&tenant), "moved", Stamp::ago(Duration::ZERO), each)?;
    }
    scene.end().await
}
