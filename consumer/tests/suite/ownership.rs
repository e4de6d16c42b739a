//! The cases about who owns a partition: fences, rebalances, a store that is away meanwhile.

use std::sync::Arc;
use std::time::Duration;

use consumer::bucket::Width;
use consumer::load::Load;
use consumer::log_limit::LogLimits;
use consumer::metrics::Metrics;
use consumer::worker::{AheadBytes, End, Flags, Shared, Worker};
use shared::clock::Millis;
use shared::health::Health;
use shared::log::memory::MemoryLog;
use shared::metrics::Registry;
use shared::position::{Partition, PartitionId};
use shared::skew::{Other, Skew};
use tokio::sync::{mpsc, watch};

use super::base::Base;
use super::{Bench, FIRST, NOON, SECOND};

const EVENTS: &str = "select count(*) from pipeline.events";

pub async fn a_zombie_is_fenced(base: Base) {
    let bench = Bench::new(base).await;
    bench.events(FIRST, "before", 5);
    let zombie = bench.drain().await;
    let owner = bench.start().await;
    bench
        .until("the second one has claimed", async || {
            bench.count("select min(epoch) from pipeline.progress").await == 2
        })
        .await;
    bench.events(FIRST, "after", 40);
    bench.until_drained().await;
    bench
        .until("the zombie is fenced", async || zombie.metric("shock_consumer_fenced_total") >= 1)
        .await;
    assert_eq!(owner.metric("shock_consumer_fenced_total"), 0);
    assert_eq!(bench.count(EVENTS).await, 45);
    zombie.stop().await;
    owner.stop().await;
}

/// A claim that was under way when its partition moved on fences the rightful owner: nobody else
/// would ever come, so the owner does.
pub async fn a_fenced_owner_claims_again(base: Base) {
    let mut bench = Bench::new(base).await;
    bench.config.drain_timeout = Duration::from_millis(10);
    bench.events(FIRST, "before", 5);
    let owner = bench.drain().await;
    bench.base.sql("update pipeline.progress set epoch = epoch + 1").await;
    bench.events(FIRST, "after", 5);
    bench.until("it is fenced", async || owner.metric("shock_consumer_fenced_total") == 1).await;
    bench.until_drained().await;
    assert_eq!(bench.count(EVENTS).await, 10);
    owner.stop().await;
}

/// A worker that was stopped before it came to its claim: by then the partition may be somebody
/// else's, and a claim would fence that owner.
pub async fn a_stopped_worker_claims_nothing(base: Base) {
    let bench = Bench::new(base).await;
    bench.events(FIRST, "a", 5);
    bench.drain().await.stop().await;
    let epochs = "select max(epoch) from pipeline.progress where partition = 0";
    let before = bench.count(epochs).await;
    let health = Health::new(bench.clock.clone());
    let shared = Shared {
        config: bench.config.clone(),
        control: watch::channel(bench.config.control.clone()).1,
        store: bench.base.store().await,
        router: Bench::router(),
        clock: bench.clock.clone(),
        metrics: Metrics::new(&Registry::new()),
        log_limits: LogLimits::default(),
        width: Width::of_window(bench.config.dedupe_window),
        skew: Skew::new(Other::Database, Duration::MAX, &Registry::new(), &health),
        load: Load::new(&bench.config),
        due: Flags::default(),
        strayed: Flags::default(),
        suspects: Arc::default(),
        ahead: AheadBytes::default(),
        handler: None,
    };
    let (_stop, stopped) = watch::channel(true);
    let (requests, _asked) = mpsc::channel(1);
    let heartbeat = health.heartbeat("worker", Duration::MAX);
    let worker = Worker::new(FIRST, Arc::new(shared), requests, stopped, heartbeat);
    assert!(matches!(worker.run().await, End::Stopped));
    assert_eq!(bench.count(epochs).await, before, "nothing is claimed");
}

/// The log goes on moving partitions while the store is away: it must not wait for the store, and
/// what was taken away meanwhile must not be claimed, for it is somebody else's.
pub async fn rebalances_do_not_wait_for_the_store(base: Base) {
    let bench = Bench::new(base).await;
    bench.events(FIRST, "a", 5);
    bench.events(SECOND, "b", 5);
    bench.drain().await.stop().await;
    bench.events(FIRST, "c", 5);
    bench.events(SECOND, "d", 5);
    let epochs = "select max(epoch) from pipeline.progress where partition = 0";
    let before = bench.count(epochs).await;
    let held = bench.base.hold().await;
    let running = bench.start().await;
    let drained = bench.log.revoke(vec![FIRST]);
    bench.until("the revocation is heard", async || drained.try_recv().is_ok()).await;
    held.release().await;
    let second = "select next_offset from pipeline.progress where partition = 1";
    bench.until("the other goes on", async || bench.count(second).await == 10).await;
    assert_eq!(bench.count(epochs).await, before, "what was revoked is not claimed");
    running.stop().await;
}

pub async fn a_revocation_of_many_does_not_wait_for_their_starts(base: Base) {
    let mut bench = Bench::new(base).await;
    bench.config.drain_timeout = Duration::from_secs(25);
    let many: Vec<_> = (0..200)
        .map(|number| PartitionId { class: FIRST.class, partition: Partition(number) })
        .collect();
    bench.log = MemoryLog::new(many.clone());
    let drained = bench.log.revoke(many);
    let begun = std::time::Instant::now();
    let running = bench.start().await;
    bench.until("the writers have stopped", async || drained.try_recv().is_ok()).await;
    assert!(begun.elapsed() < Duration::from_secs(15), "they waited for each other");
    running.stop().await;
}

pub async fn lag_grows_while_the_store_is_away_and_goes_with_the_partition(base: Base) {
    const LAG: &str = r#"shock_consumer_lag_seconds{class="transactional",partition="0"}"#;
    let bench = Bench::new(base).await;
    let running = bench.drain().await;
    bench.until("it is idle", async || running.registry.text().contains(LAG)).await;
    assert_eq!(running.metric(LAG), 0);
    let held = bench.base.hold().await;
    // A foreign writer's timestamp stops nothing.
    bench.event(SECOND, Millis(i64::MIN), "foreign", 1);
    bench.event(FIRST, NOON, "a", 1);
    bench.clock.advance(61_500);
    bench.until("the lag is seen", async || running.metric(LAG) == 61).await;
    bench.clock.advance(10_000);
    bench.until("the lag grows", async || running.metric(LAG) == 71).await;
    held.release().await;
    bench.until("it is caught up", async || running.metric(LAG) == 0).await;
    let drained = bench.log.revoke(vec![FIRST]);
    bench.until("the writer has stopped", async || drained.try_recv().is_ok()).await;
    bench.until("its lag is gone", async || !running.registry.text().contains(LAG)).await;
    running.stop().await;
}

/// Nothing comes that would meet the fence: the row alone shows it.
pub async fn an_idle_partition_notices_a_database_that_went_back(base: Base) {
    let bench = Bench::new(base).await;
    bench.events(FIRST, "old", 10);
    let restarted = bench.drain().await;
    let restore = bench.base.copy_tables().await;
    bench.events(FIRST, "lost", 20);
    bench.until_drained().await;
    restarted.stop().await;
    // Under a later claim, which the copy knows nothing of.
    let running = bench.start().await;
    let epochs = "select max(epoch) from pipeline.progress where partition = 0";
    let least = "select min(epoch) from pipeline.progress";
    bench.until("both are claimed", async || bench.count(least).await == 2).await;
    bench.base.sql(&format!("begin;{restore}commit")).await;
    bench.until("all are there again", async || bench.count(EVENTS).await == 30).await;
    assert_eq!(bench.count(epochs).await, 3, "above every claim there was");
    // The other one has never had a record, and its claim is gone, too.
    bench
        .until("both are counted", async || {
            running.metric("shock_consumer_database_went_back_total") == 2
        })
        .await;
    running.stop().await;
}
