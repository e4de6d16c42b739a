//! From what a run came to, to the figures of the report.

use shared::position::Class;

use super::plan::{Offer, SPIKE};
use super::probe;
use super::scene::Played;
use super::streams::{Tally, UNANSWERED};
use crate::bench::report::{Direction, Report};

/// What a class may be behind (docs/CONTROL.md, and the alarm of telemetry), s.
const LAG_S: [(Class, f64); 2] = [(Class::Transactional, 1.0), (Class::Telemetry, 5.0)];
/// What may be shed of tenants inside their contract: from there on it is survival.
const IN_CONTRACT_SHED_MAX: f64 = 0.01;
/// What counts as work done while shedding.
const GOODPUT_MIN: f64 = 0.9;
const LIMITED: [Class; 2] = [Class::Transactional, Class::Telemetry];

/// Whether a figure is judged, or stands for comparison only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// Lag, goodput and who is shed.
    AsBounded,
    /// Nothing.
    No,
}

/// Notes all figures of a variant or a case.
pub fn note(report: &mut Report, of: &str, played: &Played, judged: Judged) -> anyhow::Result<()> {
    lag(report, of, played, judged);
    served(report, of, played, judged)?;
    refused(report, of, played, judged)?;
    answers(report, of, played)
}

/// Share of what was sent.
pub fn shed_share(tally: &Tally) -> f64 {
    if tally.sent() == 0 { 0.0 } else { tally.refused() as f64 / tally.sent() as f64 }
}

fn lag(report: &mut Report, of: &str, played: &Played, judged: Judged) {
    let name = |what: &str| format!("{of}: {what}");
    for class in Class::ALL {
        let most_s = probe::most_s(&played.looks, class);
        report.note(name(&format!("the most that {class} was behind")), most_s, "s");
    }
    for (class, bound_s) in LAG_S {
        let above_s = probe::above_s(&played.looks, class, bound_s);
        let what = name(&format!("{class} more than {bound_s} s behind"));
        match judged {
            Judged::AsBounded => {
                report.note_against(what, above_s, "s", (Direction::AtMost, 0.0));
            }
            Judged::No => report.note(what, above_s, "s"),
        }
    }
    if let Some(effect) = &played.effect {
        let what = name("receipt to effect, transactional, p99");
        report.note(what, effect.quantile(0.99), "s");
    }
}

fn served(report: &mut Report, of: &str, played: &Played, judged: Judged) -> anyhow::Result<()> {
    let (from_s, to_s) = played.span_s(SPIKE);
    let capacity_per_s = played.scale.class_per_s();
    for class in LIMITED {
        let offered = played.part(SPIKE, |offer| offer.class == class)?;
        let factor = offered.sent() as f64 / (to_s - from_s) / capacity_per_s;
        report.note(format!("{of}: offered in the spike / capacity, {class}"), factor, "×");
        let applied_per_s = probe::applied_per_s(&played.looks, &[class], from_s, to_s);
        let goodput = applied_per_s / capacity_per_s;
        let what = format!("{of}: applied in the spike / capacity, {class}");
        match (judged, class) {
            (Judged::AsBounded, Class::Transactional) => {
                report.note_against(what, goodput, "×", (Direction::AtLeast, GOODPUT_MIN));
            }
            // Telemetry gives way while transactional is behind, whatever its own writers could do.
            _ => report.note(what, goodput, "×"),
        }
    }
    Ok(())
}

fn refused(report: &mut Report, of: &str, played: &Played, judged: Judged) -> anyhow::Result<()> {
    let share =
        |which: &dyn Fn(&Offer) -> bool| anyhow::Ok(shed_share(&played.part(SPIKE, which)?));
    for class in Class::ALL {
        let what = format!("{of}: shed in the spike, {class}");
        report.note(what, share(&|offer| offer.class == class)?, "of 1");
    }
    for class in LIMITED {
        let calm = share(&|offer| offer.class == class && !offer.tenant.rogue)?;
        let what = format!("{of}: shed in the spike, tenants inside their contract, {class}");
        match (judged, class) {
            (Judged::AsBounded, Class::Transactional) => {
                report.note_against(what, calm, "of 1", (Direction::AtMost, IN_CONTRACT_SHED_MAX));
            }
            _ => report.note(what, calm, "of 1"),
        }
    }
    report.note(
        format!("{of}: shed in the spike, tenants beyond it"),
        share(&|offer| offer.tenant.rogue)?,
        "of 1",
    );
    for (level, (admitted, shed)) in played.levels.iter().enumerate() {
        if admitted + shed > 0.0 {
            report.note(format!("{of}: level {level} let in"), *admitted, "events");
            report.note(format!("{of}: level {level} shed"), *shed, "events");
        }
    }
    for (step, shed) in played.steps.iter().filter(|(_, shed)| **shed > 0.0) {
        report.note(format!("{of}: shed by {step}"), *shed, "events");
    }
    Ok(())
}

fn answers(report: &mut Report, of: &str, played: &Played) -> anyhow::Result<()> {
    let spike = played.part(SPIKE, |_| true)?;
    let p99_ms = |of: &hdrhistogram::Histogram<u64>| of.value_at_quantile(0.99) as f64 / 1e6;
    report.note(format!("{of}: p99 of a 202 in the spike"), p99_ms(&spike.admitted_ns), "ms");
    if !spike.refused_ns.is_empty() {
        report.note(format!("{of}: p99 of a refusal"), p99_ms(&spike.refused_ns), "ms");
    }
    let all = Tally::sum(played.tallies.iter().flatten())?;
    let others = all.sent() - all.admitted() - all.refused();
    report.note(format!("{of}: answered otherwise, or not"), others as f64, "requests");
    if let Some(lost) = all.by_status.get(&UNANSWERED) {
        report.note(format!("{of}: connections closed instead"), *lost as f64, "requests");
    }
    if let Some(to_use) = played.to_use.as_ref().filter(|to_use| to_use.count() > 0.0) {
        let what = format!("{of}: from a limit's publication to its use, p99");
        report.note(what, to_use.quantile(0.99) * 1e3, "ms");
    }
    let cpu_us = played.ingress_cpu_s * 1e6 / all.sent().max(1) as f64;
    report.note(format!("{of}: CPU of the ingress per request"), cpu_us, "µs");
    Ok(())
}
