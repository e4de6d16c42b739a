//! Packages of the npm registry, at pinned versions, unpacked below `target/`. Nothing in them is run.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};

use crate::{
    command,
    system::{self, Requirement},
};

/// Makes sure that `spec` (`NAME@VERSION`) stands unpacked in `package`, whole, as `verify` says.
pub fn unpack(spec: &str, package: &Path, verify: fn(&Path) -> Result<()>) -> Result<()> {
    if package.exists() {
        return verify(package)
            .with_context(|| format!("remove {} and try again", package.display()));
    }
    system::require(&[Requirement::Npm])?;
    println!("fetching {spec} with npm");
    let fresh = package.with_extension("new");
    if fresh.exists() {
        fs::remove_dir_all(&fresh).context("could not remove an unfinished download")?;
    }
    fs::create_dir_all(&fresh).with_context(|| format!("could not create {}", fresh.display()))?;
    let mut pack = Command::new("npm");
    pack.args(["pack", "--silent", spec]).current_dir(&fresh);
    let archive = command::capture(&mut pack)?;
    let archive = archive.lines().last().context("npm pack named no file")?.trim();
    let mut unpack = Command::new("tar");
    unpack.args(["-xzf", archive, "--strip-components=1"]).current_dir(&fresh);
    command::run(&mut unpack)?;
    fs::remove_file(fresh.join(archive)).context("could not remove the archive")?;
    verify(&fresh)?;
    // Only a complete package gets the final name.
    fs::rename(&fresh, package).with_context(|| format!("could not rename {}", fresh.display()))
}
