//! Who posts: `Authorization: Bearer <id>.<secret>` against the configured keys.
//!
//! Only hashes are kept. The secret is compared in constant time, and an unknown id costs the same
//! as a wrong secret; neither is told apart in the answer.

use std::collections::HashMap;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use shared::config::KeyConfig;
use shared::tenant::TenantId;
use subtle::ConstantTimeEq;

use crate::reject::Reject;

/// The longest key that is hashed.
const KEY_BYTES_MAX: usize = 512;

/// The keys by id.
#[derive(Debug)]
pub(crate) struct Keyring(HashMap<String, Key>);

#[derive(Debug)]
struct Key {
    secret_sha256: [u8; 32],
    tenant: TenantId,
}

impl Keyring {
    /// The configured keys.
    pub fn new(keys: &[KeyConfig]) -> Self {
        let key = |key: &KeyConfig| {
            (key.id.clone(), Key { secret_sha256: key.secret_sha256, tenant: key.tenant })
        };
        Self(keys.iter().map(key).collect())
    }

    /// The tenant that the request's key writes for.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<TenantId, Reject> {
        let presented = bearer(headers).ok_or(Reject::Unauthorized)?;
        let (id, secret) = presented.split_once('.').ok_or(Reject::Unauthorized)?;
        let hash = Sha256::digest(secret.as_bytes());
        let found = self.0.get(id);
        let expected = found.map_or(&[0; 32], |key| &key.secret_sha256);
        let equal = bool::from(expected.ct_eq(hash.as_slice()));
        match found {
            Some(key) if equal => Ok(key.tenant),
            Some(_) | None => Err(Reject::Unauthorized),
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?;
    // Two credentials: whichever we took, another hop may have checked the other.
    if values.next().is_some() || value.len() > KEY_BYTES_MAX {
        return None;
    }
    let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(key.trim_matches(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_key_opens() {
        let tenant = TenantId::parse("acme").expect("a valid name");
        let secret_sha256 = Sha256::digest(b"s3cret").into();
        let ring = Keyring::new(&[KeyConfig { id: "k1".to_owned(), secret_sha256, tenant }]);
        let check = |values: &[&str], expected: Result<TenantId, Reject>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().expect("a valid header"));
            }
            assert_eq!(ring.authenticate(&headers), expected, "{values:?}");
        };
        check(&["Bearer k1.s3cret"], Ok(tenant));
        check(&["bearer  k1.s3cret"], Ok(tenant));
        for wrong in [
            &[][..],
            &["Bearer k1.s3cre"],
            &["Bearer k2.s3cret"],
            &["Bearer k1"],
            &["Basic k1.s3cret"],
            &["Bearer k1.s3cret", "Bearer k1.s3cret"],
            &[""],
        ] {
            check(wrong, Err(Reject::Unauthorized));
        }
    }
}
