//! The product's name: consumers and PostgreSQL are down for 60 s under steady load. Every post is
//! answered 202, and afterwards the effects are exact.

mod fixture;

use std::time::Duration;

use loadtest::deployment::{Cluster, Deployment, Settings};
use loadtest::wait::let_pass;
use shared::Shutdown;

const OUTAGE: Duration = Duration::from_secs(60);
/// For so long before, one consumer meets the database's absence alive.
const ALIVE: Duration = Duration::from_secs(10);
const RATE_PER_S: u32 = 200;
const EFFECTS_DEADLINE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_consumers_and_database_is_absorbed() -> anyhow::Result<()> {
    let own = fixture::Run::new("outage")?;
    let services = fixture::services()?;
    let mut cluster = own.cluster(&Settings::default(), 2).await?;
    let load = own.load(cluster.target(), RATE_PER_S);
    let stop = Shutdown::new();
    let stopped = stop.clone();
    let loading = tokio::spawn(async move { load.run(&stopped).await });
    cluster.effects().wait_for(u64::from(RATE_PER_S), EFFECTS_DEADLINE).await?;

    services.postgres_stop().await?;
    cluster.consumer_kill(0).await?;
    let_pass(ALIVE).await;
    is_alive(&cluster, 1).await?;
    cluster.consumer_kill(1).await?;
    let_pass(OUTAGE).await;
    // Started while the database is away: it waits.
    cluster.consumer_start(1).await?;
    is_alive(&cluster, 1).await?;
    services.postgres_start().await?;
    cluster.consumer_up(0).await?;

    stop.cancel();
    let answers = loading.await??;
    let accepted = answers.all_accepted()?;
    println!(
        "{accepted} posts answered 202 in and around the outage, slowest {:?}",
        answers.slowest
    );
    assert!(accepted > u64::from(RATE_PER_S) * OUTAGE.as_secs() * 9 / 10, "the load was steady");
    cluster.effects().wait_for(accepted, EFFECTS_DEADLINE).await?;
    let deployment = Deployment::Cluster(Box::new(cluster));
    let findings = deployment.reconcile(&own.ledger).await?.clean()?;
    println!("{findings}");
    assert_eq!(findings.effects as u64, accepted);
    deployment.stop().await
}

/// Liveness never depends on the database.
async fn is_alive(cluster: &Cluster, consumer: usize) -> anyhow::Result<()> {
    let (status, body) = loadtest::admin::get(cluster.consumer_admin(consumer)?, "/livez").await?;
    anyhow::ensure!(status == 200, "consumer {consumer} is not alive: {body}");
    Ok(())
}
