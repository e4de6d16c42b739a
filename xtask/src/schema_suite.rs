//! The official JSON Schema test suite, from the source package of Python's `jsonschema` that carries
//! it, of a pinned version, below `target/`. It is never committed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    command,
    system::{self, Requirement},
    workspace,
};

const VERSION: &str = "4.26.0";
/// How many files that version holds for draft-07 and 2020-12, without the optional ones.
const FILES_MIN: usize = 80;
/// The drafts that are covered.
const DRAFTS: [&str; 2] = ["draft7", "draft2020-12"];

/// The suite's `tests` folder.
pub fn dir() -> PathBuf {
    root().join("json/tests")
}

/// Makes sure that the suite is there, whole.
pub fn fetch() -> Result<()> {
    if root().exists() {
        return verify(&dir())
            .with_context(|| format!("remove {} and try again", root().display()));
    }
    system::require(&[Requirement::Python])?;
    println!("fetching the source of jsonschema {VERSION} with pip");
    let fresh = workspace::target_dir().join("schema-suite.new");
    if fresh.exists() {
        fs::remove_dir_all(&fresh).context("could not remove an unfinished download")?;
    }
    fs::create_dir_all(&fresh).with_context(|| format!("could not create {}", fresh.display()))?;
    // Debian's Python comes without pip; an environment has it.
    let environment = fresh.join("venv");
    command::run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
    let mut download = Command::new(environment.join("bin/pip"));
    download
        .args(["download", "--quiet", "--no-deps", "--no-binary", "jsonschema"])
        .arg(format!("jsonschema=={VERSION}"))
        .current_dir(&fresh);
    command::run(&mut download)?;
    let archive = format!("jsonschema-{VERSION}.tar.gz");
    let mut unpack = Command::new("tar");
    unpack.args(["-xzf", &archive, "--strip-components=1"]).current_dir(&fresh);
    command::run(&mut unpack)?;
    verify(&fresh.join("json/tests"))?;
    // Only a complete suite gets the final name.
    fs::rename(&fresh, root()).with_context(|| format!("could not rename {}", fresh.display()))?;
    Ok(())
}

fn root() -> PathBuf {
    workspace::target_dir().join("schema-suite")
}

fn verify(tests: &Path) -> Result<()> {
    let mut files = 0;
    for draft in DRAFTS {
        let folder = tests.join(draft);
        let entries = fs::read_dir(&folder)
            .with_context(|| format!("could not read {}", folder.display()))?;
        files += entries.count();
    }
    if files < FILES_MIN {
        bail!("{} holds {files} files, fewer than {FILES_MIN}", tests.display());
    }
    Ok(())
}
