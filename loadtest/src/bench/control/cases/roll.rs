//! A rolling restart of the consumers at half of the capacity: nothing is refused for it.

use std::time::{Duration, Instant};

use shared::position::Class;

use super::super::Options;
use super::super::plan;
use super::super::probe;
use super::super::scene::{Scene, at};
use super::super::streams::Tally;
use crate::bench::report::{Direction, Report};
use crate::deployment::Cluster;

/// Between a consumer that is ready again and the next one's end.
const PAUSE: Duration = Duration::from_secs(3);

/// Runs the case.
pub async fn run(
    cluster: &mut Cluster,
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<()> {
    let consumers = options.consumers.max(2);
    for index in 0..consumers {
        cluster.consumer_up(index).await?;
    }
    let scene = Scene::of(cluster, consumers, options.scale)?;
    let watched = scene.consumers.clone();
    let offers = plan::offers(&plan::tenants(), options.scale, 1.0);
    let started = Instant::now();
    let mut took = Duration::ZERO;
    let roll = async {
        at(started, options.course.before).await;
        for index in 0..consumers {
            cluster.consumer_stop(index).await?;
            cluster.consumer_up(index).await?;
            watched.moved(index, cluster.consumer_admin(index)?);
            took = started.elapsed() - options.course.before;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    };
    let played = scene.play(offers, options.course, roll).await?;
    let all = Tally::sum(played.tallies.iter().flatten())?;
    report.note(
        "roll: from the first consumer's end to the last one's readiness",
        took.as_secs_f64(),
        "s",
    );
    let none = (Direction::AtMost, 0.0);
    report.note_against("roll: refused", all.refused() as f64, "requests", none);
    let otherwise = all.sent() - all.admitted() - all.refused();
    report.note_against("roll: answered otherwise, or not", otherwise as f64, "requests", none);
    report.note("roll: answered 202", all.admitted() as f64, "requests");
    for class in Class::ALL {
        let most_s = probe::most_s(&played.looks, class);
        report.note(format!("roll: the most that {class} was behind"), most_s, "s");
    }
    Ok(())
}
