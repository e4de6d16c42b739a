//! A webhook sender's signature: HMAC-SHA256 over the raw body as sent, hex in a header.
//!
//! Whether the header is well-formed is known before the body is read; whether it is right, only
//! after. Both are the same 401 to the sender.

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use sha2::Sha256;
use shared::config::SignatureConfig;

use crate::reject::Reject;

/// A well-formed signature, not verified yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claimed<'c> {
    config: &'c SignatureConfig,
    mac: [u8; 32],
}

impl<'c> Claimed<'c> {
    /// Reads the header.
    pub fn read(config: &'c SignatureConfig, headers: &HeaderMap) -> Result<Self, Reject> {
        let digits = headers
            .get(config.header.as_str())
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix(config.prefix.as_str()));
        let mut mac = [0; 32];
        match digits.map(|digits| hex::decode_to_slice(digits, &mut mac)) {
            Some(Ok(())) => Ok(Self { config, mac }),
            Some(Err(_)) | None => Err(refused(config)),
        }
    }

    /// Verifies the raw body, in constant time.
    pub fn verify(&self, raw: &[u8]) -> Result<(), Reject> {
        let mut hmac = Hmac::<Sha256>::new_from_slice(&self.config.secret)
            .expect("HMAC takes keys of any length");
        hmac.update(raw);
        hmac.verify_slice(&self.mac).map_err(|_| refused(self.config))
    }
}

fn refused(config: &SignatureConfig) -> Reject {
    Reject::Signature { header: config.header.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of GitHub's own documentation ("Validating webhook deliveries").
    #[test]
    fn githubs_example_verifies() {
        let config = SignatureConfig {
            header: "x-hub-signature-256".to_owned(),
            prefix: "sha256=".to_owned(),
            secret: b"It's a Secret to Everybody".to_vec(),
        };
        let right = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let check = |value: &str, body: &[u8], expected: bool| {
            let mut headers = HeaderMap::new();
            headers.insert("x-hub-signature-256", value.parse().expect("a valid header"));
            let verdict = Claimed::read(&config, &headers).and_then(|claimed| claimed.verify(body));
            assert_eq!(verdict.is_ok(), expected, "{value}");
        };
        check(&format!("sha256={right}"), b"Hello, World!", true);
        check(&format!("sha256={right}"), b"Hello, World", false);
        check(&format!("sha1={right}"), b"Hello, World!", false);
        check(right, b"Hello, World!", false);
        check(&format!("sha256={}", &right[2..]), b"Hello, World!", false);
        check(&format!("sha256={}", "zz".repeat(32)), b"Hello, World!", false);
    }
}
