//! Ingress and consumer are killed (`SIGKILL`) ten times while GitHub posts. Afterwards the books
//! balance: accepted ≤ records ≤ accepted + unknown, and effects = distinct accepted deliveries.

mod fixture;

use std::time::Duration;

use anyhow::Context;
use loadtest::deployment::{Cluster, Deployment};
use loadtest::github;
use loadtest::wait::{Seen, wait_until};
use shared::Shutdown;

const KILLS: usize = 10;

/// So many new effects between two kills: each kill hits a system at work.
const EFFECTS_BETWEEN: u64 = 100;

const PROGRESS_DEADLINE: Duration = Duration::from_secs(60);
const EFFECTS_DEADLINE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_applied_twice() -> anyhow::Result<()> {
    let run = fixture::Run::new("kill")?;
    let mut cluster = run.cluster(&fixture::with_github(), 1).await?;
    let player = github::Player {
        target: cluster.target(),
        secret: loadtest::deployment::GITHUB_SECRET.to_owned(),
        source: loadtest::deployment::GITHUB_SOURCE.to_owned(),
        ledger: run.ledger.clone(),
    };
    let stop = Shutdown::new();
    let stopped = stop.clone();
    let playing = tokio::spawn(async move {
        let mut accepted = 0;
        while !stopped.is_cancelled() {
            let plan = github::run::plan(&fixture::examples(), &fixture::schemas(), 1)?;
            let played = player.play(&plan, 8).await?;
            accepted += played.status.iter().filter(|status| **status == 202).count() as u64;
        }
        anyhow::Ok(accepted)
    });
    for kill in 0..KILLS {
        progress(&cluster).await.with_context(|| format!("before kill {kill}"))?;
        // The other one first every other time: both meet the other at work and away.
        if kill % 2 == 0 {
            cluster.ingress_kill().await?;
            cluster.consumer_kill(0).await?;
            cluster.ingress_up().await?;
            cluster.consumer_up(0).await?;
        } else {
            cluster.consumer_kill(0).await?;
            cluster.consumer_up(0).await?;
            cluster.ingress_kill().await?;
            cluster.ingress_up().await?;
        }
    }
    progress(&cluster).await?;
    stop.cancel();
    let accepted = playing.await??;
    cluster.effects().wait_for(accepted, EFFECTS_DEADLINE).await?;
    let deployment = Deployment::Cluster(Box::new(cluster));
    let findings = deployment.reconcile(&run.ledger).await?.clean()?;
    println!("after {KILLS} kills of each: {findings}");
    assert_eq!(findings.effects as u64, accepted);
    deployment.stop().await
}

async fn progress(cluster: &Cluster) -> anyhow::Result<()> {
    let before = cluster.effects().count().await?;
    wait_until("effects to go on", PROGRESS_DEADLINE, async || {
        let new = cluster.effects().count().await? - before;
        let enough = new >= EFFECTS_BETWEEN;
        Ok(if enough { Seen::There(()) } else { Seen::NotYet(format!("{new} new effects")) })
    })
    .await
}
