//! `cargo xtask fuzz`: libFuzzer on the pinned stable compiler. Our own crates are built with its
//! coverage counters by `ingress/fuzz/rustc.sh`; dependencies are those of every release build.
//!
//! What a run learns stays below `target/fuzz/TARGET/`; the corpus in the repository is only read.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::{
    command,
    system::{self, Requirement},
    workspace,
};

/// An input that takes longer than this, in seconds, is a finding.
const INPUT_SECONDS_MAX: u32 = 15;
/// More memory than this, in MiB, is one as well.
const MEMORY_MIB_MAX: u32 = 1024;

/// What is fuzzed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// Body to tape to verdict, beside `serde_json` and `jsonschema`
    Verdict,
    /// Raw bytes into a connection
    Request,
    /// Content codings
    Decompression,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::Request => "request",
            Self::Decompression => "decompression",
        }
    }
}

/// Where chance begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seed {
    /// Elsewhere each time: a campaign.
    Fresh,
    /// At the same place each time: a gate that blames a commit for what it changed, not for luck.
    Fixed,
}

impl Seed {
    /// libFuzzer takes 0 for a fresh one.
    const fn number(self) -> u32 {
        match self {
            Self::Fresh => 0,
            Self::Fixed => 1,
        }
    }
}

/// Fuzzes each of `targets` for so long, or all; with `input`, plays only that file.
pub fn run(seconds: u32, targets: &[Target], input: Option<&PathBuf>, seed: Seed) -> Result<()> {
    build()?;
    let targets = if targets.is_empty() { Target::value_variants() } else { targets };
    for target in targets {
        let name = target.name();
        let mut fuzzer = Command::new(workspace::release_binary(&format!("fuzz-{name}")));
        if let Some(input) = input {
            command::run(fuzzer.arg(input))?;
            continue;
        }
        let own = workspace::target_dir().join("fuzz").join(name);
        let (learnt, found) = (own.join("corpus"), own.join("found"));
        for folder in [&learnt, &found] {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        fuzzer
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-seed={}", seed.number()))
            .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
            .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
            .arg(format!("-artifact_prefix={}/", found.display()))
            .arg("-print_final_stats=1")
            .args(["-verbosity=0", "-use_value_profile=1"])
            .args([&learnt, &workspace::root().join("ingress/fuzz/corpus").join(name)]);
        println!("fuzzing {name} for {seconds} s");
        if let Err(error) = command::run(&mut fuzzer) {
            bail!(
                "{error:#}\nthe input is in {}; play it again with: cargo xtask fuzz --target \
                 {name} --input FILE\nonce mended, keep it in ingress/fuzz/corpus/{name}",
                found.display()
            );
        }
    }
    Ok(())
}

/// Selects what `build::release` selects as well: features stay as they are, and so do the
/// dependencies that it built, C libraries among them.
fn build() -> Result<()> {
    system::require(&Requirement::BUILD)?;
    let mut build = workspace::cargo();
    build.args(["build", "--release", "-p", "shock", "-p", "loadtest", "-p", "fuzz"]);
    build.args(["--features", "fuzz/libfuzzer"]);
    for target in Target::value_variants() {
        build.arg("--bin").arg(format!("fuzz-{}", target.name()));
    }
    build.env("RUSTC_WORKSPACE_WRAPPER", workspace::root().join("ingress/fuzz/rustc.sh"));
    command::run(&mut build)
}
