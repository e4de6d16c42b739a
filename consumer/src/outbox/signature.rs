//! The signature of a webhook's request, as Standard Webhooks has it: HMAC-SHA256 over id, time and
//! body, so that a receiver knows who sent it, and that it is not an old one.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// `webhook-signature`: `v1,BASE64` for each secret, with a space between.
pub fn signature(secrets: &[Vec<u8>], id: &str, seconds: i64, body: &[u8]) -> String {
    let one = |secret: &Vec<u8>| {
        let mut hmac =
            Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
        hmac.update(format!("{id}.{seconds}.").as_bytes());
        hmac.update(body);
        format!("v1,{}", BASE64.encode(hmac.finalize().into_bytes()))
    };
    secrets.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks specification's reference libraries.
    #[test]
    fn the_reference_libraries_example() {
        let secret = BASE64.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("Base64");
        let body = br#"{"test": 2432232314}"#;
        let signed = signature(
            &[secret.clone(), secret],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            body,
        );
        let one = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signed, format!("{one} {one}"));
        assert_eq!(signature(&[], "a", 0, b""), "");
    }
}
