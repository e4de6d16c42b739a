//! The stages of a run, timed: what failed is told at the end, and the table of minutes is kept
//! in `target/ci-minutes.json`, so that a slow gate is seen before it is too slow.

use std::{fs, path::PathBuf, time::Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::workspace;

/// One timed stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Stage {
    name: String,
    minutes: f64,
    passed: bool,
}

/// The stages of this run, after those of the run that it continues.
#[derive(Debug, Default)]
pub struct Stages {
    done: Vec<Stage>,
    failed: Vec<String>,
}

impl Stages {
    /// Starts a new table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Continues the last run's table: `ci --no-test` comes after `test`.
    pub fn resume() -> Result<Self> {
        Ok(Self { done: read()?, failed: Vec::new() })
    }

    /// Runs one stage; a failure is printed, noted and returned as false.
    pub fn run(&mut self, name: &str, stage: impl FnOnce() -> Result<()>) -> Result<bool> {
        println!("\n=== {name}");
        let start = Instant::now();
        let outcome = stage();
        let minutes = start.elapsed().as_secs_f64() / 60.0;
        if let Err(error) = &outcome {
            eprintln!("=== {name} failed: {error:#}");
            self.failed.push(name.to_owned());
        }
        self.note(Stage { name: name.to_owned(), minutes, passed: outcome.is_ok() });
        write(&self.done)?;
        Ok(outcome.is_ok())
    }

    /// Prints the table; any failed stage of this run makes it an error.
    pub fn finish(self) -> Result<()> {
        println!("\n{}", table(&self.done));
        if !self.failed.is_empty() {
            bail!("failed: {}", self.failed.join(", "));
        }
        Ok(())
    }

    fn note(&mut self, stage: Stage) {
        self.done.retain(|other| other.name != stage.name);
        self.done.push(stage);
    }
}

/// Prints the last run's table.
pub fn print_last() -> Result<()> {
    let stages = read()?;
    if stages.is_empty() {
        bail!("no run has been timed yet: {} does not exist", path().display());
    }
    println!("{}", table(&stages));
    Ok(())
}

fn table(stages: &[Stage]) -> String {
    let mut text = String::from("minutes  stage\n");
    for Stage { name, minutes, passed } in stages {
        let mark = if *passed { "" } else { "  FAILED" };
        text += &format!("{minutes:>7.1}  {name}{mark}\n");
    }
    let total = stages.iter().map(|stage| stage.minutes).sum::<f64>();
    text + &format!("{total:>7.1}  in all")
}

fn path() -> PathBuf {
    workspace::target_dir().join("ci-minutes.json")
}

fn read() -> Result<Vec<Stage>> {
    let path = path();
    if !path.exists() {
        return Ok(Vec::new());
    }
    let context = || format!("could not read {}", path.display());
    let text = fs::read_to_string(&path).with_context(context)?;
    serde_json::from_str(&text).with_context(context)
}

fn write(stages: &[Stage]) -> Result<()> {
    let path = path();
    fs::write(&path, serde_json::to_string_pretty(stages)? + "\n")
        .with_context(|| format!("could not write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: &str, minutes: f64, passed: bool) -> Stage {
        Stage { name: name.into(), minutes, passed }
    }

    #[test]
    fn the_table_sums_and_marks() {
        let text = table(&[stage("build", 1.5, true), stage("tidy", 0.25, false)]);
        let expected = "minutes  stage\n    1.5  build\n    0.2  tidy  FAILED\n    1.8  in all";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_stage_that_runs_again_replaces_its_line() {
        let mut stages = Stages::new();
        stages.note(stage("tidy", 1.0, false));
        stages.note(stage("tidy", 2.0, true));
        assert_eq!(stages.done, [stage("tidy", 2.0, true)]);
    }
}
