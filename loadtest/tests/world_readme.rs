//! The README's commands do what the README says.
//!
//! Every `sh` block is run as it stands, in an empty directory, with two substitutions: `cargo run
//! --release --` is the binary that it would build, and the ports are ones that are free here.
//! `cargo xtask test` is what runs this test; it only has to be a command that exists. The table of
//! commands for Kafka and PostgreSQL is run line by line with the shipped configuration; variables
//! name the services of this machine.

mod fixture;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use loadtest::process::{Process, run, shock_binary};
use loadtest::wait::{Seen, wait_until};
use sha2::{Digest, Sha256};

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

#[tokio::test(flavor = "multi_thread")]
async fn every_command_for_kafka_works_with_the_shipped_configuration() -> anyhow::Result<()> {
    let own = fixture::Run::new("readme-kafka")?;
    let variables = services_as_variables()?;
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let shock = shock_binary()?;
    let said = async |args: &[String]| run(&shock, args, &variables, &repository).await;
    let table = blocks("text\n")?.into_iter().find(|block| block.contains("--config"));
    let table = table.context("the README has a table of commands")?;
    let lines: Vec<Vec<String>> = table.lines().filter_map(command_of).collect();
    let names: Vec<_> = lines.iter().map(|args| args[..args.len() - 2].join(" ")).collect();
    let expected = [
        "config check",
        "ctl topics plan",
        "ctl topics apply",
        "ctl migrate",
        "ingress",
        "consumer",
    ];
    ensure!(names == expected, "{names:?}");

    said(&lines[0]).await?;
    let missing =
        said(&lines[1]).await.err().context("plan has to fail where topics are missing")?;
    ensure!(format!("{missing:#}").contains("create"), "{missing:#}");
    said(&lines[2]).await?;
    said(&lines[1]).await.context("plan, once everything is there")?;
    said(&lines[3]).await?;
    let mut ingress = Process::start("ingress", &shock, &lines[4], &variables, &own.dir)?;
    let mut consumer = Process::start("consumer", &shock, &lines[5], &variables, &own.dir)?;
    let address = ingress.address("ingress").await?;
    consumer.address("admin").await?;
    let post = format!(
        "curl -sS -i http://{address}/v1/events -H 'Authorization: Bearer acme-1.{SECRET}' \
         -H 'Content-Type: application/json' -d '{{\"id\":\"order-1\",\"type\":\"order.paid\"}}'"
    );
    let answer = run(Path::new("sh"), &["-euc".to_owned(), post], &[], &own.dir).await?;
    ensure!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    let find = ["ctl", "events", "find", "acme", "order-1", lines[0][2].as_str(), &lines[0][3]];
    let find: Vec<String> = find.iter().map(|&word| word.to_owned()).collect();
    wait_until("the event to be applied".to_owned(), APPLIED_DEADLINE, async || {
        let fate = said(&find).await?;
        Ok(if fate.contains("\"applied\"") { Seen::There(()) } else { Seen::NotYet(fate) })
    })
    .await?;
    ensure!(ingress.terminate().await?.success(), "SIGTERM ends the ingress with code 0");
    ensure!(consumer.terminate().await?.success(), "SIGTERM ends the consumer with code 0");
    Ok(())
}

/// What the example's key holds here.
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The services of this machine, and a pipeline and topics of this run's own.
fn services_as_variables() -> anyhow::Result<Vec<(String, String)>> {
    let services = fixture::services()?;
    let own = format!("readme-{}", uuid::Uuid::now_v7().simple());
    let variables = [
        ("SHOCK_KAFKA_BROKERS", services.kafka),
        ("SHOCK_KAFKA_TOPIC_PREFIX", own.clone()),
        ("SHOCK_KAFKA_DURABILITY", "single".to_owned()),
        ("SHOCK_TOPICS_PARTITIONS", "2".to_owned()),
        ("SHOCK_TOPICS_REPLICATION", "1".to_owned()),
        ("SHOCK_TOPICS_MIN_INSYNC_REPLICAS", "1".to_owned()),
        ("SHOCK_POSTGRES_URL", services.postgres),
        ("SHOCK_CONSUMER_PIPELINE", own),
        ("SHOCK_INGRESS_LISTEN", "127.0.0.1:0".to_owned()),
        ("SHOCK_ADMIN_LISTEN", "127.0.0.1:0".to_owned()),
        ("ACME_KEY_SHA256", hex::encode(Sha256::digest(SECRET))),
    ];
    Ok(variables.map(|(name, value)| (name.to_owned(), value)).into())
}

/// `shock a b   --config FILE    what it is for` → its arguments, FILE from the repository's root.
fn command_of(line: &str) -> Option<Vec<String>> {
    let (words, rest) = line.strip_prefix("shock ")?.split_once("--config ")?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(rest.split(' ').next()?);
    let mut args: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    args.extend(["--config".to_owned(), file.to_str()?.to_owned()]);
    Some(args)
}

/// The text of every ```sh block, in order.
fn sh_blocks() -> anyhow::Result<Vec<String>> {
    blocks("sh\n")
}

/// The text of every fenced block of that kind, in order.
fn blocks(kind: &str) -> anyhow::Result<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let blocks = text.split("```").skip(1).step_by(2);
    Ok(blocks.filter_map(|b| b.strip_prefix(kind)).map(|b| b.trim().to_owned()).collect())
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
