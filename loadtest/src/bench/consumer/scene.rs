//! A deployment whose topics have a given number of partitions, and what is looked at in its database.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use shared::position::Class;
use sqlx::{PgConnection, Row};

use super::feed::Feed;
use crate::bench::cpu;
use crate::deployment::{Cluster, Settings};
use crate::services::Services;
use crate::wait::let_pass;

/// From the start of a consumer to the last effect.
const DEADLINE: Duration = Duration::from_secs(180);
/// How often the position is looked at: the statement costs the server some 0.1 ms.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A deployment without a consumer.
pub struct Scene {
    pub cluster: Cluster,
    pub connection: PgConnection,
    partitions: u32,
    /// Records written to each partition so far.
    written: u64,
}

/// What one run of a consumer did.
#[derive(Clone, Copy, Debug)]
pub struct Ran {
    /// Records per second, from the first commit that was seen to the last.
    pub per_s: f64,
    /// CPU of the consumer's process per record, µs.
    pub cpu_us: f64,
    /// Cores that PostgreSQL's processes used meanwhile.
    pub postgres_cores: f64,
}

/// Who has a partition, and where it stands.
pub type Progress = BTreeMap<(i16, i32), (String, i64)>;

impl Scene {
    /// Fresh topics of so many partitions for each class, fresh tables.
    pub async fn new(
        dir: &Path,
        name: &str,
        services: &Services,
        partitions: u32,
        set: &[&str],
    ) -> anyhow::Result<Self> {
        let set = set.iter().map(|setting| (*setting).to_owned()).collect();
        Self::of(dir, name, services, partitions, Settings { set, ..Settings::default() }).await
    }

    /// The same with whatever may be configured.
    pub async fn of(
        dir: &Path,
        name: &str,
        services: &Services,
        partitions: u32,
        mut settings: Settings,
    ) -> anyhow::Result<Self> {
        let dir = dir.join(name);
        std::fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
        settings.set.push(format!("topics.partitions={partitions}"));
        let cluster = Cluster::start(&dir, services, &settings, 0).await?;
        let connection = cluster.effects().postgres().await?;
        Ok(Self { cluster, connection, partitions, written: 0 })
    }

    /// How many each class has.
    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    /// Writes records to each partition of a class.
    pub async fn feed(
        &mut self,
        class: Class,
        records: u64,
        shape: impl FnOnce(Feed) -> Feed,
    ) -> anyhow::Result<()> {
        let feed = shape(Feed::of(self.partitions, records, self.written));
        let topics = self.cluster.topics().clone();
        let written = tokio::task::spawn_blocking(move || feed.write(&topics, class));
        written.await.context("the feed")??;
        self.written += records;
        Ok(())
    }

    /// Lets a consumer apply what was fed to transactional, and stops it.
    pub async fn apply(&mut self) -> anyhow::Result<Ran> {
        let begin = self.applied().await?;
        self.cluster.consumer_start(0).await?;
        let ran = self.ran(begin).await?;
        self.cluster.consumer_stop(0).await?;
        Ok(ran)
    }

    /// What the consumer that runs does from `begin` on until all is applied.
    pub async fn ran(&mut self, begin: i64) -> anyhow::Result<Ran> {
        let target = self.written as i64 * i64::from(self.partitions);
        let pid = self.cluster.consumer(0)?.id();
        let postmaster = postmaster(&mut self.connection).await?;
        let deadline = Instant::now() + DEADLINE;
        let mut first = None;
        let (last, ended) = loop {
            let applied = self.applied().await?;
            let now = Instant::now();
            if first.is_none() && applied > begin {
                first = Some((applied, now, cpu::seconds(pid)?, tree_seconds(postmaster)?));
            }
            if applied >= target {
                break (applied, now);
            }
            ensure!(now < deadline, "{applied} of {target} after {DEADLINE:?}");
            let_pass(LOOK_EVERY).await;
        };
        let (from, began, cpu_before, postgres_before) = first.context("it has begun")?;
        let (cpu_after, postgres_after) = (cpu::seconds(pid)?, tree_seconds(postmaster)?);
        ensure!(last > from, "all of it was applied between two looks");
        let (records, elapsed) = ((last - from) as f64, (ended - began).as_secs_f64());
        Ok(Ran {
            per_s: records / elapsed,
            cpu_us: (cpu_after - cpu_before) * 1e6 / records,
            postgres_cores: (postgres_after - postgres_before) / elapsed,
        })
    }

    /// The sum of transactional's positions.
    pub async fn applied(&mut self) -> anyhow::Result<i64> {
        let sql = "select coalesce(sum(next_offset), 0)::bigint from progress where class = 1";
        sqlx::query_scalar(sql).fetch_one(&mut self.connection).await.context(sql)
    }

    /// Every row.
    pub async fn progress(&mut self) -> anyhow::Result<Progress> {
        let sql = "select class, partition, owner, next_offset from progress";
        let rows = sqlx::query(sql).fetch_all(&mut self.connection).await.context(sql)?;
        let one = |row: &sqlx::postgres::PgRow| {
            let id = (row.try_get(0)?, row.try_get(1)?);
            Ok((id, (row.try_get(2)?, row.try_get(3)?)))
        };
        rows.iter().map(one).collect()
    }
}

/// The process that all of the server's descend from; on another machine there is none to look at.
async fn postmaster(connection: &mut PgConnection) -> anyhow::Result<i32> {
    let sql = "select current_setting('data_directory')";
    let directory: String = sqlx::query_scalar(sql).fetch_one(connection).await.context(sql)?;
    let path = Path::new(&directory).join("postmaster.pid");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let line = text.lines().next().context("a line")?;
    line.trim().parse().with_context(|| path.display().to_string())
}

/// CPU of a process's children that live now, in seconds; one that ends meanwhile takes its own along.
fn tree_seconds(parent: i32) -> anyhow::Result<f64> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let children = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    // One may end between the two files.
    let seconds = |pid: &str| cpu::seconds(pid.parse().ok()?).ok();
    Ok(children.split_whitespace().filter_map(seconds).sum())
}
