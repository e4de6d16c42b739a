//! Where the services of a run are: the file that `cargo xtask services up` writes.

use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

/// Addresses of Kafka and PostgreSQL.
#[derive(Clone, Debug, Deserialize)]
pub struct Services {
    /// `bootstrap.servers`.
    pub kafka: String,
    /// `postgres://…` of a role that may create databases.
    pub postgres: String,
}

impl Services {
    /// Reads services.json.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read(path)
            .with_context(|| format!("{} (made by `cargo xtask services up`)", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is not valid", path.display()))
    }
}
