//! How soon a partition's effects go on when its owner is killed, and when it is told to stop.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use shared::position::Class;

use super::feed::Trickle;
use super::scene::{Progress, Scene};
use crate::bench::report::{Direction, Report};
use crate::services::Services;
use crate::wait::{Seen, wait_until};

/// Of each class: which of them a member gets is the group's affair.
const PARTITIONS: u32 = 4;
/// So many of all of them go on under the owner before it ends.
const OWNED_MIN: usize = 3;
/// Between two events of a partition.
const FEED_EVERY: Duration = Duration::from_millis(5);
const DEADLINE: Duration = Duration::from_secs(60);
/// The deployment's session time-out of 3 s, and what comes on top of it.
const KILLED_S: f64 = 5.0;
const STOPPED_S: f64 = 1.0;

/// Measures both, several times.
pub async fn measure(
    dir: &Path,
    services: &Services,
    rounds: u32,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut scene = Scene::new(dir, "takeover", services, PARTITIONS, &[]).await?;
    let trickle = Trickle::start(scene.cluster.topics(), &Class::ALL, PARTITIONS, FEED_EVERY);
    let (mut killed, mut stopped) = (Vec::new(), Vec::new());
    scene.cluster.consumer_up(1).await?;
    for _ in 0..rounds {
        let victims = owned(&mut scene).await?;
        let began = Instant::now();
        scene.cluster.consumer_kill(0).await?;
        killed.push(taken_over(&mut scene, &victims, began).await?);

        let victims = owned(&mut scene).await?;
        let began = Instant::now();
        // Its end is not waited for: the successor may be sooner.
        scene.cluster.consumer(0)?.signal(rustix::process::Signal::TERM)?;
        stopped.push(taken_over(&mut scene, &victims, began).await?);
        scene.cluster.consumer_ended(0).await?;
    }
    trickle.stop().await?;
    let reach = |seconds| Some((Direction::AtMost, seconds));
    let name = "from SIGKILL of an owner to its successor's first effect";
    report.note_rounds(name, killed, "s", reach(KILLED_S));
    let name = "from SIGTERM of an owner to its successor's first effect";
    report.note_rounds(name, stopped, "s", reach(STOPPED_S));
    scene.cluster.stop().await
}

/// Starts consumer 0, and waits until it has applied something of some partitions: those.
async fn owned(scene: &mut Scene) -> anyhow::Result<Progress> {
    scene.cluster.consumer_up(0).await?;
    let mut claimed = BTreeMap::new();
    wait_until("consumer 0 to own some partitions", DEADLINE, async || {
        let mut owned = scene.progress().await?;
        owned.retain(|_, (owner, _)| owner == "consumer-0");
        let mut advanced = owned.clone();
        advanced.retain(|id, (_, next)| *claimed.entry(*id).or_insert(*next) < *next);
        let enough = advanced.len() >= OWNED_MIN;
        Ok(if enough { Seen::There(advanced) } else { Seen::NotYet(format!("{owned:?}")) })
    })
    .await
}

/// Seconds until one of these goes on under another owner.
async fn taken_over(scene: &mut Scene, victims: &Progress, began: Instant) -> anyhow::Result<f64> {
    let mut claimed = BTreeMap::new();
    wait_until("a successor's effect", DEADLINE, async || {
        let progress = scene.progress().await?;
        let mut others = progress
            .iter()
            .filter(|(id, (owner, _))| victims.contains_key(id) && owner != "consumer-0");
        // The claim alone moves no position.
        let goes_on = others.any(|(id, (_, next))| *claimed.entry(*id).or_insert(*next) < *next);
        let seconds = began.elapsed().as_secs_f64();
        Ok(if goes_on { Seen::There(seconds) } else { Seen::NotYet(format!("{progress:?}")) })
    })
    .await
}
