//! An operator pins a partition's limit through the admin port of one of two replicas: what both let in
//! together, and from when on.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use shared::position::Class;

use super::super::Options;
use super::super::plan::{self, SPIKE};
use super::super::scene::{Replica, Scene, at};
use crate::bench::report::{Direction, Report};
use crate::deployment::Cluster;
use crate::process::{Process, run as run_to_end, shock_binary};

/// The pinned partition.
const PARTITION: u32 = 0;
/// What is pinned, of what its writer does: the load offers several times as much, and the writer
/// keeps up, so that nothing but the pin decides.
const PINNED_SHARE: f64 = 0.8;
/// A mean is taken over so many seconds.
const WINDOW_S: u64 = 10;
/// By how much it may be off.
const OFF_MAX: f64 = 0.05;

/// Runs the case.
pub async fn run(
    cluster: &mut Cluster,
    dir: &Path,
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<()> {
    for index in 0..options.consumers {
        cluster.consumer_up(index).await?;
    }
    let mut args = vec!["ingress".to_owned()];
    args.extend(cluster.args().iter().cloned());
    let mut second =
        Process::start("ingress-1", &shock_binary()?, &args, cluster.variables(), dir)?;
    let replica = Replica {
        address: second.address("ingress").await?,
        admin: second.address("admin").await?,
        pid: second.id(),
    };
    let mut scene = Scene::of(cluster, options.consumers, options.scale)?;
    scene.replicas.push(replica);
    let pinned_per_s = options.scale.of_writer(PINNED_SHARE);
    let offers = plan::offers(&plan::tenants(), options.scale, options.course.factor);
    let (started, admin) = (Instant::now(), format!("http://{}", scene.replicas[0].admin));
    let pin = async {
        at(started, options.course.before).await;
        let place = format!("transactional/{PARTITION}");
        let per_s = pinned_per_s.to_string();
        let words = ["ctl", "limits", "pin", &place, "--per-s", &per_s, "--why", "bench"];
        let mut args: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        args.extend(["--by".to_owned(), "bench".to_owned(), "--admin".to_owned(), admin]);
        run_to_end(&shock_binary()?, &args, &[], dir).await.map(drop)
    };
    let played = scene.play(offers, options.course, pin).await?;
    let on_it = played.part(SPIKE, |offer| {
        offer.class == Class::Transactional && offer.tenant.partition == PARTITION
    })?;
    let seconds = options.course.spike.as_secs();
    let means = means_per_s(&on_it.admitted_by_s, seconds);
    let off = |mean: &f64| (mean / pinned_per_s - 1.0).abs();
    let from_s = settled(&means, |mean| off(mean) <= OFF_MAX);
    let last = means.last().copied().unwrap_or(0.0);
    report.note("ctl: pinned for all replicas", pinned_per_s, "events/s");
    let offered_per_s = on_it.sent() as f64 / seconds as f64;
    report.note("ctl: offered on the partition", offered_per_s, "events/s");
    report.note(format!("ctl: let in by both replicas, the last {WINDOW_S} s"), last, "events/s");
    let what = "ctl: let in by both replicas, off the pin by";
    report.note_against(what, off(&last), "of 1", (Direction::AtMost, OFF_MAX));
    report.note(format!("ctl: within {OFF_MAX} from the pin on, {WINDOW_S} s means"), from_s, "s");
    let status = second.terminate().await?;
    anyhow::ensure!(status.success(), "the second ingress ended with {status}");
    Ok(())
}

/// The mean of each window of [`WINDOW_S`] seconds, by the second it begins in.
fn means_per_s(by_s: &BTreeMap<u64, u64>, seconds: u64) -> Vec<f64> {
    let mean = |from: u64| {
        let sum: u64 = by_s.range(from..from + WINDOW_S).map(|(_, count)| count).sum();
        sum as f64 / WINDOW_S as f64
    };
    (0..(seconds + 1).saturating_sub(WINDOW_S)).map(mean).collect()
}

/// From which second on every window is as wanted; infinite where the last one is not.
fn settled(means: &[f64], wanted: impl Fn(&f64) -> bool) -> f64 {
    match means.iter().rposition(|mean| !wanted(mean)) {
        None => 0.0,
        Some(last) if last + 1 == means.len() => f64::INFINITY,
        Some(last) => (last + 1) as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_settled_when_no_window_is_off_any_more() {
        let by_s = (0..12).map(|second| (second, if second == 0 { 100 } else { 10 })).collect();
        let means = means_per_s(&by_s, 12);
        assert_eq!(means, [19.0, 10.0, 10.0]);
        assert_eq!(settled(&means, |mean| *mean < 11.0), 1.0);
        assert_eq!(settled(&means, |mean| *mean > 11.0), f64::INFINITY);
        assert_eq!(settled(&means, |_| true), 0.0);
    }
}
