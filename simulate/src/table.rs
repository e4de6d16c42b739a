//! The figures as a table for a terminal.

use std::fmt::Write;

use control::gcra::Tolerance;

use crate::scenario::{Scenario, Topology};
use crate::summary::Summary;
use crate::{partitions, replicas, requests};

/// The table's head.
pub const HEAD: &str = "run                              lag s   >1 s  <1 s at  goodput   shed   ctl trans  tele  calm rogue  Jain consumers";

/// One run's line. Lag is the transactional one; where topics are per class, telemetry's follows.
pub fn line(scenario: &Scenario, summary: &Summary) -> String {
    let percent = |share: f64| share * 100.0;
    let [control, transactional, telemetry] = summary.shed_by_class.map(percent);
    let mut line = format!(
        "{:<30} {:>7.2} {:>6.1} {:>+7.0}s {:>7.1}% {:>5.2}% {:>5.1} {:>5.1} {:>5.1} {:>5.2} {:>5.1} {:>5.2} {:>9}",
        scenario.name,
        summary.lag_max_s[1],
        summary.over_1_s[1],
        summary.back_s[1],
        percent(summary.goodput),
        percent(summary.shed),
        control,
        transactional,
        telemetry,
        percent(summary.shed_calm),
        percent(summary.shed_rogue),
        summary.jain,
        summary.consumers_max,
    );
    if scenario.log.topology == Topology::PerClass {
        write!(
            line,
            "\n{:<30} {:>7.2} {:>6.1} {:>+7.0}s   most that waited: {:.2} M events",
            "  its telemetry",
            summary.lag_max_s[2],
            summary.over_1_s[2],
            summary.back_s[2],
            summary.backlog_max / 1e6,
        )
        .expect("a string takes everything");
    }
    line
}

/// S8, S9 and S14, which have no scenario file: their names, what they are about, and their tables.
pub const EXPERIMENTS: [(&str, &str); 3] = [
    ("S8", "One hot partition among 64: a loop per partition against a global one."),
    ("S9", "A limit split over eight replicas behind an uneven load balancer."),
    ("S14", "The real bucket, event by event: levels, and limits that move."),
];

/// Runs one of [`EXPERIMENTS`].
pub fn experiment(name: &str) -> Option<String> {
    match name.to_ascii_uppercase().as_str() {
        "S8" => Some(hot_partition()),
        "S9" => Some(uneven_replicas()),
        "S14" => Some(moving_limits()),
        _ => None,
    }
}

fn hot_partition() -> String {
    let mut text =
        String::from("loop                        hot lag s   hot shed   innocent shed\n");
    for (name, view) in [
        ("global, on the mean", partitions::View::GlobalMean),
        ("global, on the longest", partitions::View::GlobalWorst),
        ("one per partition", partitions::View::Each),
    ] {
        let outcome = partitions::run(view);
        let (hot, innocent) = (outcome.hot_shed * 100.0, outcome.innocent_shed * 100.0);
        writeln!(text, "{name:<26} {:>10.2} {hot:>9.1}% {innocent:>14.2}%", outcome.hot_lag_s)
            .expect("a string takes everything");
    }
    text
}

fn uneven_replicas() -> String {
    let mut text = String::from("offered/s   balancer            even split lets in   by demand\n");
    for total in [22_000.0, 96_000.0] {
        for (name, offered) in replicas::cases(total) {
            let (evenly, by_demand) = replicas::run(20_000.0, &offered);
            writeln!(text, "{total:>9.0}   {name:<18} {evenly:>19.0} {by_demand:>11.0}")
                .expect("a string takes everything");
        }
    }
    text
}

fn moving_limits() -> String {
    let outcome = requests::run(Tolerance::of);
    let mut text = String::from("limit/s   lets in/s   largest 100 ms/s   by level, 0 to 4, %\n");
    for (phase, limit) in requests::LIMITS_PER_S.iter().enumerate() {
        let levels =
            outcome.admitted[phase].map(|share| format!("{:>5.1}", share * 100.0)).join(" ");
        let (lets_in, window) = (outcome.admitted_per_s[phase], outcome.window_max_per_s[phase]);
        writeln!(text, "{limit:>7.0} {lets_in:>11.0} {window:>18.0}   {levels}")
            .expect("a string takes everything");
    }
    text
}
