//! `shock ctl key new`: makes a key. It asks nobody and stores nothing.
//!
//! The block for the configuration goes to stdout, so that it can be appended to a file; the key itself
//! goes to stderr, so that it never gets into one with it.

use anyhow::ensure;
use shared::tenant::TenantId;

use crate::cli::KeyCommand;
use crate::output;
use crate::secret::{Secret, random_hex};

/// How long an id may be: it stands in a configuration and in every request.
const ID_BYTES_MAX: usize = 64;
/// What keeps the ids of a tenant's keys apart, in bytes.
const SUFFIX_BYTES: usize = 4;

/// Runs the command.
#[expect(clippy::print_stderr, reason = "the secret must not get into the file that stdout fills")]
pub fn run(command: &KeyCommand) -> anyhow::Result<()> {
    let KeyCommand::New { tenant, id } = command;
    let tenant = TenantId::parse(tenant)?;
    let id = match id {
        Some(id) => id.clone(),
        None => id_of(tenant, &random_hex::<SUFFIX_BYTES>()?),
    };
    ensure!(is_id(&id), "a key's id is 1 to {ID_BYTES_MAX} of A-Z a-z 0-9 _ -");
    let secret = Secret::random()?;
    output::text(&block(&id, tenant, &secret))?;
    eprintln!("The key, shown only now; the producer sends it with each request:\n");
    eprintln!("  Authorization: Bearer {id}.{}\n", secret.text());
    eprintln!("The block above belongs into the configuration; a running ingress takes it up.");
    Ok(())
}

fn block(id: &str, tenant: TenantId, secret: &Secret) -> String {
    let digest = hex::encode(secret.sha256());
    format!("[[key]]\nid = \"{id}\"\ntenant = \"{tenant}\"\nsecret_sha256 = \"{digest}\"\n")
}

/// The tenant's name as far as an id can hold it: a full stop ends the id.
fn id_of(tenant: TenantId, suffix: &str) -> String {
    let name = tenant.as_str().replace('.', "-");
    let kept = name.len().min(ID_BYTES_MAX - 1 - suffix.len());
    format!("{}-{suffix}", &name[..kept])
}

fn is_id(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use shared::config::{Config, Purpose, Sources};

    use super::*;

    /// What is printed is a configuration that knows the key.
    #[test]
    fn the_block_is_a_key_of_the_configuration() {
        let long = "a.b-".repeat(16);
        for name in ["acme", "a.b_c-D", &long] {
            let tenant = TenantId::parse(name).expect("a valid name");
            let (id, secret) = (id_of(tenant, "0123abcd"), Secret::random().expect("random"));
            assert!(is_id(&id), "{id}");
            let directory = tempfile::tempdir().expect("a directory");
            let file = directory.path().join("keys.toml");
            std::fs::write(&file, block(&id, tenant, &secret)).expect("written");
            let sources = Sources { files: vec![file], ..Sources::default() };
            let config = Config::load(&sources, Purpose::Ingress).expect("valid");
            let key = &config.ingress.keys[0];
            assert_eq!((&key.id, key.scopes.tenant), (&id, Some(tenant)));
            assert_eq!(key.secret_sha256, secret.sha256());
        }
    }

    #[test]
    fn ids() {
        for (id, expected) in [("a", true), ("A_b-9", true), ("", false), ("a.b", false)] {
            assert_eq!(is_id(id), expected, "{id}");
        }
        assert!(!is_id(&"a".repeat(ID_BYTES_MAX + 1)));
    }
}
