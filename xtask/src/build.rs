//! The release binaries that world tests, real input and benches run. Never builds in another
//! profile: what is measured is what is shipped.

use anyhow::Result;

use crate::{
    command,
    system::{self, Requirement},
    workspace,
};

/// Builds `shock` and `loadtest` for release.
pub fn release() -> Result<()> {
    system::require(&Requirement::BUILD)?;
    let mut build = workspace::cargo();
    command::run(build.args(["build", "--release", "-p", "shock", "-p", "loadtest"]))
}

/// The same, and the ingress on the log in memory, which benchmarks measure beside them.
pub fn release_with_examples() -> Result<()> {
    system::require(&Requirement::BUILD)?;
    let mut build = workspace::cargo();
    build.args(["build", "--release", "-p", "shock", "-p", "loadtest", "-p", "ingress"]);
    command::run(build.args(["--bins", "--example", "memory"]))
}
