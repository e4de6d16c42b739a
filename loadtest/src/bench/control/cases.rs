//! What happens when something breaks, or is done, while a load runs.

mod database;
mod outage;
mod owners;
mod pinned;
mod roll;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use anyhow::ensure;
use shared::position::Class;

use super::figures::{self, Judged, shed_share};
use super::plan::{self, Offer, SPIKE};
use super::probe;
use super::scene::{Played, Scene, at};
use super::{AFTER_KILL_MIN, Case, Options, Variant, settings};
use crate::admin;
use crate::bench::exposition::samples;
use crate::bench::report::{Direction, Report};
use crate::deployment::Cluster;
use crate::services::Services;

/// By how much the slow consumer's writers are slower.
const SLOWER: u32 = 4;
/// No more than the rules call nothing: shed for somebody else's writer.
const OTHERS_SHED_MAX: f64 = 0.001;

/// Runs one case and notes its figures.
pub async fn run(
    case: Case,
    dir: &Path,
    services: &Services,
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<()> {
    let tenants = plan::tenants();
    let mut set = case.profile().settings();
    if case == Case::Ctl {
        // A mode would let in less than the pin.
        set.push("mode.automatic=false".to_owned());
    }
    let mut settings = settings(dir, &tenants, options, set)?;
    if matches!(case, Case::TwoOwners | Case::Outage) {
        settings.files.push(database::configure(dir, options.scale)?);
    }
    let mut cluster = Cluster::start(dir, services, &settings, 0).await?;
    match case {
        Case::SlowPartition => slow_partition(&mut cluster, options, report).await?,
        Case::OwnerKilled => owner_killed(&mut cluster, options, report).await?,
        Case::Ctl => pinned::run(&mut cluster, dir, options, report).await?,
        Case::Roll => roll::run(&mut cluster, options, report).await?,
        Case::Outage => outage::run(&mut cluster, services, options, report).await?,
        Case::TwoOwners => owners::run(&mut cluster, options, report).await?,
    }
    cluster.stop().await
}

impl Case {
    fn profile(self) -> Variant {
        match self {
            Self::SlowPartition | Self::OwnerKilled | Self::Ctl => Variant::BoundedLag,
            Self::Roll | Self::Outage | Self::TwoOwners => Variant::Absorb,
        }
    }
}

/// The load never exceeds half of the capacity, but for the partitions of the slow one: it is twice
/// what that one can do.
async fn slow_partition(
    cluster: &mut Cluster,
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<()> {
    let consumers = options.consumers.max(2);
    let slow = format!("consumer.rate_per_s_max={}", (options.scale.writer_per_s / SLOWER).max(1));
    cluster.consumer_up_with(0, &[&slow]).await?;
    for index in 1..consumers {
        cluster.consumer_up(index).await?;
    }
    let scene = Scene::of(cluster, consumers, options.scale)?;
    let offers = plan::offers(&plan::tenants(), options.scale, 1.0);
    let played = scene.play(offers, options.course, async { Ok(()) }).await?;
    let slow = owned(cluster.consumer_admin(0)?).await?;
    ensure!(!slow.is_empty(), "the slow consumer owns no partition");
    let of_slow = |offer: &Offer| slow.contains(&(offer.class.name(), offer.tenant.partition));
    let name = |what: &str| format!("slow-partition: {what}");
    report.note(name("partitions of the slow consumer"), slow.len() as f64, "");
    for class in [Class::Transactional, Class::Telemetry] {
        let own = played.part(SPIKE, |offer| offer.class == class && of_slow(offer))?;
        report.note(name(&format!("shed on its partitions, {class}")), shed_share(&own), "of 1");
        let others = played.part(SPIKE, |offer| offer.class == class && !of_slow(offer))?;
        let what = name(&format!("shed on other partitions, {class}"));
        match class {
            // It gives way to whatever of its database is behind, whoever owns that.
            Class::Telemetry => report.note(what, shed_share(&others), "of 1"),
            Class::Control | Class::Transactional => {
                let reach = (Direction::AtMost, OTHERS_SHED_MAX);
                report.note_against(what, shed_share(&others), "of 1", reach);
            }
        }
    }
    lag(report, "slow-partition", &played);
    Ok(())
}

/// A consumer is killed at half of the capacity; another one takes its partitions over when the group
/// has noticed, and is enough for all of it.
async fn owner_killed(
    cluster: &mut Cluster,
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<()> {
    let consumers = options.consumers.max(2);
    for index in 0..consumers {
        cluster.consumer_up(index).await?;
    }
    let scene = Scene::of(cluster, consumers, options.scale)?;
    let offers = plan::offers(&plan::tenants(), options.scale, 1.0);
    let mut course = options.course;
    course.after = course.after.max(AFTER_KILL_MIN);
    let started = Instant::now();
    let kill = async {
        at(started, course.before).await;
        cluster.consumer_kill(0).await
    };
    let played = scene.play(offers, course, kill).await?;
    figures::note(report, "owner-killed", &played, Judged::No)?;
    let back_s = probe::within_from_s(&played.looks, Class::Transactional, 1.0)
        - course.before.as_secs_f64();
    report.note("owner-killed: from the kill until transactional is within 1 s again", back_s, "s");
    Ok(())
}

fn lag(report: &mut Report, of: &str, played: &Played) {
    for class in [Class::Transactional, Class::Telemetry] {
        let most_s = probe::most_s(&played.looks, class);
        report.note(format!("{of}: the most that {class} was behind"), most_s, "s");
    }
}

/// Partitions, by their class's name.
type Owned = BTreeSet<(&'static str, u32)>;

/// The partitions whose lag a consumer exports: those it owns.
async fn owned(admin: SocketAddr) -> anyhow::Result<Owned> {
    let (_, text) = admin::get(admin, "/metrics").await?;
    let owned = samples(&text, "shock_consumer_lag_seconds").filter_map(|sample| {
        let class = sample.label("class")?;
        let class = Class::ALL.into_iter().find(|known| known.name() == class)?;
        Some((class.name(), sample.label("partition")?.parse().ok()?))
    });
    Ok(owned.collect())
}
