//! An event's identity: what makes two arrivals the same event.
//!
//! Identity = (tenant, first 128 bits of SHA-256 over source and id). Both texts are prefixed with
//! their length, so that ("ab", "c") and ("a", "bc") differ. The tenant stays beside the digest: no
//! tenant can suppress another's event.

use sha2::{Digest, Sha256};

use crate::tenant::TenantId;

/// The source of an event that names none. One constant, never the key's id: a rotated key must
/// not turn a retry into a new event.
pub const SOURCE_DEFAULT: &str = "/";

/// What deduplication compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// Whose event.
    pub tenant: TenantId,
    /// The first 16 bytes of SHA-256 over `len(source) source len(id) id`, lengths as u64 big-endian.
    pub digest: [u8; 16],
}

impl Identity {
    /// The identity of the event `id` of `source` of `tenant`.
    pub fn new(tenant: TenantId, source: &str, id: &str) -> Self {
        let mut hash = Sha256::new();
        for part in [source, id] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let mut digest = [0; 16];
        digest.copy_from_slice(&hash.finalize()[..16]);
        Self { tenant, digest }
    }
}

/// The first 64 bits of SHA-256 over a record's value: tells a retry from another payload under the
/// same identity. Signed, because that is what SQL's `bigint` holds.
pub fn payload_digest(value: &[u8]) -> i64 {
    let hash = Sha256::digest(value);
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    i64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_separate_source_and_id() {
        let tenant = TenantId::parse("acme").expect("a valid name");
        let other = TenantId::parse("zeta").expect("a valid name");
        let identity = Identity::new(tenant, "ab", "c");
        assert_eq!(identity, Identity::new(tenant, "ab", "c"));
        assert_ne!(identity, Identity::new(tenant, "a", "bc"));
        assert_ne!(identity, Identity::new(other, "ab", "c"));
    }

    /// The digest is on disk for the whole window: a change here would let every retry through.
    #[test]
    fn digest_is_pinned() {
        let tenant = TenantId::parse("acme").expect("a valid name");
        let text: String =
            Identity::new(tenant, "/", "1").digest.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(text, "4b1983cf332f69204d4223c261a136ef");
    }
}
