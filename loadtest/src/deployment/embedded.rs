//! `shock dev` on a directory of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use super::settings::{Settings, utf8};
use crate::client::Target;
use crate::effects::Effects;
use crate::process::{Process, shock_binary};

/// One process that is everything.
#[derive(Debug)]
pub struct Embedded {
    dir: PathBuf,
    data: PathBuf,
    args: Vec<String>,
    variables: Vec<(String, String)>,
    process: Option<Process>,
    target: Target,
    admin: SocketAddr,
    effects: Effects,
}

impl Embedded {
    /// Starts `shock dev` with its data in `dir/data`.
    pub async fn start(dir: &Path, settings: &Settings) -> anyhow::Result<Self> {
        let data = dir.join("data");
        let file = settings.write(dir, "")?;
        let mut args: Vec<String> =
            ["dev", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir"]
                .map(str::to_owned)
                .into();
        args.push(utf8(&data)?);
        args.extend(settings.args(&file)?);
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut embedded = Self {
            dir: dir.to_owned(),
            effects: Effects::Sqlite(data.join("effects.sqlite")),
            data,
            args,
            variables: settings.variables(),
            process: None,
            target: Target::new(nowhere),
            admin: nowhere,
        };
        embedded.up().await?;
        Ok(embedded)
    }

    /// Starts it on the same directory, after it ended.
    pub async fn up(&mut self) -> anyhow::Result<()> {
        ensure!(self.process.is_none(), "shock dev is running");
        let mut process = self.spawn("dev")?;
        self.target.set(process.address("ingress").await?);
        self.admin = process.address("admin").await?;
        self.process = Some(process);
        Ok(())
    }

    /// One more process on the same directory, which has to refuse.
    pub fn spawn(&self, name: &str) -> anyhow::Result<Process> {
        Process::start(name, &shock_binary()?, &self.args, &self.variables, &self.dir)
    }

    /// `kill -9`.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().context("shock dev is not running")?.kill().await
    }

    /// Waits until it ended by itself, behind a signal; it has to end with code 0.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        let mut process = self.process.take().context("shock dev is not running")?;
        let status = process.ended().await?;
        ensure!(status.success(), "shock dev ended with {status}");
        Ok(())
    }

    /// `SIGTERM`; it has to end with code 0.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let Some(process) = self.process.take() else { return Ok(()) };
        let status = process.terminate().await?;
        ensure!(status.success(), "shock dev ended with {status} after SIGTERM");
        Ok(())
    }

    /// The running process.
    pub fn process(&self) -> anyhow::Result<&Process> {
        self.process.as_ref().context("shock dev is not running")
    }

    /// The development key as a user finds it.
    pub fn key(&self) -> anyhow::Result<String> {
        let path = self.data.join("dev-key");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(text.trim().to_owned())
    }

    /// Where producers post; follows restarts.
    pub fn target(&self) -> Target {
        self.target.clone()
    }

    /// The admin port.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The SQLite file.
    pub fn effects(&self) -> &Effects {
        &self.effects
    }
}
