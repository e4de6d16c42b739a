//! What a deployment's processes are told: settings, variables, keys.

use std::path::{Path, PathBuf};

use anyhow::Context;
use sha2::{Digest, Sha256};

use crate::load::Producer;

/// The webhook secret of every run.
pub const GITHUB_SECRET: &str = "It's a Secret to Everybody";

/// CloudEvents `source` that config/sources/github.toml gives.
pub const GITHUB_SOURCE: &str = "https://github.com";

/// The tenants that have a key.
const TENANTS: [&str; 4] = ["acme", "initech", "umbrella", "zeta"];

/// The secret part of every key. Public: these processes live on loopback, for minutes.
const KEY_SECRET: &str = "loadtest";

/// What differs between runs.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The folder of the unpacked `@octokit/webhooks-schemas`; with it the GitHub source is
    /// configured, with its bodies checked.
    pub schemas: Option<PathBuf>,
    /// Further configuration files.
    pub files: Vec<PathBuf>,
    /// Further settings, `key=value`.
    pub set: Vec<String>,
}

/// Who may post.
pub fn producers() -> Vec<Producer> {
    let producer = |tenant: &str| Producer {
        tenant: tenant.to_owned(),
        key: format!("load-{tenant}.{KEY_SECRET}"),
    };
    TENANTS.into_iter().map(producer).collect()
}

impl Settings {
    /// Writes `dir/shock.toml`: `head`, then the keys.
    pub(super) fn write(&self, dir: &Path, head: &str) -> anyhow::Result<PathBuf> {
        let digest = hex::encode(Sha256::digest(KEY_SECRET));
        let keys: String = TENANTS
            .into_iter()
            .map(|tenant| {
                format!(
                    "\n[[key]]\nid = \"load-{tenant}\"\ntenant = \"{tenant}\"\n\
                     secret_sha256 = \"{digest}\"\n"
                )
            })
            .collect();
        let path = dir.join("shock.toml");
        std::fs::write(&path, format!("{head}{keys}"))
            .with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// `--config … --set …` for a process that reads `file`.
    pub(super) fn args(&self, file: &Path) -> anyhow::Result<Vec<String>> {
        let mut args = vec!["--config".to_owned(), utf8(file)?];
        if let Some(schemas) = &self.schemas {
            let source =
                Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/sources/github.toml");
            let schema = std::path::absolute(schemas.join("schema.json")).context("its path")?;
            args.extend(["--config".to_owned(), utf8(&source)?]);
            args.push("--set".to_owned());
            args.push(format!("source.github.schema.file={}", utf8(&schema)?));
        }
        for further in &self.files {
            args.extend(["--config".to_owned(), utf8(further)?]);
        }
        for setting in &self.set {
            args.extend(["--set".to_owned(), setting.clone()]);
        }
        Ok(args)
    }

    /// The variables that config/sources/github.toml asks for.
    pub(super) fn variables(&self) -> Vec<(String, String)> {
        vec![("GITHUB_WEBHOOK_SECRET".to_owned(), GITHUB_SECRET.to_owned())]
    }
}

/// A path as an argument.
pub(super) fn utf8(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(text.to_owned())
}
