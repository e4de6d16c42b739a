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
/// Half of the capacity is offered, half is left to drain: an outage takes as long again, and this.
const SPARE: Duration = Duration::from_secs(30);
/// And some seconds to see that it stays so.
const SEEN: Duration = Duration::from_secs(10);

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
    course.after = course.after.max(course.spike + SPARE + SEEN);
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
    for (class, bound_s) in [(Class::Transactional, 1.0), (Class::Telemetry, 1.0)] {
        let most_s = probe::most_s(&played.looks, class);
        report.note(format!("outage: the most that {class} was behind"), most_s, "s");
        let back_s = probe::within_from_s(&played.looks, class, bound_s)
            - (course.before + course.spike).as_secs_f64();
        let what = format!("outage: from its end until {class} is within {bound_s} s again");
        let reach = (Direction::AtMost, (course.spike + SPARE).as_secs_f64());
        report.note_against(what, back_s, "s", reach);
    }
    Ok(())
}
