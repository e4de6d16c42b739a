//! `cargo xtask faults`: the fault matrix on real services, with a `shock` that has failpoints. The matrix
//! itself is a part of `loadtest`.

use std::{env, os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result};

use crate::{build, command, metadata::Metadata, services, test, workspace};

/// Runs it; does not return when it could start.
pub fn run(args: &[String]) -> Result<()> {
    // Asked before cargo replaces our own binary: the kernel would then call it deleted.
    let xtask = env::current_exe().context("where is the running xtask?")?;
    build::with_failpoints(&test::world_features(&Metadata::read()?))?;
    let services = services::up(&services::default_dir(), None)?;
    let mut loadtest = Command::new(workspace::debug_binary("loadtest"));
    loadtest.current_dir(workspace::root()).arg("faults").arg("--services").arg(services);
    loadtest.args(args).env("SHOCK_XTASK", xtask);
    Err(loadtest.exec()).with_context(|| format!("could not run `{}`", command::line(&loadtest)))
}
