//! The filter of the ids of the day before: how long it takes to read ten million of them while a backlog
//! is consumed, and how fast one partition is with it and without, in the same rounds.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use shared::position::Class;
use sqlx::AssertSqlSafe;

use super::scene::{Ran, Scene};
use crate::admin;
use crate::bench::report::{Direction, Report};
use crate::services::Services;
use crate::wait::{Seen, wait_until};

/// Ids of the day before.
const IDS: i64 = 10_000_000;
/// Records of one run.
const RECORDS: u64 = 40_000;
/// Records that are consumed while the ids are read: more than are done by then.
const BACKLOG: u64 = 600_000;
/// The first look of a consumer comes within a second, and the reading takes some.
const READ_DEADLINE: Duration = Duration::from_secs(60);
const READ_S: f64 = 10.0;
const WITHOUT: &[&str] = &["consumer.filter_bytes_max=0"];

/// Fills the bucket before with ids that no event has, as a table of its own first: its key is made in one
/// go.
const FILL: &str = "create table processed_ids_{bucket} (like processed_ids including defaults); \
    insert into processed_ids_{bucket} \
      select {bucket}, 't0', decode(md5(n::text), 'hex'), 1, 0, n, n from generate_series(1, {ids}) n; \
    alter table processed_ids_{bucket} add primary key (digest, tenant, bucket); \
    alter table processed_ids attach partition processed_ids_{bucket} for values in ({bucket}); \
    analyze processed_ids_{bucket}";
/// What consumers say of idle partitions some times a day, at once.
const CAUGHT_UP: &str =
    "update progress set caught_up_at = (extract(epoch from now()) * 1000)::bigint";
/// Whether the day before is over for more than an hour.
const OVER: &str = "select extract(hour from now() at time zone 'utc') >= 1";

/// Measures both.
pub async fn measure(
    dir: &Path,
    services: &Services,
    rounds: u32,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut scene = Scene::new(dir, "filter", services, 1, &[]).await?;
    let over: bool =
        sqlx::query_scalar(OVER).fetch_one(&mut scene.connection).await.context(OVER)?;
    ensure!(over, "not in the first hour of a day (UTC): the day before is not over yet");
    let bucket = "select floor(extract(epoch from now()) / 86400)::bigint - 1";
    let bucket: i64 =
        sqlx::query_scalar(bucket).fetch_one(&mut scene.connection).await.context(bucket)?;
    let fill = FILL.replace("{bucket}", &bucket.to_string()).replace("{ids}", &IDS.to_string());
    let filled = sqlx::raw_sql(AssertSqlSafe(fill)).execute(&mut scene.connection);
    filled.await.context("ten million ids")?;

    // The first run claims everything, and is not counted.
    run(&mut scene, WITHOUT, RECORDS).await?;
    sqlx::query(CAUGHT_UP).execute(&mut scene.connection).await.context(CAUGHT_UP)?;
    let (mut read, mut ratios, mut with_per_s) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        read.push(reading(&mut scene).await?);
        let with = run(&mut scene, &[], RECORDS).await?;
        let without = run(&mut scene, WITHOUT, RECORDS).await?;
        with_per_s.push(with.per_s);
        ratios.push(with.per_s / without.per_s);
    }
    let reach = Some((Direction::AtMost, READ_S));
    report.note_rounds("ten million ids read beside consumption", read, "s", reach);
    let name = "one partition, ten million ids in the bucket before, filter";
    report.note_rounds(name, with_per_s, "records/s", None);
    let name = "ten million ids in the bucket before: filter / none";
    report.note_rounds(name, ratios, "×", Some((Direction::AtLeast, 1.0)));
    scene.cluster.stop().await
}

/// One run of a consumer that has read what it reads before records come.
async fn run(scene: &mut Scene, set: &[&str], records: u64) -> anyhow::Result<Ran> {
    let begin = scene.applied().await?;
    scene.cluster.consumer_up_with(0, set).await?;
    if set != WITHOUT {
        until_read(scene).await?;
    }
    scene.feed(Class::Transactional, records, |feed| feed).await?;
    let ran = scene.ran(begin).await?;
    if set != WITHOUT {
        let spared = metric(scene, "shock_consumer_filter_spared_total").await?;
        let part = spared / records as f64;
        ensure!(part > 0.99, "{part} of the look-ups were spared");
    }
    scene.cluster.consumer_stop(0).await?;
    Ok(ran)
}

/// Seconds for reading the ids while a backlog is consumed.
async fn reading(scene: &mut Scene) -> anyhow::Result<f64> {
    scene.feed(Class::Transactional, BACKLOG, |feed| feed).await?;
    let begin = scene.applied().await?;
    scene.cluster.consumer_start(0).await?;
    until_read(scene).await?;
    let applied = scene.applied().await? - begin;
    ensure!(
        applied > 0 && applied < BACKLOG as i64,
        "{applied} of {BACKLOG} were applied when the ids were read"
    );
    let seconds = metric(scene, "shock_consumer_filter_read_seconds_sum").await?;
    scene.ran(begin).await?;
    scene.cluster.consumer_stop(0).await?;
    Ok(seconds)
}

async fn until_read(scene: &Scene) -> anyhow::Result<()> {
    wait_until("the ids to be read", READ_DEADLINE, async || {
        let ids = metric(scene, "shock_consumer_filter_ids").await?;
        Ok(if ids >= IDS as f64 { Seen::There(()) } else { Seen::NotYet(format!("{ids} ids")) })
    })
    .await
}

async fn metric(scene: &Scene, name: &str) -> anyhow::Result<f64> {
    admin::metric(scene.cluster.consumer_admin(0)?, name).await
}
