//! The secret of a key: random, shown once, kept as a hash.

use anyhow::Context;
use rand::TryRngCore;
use rand::rngs::OsRng;
use sha2::{Digest, Sha256};

/// 256 bits: not to be guessed, so that a plain hash at rest is enough.
const BYTES: usize = 32;

/// In hex: it goes into a header as it is.
pub struct Secret(String);

impl Secret {
    /// A new one, from the system's random numbers.
    pub fn random() -> anyhow::Result<Self> {
        random_hex::<BYTES>().map(Self)
    }

    /// The text after the full stop of a presented key.
    pub const fn of(text: String) -> Self {
        Self(text)
    }

    /// The text, for the producer.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// What the ingress keeps.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }
}

/// So many random bytes in hex.
pub fn random_hex<const N: usize>() -> anyhow::Result<String> {
    let mut bytes = [0; N];
    OsRng.try_fill_bytes(&mut bytes).context("no random numbers for a key")?;
    Ok(hex::encode(bytes))
}
