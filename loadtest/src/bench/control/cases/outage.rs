//! The consumers are killed and PostgreSQL is stopped at half of the capacity, for as long as the spike
//! of other runs takes: producers do not notice, and the backlog is gone soon after.

use std::time::{Duration, Instant};

use anyhow::ensure;
use shared::position::Class;

use super::super::Options;
use super::super::figures::{self, Judged};
use super::super::plan::{self, SPIKE};
use super::super::probe;
use super::super::scene::{Scene, at};
use super::super::streams::Tally;
use crate::bench::report::{Direction, Report};
use crate::deployment::Cluster;
use crate::services::Services;

/// What has to be answered 202.
const ADMITTED_MIN: f64 = 0.9999;
/// By how much the ingress's p99 may be worse than before.
const SLOWER_MAX: f64 = 1.1;
/// A backlog may take what the spare capacity needs for it, and this.
const SPARE: Duration = Duration::from_secs(30);
/// No less spare capacity counts, of what is offered: where there was less, no bound would be missed.
const SPARE_SHARE_MIN: f64 = 0.4;
/// Behind by less, s, is back.
const BACK_S: f64 = 1.0;
/// What drains is measured over so many seconds, and seen for so long: half of the capacity is offered, and
/// what a database of single rows loses to small batches comes off the other half.
const DRAINS: (f64, Duration) = (30.0, Duration::from_secs(180));

/// Runs the case.
pub async fn run(
    cluster: &mut Cluster,
    services: &Services,
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<()> {
    let consumers = options.consumers.max(1);
    for index in 0..consumers {
        cluster.consumer_up(index).await?;
    }
    let scene = Scene::of(cluster, consumers, options.scale)?;
    let watched = scene.consumers.clone();
    let offers = plan::offers(&plan::tenants(), options.scale, 1.0);
    let mut course = options.course;
    course.after = course.after.max(DRAINS.1);
    let started = Instant::now();
    let outage = async {
        at(started, course.before).await;
        for index in 0..consumers {
            cluster.consumer_kill(index).await?;
        }
        services.postgres_stop().await?;
        at(started, course.before + course.spike).await;
        services.postgres_start().await?;
        for index in 0..consumers {
            cluster.consumer_up(index).await?;
            watched.moved(index, cluster.consumer_admin(index)?);
        }
        Ok(())
    };
    let played = scene.play(offers, course, outage).await?;
    let all = Tally::sum(played.tallies.iter().flatten())?;
    ensure!(all.sent() > 0, "nothing was sent");
    let admitted = all.admitted() as f64 / all.sent() as f64;
    let reach = (Direction::AtLeast, ADMITTED_MIN);
    report.note_against("outage: answered 202", admitted, "of 1", reach);
    report.note("outage: sent", all.sent() as f64, "requests");
    figures::note(report, "outage", &played, Judged::No)?;
    let p99_ms = |part| {
        let tally = played.part(part, |_| true)?;
        anyhow::Ok(tally.admitted_ns.value_at_quantile(0.99) as f64 / 1e6)
    };
    let (before_ms, during_ms) = (p99_ms(SPIKE - 1)?, p99_ms(SPIKE)?);
    report.note("outage: p99 of a 202 before", before_ms, "ms");
    report.note("outage: p99 of a 202 meanwhile", during_ms, "ms");
    let reach = (Direction::AtMost, SLOWER_MAX);
    report.note_against("outage: p99 meanwhile / before", during_ms / before_ms, "×", reach);
    let end_s = (course.before + course.spike).as_secs_f64();
    let back_s = |class| probe::within_from_s(&played.looks, class, BACK_S) - end_s;
    let all_back_s = Class::ALL.map(back_s).into_iter().fold(0.0, f64::max);
    let drained_per_s =
        probe::applied_per_s(&played.looks, &Class::ALL, end_s, end_s + all_back_s.min(DRAINS.0));
    report.note("outage: applied while it drained", drained_per_s, "events/s");
    let offered_per_s = all.sent() as f64 / course.parts().iter().sum::<Duration>().as_secs_f64();
    let spare_per_s = (drained_per_s - offered_per_s).max(SPARE_SHARE_MIN * offered_per_s);
    let bound_s = course.spike.as_secs_f64() * offered_per_s / spare_per_s + SPARE.as_secs_f64();
    for class in Class::ALL {
        let what = format!("outage: from its end until {class} is within {BACK_S} s again");
        report.note_against(what, back_s(class), "s", (Direction::AtMost, bound_s));
    }
    Ok(())
}
