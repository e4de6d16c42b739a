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
