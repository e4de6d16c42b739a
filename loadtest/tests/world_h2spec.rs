//! HTTP/2 by h2spec: nothing fails at the ingress that does not fail at a bare hyper server too.

mod fixture;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use loadtest::bare::{self, Protocols};
use loadtest::deployment::Settings;
use tokio::process::Command;

/// The whole run takes four seconds here; a case waits four for an answer.
const RUN_DEADLINE: Duration = Duration::from_secs(60);

/// How many cases that version has: a run of fewer is none.
const CASES: &str = "145 tests, ";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_fails_that_bare_hyper_does_right() -> anyhow::Result<()> {
    let run = fixture::Run::new("h2spec")?;
    let embedded = run.embedded(&Settings::default()).await?;
    let ours = failures(&run.dir, embedded.target().get()).await.context("the ingress")?;
    let bare = bare::start(([127, 0, 0, 1], 0).into(), 1, Protocols::Both)?;
    let bares = failures(&run.dir, bare).await.context("bare hyper")?;
    println!("the ingress fails {ours:?}, bare hyper {bares:?}");
    ensure!(ours.is_subset(&bares), "only the ingress fails {:?}", &ours - &bares);
    embedded.stop().await
}

/// The failed cases over cleartext with prior knowledge: the titles above each, and its own.
async fn failures(dir: &Path, server: SocketAddr) -> anyhow::Result<BTreeSet<String>> {
    let output = Command::new(fixture::conformance().join("bin/h2spec"))
        .args(["--host", &server.ip().to_string(), "--port", &server.port().to_string()])
        .args(["--timeout", "4", "generic", "http2", "hpack"])
        .current_dir(dir)
        .kill_on_drop(true)
        .output();
    let output =
        tokio::time::timeout(RUN_DEADLINE, output).await.context("h2spec takes too long")?;
    let printed = String::from_utf8_lossy(&output.context("run h2spec")?.stdout).into_owned();
    ensure!(printed.contains(CASES), "h2spec did not run all cases: {printed}");
    let Some((_, listed)) = printed.split_once("Failures:") else { return Ok(BTreeSet::new()) };
    let failed = in_sections(listed);
    ensure!(!failed.is_empty(), "a failure that is not listed: {printed}");
    Ok(failed)
}

/// A case stands below its section, `3.5. HTTP/2 Connection Preface`, as `× 2: Sends …`.
fn in_sections(listed: &str) -> BTreeSet<String> {
    let mut section = "";
    let mut failed = BTreeSet::new();
    for line in listed.lines().map(str::trim) {
        if let Some(case) = line.strip_prefix("× ") {
            failed.insert(format!("{section}: {case}"));
        } else if line.starts_with(|first: char| first.is_ascii_digit()) {
            section = line;
        }
    }
    failed
}
