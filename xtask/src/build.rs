//! The release binaries that world tests, real input and benches run. Never builds in another
//! profile: what is measured is what is shipped.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};

use crate::{
    command,
    system::{self, Requirement},
    workspace,
};

/// What a program with failpoints says where one signals.
const FAILPOINTS: &[u8] = b"a failpoint signals";

/// Builds `shock` and `loadtest` for release.
pub fn release() -> Result<()> {
    system::require(&Requirement::BUILD)?;
    let mut build = workspace::cargo();
    command::run(build.args(["build", "--release", "-p", "shock", "-p", "loadtest"]))
}

/// Builds `shock` with failpoints and `loadtest`, with the features and the profile of the world tests. The
/// tests are built along: then the features of the dependencies are as in their run, and nothing but our
/// own crates is built again.
pub fn with_failpoints(features: &[String]) -> Result<()> {
    system::require(&Requirement::BUILD)?;
    let mut build = workspace::cargo();
    build.args(["build", "--workspace", "--features", &features.join(",")]);
    command::run(build.args(["--bin", "shock", "--bin", "loadtest", "--test", "world*"]))
}

/// Fails where a program that is shipped could be told to die.
pub fn has_no_failpoints(program: &Path) -> Result<()> {
    let bytes = fs::read(program).with_context(|| format!("read {}", program.display()))?;
    let found = bytes.windows(FAILPOINTS.len()).any(|window| window == FAILPOINTS);
    ensure!(!found, "{} has failpoints", program.display());
    Ok(())
}

/// The same, and the ingress on the log in memory, which benchmarks measure beside them.
pub fn release_with_examples() -> Result<()> {
    system::require(&Requirement::BUILD)?;
    let mut build = workspace::cargo();
    build.args(["build", "--release", "-p", "shock", "-p", "loadtest", "-p", "ingress"]);
    command::run(build.args(["--bins", "--example", "memory"]))
}
