//! CPU per request and per event, of the whole process: what the kernel counts for all its threads,
//! librdkafka's included. Rounds alternate between the processes, so that the machine's moods meet
//! all of them; a ratio is taken within its round, and the median of the rounds counts.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::blocking;
use super::servers::{Servers, Subject, Who};
use crate::bench::cpu;
use crate::bench::generator::{Generator, Pace};
use crate::bench::report::{Direction, Report, median};
use crate::bench::template::{batches, singles};

/// No round begins after this time.
const TIME_MAX: Duration = Duration::from_secs(300);
/// Events of a batch.
const BATCH_EVENTS: usize = 100;

/// What is posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    /// One event per request, over so many connections.
    Single(u32),
    /// NDJSON of [`BATCH_EVENTS`], over so many connections.
    Batch(u32),
}

use Load::{Batch, Single};
use Who::{Bare, Kafka, Memory, Plain};

/// What is driven in every round, and with how many requests: enough for some 30 of the kernel's
/// ticks of 10 ms.
const DRIVES: [(Who, Load, u64); 11] = [
    (Bare, Single(512), 80_000),
    (Kafka, Single(512), 40_000),
    (Memory, Single(512), 60_000),
    (Plain, Single(512), 30_000),
    (Bare, Single(64), 80_000),
    (Kafka, Single(64), 40_000),
    (Memory, Single(64), 60_000),
    (Plain, Single(64), 30_000),
    (Kafka, Batch(64), 1_500),
    (Memory, Batch(64), 3_000),
    (Plain, Batch(64), 1_000),
];

/// What is asked for: one cost beside another.
const FIGURES: [(Who, Load, Who, Load, f64); 8] = [
    (Kafka, Single(512), Bare, Single(512), 2.3),
    (Kafka, Single(64), Bare, Single(64), 3.3),
    (Kafka, Single(64), Plain, Single(64), 0.85),
    (Memory, Single(512), Bare, Single(512), 1.3),
    (Memory, Single(64), Bare, Single(64), 1.3),
    (Kafka, Batch(64), Bare, Single(64), 0.6),
    (Kafka, Batch(64), Plain, Batch(64), 0.45),
    (Memory, Batch(64), Bare, Single(64), 0.2),
];

/// One drive of one round.
#[derive(Clone, Copy, Debug)]
struct Cost {
    cpu_us_per_event: f64,
    generator_us_per_request: f64,
    events_per_s: f64,
}

/// Measures so many rounds; the most single events a second that the ingress took on Kafka.
pub async fn measure(servers: &Servers, rounds: u32, report: &mut Report) -> anyhow::Result<f64> {
    let started = Instant::now();
    let mut costs: [Vec<Cost>; DRIVES.len()] = Default::default();
    // The first round warms everything up and is not counted.
    for round in 0..=rounds {
        if round > 1 && started.elapsed() > TIME_MAX {
            break;
        }
        for ((who, load, requests), costs) in DRIVES.into_iter().zip(&mut costs) {
            let subject = servers.subject(who)?;
            let cost = blocking(move || drive(subject, load, requests)).await;
            let cost = cost.with_context(|| format!("{}, {}", who.name(), load.name()))?;
            if round > 0 {
                costs.push(cost);
            }
        }
    }
    ensure!(costs.iter().all(|rounds| !rounds.is_empty()), "no round was measured");
    note(&costs, report);
    Ok(median(&of(&costs, Kafka, Single(512), |cost| cost.events_per_s)))
}

/// One value of each round.
fn of(
    costs: &[Vec<Cost>; DRIVES.len()],
    who: Who,
    load: Load,
    value: impl Fn(&Cost) -> f64,
) -> Vec<f64> {
    let index = DRIVES.iter().position(|drive| (drive.0, drive.1) == (who, load));
    index.map(|index| costs[index].iter().map(value).collect()).unwrap_or_default()
}

fn note(costs: &[Vec<Cost>; DRIVES.len()], report: &mut Report) {
    let cpu_us = |who, load| of(costs, who, load, |cost| cost.cpu_us_per_event);
    for (who, load, _) in DRIVES {
        let name = format!("CPU per event, {}, {}", who.name(), load.name());
        report.note_rounds(name, cpu_us(who, load), "µs", None);
    }
    for (who, load, beside, beside_load, reach) in FIGURES {
        let (own, reference) = (cpu_us(who, load), cpu_us(beside, beside_load));
        let ratios = own.iter().zip(&reference).map(|(own, reference)| own / reference).collect();
        let own = format!("{}, {}", who.name(), load.name());
        let name = format!("{own} / {}, {}", beside.name(), beside_load.name());
        report.note_rounds(name, ratios, "×", Some((Direction::AtMost, reach)));
    }
    for (who, load, _) in DRIVES {
        let name = format!("closed loop, {}, {}", who.name(), load.name());
        report.note_rounds(name, of(costs, who, load, |cost| cost.events_per_s), "events/s", None);
    }
    let generator = of(costs, Bare, Single(512), |cost| cost.generator_us_per_request);
    report.note_rounds("CPU per request, load generator beside bare", generator, "µs", None);
}

/// The most single events a second that one closed loop reaches.
pub fn per_s_max(subject: Subject) -> anyhow::Result<f64> {
    Ok(drive(subject, Single(512), 60_000)?.events_per_s)
}

fn drive(subject: Subject, load: Load, requests: u64) -> anyhow::Result<Cost> {
    let (connections, templates) = match load {
        Single(connections) => (connections, singles()),
        Batch(connections) => (connections, batches(BATCH_EVENTS)),
    };
    let own = i32::try_from(std::process::id()).context("our own id")?;
    let mut generator = Generator::open(subject.address, connections, &templates, 0)?;
    let (first, before) = (generator.next(), (cpu::seconds(subject.pid)?, cpu::seconds(own)?));
    let ran = generator.run(requests, Pace::Closed)?;
    let after = (cpu::seconds(subject.pid)?, cpu::seconds(own)?);
    let events = (generator.next() - first) as f64;
    Ok(Cost {
        cpu_us_per_event: (after.0 - before.0) * 1e6 / events,
        generator_us_per_request: (after.1 - before.1) * 1e6 / requests as f64,
        events_per_s: events / ran.elapsed.as_secs_f64(),
    })
}

impl Who {
    const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Plain => "plain",
            Self::Kafka => "ingress on Kafka",
            Self::Memory => "ingress in memory",
        }
    }
}

impl Load {
    fn name(self) -> String {
        match self {
            Self::Single(connections) => format!("single, {connections} connections"),
            Self::Batch(connections) => {
                format!("NDJSON of {BATCH_EVENTS}, {connections} connections")
            }
        }
    }
}
