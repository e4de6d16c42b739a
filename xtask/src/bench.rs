//! `cargo xtask bench NAME`: a benchmark of the release binaries on real services. The benchmark
//! itself is a part of `loadtest`; `ingress` begins with the benchmark of its validation.

use std::{os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result};

use crate::{build, command, real_input, services, workspace};

/// Runs the benchmark `name`; does not return when it could start.
pub fn run(name: &str, args: &[String]) -> Result<()> {
    build::release_with_examples()?;
    if name == "ingress" {
        validation()?;
    }
    let services = services::up(&services::default_dir(), None)?;
    let mut loadtest = Command::new(workspace::release_binary("loadtest"));
    loadtest.current_dir(workspace::root()).args(["bench", name]);
    loadtest.arg("--services").arg(services).args(args);
    let xtask = std::env::current_exe().context("the path of this program")?;
    loadtest.env("SHOCK_XTASK", xtask);
    Err(loadtest.exec()).with_context(|| format!("could not run `{}`", command::line(&loadtest)))
}

/// Parsing and checking alone, before any service is up: it needs a thread, and GitHub's bodies. What
/// it prints is also in `target/bench/validate.json`.
fn validation() -> Result<()> {
    real_input::fetch()?;
    let figures = workspace::target_dir().join("bench");
    std::fs::create_dir_all(&figures).with_context(|| format!("could not make {figures:?}"))?;
    let mut bench = workspace::cargo();
    bench.args(["bench", "--quiet", "-p", "ingress", "--bench", "validate"]);
    bench.env("SHOCK_REAL_INPUT", real_input::dir());
    command::run(bench.env("SHOCK_BENCH_JSON", figures.join("validate.json")))
}
