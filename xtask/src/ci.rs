//! `cargo xtask ci`: the one gate, the same at home and in CI. Needs nothing that the package
//! registries do not have.

use anyhow::Result;

use crate::{command, docs, fuzz, stages::Stages, test, tidy, tools, workspace};

/// How long each target is fuzzed: a look at what is new beside the kept corpus, no campaign.
const FUZZ_SECONDS: u32 = 20;

/// Runs the gate: all tests unless `no_test`, then every check, whichever fails.
pub fn run(no_test: bool) -> Result<()> {
    let mut stages = if no_test { Stages::resume()? } else { Stages::new() };
    if !no_test {
        test::run(&mut stages)?;
    }
    stages.run("fmt", || cargo(&["fmt", "--all", "--", "--check"]))?;
    stages.run("clippy", || {
        cargo(&["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"])
    })?;
    stages.run("doc", || {
        let mut doc = workspace::cargo();
        doc.args(["doc", "--no-deps", "--workspace"]).env("RUSTDOCFLAGS", "-D warnings");
        command::run(&mut doc)
    })?;
    stages.run("deny", || {
        let mut deny = tools::cargo_deny()?;
        command::run(deny.args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))
    })?;
    stages.run("fuzz", || fuzz::run(FUZZ_SECONDS, &[], None, fuzz::Seed::Fixed))?;
    stages.run("loom", loom)?;
    stages.run("tidy", tidy::run)?;
    stages.run("generated docs are current", || docs::run(docs::Mode::Check))?;
    stages.finish()
}

/// Every interleaving of a bucket's atomics. Its own target directory: the flag would build the others
/// again.
fn loom() -> Result<()> {
    let mut test = workspace::cargo();
    test.args(["test", "--release", "-p", "control", "--test", "loom"])
        .env("RUSTFLAGS", "--cfg loom")
        .env("CARGO_TARGET_DIR", workspace::target_dir().join("loom"));
    command::run(&mut test)
}

fn cargo(args: &[&str]) -> Result<()> {
    command::run(workspace::cargo().args(args))
}
