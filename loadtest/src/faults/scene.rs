//! A deployment under fault: what was posted to it, and what has to come of it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use shared::Shutdown;
use shared::position::Class;
use shared::route::Router;
use sqlx::PgConnection;
use tokio::task::JoinHandle;

use super::Place;
use crate::deployment::{Cluster, PARTITIONS, Settings, Start, producers};
use crate::ledger::Ledger;
use crate::load::{Answers, Load, Producer};
use crate::verify::{Findings, History, LogRecord, reconcile_tables};
use crate::wait::{Seen, wait_until};

/// From a fault to the last effect.
pub const DEADLINE: Duration = Duration::from_secs(90);
/// Posts as fast as they are accepted.
const AS_FAST_AS_ACCEPTED: u32 = 5_000;
const CONNECTIONS: u32 = 8;

/// What every scene is set to: what is refused is tried again at once, and never given up.
const SET: [&str; 6] = [
    "consumer.retry_backoff_ms_max=200",
    "consumer.retries_max=1",
    "consumer.parked_tries_max=100",
    "consumer.parked_retry_ms_min=200",
    "consumer.parked_retry_ms_max=400",
    "consumer.storm_percent=0",
];

/// Names of events that the database refuses begin with it.
pub const POISON: &str = "poison-";

/// A deployment, its ledger, and how many loads it has had.
pub struct Scene {
    pub cluster: Cluster,
    pub ledger: Arc<Ledger>,
    pub database: PgConnection,
    loads: u32,
    /// Poison is applied when it is tried again.
    mended: bool,
}

impl Scene {
    /// Fresh topics and tables, an ingress, no consumer. The database refuses events whose id begins with
    /// [`POISON`], and notes each position that goes back.
    pub async fn new(place: Place<'_>, set: &[&str]) -> anyhow::Result<Self> {
        let set = SET.iter().chain(set).map(|setting| (*setting).to_owned()).collect();
        let settings = Settings { set, ..Settings::default() };
        let cluster = Cluster::start(place.dir, place.services, &settings, 0).await?;
        let ledger = Arc::new(Ledger::create(place.dir.join("ledger.jsonl"))?);
        cluster.effects().watch().await?;
        let database = cluster.effects().postgres().await?;
        let mut scene = Self { cluster, ledger, database, loads: 0, mended: false };
        let refuse = "alter table events add constraint no_poison check (id not like 'poison-%')";
        scene.sql(refuse).await?;
        Ok(scene)
    }

    /// Runs statements on the pipeline's schema.
    pub async fn sql(&mut self, text: &'static str) -> anyhow::Result<()> {
        sqlx::raw_sql(text).execute(&mut self.database).await.context(text).map(drop)
    }

    /// Poison is applied from now on, where it is tried.
    pub async fn mend(&mut self) -> anyhow::Result<()> {
        self.mended = true;
        self.sql("alter table events drop constraint no_poison").await
    }

    /// A load of so many events of all tenants, accepted to the last.
    pub async fn post(&mut self, events: u64) -> anyhow::Result<()> {
        self.post_as("sound-", producers(), events).await
    }

    /// Events that the database refuses.
    pub async fn poison(&mut self, events: u64) -> anyhow::Result<()> {
        self.post_as(POISON, producers(), events).await
    }

    /// Events of these tenants; their ids begin with `prefix`.
    pub async fn post_as(
        &mut self,
        prefix: &str,
        producers: Vec<Producer>,
        events: u64,
    ) -> anyhow::Result<()> {
        let load =
            Load { events_max: Some(events), producers, ..self.load(prefix, AS_FAST_AS_ACCEPTED) };
        load.run(&Shutdown::new()).await.map(drop)
    }

    /// Posts at a steady rate in the background, sound events and one in fifty that is poison.
    pub fn posting(&mut self, rate_per_s: u32) -> Posting {
        let stop = Shutdown::new();
        let loads = [
            self.load("sound-", rate_per_s),
            Load { connections: 1, ..self.load(POISON, (rate_per_s / 50).max(1)) },
        ];
        let running = loads.map(|load| {
            let stop = stop.clone();
            tokio::spawn(async move { load.run(&stop).await })
        });
        Posting { stop, running }
    }

    fn load(&mut self, prefix: &str, rate_per_s: u32) -> Load {
        self.loads += 1;
        Load {
            name: format!("{prefix}{}", self.loads),
            target: self.cluster.target(),
            producers: producers(),
            ledger: Arc::clone(&self.ledger),
            rate_per_s,
            connections: CONNECTIONS,
            events_max: None,
        }
    }

    /// Starts a consumer that dies, stands still or hangs somewhere.
    pub async fn start_failing(&mut self, index: usize, failpoints: &str) -> anyhow::Result<()> {
        let start = Start { failpoints: Some(failpoints), ..Start::default() };
        self.cluster.consumer_start_as(index, &start).await
    }

    /// Waits until everything that was accepted has its effect or is parked, and all of the log is read.
    pub async fn settled(&mut self) -> anyhow::Result<()> {
        let (sound, poisoned) = self.accepted()?;
        let (effects, parked) = if self.mended { (sound + poisoned, 0) } else { (sound, poisoned) };
        let what = format!("{effects} effects and {parked} parked");
        wait_until(what, DEADLINE, async || {
            // A connection of its own: the database may be another one than a moment ago.
            let Ok(mut database) = self.cluster.effects().postgres().await else {
                return Ok(Seen::NotYet("no database".to_owned()));
            };
            let count = "select (select count(*) from events), (select count(*) from parked)";
            let there: (i64, i64) = match sqlx::query_as(count).fetch_one(&mut database).await {
                Ok(there) => there,
                Err(error) => return Ok(Seen::NotYet(error.to_string())),
            };
            Ok(match there == (effects, parked) {
                true => Seen::There(()),
                false => Seen::NotYet(format!("{there:?}")),
            })
        })
        .await?;
        self.read_to_the_end().await
    }

    /// Waits until the positions are at the log's end.
    pub async fn read_to_the_end(&self) -> anyhow::Result<()> {
        let topics = self.cluster.topics().clone();
        let end = tokio::task::spawn_blocking(move || topics.appended()).await??;
        wait_until(format!("positions with the sum {end}"), DEADLINE, async || {
            let positions = self.cluster.effects().tables().await?.positions;
            let sum: i64 = positions.iter().map(|position| position.next).sum();
            Ok(if sum == end { Seen::There(()) } else { Seen::NotYet(format!("{sum}")) })
        })
        .await
    }

    /// Another connection, after the last one was ended.
    pub async fn reconnect(&mut self) -> anyhow::Result<()> {
        self.database = self.cluster.effects().postgres().await?;
        Ok(())
    }

    /// How many distinct events were accepted: sound ones, and poison.
    pub fn accepted(&self) -> anyhow::Result<(i64, i64)> {
        let history = History::of(&Ledger::read(self.ledger.path())?)?;
        let accepted = history.events().filter(|(_, event)| event.accepted > 0);
        let (poisoned, sound): (Vec<_>, Vec<_>) =
            accepted.partition(|(identity, _)| identity.id.starts_with(POISON));
        Ok((i64::try_from(sound.len())?, i64::try_from(poisoned.len())?))
    }

    /// What the checker finds now.
    pub async fn judge(&self) -> anyhow::Result<Findings> {
        let history = History::of(&Ledger::read(self.ledger.path())?)?;
        let records = self.cluster.records().await?;
        let effects = self.cluster.effects().read().await?;
        let tables = self.cluster.effects().tables().await?;
        let poisoned = |record: &LogRecord| {
            let refused = |id: &str| id.starts_with(POISON) && !self.mended;
            record.identity.as_ref().is_none_or(|identity| refused(&identity.id))
        };
        let findings = reconcile_tables(&history, &records, &effects, &tables, poisoned);
        ensure!(findings.events > 0, "nothing was posted");
        Ok(findings)
    }

    /// Everything settled, nothing wrong; the end of it.
    pub async fn end(mut self) -> anyhow::Result<Findings> {
        self.settled().await?;
        let findings = self.judge().await?.clean()?;
        drop(self.database);
        self.cluster.stop().await?;
        Ok(findings)
    }
}

/// The partition of `transactional` that a tenant's events go to.
pub fn partition_of(tenant: &str) -> u32 {
    let router = Router::new([PARTITIONS; 3], Vec::new());
    router.partition(Class::Transactional, tenant.as_bytes()).partition.0
}

/// A load in the background.
pub struct Posting {
    stop: Shutdown,
    running: [JoinHandle<anyhow::Result<Answers>>; 2],
}

impl Posting {
    /// Ends it; all of it is accepted then.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        for one in self.running {
            one.await.context("a load")??;
        }
        Ok(())
    }
}
