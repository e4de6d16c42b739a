//! Real input: GitHub's own webhook bodies and their schema, from two npm packages of pinned
//! versions, below `target/`. They are never committed.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::Deserialize;

use crate::{build, command, npm, services, workspace};

const VERSION: &str = "7.6.1";
/// How many bodies `webhooks-examples` of that version holds.
const BODIES: usize = 329;
/// The schema of that version has 629,797 bytes; much less is a broken download.
const SCHEMA_BYTES_MIN: u64 = 600_000;

/// The log and store under real input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// The embedded log and `SQLite`
    Embedded,
    /// Kafka and PostgreSQL
    Kafka,
}

/// Where the packages are.
#[derive(Debug)]
pub struct RealInput {
    /// The directory of `webhooks-examples`.
    pub examples: PathBuf,
    /// The directory of `webhooks-schemas`.
    pub schemas: PathBuf,
}

/// One kind of webhook in `api.github.com/index.json`.
#[derive(Debug, Deserialize)]
struct Webhook {
    examples: Vec<serde::de::IgnoredAny>,
}

/// The directory that holds both packages.
pub fn dir() -> PathBuf {
    workspace::target_dir().join("real-input")
}

/// Makes sure that both packages are there, whole.
pub fn fetch() -> Result<RealInput> {
    let examples = fetch_package("webhooks-examples", verify_examples)?;
    let schemas = fetch_package("webhooks-schemas", verify_schemas)?;
    Ok(RealInput { examples, schemas })
}

/// Plays GitHub against a real Shock Absorber; does not return when it could start.
pub fn play(backend: Backend, args: &[String]) -> Result<()> {
    let input = fetch()?;
    build::release()?;
    let mut loadtest = Command::new(workspace::release_binary("loadtest"));
    loadtest.current_dir(workspace::root()).arg("github").arg("--backend");
    match backend {
        Backend::Embedded => loadtest.arg("embedded"),
        Backend::Kafka => {
            let services = services::up(&services::default_dir(), None)?;
            loadtest.arg("kafka").arg("--services").arg(services)
        }
    };
    loadtest.arg("--examples").arg(input.examples).arg("--schemas").arg(input.schemas).args(args);
    Err(loadtest.exec()).with_context(|| format!("could not run `{}`", command::line(&loadtest)))
}

fn fetch_package(name: &str, verify: fn(&Path) -> Result<()>) -> Result<PathBuf> {
    let package = dir().join(name);
    npm::unpack(&format!("@octokit/{name}@{VERSION}"), &package, verify)?;
    Ok(package)
}

fn verify_examples(package: &Path) -> Result<()> {
    let path = package.join("api.github.com/index.json");
    let context = || format!("could not read {}", path.display());
    let text = fs::read_to_string(&path).with_context(context)?;
    let webhooks = serde_json::from_str::<Vec<Webhook>>(&text).with_context(context)?;
    let bodies = webhooks.iter().map(|webhook| webhook.examples.len()).sum::<usize>();
    if bodies != BODIES {
        bail!("{} holds {bodies} bodies, not {BODIES}", path.display());
    }
    Ok(())
}

fn verify_schemas(package: &Path) -> Result<()> {
    let path = package.join("schema.json");
    let bytes =
        fs::metadata(&path).with_context(|| format!("could not read {}", path.display()))?.len();
    if bytes < SCHEMA_BYTES_MIN {
        bail!("{} has {bytes} bytes, fewer than {SCHEMA_BYTES_MIN}", path.display());
    }
    Ok(())
}
