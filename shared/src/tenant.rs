//! The tenant's name: who an event belongs to, and what decides its partition.
//!
//! Never trusted from the event alone: it comes from a credential, or from the event only where that
//! credential may write for several tenants.

use std::fmt;
use std::hash::{Hash, Hasher};

/// The longest tenant name, in bytes.
pub const TENANT_BYTES_MAX: usize = 64;

/// A tenant's name, `[A-Za-z0-9._-]{1,64}`, held inline so that copying one never allocates.
#[derive(Clone, Copy)]
pub struct TenantId {
    length: u8,
    bytes: [u8; TENANT_BYTES_MAX],
}

/// Why a text is not a tenant's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    /// The name has no characters.
    #[error("a tenant name has at least one character")]
    Empty,
    /// The name has more than [`TENANT_BYTES_MAX`] bytes.
    #[error("a tenant name has at most {TENANT_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// A byte outside `[A-Za-z0-9._-]`, with its index.
    #[error("a tenant name consists of A-Z a-z 0-9 . _ -, the byte at index {0} does not")]
    Character(usize),
}

impl TenantId {
    /// Checks and copies a name.
    pub fn parse(name: &str) -> Result<Self, TenantError> {
        let source = name.as_bytes();
        if source.is_empty() {
            return Err(TenantError::Empty);
        }
        if source.len() > TENANT_BYTES_MAX {
            return Err(TenantError::TooLong(source.len()));
        }
        let allowed = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if let Some(index) = source.iter().position(|b| !allowed(b)) {
            return Err(TenantError::Character(index));
        }
        let mut bytes = [0; TENANT_BYTES_MAX];
        bytes[..source.len()].copy_from_slice(source);
        // The cast is exact: the length is at most 64.
        Ok(Self { length: source.len() as u8, bytes })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("parse admits ASCII only")
    }

    /// The name's bytes: the record key of a tenant that is not spread.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl PartialEq for TenantId {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for TenantId {}

impl PartialOrd for TenantId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for TenantId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for TenantId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantId({})", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_at_the_bounds() {
        let check = |name: &str, expected: Result<(), TenantError>| {
            assert_eq!(TenantId::parse(name).map(|t| assert_eq!(t.as_str(), name)), expected);
        };
        check("a", Ok(()));
        check("Acme.Corp_1-x", Ok(()));
        check(&"x".repeat(64), Ok(()));
        check("", Err(TenantError::Empty));
        check(&"x".repeat(65), Err(TenantError::TooLong(65)));
        check("a b", Err(TenantError::Character(1)));
        check("a/b", Err(TenantError::Character(1)));
        check("ä", Err(TenantError::Character(0)));
    }
}
