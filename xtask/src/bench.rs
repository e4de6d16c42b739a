//! `cargo xtask bench NAME`: a benchmark of the release binaries on real services. The benchmark
//! itself is a part of `loadtest`.

use std::{os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result};

use crate::{build, command, services, workspace};

/// Runs the benchmark `name`; does not return when it could start.
pub fn run(name: &str, args: &[String]) -> Result<()> {
    build::release_with_examples()?;
    let services = services::up(&services::default_dir(), None)?;
    let mut loadtest = Command::new(workspace::release_binary("loadtest"));
    loadtest.current_dir(workspace::root()).args(["bench", name]);
    loadtest.arg("--services").arg(services).args(args);
    Err(loadtest.exec()).with_context(|| format!("could not run `{}`", command::line(&loadtest)))
}
