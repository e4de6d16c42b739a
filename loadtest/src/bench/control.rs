//! The control loop on real processes: a spike of many times the load meets writers of a set capacity,
//! once for each way of limiting; and what happens when something breaks meanwhile.
//!
//! Writers are slowed (`consumer.rate_per_s_max`), so that the capacity is known and the machine is
//! not what is measured. Every variant has fresh topics, tables and processes.

mod cases;
mod figures;
mod plan;
mod probe;
mod scene;
mod streams;

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;

use self::figures::Judged;
pub use self::plan::{Course, Scale};
use self::scene::Scene;
use super::report::Report;
use crate::deployment::{Cluster, Settings};
use crate::services::Services;

/// A way of limiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Variant {
    /// `control.enforcement = "off"`.
    Without,
    /// `control.profile = "bounded-lag"`.
    BoundedLag,
    /// `control.profile = "absorb"`.
    Absorb,
    /// `control.rule = "paper"`: a share of the load is dropped by the lag.
    Paper,
    /// `control.rule = "aimd"`.
    Aimd,
    /// The paper's equation (5): increments of the database's p99.
    EquationFive,
}

/// Something that happens while a load runs, with `bounded-lag` unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// One consumer is four times slower: who is shed?
    SlowPartition,
    /// A consumer is killed at half of the capacity.
    OwnerKilled,
    /// A limit is pinned through one of two replicas.
    Ctl,
    /// Every consumer is stopped and started again, one after the other, with the default profile.
    Roll,
    /// Consumers and PostgreSQL are away for as long as the spike would be, with the default profile.
    Outage,
    /// Telemetry is more than the database can do, and another process's transactional events need it.
    TwoOwners,
}

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// The ways of limiting, one after the other.
    pub variants: Vec<Variant>,
    /// What happens meanwhile, one after the other.
    pub cases: Vec<Case>,
    /// How long and how steep.
    pub course: Course,
    /// Further settings, `key=value`.
    pub set: Vec<String>,
    /// Consumer processes.
    pub consumers: usize,
    /// What the writers can do.
    pub scale: Scale,
}

/// Measures all of it.
pub async fn run(dir: &Path, services: &Services, options: &Options) -> anyhow::Result<Report> {
    let mut report = Report::new("control");
    let per_s = options.scale.class_per_s();
    report.note("capacity of all writers, each of two classes", per_s, "events/s");
    for variant in &options.variants {
        let name = variant.name();
        let dir = dir.join(name);
        let played = variant.play(&dir, services, options).await;
        let played = played.with_context(|| name.to_owned())?;
        let judged = match variant {
            Variant::BoundedLag => Judged::AsBounded,
            Variant::Without
            | Variant::Absorb
            | Variant::Paper
            | Variant::Aimd
            | Variant::EquationFive => Judged::No,
        };
        figures::note(&mut report, name, &played, judged)?;
    }
    for case in &options.cases {
        let name = case.name();
        let dir = dir.join(name);
        let done = cases::run(*case, &dir, services, options, &mut report).await;
        done.with_context(|| name.to_owned())?;
    }
    Ok(report)
}

impl Variant {
    fn name(self) -> &'static str {
        match self {
            Self::Without => "without",
            Self::BoundedLag => "bounded-lag",
            Self::Absorb => "absorb",
            Self::Paper => "paper",
            Self::Aimd => "aimd",
            Self::EquationFive => "equation-five",
        }
    }

    fn settings(self) -> Vec<String> {
        let settings: &[&str] = match self {
            Self::Without => &["control.enforcement=off"],
            Self::BoundedLag => &["control.profile=bounded-lag"],
            Self::Absorb => &["control.profile=absorb"],
            Self::Paper => &["control.rule=paper"],
            Self::Aimd => &["control.rule=aimd"],
            Self::EquationFive => &[
                "control.signal=downstream_p99",
                "control.form=incremental",
                "control.transactional.overflow=bound",
                "control.transactional.setpoint_ms=50",
                "control.telemetry.overflow=bound",
                "control.telemetry.setpoint_ms=50",
            ],
        };
        settings.iter().map(|setting| (*setting).to_owned()).collect()
    }

    async fn play(
        self,
        dir: &Path,
        services: &Services,
        options: &Options,
    ) -> anyhow::Result<scene::Played> {
        let tenants = plan::tenants();
        let settings = settings(dir, &tenants, options, self.settings())?;
        let cluster = Cluster::start(dir, services, &settings, options.consumers).await?;
        let scene = Scene::of(&cluster, options.consumers, options.scale)?;
        let offers = plan::offers(&tenants, options.scale, options.course.factor);
        let played = scene.play(offers, options.course, async { Ok(()) }).await?;
        cluster.stop().await?;
        Ok(played)
    }
}

impl Case {
    fn name(self) -> &'static str {
        match self {
            Self::SlowPartition => "slow-partition",
            Self::OwnerKilled => "owner-killed",
            Self::Ctl => "ctl",
            Self::Roll => "roll",
            Self::Outage => "outage",
            Self::TwoOwners => "two-owners",
        }
    }
}

/// Writes the configuration of the load beside a deployment's own.
fn settings(
    dir: &Path,
    tenants: &[plan::Tenant],
    options: &Options,
    mut set: Vec<String>,
) -> anyhow::Result<Settings> {
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let file = dir.join("bench.toml");
    std::fs::write(&file, plan::config(tenants, options.scale))
        .with_context(|| file.display().to_string())?;
    set.extend(options.set.iter().cloned());
    Ok(Settings { files: vec![file], set, ..Settings::default() })
}

/// Longer than a session in the group, so that what a kill leads to is seen.
const AFTER_KILL_MIN: Duration = Duration::from_secs(20);
