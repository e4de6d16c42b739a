//! Who posts: `Authorization: Bearer <id>.<secret>` against the configured keys, or the verified
//! certificate of the connection.
//!
//! Only hashes are kept. The secret is compared in constant time, and an unknown id costs the same
//! as a wrong secret; neither is told apart in the answer. Where a request shows a key, the key
//! decides: the certificate may be that of a proxy in between.

use std::collections::HashMap;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use shared::clock::Millis;
use shared::config::{CertificateConfig, IngressConfig, KeyConfig, KeyState};
use shared::tenant::TenantId;
use subtle::ConstantTimeEq;

use crate::grant::Grant;
use crate::peer::Peer;
use crate::reject::Reject;

/// The longest key that is hashed.
const KEY_BYTES_MAX: usize = 512;
/// Whose events they are that name no tenant, where nobody has to say who they are.
const TENANT_OF_ANYBODY: &str = "insecure";

/// The credentials there are.
#[derive(Debug)]
pub(crate) struct Keyring {
    keys: HashMap<String, Key>,
    certificates: HashMap<Box<str>, Grant>,
    /// Everybody's, without any credential.
    anybody: Option<Grant>,
}

#[derive(Debug)]
struct Key {
    secret_sha256: [u8; 32],
    grant: Grant,
    state: KeyState,
    not_after: Option<Millis>,
}

impl Key {
    /// What it grants now. Only whoever has its secret is told that it grants nothing any more.
    fn granted(&self, now: Millis) -> Result<&Grant, Reject> {
        match (self.state, self.not_after) {
            (KeyState::Disabled, _) => Err(Reject::KeyDisabled),
            (KeyState::Active, Some(end)) if now > end => Err(Reject::KeyExpired { end }),
            (KeyState::Active, _) => Ok(&self.grant),
        }
    }
}

impl Keyring {
    /// The configured credentials, in the place of those before.
    pub fn new(config: &IngressConfig, before: Option<&Self>) -> Self {
        let key = |key: &KeyConfig| {
            let same = before.and_then(|before| before.keys.get(&key.id));
            let grant = Grant::new(&key.scopes, key.rate, same.map(|same| &same.grant));
            let KeyConfig { secret_sha256, state, not_after, .. } = *key;
            (key.id.clone(), Key { secret_sha256, grant, state, not_after })
        };
        let certificate = |certificate: &CertificateConfig| {
            let name = certificate.san.as_str();
            let same = before.and_then(|before| before.certificates.get(name));
            (name.into(), Grant::new(&certificate.scopes, certificate.rate, same))
        };
        let anybody = || {
            Grant::of_anybody(TenantId::parse(TENANT_OF_ANYBODY).expect("a literal that is a name"))
        };
        Self {
            keys: config.keys.iter().map(key).collect(),
            certificates: config.certificates.iter().map(certificate).collect(),
            anybody: config.insecure.then(anybody),
        }
    }

    /// What the sender of a request with these headers may write at this time.
    pub fn authenticate(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
        now: Millis,
    ) -> Result<&Grant, Reject> {
        if let Some(anybody) = &self.anybody {
            return Ok(anybody);
        }
        if headers.contains_key(AUTHORIZATION) {
            self.key(headers).ok_or(Reject::Unauthorized)?.granted(now)
        } else {
            self.certificate(peer).ok_or(Reject::Unauthorized)
        }
    }

    fn key(&self, headers: &HeaderMap) -> Option<&Key> {
        let (id, secret) = bearer(headers)?.split_once('.')?;
        let hash = Sha256::digest(secret.as_bytes());
        let found = self.keys.get(id);
        let expected = found.map_or(&[0; 32], |key| &key.secret_sha256);
        let equal = bool::from(expected.ct_eq(hash.as_slice()));
        found.filter(|_| equal)
    }

    /// The first of the certificate's names that is configured.
    fn certificate(&self, peer: &Peer) -> Option<&Grant> {
        peer.names().iter().find_map(|name| self.certificates.get(name))
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
    use std::net::Ipv4Addr;

    use shared::config::Scopes;

    use super::*;

    const NOW: Millis = Millis(1_000);

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).expect("a valid name")
    }

    fn ring(insecure: bool) -> Keyring {
        let key = |id: &str, secret: &str, name: &str| {
            let secret_sha256 = Sha256::digest(secret.as_bytes()).into();
            let grant = Grant::new(&Scopes::of(tenant(name)), None, None);
            let (state, not_after) = (KeyState::Active, None);
            (id.to_owned(), Key { secret_sha256, grant, state, not_after })
        };
        let certificates = [
            ("spiffe://example/shop", Grant::new(&Scopes::of(tenant("mesh")), None, None)),
            ("shop.example", Grant::new(&Scopes::of(tenant("shop")), None, None)),
        ];
        Keyring {
            keys: [
                key("k1", "s3cret", "acme"),
                key("k1b", "n3w", "acme"),
                key("k2", "x", "globex"),
            ]
            .into(),
            certificates: certificates.map(|(name, grant)| (name.into(), grant)).into(),
            anybody: insecure.then(|| Grant::of_anybody(tenant(TENANT_OF_ANYBODY))),
        }
    }

    fn check(ring: &Keyring, values: &[&str], names: &[&str], expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().expect("a valid header"));
        }
        let names = names.iter().map(|name| Box::from(*name)).collect();
        let peer = Peer::new(Ipv4Addr::LOCALHOST.into(), names);
        let found = ring.authenticate(&headers, &peer, NOW).and_then(|grant| grant.tenant(None));
        let expected = expected.map(tenant).ok_or(Reject::Unauthorized);
        assert_eq!(found, expected, "{values:?}");
    }

    #[test]
    fn only_the_right_key_opens() {
        let ring = ring(false);
        check(&ring, &["Bearer k1.s3cret"], &[], Some("acme"));
        check(&ring, &["bearer  k1.s3cret"], &[], Some("acme"));
        check(&ring, &["Bearer k1b.n3w"], &[], Some("acme"));
        check(&ring, &["Bearer k2.x"], &[], Some("globex"));
        for wrong in [
            &[][..],
            &["Bearer k1.s3cre"],
            &["Bearer k1.n3w"],
            &["Bearer k3.s3cret"],
            &["Bearer k1"],
            &["Basic k1.s3cret"],
            &["Bearer k1.s3cret", "Bearer k1.s3cret"],
            &[""],
        ] {
            check(&ring, wrong, &[], None);
        }
        let long = format!("Bearer k1.{}", "s".repeat(KEY_BYTES_MAX));
        check(&ring, &[&long], &[], None);
    }

    #[test]
    fn a_key_that_has_ended_says_so_to_whoever_has_its_secret() {
        let mut ring = ring(false);
        let mut check = |state, not_after, secret: &str, expected: Result<(), &str>| {
            let key = ring.keys.get_mut("k1").expect("it is there");
            (key.state, key.not_after) = (state, not_after);
            let value = format!("Bearer k1.{secret}").parse().expect("a valid header");
            let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
            let peer = Peer::new(Ipv4Addr::LOCALHOST.into(), Box::default());
            let found = ring.authenticate(&headers, &peer, NOW).map(drop);
            assert_eq!(found.map_err(|reject| reject.row().code), expected);
        };
        check(KeyState::Active, Some(NOW), "s3cret", Ok(()));
        check(KeyState::Active, Some(Millis(999)), "s3cret", Err("key_expired"));
        check(KeyState::Active, Some(Millis(999)), "wrong", Err("unauthorized"));
        check(KeyState::Disabled, None, "s3cret", Err("key_disabled"));
        check(KeyState::Disabled, None, "wrong", Err("unauthorized"));
        check(KeyState::Disabled, Some(Millis(999)), "s3cret", Err("key_disabled"));
    }

    #[test]
    fn a_certificate_opens_where_no_key_is_shown() {
        let ring = ring(false);
        check(&ring, &[], &["shop.example"], Some("shop"));
        check(&ring, &[], &["other.example", "spiffe://example/shop"], Some("mesh"));
        check(&ring, &[], &["spiffe://example/shop/1"], None);
        check(&ring, &["Bearer k2.x"], &["shop.example"], Some("globex"));
        check(&ring, &["Bearer k2.y"], &["shop.example"], None);
    }

    #[test]
    fn without_locks_everybody_is_let_in() {
        check(&ring(true), &[], &[], Some("insecure"));
        check(&ring(true), &["Bearer k1.wrong"], &[], Some("insecure"));
    }
}
