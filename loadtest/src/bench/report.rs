//! What a benchmark leaves behind: a table for people, `target/bench/NAME.json` for programs.
//!
//! The file is the specification: `{name, machine: {model, cores, memory_bytes}, commit, results:
//! [{name, value, unit, reach, direction, rounds}]}`. `reach` is the figure that was asked for and
//! `direction` says on which side of it the value has to be; both are null where nothing was asked.
//! `rounds` are the values whose median `value` is, in their order, so that a figure with two modes
//! is seen to have them; it is empty where there was one measurement.

use std::fmt::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde::Serialize;

/// One benchmark's outcome.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The benchmark; also the file's name.
    pub name: String,
    /// Where it ran.
    pub machine: Machine,
    /// Which commit; with `-dirty` where files were changed since.
    pub commit: String,
    /// What was measured.
    pub results: Vec<Measured>,
}

/// What a figure depends on.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub model: String,
    /// How many of them this process may use.
    pub cores: usize,
    /// Memory.
    pub memory_bytes: u64,
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// What was measured.
    pub name: String,
    /// The figure.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// The figure that was asked for.
    pub reach: Option<f64>,
    /// On which side of it the value has to be.
    pub direction: Option<Direction>,
    /// What each round measured.
    pub rounds: Vec<f64>,
}

/// What was asked for: the side, and the figure.
pub type Reach = (Direction, f64);

/// The side of a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The value has to be at most the reach.
    AtMost,
    /// The value has to be at least the reach.
    AtLeast,
}

impl Report {
    /// An empty report of this machine and commit.
    pub fn new(name: &str) -> Self {
        let commit = git(&["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]);
        Self {
            name: name.to_owned(),
            machine: Machine::here(),
            commit: commit.unwrap_or_else(|| "unknown".to_owned()),
            results: Vec::new(),
        }
    }

    /// Notes a figure that nobody asked a bound for.
    pub fn note(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.push(name.into(), value, unit, None, Vec::new());
    }

    /// Notes a figure and the bound that was asked for.
    pub fn note_against(
        &mut self,
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        reach: Reach,
    ) {
        self.push(name.into(), value, unit, Some(reach), Vec::new());
    }

    /// Notes the median of several rounds, and each of them.
    pub fn note_rounds(
        &mut self,
        name: impl Into<String>,
        rounds: Vec<f64>,
        unit: &'static str,
        reach: Option<Reach>,
    ) {
        self.push(name.into(), median(&rounds), unit, reach, rounds);
    }

    fn push(
        &mut self,
        name: String,
        value: f64,
        unit: &'static str,
        reach: Option<Reach>,
        rounds: Vec<f64>,
    ) {
        let (direction, reach) = reach.unzip();
        self.results.push(Measured { name, value, unit, reach, direction, rounds });
    }

    /// Writes `folder/NAME.json`; the file's path.
    pub fn write(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let path = folder.join(format!("{}.json", self.name));
        let mut text = serde_json::to_string_pretty(self).context("a report is JSON")?;
        text.push('\n');
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

impl Measured {
    /// Whether the bound is kept; `None` where there is none.
    pub fn reached(&self) -> Option<bool> {
        let reach = self.reach?;
        Some(match self.direction? {
            Direction::AtMost => self.value <= reach,
            Direction::AtLeast => self.value >= reach,
        })
    }
}

impl Machine {
    /// This machine, from /proc.
    fn here() -> Self {
        let field = |file: &str, name: &str| {
            let text = std::fs::read_to_string(file).ok()?;
            let line = text.lines().find(|line| line.starts_with(name))?.to_owned();
            line.split_once(':').map(|(_, value)| value.trim().to_owned())
        };
        let memory_kib = field("/proc/meminfo", "MemTotal")
            .and_then(|text| text.trim_end_matches("kB").trim().parse::<u64>().ok());
        Self {
            model: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: memory_kib.unwrap_or(0) * 1024,
        }
    }
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|o| o.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = &self.machine;
        writeln!(
            f,
            "{}: {} × {}, commit {}",
            self.name, machine.cores, machine.model, self.commit
        )?;
        let width = self.results.iter().map(|r| r.name.chars().count()).max().unwrap_or(0);
        for result in &self.results {
            let mut line =
                format!("{:width$}  {:>12.2} {}", result.name, result.value, result.unit);
            if let (Some(reach), Some(direction)) = (result.reach, result.direction) {
                let sign = if direction == Direction::AtMost { '≤' } else { '≥' };
                let verdict = if result.reached() == Some(true) { "reached" } else { "MISSED" };
                write!(line, "  {sign} {reach}: {verdict}")?;
            }
            if !result.rounds.is_empty() {
                let rounds: Vec<String> =
                    result.rounds.iter().map(|value| format!("{value:.2}")).collect();
                write!(line, "  [{}]", rounds.join(" "))?;
            }
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

/// The middle value; the mean of the two middle ones of an even number. 0 of nothing.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => 0.0,
        (n, middle) if n % 2 == 1 => sorted[middle],
        (_, middle) => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_what_its_doc_says() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut report = Report::new("probe");
        report.note("plain", 1.5, "µs");
        report.note_against("bound", 3.0, "events/s", (Direction::AtLeast, 4.0));
        let path = report.write(&dir.path().join("bench")).expect("written");
        let text = std::fs::read_to_string(path).expect("there");
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["results"][0]["reach"], serde_json::Value::Null);
        assert_eq!(value["results"][1]["direction"], "at_least");
        assert_eq!(report.results[1].reached(), Some(false));
        report.note_rounds("rounds", vec![3.0, 1.0, 2.0], "µs", Some((Direction::AtMost, 2.0)));
        assert_eq!(report.results[2].reached(), Some(true));
        assert!(report.to_string().contains("≤ 2: reached  [3.00 1.00 2.00]"), "{report}");
        assert!(report.to_string().contains("≥ 4: MISSED"), "{report}");
        assert!(value["machine"]["cores"].as_u64() >= Some(1), "{text}");
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
