//! Tools that cargo installs for us, at pinned versions, into `target/tools`. Never uses or
//! replaces a tool that the user has installed.

use std::process::Command;

use anyhow::Result;

use crate::{command, unavailable::Unavailable, workspace};

const CARGO_DENY_VERSION: &str = "0.20.2";

/// `cargo-deny`, installed where that was not done yet.
pub fn cargo_deny() -> Result<Command> {
    let root = workspace::target_dir().join("tools");
    let binary = root.join("bin/cargo-deny");
    let is_there = command::output(Command::new(&binary).arg("--version")).is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout).trim().ends_with(CARGO_DENY_VERSION)
    });
    if !is_there {
        let mut install = workspace::cargo();
        install.args(["install", "--locked", "--version", CARGO_DENY_VERSION, "cargo-deny"]);
        command::run(install.arg("--root").arg(&root))?;
    }
    let mut deny = Command::new(binary);
    deny.current_dir(workspace::root());
    Ok(deny)
}

/// `cargo xtask advisories`: asks the advisory database, which is no package registry.
pub fn advisories() -> Result<()> {
    let mut deny = cargo_deny()?;
    let output = command::output(deny.args(["check", "advisories"]))?;
    let words = String::from_utf8_lossy(&output.stderr);
    println!("{}{words}", String::from_utf8_lossy(&output.stdout));
    if output.status.success() {
        return Ok(());
    }
    if words.contains("failed to fetch advisory database") {
        let message = "the advisories were NOT checked: their database is out of reach (the \
                       network must let git clone it)";
        return Err(Unavailable(message.into()).into());
    }
    anyhow::bail!("there are advisories against our dependencies")
}
