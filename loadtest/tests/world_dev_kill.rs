//! `shock dev` is killed (`kill -9`) again and again under load and started on the same directory.

mod fixture;

use std::time::Duration;

use anyhow::Context;
use loadtest::deployment::{Deployment, Settings};
use loadtest::wait::{Seen, wait_until};
use shared::Shutdown;

const KILLS: usize = 12;

/// A kill comes so many effects after the start, another number each time.
const EFFECTS_BETWEEN: std::ops::Range<u64> = 20..400;

const PROGRESS_DEADLINE: Duration = Duration::from_secs(60);
const EFFECTS_DEADLINE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn no_202_is_lost_and_none_applied_twice() -> anyhow::Result<()> {
    let run = fixture::Run::new("dev-kill")?;
    let mut dev = run.embedded(&Settings::default()).await?;
    let load = run.load(dev.target(), 1_000);
    let stop = Shutdown::new();
    let stopped = stop.clone();
    let loading = tokio::spawn(async move { load.run(&stopped).await });
    for kill in 0..KILLS {
        let before = dev.effects().count().await?;
        let wanted = rand::random_range(EFFECTS_BETWEEN);
        wait_until(format!("{wanted} effects after start {kill}"), PROGRESS_DEADLINE, async || {
            let new = dev.effects().count().await? - before;
            Ok(if new >= wanted { Seen::There(()) } else { Seen::NotYet(format!("{new} new")) })
        })
        .await?;
        dev.kill().await?;
        dev.up().await.with_context(|| format!("start after kill {kill}"))?;
    }
    stop.cancel();
    let answers = loading.await??;
    dev.effects().wait_for(answers.count(202), EFFECTS_DEADLINE).await?;
    let deployment = Deployment::Embedded(Box::new(dev));
    let findings = deployment.reconcile(&run.ledger).await?.clean()?;
    println!("after {KILLS} kills: {findings}");
    assert_eq!(findings.effects, findings.accepted);
    deployment.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_instance_on_the_same_directory_refuses() -> anyhow::Result<()> {
    let run = fixture::Run::new("dev-second")?;
    let dev = run.embedded(&Settings::default()).await?;
    let mut second = dev.spawn("second")?;
    let status = second.ended().await?;
    let said = second.log_tail();
    assert!(!status.success(), "a second instance ran: {said}");
    assert!(said.contains("in use") || said.contains("another"), "it has to say why: {said}");
    assert!(second.printed().is_empty(), "it must not say that it listens");
    dev.process()?;
    dev.stop().await
}
