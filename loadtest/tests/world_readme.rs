//! The README's commands do what the README says.
//!
//! Every `sh` block is run as it stands, in an empty directory, with two substitutions: `cargo run
//! --release --` is the binary that it would build, and the ports are ones that are free here.
//! `cargo xtask test` is what runs this test; it only has to be a command that exists.

mod fixture;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use loadtest::process::{Process, run, shock_binary};
use loadtest::wait::{Seen, wait_until};

/// The ports that the README shows: the defaults.
const INGRESS: &str = "127.0.0.1:8080";
const ADMIN: &str = "http://127.0.0.1:9090";

const APPLIED_DEADLINE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_readme_works() -> anyhow::Result<()> {
    let own = fixture::Run::new("readme")?;
    let mut blocks = sh_blocks()?.into_iter();
    let first = blocks.next().context("the README begins with a command")?;
    ensure!(first.trim() == "cargo run --release -- dev", "the first command is {first}");
    // The command as it is, but for ports that somebody may hold already.
    let args = ["dev", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let mut dev = Process::start("dev", &shock_binary()?, &args.map(str::to_owned), &[], &own.dir)?;
    let ingress = dev.address("ingress").await?;
    let admin = dev.address("admin").await?;
    ensure!(own.dir.join("shock-data/dev-key").is_file(), "the key is where the README says");
    let ready = dev.printed().join("\n");
    ensure!(ready.contains("curl") && ready.contains(&ingress.to_string()), "{ready}");

    let mut posted = false;
    for block in blocks.filter(|block| !block.contains("cargo xtask")) {
        let said = if block.contains("ctl events") {
            // What became of it takes as long as it takes; the command itself has to succeed.
            wait_until(format!("`{block}` to show order-1"), APPLIED_DEADLINE, async || {
                let said = shell(&block, ingress, admin, &own.dir).await?;
                let applied = said.contains("applied") || block.contains("tail");
                Ok(match applied && (block.contains("find") || said.contains("order-1")) {
                    true => Seen::There(said),
                    false => Seen::NotYet(said),
                })
            })
            .await?
        } else {
            posted |= block.contains("curl");
            shell(&block, ingress, admin, &own.dir).await?
        };
        println!("$ {block}\n{said}");
        ensure!(!block.contains("curl") || said.starts_with("HTTP/1.1 202"), "{block}: {said}");
    }
    ensure!(posted, "the README posts an event");
    ensure!(dev.terminate().await?.success(), "SIGTERM ends it with code 0");
    Ok(())
}

/// The text of every ```sh block, in order.
fn sh_blocks() -> anyhow::Result<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let blocks = text.split("```").skip(1).step_by(2);
    Ok(blocks.filter_map(|b| b.strip_prefix("sh\n")).map(|b| b.trim().to_owned()).collect())
}

async fn shell(
    block: &str,
    ingress: SocketAddr,
    admin: SocketAddr,
    dir: &Path,
) -> anyhow::Result<String> {
    let binary = shock_binary()?;
    let script = block
        .replace("cargo run --release --", &format!("'{}'", binary.display()))
        .replace(INGRESS, &ingress.to_string());
    // The admin port is the commands' default and is not written in the README.
    let script = match block.contains(" ctl ") && !block.contains(ADMIN) {
        true => format!("{script} --admin http://{admin}"),
        false => script.replace(ADMIN, &format!("http://{admin}")),
    };
    run(Path::new("sh"), &["-euc".to_owned(), script], &[], dir).await
}
