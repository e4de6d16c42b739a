//! Where the services of a run are: the file that `cargo xtask services up` writes.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;

use crate::process::run;

/// The variable that names the xtask binary, which starts and stops services; xtask itself sets it.
const XTASK: &str = "SHOCK_XTASK";

/// Addresses of Kafka and PostgreSQL.
#[derive(Clone, Debug, Deserialize)]
pub struct Services {
    /// `bootstrap.servers`.
    pub kafka: String,
    /// `postgres://…` of a role that may create databases.
    pub postgres: String,
    /// Where this was read from.
    #[serde(skip)]
    file: PathBuf,
}

impl Services {
    /// Reads services.json.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read(path)
            .with_context(|| format!("{} (made by `cargo xtask services up`)", path.display()))?;
        let services: Self = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not valid", path.display()))?;
        Ok(Self { file: path.to_owned(), ..services })
    }

    /// Stops PostgreSQL: for every user of these services.
    pub async fn postgres_stop(&self) -> anyhow::Result<()> {
        self.tell("stop", "postgres").await
    }

    /// Starts it again.
    pub async fn postgres_start(&self) -> anyhow::Result<()> {
        self.tell("start", "postgres").await
    }

    /// `kill`, `stop` or `start` of `postgres`, `kafka-1`, …; waits until it is done.
    pub async fn tell(&self, action: &str, service: &str) -> anyhow::Result<()> {
        let xtask = std::env::var_os(XTASK)
            .with_context(|| format!("{XTASK} names the xtask binary; `cargo xtask` sets it"))?;
        let dir = self.file.parent().and_then(Path::to_str).context("a directory in UTF-8")?;
        let args = ["services", action, service, "--dir", dir].map(str::to_owned);
        run(&PathBuf::from(xtask), &args, &[], &std::env::current_dir()?).await.map(drop)
    }
}
