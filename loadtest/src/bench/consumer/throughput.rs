//! Records per second into PostgreSQL, and what one costs.

use std::path::Path;

use shared::position::Class;

use super::feed::Feed;
use super::reference;
use super::scene::{Ran, Scene};
use crate::bench::report::{Direction, Report, median};
use crate::services::Services;

/// Records of one run of one partition, and events of the bare loop.
const RECORDS: u64 = 40_000;
/// Of a run of several partitions, each.
const RECORDS_EACH: u64 = 20_000;
/// Events of the paper's way: at some hundreds a second.
const PAPER_EVENTS: i64 = 300;
const REPEATED_PERCENT: u64 = 30;
const PARTITIONS: u32 = 4;

const OF_BARE: f64 = 0.6;
const OF_PAPER: f64 = 90.0;
const FOUR_TO_ONE: f64 = 1.5;
const CPU_US: f64 = 6.0;

/// One partition, beside the references; the rate.
pub async fn one(
    dir: &Path,
    services: &Services,
    rounds: u32,
    report: &mut Report,
) -> anyhow::Result<f64> {
    let mut scene = Scene::new(dir, "one", services, 1, &[]).await?;
    reference::prepare(&mut scene).await?;
    let (mut bare, mut paper) = (Vec::new(), Vec::new());
    let (mut fresh, mut repeated): (Vec<Ran>, Vec<Ran>) = (Vec::new(), Vec::new());
    // The first round warms everything up and is not counted.
    for round in 0..=rounds {
        let bare_per_s = reference::bare(&mut scene.connection, RECORDS as i64).await?;
        scene.feed(Class::Transactional, RECORDS, |feed| feed).await?;
        let ran = scene.apply().await?;
        let first = i64::from(round) * PAPER_EVENTS;
        let paper_per_s = reference::paper(&mut scene.connection, first, PAPER_EVENTS).await?;
        let shape = |feed| Feed { repeated_percent: REPEATED_PERCENT, ..feed };
        scene.feed(Class::Transactional, RECORDS, shape).await?;
        let ran_repeated = scene.apply().await?;
        if round > 0 {
            bare.push(bare_per_s);
            paper.push(paper_per_s);
            fresh.push(ran);
            repeated.push(ran_repeated);
        }
    }
    let per_s: Vec<f64> = fresh.iter().map(|ran| ran.per_s).collect();
    let to = |others: &[f64]| per_s.iter().zip(others).map(|(own, other)| own / other).collect();
    report.note_rounds("bare fused statement", bare.clone(), "events/s", None);
    report.note_rounds(
        "one partition, real Kafka to committed effect",
        per_s.clone(),
        "records/s",
        None,
    );
    report.note_rounds("one partition / bare", to(&bare), "×", Some((Direction::AtLeast, OF_BARE)));
    report.note_rounds("select, insert, insert for each event", paper.clone(), "events/s", None);
    let reach = Some((Direction::AtLeast, OF_PAPER));
    report.note_rounds("one partition / select, insert, insert", to(&paper), "×", reach);
    let cpu = fresh.iter().map(|ran| ran.cpu_us).collect();
    report.note_rounds(
        "CPU of the consumer per record",
        cpu,
        "µs",
        Some((Direction::AtMost, CPU_US)),
    );
    let cores = fresh.iter().map(|ran| ran.postgres_cores).collect();
    report.note_rounds("one partition: PostgreSQL", cores, "cores", None);
    let ratios = repeated.iter().zip(&per_s).map(|(ran, fresh)| ran.per_s / fresh).collect();
    let name = format!("{REPEATED_PERCENT} % duplicates / none");
    report.note_rounds(name, ratios, "×", Some((Direction::AtLeast, 1.0)));
    scene.cluster.stop().await?;
    Ok(median(&per_s))
}

/// Several partitions in one process.
pub async fn four(
    dir: &Path,
    services: &Services,
    rounds: u32,
    one_per_s: Option<f64>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut scene = Scene::new(dir, "four", services, PARTITIONS, &[]).await?;
    let mut all = Vec::new();
    for round in 0..=rounds {
        scene.feed(Class::Transactional, RECORDS_EACH, |feed| feed).await?;
        let ran = scene.apply().await?;
        if round > 0 {
            all.push(ran);
        }
    }
    let per_s: Vec<f64> = all.iter().map(|ran| ran.per_s).collect();
    report.note_rounds(format!("{PARTITIONS} partitions"), per_s.clone(), "records/s", None);
    if let Some(one_per_s) = one_per_s {
        let ratios = per_s.iter().map(|per_s| per_s / one_per_s).collect();
        let reach = Some((Direction::AtLeast, FOUR_TO_ONE));
        report.note_rounds(format!("{PARTITIONS} partitions / one"), ratios, "×", reach);
    }
    let cores = all.iter().map(|ran| ran.postgres_cores).collect();
    report.note_rounds(format!("{PARTITIONS} partitions: PostgreSQL"), cores, "cores", None);
    let cpu = all.iter().map(|ran| ran.cpu_us).collect();
    report.note_rounds(
        format!("{PARTITIONS} partitions: CPU of the consumer per record"),
        cpu,
        "µs",
        None,
    );
    scene.cluster.stop().await
}
