//! How far a fault of one partition is felt: rate and lag of partition 8 while partition 7, in the same
//! process, halts, hangs in its statement, or has nothing but poison; each beside its own figures just
//! before. All partitions get the same steady load.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use shared::position::Class;
use sqlx::{Connection, PgConnection};

use super::feed::Trickle;
use super::scene::Scene;
use crate::admin;
use crate::bench::report::{Direction, Report};
use crate::services::Services;
use crate::wait::{Seen, let_pass, wait_until};

/// 0 to 8.
const PARTITIONS: u32 = 9;
/// Between two events of a partition.
const FEED_EVERY: Duration = Duration::from_millis(5);
/// From a start, and from a fault, to the first look.
const WARM: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_secs(8);
const DEADLINE: Duration = Duration::from_secs(60);
/// The storm goes on: a guard that halts it is the first case.
const SET: [&str; 3] =
    ["consumer.storm_percent=0", "consumer.retries_max=0", "consumer.parked_tries_max=0"];
const TOLERANCE: f64 = 0.1;

/// What happens to partition 7.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Halted,
    Hangs,
    Poisoned,
}

/// Measures each, several times.
pub async fn radius(
    dir: &Path,
    services: &Services,
    rounds: u32,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut scene = Scene::new(dir, "blast", services, PARTITIONS, &SET).await?;
    let classes = [Class::Transactional];
    let trickle = Trickle::start(scene.cluster.topics(), &classes, PARTITIONS, FEED_EVERY);
    for (fault, what) in [
        (Fault::Halted, "is halted"),
        (Fault::Hangs, "hangs in its statement"),
        (Fault::Poisoned, "has nothing but poison"),
    ] {
        let (mut rates, mut lags) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let (rate, lag) =
                round(&mut scene, fault).await.with_context(|| format!("{fault:?}"))?;
            rates.push(rate);
            lags.push(lag);
        }
        let reach = Some((Direction::AtLeast, 1.0 - TOLERANCE));
        report.note_rounds(
            format!("rate of partition 8 while 7 {what} / before"),
            rates,
            "×",
            reach,
        );
        let reach = Some((Direction::AtMost, 1.0 + TOLERANCE));
        report.note_rounds(format!("lag of partition 8 while 7 {what} / before"), lags, "×", reach);
    }
    trickle.stop().await?;
    scene.cluster.stop().await
}

/// Rate and lag under the fault over those before it.
async fn round(scene: &mut Scene, fault: Fault) -> anyhow::Result<(f64, f64)> {
    scene.cluster.consumer_up(0).await?;
    caught_up(scene).await?;
    let before = look(scene).await?;
    let held = begin(scene, fault).await?;
    let_pass(WARM).await;
    let stood = next(scene, 7).await?;
    let under = look(scene).await?;
    if !matches!(fault, Fault::Poisoned) {
        ensure!(next(scene, 7).await? == stood, "partition 7 does not stand still");
    }
    end(scene, fault, held).await?;
    // Killed: a clean stop would wait for what hangs.
    scene.cluster.consumer_kill(0).await?;
    Ok((under.0 / before.0, under.1 / before.1))
}

/// Waits until the backlog of the last round is gone.
async fn caught_up(scene: &mut Scene) -> anyhow::Result<()> {
    let admin = scene.cluster.consumer_admin(0)?;
    let_pass(WARM).await;
    wait_until("the backlog to be gone", DEADLINE, async || {
        let lag = admin::metric(admin, "shock_consumer_lag_records").await?;
        Ok(if lag < 100.0 { Seen::There(()) } else { Seen::NotYet(format!("{lag}")) })
    })
    .await
}

/// Events per second of partition 8, and seconds from their record to their effect, in the mean.
async fn look(scene: &mut Scene) -> anyhow::Result<(f64, f64)> {
    let (from, begun) = (next(scene, 8).await?, Instant::now());
    let_pass(LOOK).await;
    let (to, elapsed) = (next(scene, 8).await?, begun.elapsed());
    let lag = "select avg(extract(epoch from applied_at - received_at))::float8 from events \
               where class = 1 and partition = 8 and log_offset >= $1 and log_offset < $2";
    let lag: Option<f64> =
        sqlx::query_scalar(lag).bind(from).bind(to).fetch_one(&mut scene.connection).await?;
    Ok(((to - from) as f64 / elapsed.as_secs_f64(), lag.context("partition 8 stands still")?))
}

async fn next(scene: &mut Scene, partition: i32) -> anyhow::Result<i64> {
    let sql = "select next_offset from progress where class = 1 and partition = $1";
    let next = sqlx::query_scalar(sql).bind(partition).fetch_optional(&mut scene.connection).await;
    Ok(next.context(sql)?.unwrap_or(-1))
}

async fn begin(scene: &mut Scene, fault: Fault) -> anyhow::Result<Option<PgConnection>> {
    let sql = match fault {
        Fault::Halted => {
            "create table kept as select * from progress where class = 1 and partition = 7; \
             delete from progress where class = 1 and partition = 7"
        }
        Fault::Poisoned => {
            "alter table events add constraint poison check (partition <> 7) not valid"
        }
        Fault::Hangs => {
            let mut held = scene.cluster.effects().postgres().await?;
            let sql = "begin; select 1 from progress where class = 1 and partition = 7 for update";
            sqlx::raw_sql(sql).execute(&mut held).await.context(sql)?;
            return Ok(Some(held));
        }
    };
    sqlx::raw_sql(sql).execute(&mut scene.connection).await.context(sql)?;
    Ok(None)
}

async fn end(scene: &mut Scene, fault: Fault, held: Option<PgConnection>) -> anyhow::Result<()> {
    if let Some(held) = held {
        return held.close().await.context("let go");
    }
    let sql = match fault {
        Fault::Halted => "insert into progress select * from kept; drop table kept",
        Fault::Poisoned => "alter table events drop constraint poison",
        Fault::Hangs => return Ok(()),
    };
    sqlx::raw_sql(sql).execute(&mut scene.connection).await.context(sql).map(drop)
}
