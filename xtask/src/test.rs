//! `cargo xtask test`: builds, brings up what the tests need, and runs all of them: pure and
//! crate tests, then world tests against real services, one at a time. Leaves nothing running.

use std::{env, path::Path};

use anyhow::{Context, Result};

use crate::{
    build, command, conformance,
    metadata::Metadata,
    real_input, schema_suite, services,
    stages::Stages,
    system::{self, Requirement},
    workspace,
};

/// The cargo feature that a crate's world tests stand behind, and how their targets begin.
const WORLD: &str = "world";

/// Runs everything, whatever fails on the way, as far as the binaries build.
pub fn run(stages: &mut Stages) -> Result<()> {
    // Asked before cargo replaces our own binary: the kernel would then call it deleted.
    let xtask = env::current_exe().context("where is the running xtask?")?;
    if !stages.run("build for release", build::release)? {
        return Ok(());
    }
    stages.run("test: pure and crate", || {
        command::run(workspace::cargo().args(["test", "--workspace", "--no-fail-fast"]))
    })?;
    let features = world_features(&Metadata::read()?);
    if features.is_empty() {
        println!("no crate has world tests");
        return Ok(());
    }
    let dir = workspace::target_dir().join("services-test");
    let ready = stages.run("fetch real input", || real_input::fetch().map(drop))?
        && stages.run("fetch conformance tools", conformance::fetch)?
        && stages.run("fetch the schema test suite", schema_suite::fetch)?
        && stages.run("start services", || {
            services::purge(&dir)?;
            services::up(&dir, Some(1)).map(drop)
        })?;
    let built = ready
        && stages.run("build with failpoints", || {
            build::with_failpoints(&features)?;
            build::has_no_failpoints(&workspace::release_binary("shock"))
        })?;
    if built {
        stages.run("test: world", || test_world(&features, &dir, &xtask))?;
    }
    // Data and logs stay for whoever looks into a failure; the next run starts afresh.
    stages.run("stop services", || services::down(&dir))?;
    Ok(())
}

/// `CRATE/world` for every crate that declares the feature and has a test target for it.
pub fn world_features(metadata: &Metadata) -> Vec<String> {
    let mut features = Vec::new();
    for package in metadata.members() {
        let has_feature = package.features.contains_key(WORLD);
        let has_tests = package.targets.iter().any(|target| {
            target.name.starts_with(WORLD) && target.kind.iter().any(|kind| kind == "test")
        });
        match (has_feature, has_tests) {
            (true, true) => features.push(format!("{}/{WORLD}", package.name)),
            (true, false) => println!("{}: no world tests behind its feature", package.name),
            (false, true) => println!("{}: world tests without the feature", package.name),
            (false, false) => {}
        }
    }
    features
}

/// One cargo run for all crates: selecting the whole workspace keeps the features of the
/// dependencies as they were, so that nothing but our own crates is built again.
fn test_world(features: &[String], dir: &Path, xtask: &Path) -> Result<()> {
    system::require(&[Requirement::Openssl])?;
    let mut test = workspace::cargo();
    test.args(["test", "--workspace", "--no-fail-fast", "--features", &features.join(",")]);
    test.args(["--test", &format!("{WORLD}*"), "--", "--test-threads=1"]);
    test.env("SHOCK_BIN", workspace::release_binary("shock"))
        .env("SHOCK_FAULTS_BIN", workspace::debug_binary("shock"))
        .env("LOADTEST_BIN", workspace::release_binary("loadtest"))
        .env("SHOCK_SERVICES", dir.join("services.json"))
        .env("SHOCK_REAL_INPUT", real_input::dir())
        .env("SHOCK_SCHEMA_SUITE", schema_suite::dir())
        .env("SHOCK_CONFORMANCE", conformance::dir())
        .env("SHOCK_XTASK", xtask);
    command::run(&mut test)
}
