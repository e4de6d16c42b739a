//! A consumer is paused (`SIGSTOP`) with a statement on its way until the group has given its
//! partitions to another one, then goes on (`SIGCONT`). The statement arrives late, and writes
//! nothing; `fenced_total` counts it.

mod fixture;

use std::time::Duration;

use loadtest::admin::metric;
use loadtest::deployment::{Cluster, Deployment, Settings};
use loadtest::link::Link;
use loadtest::wait::{Seen, wait_until};
use shared::Shutdown;

/// Events per load.
const EVENTS: u64 = 2_000;

/// A batch's statement carries its events: so many bytes on their way are one.
const STATEMENT_BYTES: u64 = 2_000;

const STATEMENT_DEADLINE: Duration = Duration::from_secs(30);
const EFFECTS_DEADLINE: Duration = Duration::from_secs(120);
const FENCED_DEADLINE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_consumer_writes_nothing_afterwards() -> anyhow::Result<()> {
    let run = fixture::Run::new("zombie")?;
    let mut cluster = run.cluster(&Settings::default(), 0).await?;
    let link = Link::to(&cluster.postgres_server()).await?;
    cluster.consumer_up_through(0, Some(link.address())).await?;
    let mut accepted = post(&run, &cluster, "before").await?;
    cluster.effects().wait_for(accepted, EFFECTS_DEADLINE).await?;
    let zombie = cluster.consumer_admin(0)?;
    assert_eq!(metric(zombie, "shock_consumer_fenced_total").await?, 0.0);

    link.hold();
    accepted += post(&run, &cluster, "during").await?;
    wait_until("a statement on its way", STATEMENT_DEADLINE, async || {
        let waiting = link.waiting_bytes();
        let enough = waiting >= STATEMENT_BYTES;
        Ok(if enough { Seen::There(()) } else { Seen::NotYet(format!("{waiting} bytes")) })
    })
    .await?;
    cluster.consumer(0)?.pause()?;
    cluster.consumer_up(1).await?;
    // All of it can only be there when the other one has taken over every partition.
    cluster.effects().wait_for(accepted, EFFECTS_DEADLINE).await?;
    link.release();
    cluster.consumer(0)?.resume()?;
    wait_until("the fence to be counted", FENCED_DEADLINE, async || {
        let fenced = metric(zombie, "shock_consumer_fenced_total").await?;
        Ok(if fenced >= 1.0 { Seen::There(()) } else { Seen::NotYet(format!("{fenced}")) })
    })
    .await?;

    // It is a member again and goes on: what is posted now is applied once, by whoever owns it.
    accepted += post(&run, &cluster, "after").await?;
    cluster.effects().wait_for(accepted, EFFECTS_DEADLINE).await?;
    let deployment = Deployment::Cluster(Box::new(cluster));
    let findings = deployment.reconcile(&run.ledger).await?.clean()?;
    println!("{findings}");
    assert_eq!(findings.effects as u64, accepted);
    deployment.stop().await
}

/// Posts as fast as it is accepted; how many were.
async fn post(run: &fixture::Run, cluster: &Cluster, name: &str) -> anyhow::Result<u64> {
    let mut load = run.load(cluster.target(), 2_000);
    load.name = name.to_owned();
    load.events_max = Some(EVENTS);
    load.run(&Shutdown::new()).await?.all_accepted()
}
