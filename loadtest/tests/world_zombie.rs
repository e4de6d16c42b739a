//! A consumer is paused (`SIGSTOP`) with records in its hands until the group has given its
//! partitions to another one, then goes on (`SIGCONT`). It writes nothing, and `fenced_total` says so.

mod fixture;

use std::time::Duration;

use anyhow::Context;
use loadtest::admin::metric;
use loadtest::deployment::{Cluster, Deployment, Settings};
use loadtest::effects::Effects;
use loadtest::wait::{Seen, wait_until};
use shared::Shutdown;
use sqlx::{Connection, PgConnection};

/// Whether a paused consumer meets the fence or first hears from the group is a race that both may
/// win; each round gives the fence another chance.
const ROUNDS_MAX: usize = 6;

/// Records that are in the log, and so in the consumer's queue, when it is paused.
const BACKLOG: u64 = 3_000;

const EFFECTS_DEADLINE: Duration = Duration::from_secs(120);
const FENCED_DEADLINE: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_consumer_writes_nothing_afterwards() -> anyhow::Result<()> {
    let run = fixture::Run::new("zombie")?;
    // Small batches, so that a consumer always has several in its hands; both slots start empty.
    let settings =
        Settings { set: vec!["consumer.batch_records_max=50".to_owned()], ..Settings::default() };
    let mut cluster = run.cluster(&settings, 2).await?;
    cluster.consumer_stop(1).await?;
    let mut accepted = 0;
    let mut fenced = false;
    for _ in 0..ROUNDS_MAX {
        let lock = Lock::take(cluster.effects()).await?;
        accepted += post(&run, &cluster, accepted).await?;
        let zombie = cluster.consumer_admin(0)?;
        let before = metric(zombie, "shock_consumer_fenced_total").await?;
        cluster.consumer(0)?.pause()?;
        lock.release().await?;
        cluster.consumer_up(1).await?;
        // All of it can only be there when the other one has taken over every partition.
        cluster.effects().wait_for(accepted, EFFECTS_DEADLINE).await?;
        cluster.consumer(0)?.resume()?;
        fenced = wait_until("the fence", FENCED_DEADLINE, async || {
            let now = metric(zombie, "shock_consumer_fenced_total").await?;
            Ok(if now > before { Seen::There(()) } else { Seen::NotYet(format!("{now}")) })
        })
        .await
        .is_ok();
        if fenced {
            break;
        }
        cluster.consumer_stop(1).await?;
    }
    assert!(fenced, "the zombie was never fenced in {ROUNDS_MAX} rounds");
    // It is a member again and goes on: what is posted now is applied once, by whoever owns it.
    accepted += post(&run, &cluster, accepted).await?;
    cluster.effects().wait_for(accepted, EFFECTS_DEADLINE).await?;
    let deployment = Deployment::Cluster(Box::new(cluster));
    let findings = deployment.reconcile(&run.ledger).await?.clean()?;
    println!("{findings}");
    assert_eq!(findings.effects as u64, accepted);
    deployment.stop().await
}

/// Posts a backlog as fast as it is accepted; how many more are accepted now.
async fn post(run: &fixture::Run, cluster: &Cluster, before: u64) -> anyhow::Result<u64> {
    let mut load = run.load(cluster.target(), 2_000);
    load.name = format!("zombie-{before}");
    let stop = Shutdown::new();
    load.events_max = Some(BACKLOG);
    load.run(&stop).await?.all_accepted()
}

/// Holds every progress row: whoever wants to commit a batch waits.
struct Lock(PgConnection);

impl Lock {
    async fn take(effects: &Effects) -> anyhow::Result<Self> {
        let mut connection = effects.postgres().await?;
        sqlx::query("begin").execute(&mut connection).await.context("begin")?;
        sqlx::query("select 1 from progress for update")
            .fetch_all(&mut connection)
            .await
            .context("lock the progress rows")?;
        Ok(Self(connection))
    }

    async fn release(mut self) -> anyhow::Result<()> {
        sqlx::query("rollback").execute(&mut self.0).await.context("rollback")?;
        self.0.close().await.context("close")
    }
}
