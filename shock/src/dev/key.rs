//! The development key: made once per data directory, kept in a file that only its owner reads.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, ensure};
use shared::config::{KeyConfig, KeyState, Scopes};
use shared::tenant::TenantId;

use crate::secret::Secret;

/// The file's name in the data directory.
const FILE: &str = "dev-key";
/// Where it is written before it is whole; what an earlier start left there is overwritten.
const FILE_FRESH: &str = "dev-key.new";
/// The key's id and the tenant it writes for.
const NAME: &str = "dev";

/// `dev.<secret>`.
pub struct DevelopmentKey {
    presented: String,
    secret_sha256: [u8; 32],
}

impl DevelopmentKey {
    /// The directory's key; makes one where there is none.
    pub fn of(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join(FILE);
        let presented = match std::fs::read_to_string(&path) {
            Ok(text) => text.trim().to_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let presented = format!("{NAME}.{}", Secret::random()?.text());
                write(directory, &presented)
                    .with_context(|| format!("cannot write {}", path.display()))?;
                presented
            }
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display()))?,
        };
        let secret = presented.strip_prefix(NAME).and_then(|rest| rest.strip_prefix('.'));
        let secret = secret.unwrap_or_default();
        ensure!(
            !secret.is_empty(),
            "{} does not hold a development key; remove it to get a new one",
            path.display()
        );
        let secret_sha256 = Secret::of(secret.to_owned()).sha256();
        Ok(Self { presented, secret_sha256 })
    }

    /// The key as a producer presents it.
    pub fn presented(&self) -> &str {
        &self.presented
    }

    /// The key as the ingress knows it.
    pub fn config(&self) -> KeyConfig {
        KeyConfig {
            id: NAME.to_owned(),
            secret_sha256: self.secret_sha256,
            scopes: Scopes::of(TenantId::parse(NAME).expect("a literal that is a tenant's name")),
            rate: None,
            state: KeyState::Active,
            not_after: None,
        }
    }
}

/// Whole or not at all, also when the process dies in between.
fn write(directory: &Path, presented: &str) -> std::io::Result<()> {
    let fresh = directory.join(FILE_FRESH);
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    writeln!(file, "{presented}")?;
    file.sync_all()?;
    std::fs::rename(fresh, directory.join(FILE))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_is_made_once_and_is_private() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = DevelopmentKey::of(directory.path()).expect("made");
        let second = DevelopmentKey::of(directory.path()).expect("read");
        assert_eq!(first.presented(), second.presented());
        let meta = std::fs::metadata(directory.path().join(FILE)).expect("is there");
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_start_that_died_while_writing_stops_nobody() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join(FILE_FRESH), "dev.ab").expect("writes");
        let key = DevelopmentKey::of(directory.path()).expect("made");
        assert_eq!(key.presented().len(), NAME.len() + 1 + 64);
    }

    #[test]
    fn a_damaged_file_is_refused_not_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join(FILE), "\n").expect("writes");
        assert!(DevelopmentKey::of(directory.path()).is_err());
    }
}
