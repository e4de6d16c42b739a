//! Each scheme's own example, and everything near it that has to be refused.

use super::*;

const TOLERANCE: Duration = Duration::from_secs(300);

fn check(
    config: &SignatureConfig,
    pairs: &[(&'static str, &str)],
    body: &[u8],
    at_s: i64,
    expected: Result<(), &str>,
) {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, value.parse().expect("a valid header"));
    }
    let verdict = Claimed::read(config, &headers, Millis(at_s * 1_000))
        .and_then(|claimed| claimed.verify(body))
        .map_err(|reject| reject.row().code);
    assert_eq!(verdict, expected, "{pairs:?} at {at_s}");
}

const INVALID: Result<(), &str> = Err("signature_invalid");
const EXPIRED: Result<(), &str> = Err("signature_expired");

/// The example of GitHub's own documentation ("Validating webhook deliveries").
#[test]
fn githubs_example_verifies() {
    let scheme = SignatureScheme::Body {
        header: "x-hub-signature-256".to_owned(),
        prefix: "sha256=".to_owned(),
    };
    let secrets = vec![b"the next one".to_vec(), b"It's a Secret to Everybody".to_vec()];
    let config = SignatureConfig { scheme, secrets };
    let right = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let check = |value: &str, body: &[u8], expected| {
        check(&config, &[("x-hub-signature-256", value)], body, 0, expected);
    };
    check(&format!("sha256={right}"), b"Hello, World!", Ok(()));
    check(&format!("sha256={right}"), b"Hello, World", INVALID);
    check(&format!("sha1={right}"), b"Hello, World!", INVALID);
    check(right, b"Hello, World!", INVALID);
    check(&format!("sha256={}", &right[2..]), b"Hello, World!", INVALID);
    check(&format!("sha256={}", "zz".repeat(32)), b"Hello, World!", INVALID);
    let twice = format!("sha256={right}");
    let pairs = [("x-hub-signature-256", twice.as_str()); 2];
    super::tests::check(&config, &pairs, b"Hello, World!", 0, INVALID);
    super::tests::check(&config, &[], b"Hello, World!", 0, INVALID);
}

/// The form of Stripe's documentation ("Verify webhook signatures manually"); the digests were
/// computed with OpenSSL over `1492774577.{"id":"evt_1"}`.
#[test]
fn stripes_scheme() {
    const BODY: &[u8] = br#"{"id":"evt_1"}"#;
    const RIGHT: &str = "799c4ba7bb339f3c8601adfd112f0e477c930a268be1243d341abb8286501c2f";
    const OTHER: &str = "6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39";
    let config = SignatureConfig {
        scheme: SignatureScheme::Stripe { tolerance: TOLERANCE },
        secrets: vec![b"whsec_test_secret".to_vec()],
    };
    let at = 1_492_774_577;
    let check = |value: &str, body: &[u8], at_s, expected| {
        check(&config, &[("stripe-signature", value)], body, at_s, expected);
    };
    let right = format!("t={at},v1={RIGHT},v0={OTHER}");
    check(&right, BODY, at, Ok(()));
    check(&right, BODY, at + 300, Ok(()));
    check(&right, BODY, at - 300, Ok(()));
    check(&right, BODY, at + 301, EXPIRED);
    check(&right, BODY, at - 301, EXPIRED);
    check(&right, b"{}", at, INVALID);
    check(&format!("t={at},v1={OTHER},v1={RIGHT}"), BODY, at, Ok(()));
    check(&format!("t={at}, v1={RIGHT}"), BODY, at, Ok(()));
    check(&format!("t={at},v1={OTHER}"), BODY, at, INVALID);
    check(&format!("t={},v1={RIGHT}", at + 1), BODY, at, INVALID);
    check(&format!("t={at},t={at},v1={RIGHT}"), BODY, at, INVALID);
    check(&format!("t={at},v0={RIGHT}"), BODY, at, INVALID);
    check(&format!("v1={RIGHT}"), BODY, at, INVALID);
    check(&format!("t={at},v1=zz"), BODY, at, INVALID);
    check(&format!("t=+{at},v1={RIGHT}"), BODY, at, EXPIRED);
    check(&format!("t={}9,v1={RIGHT}", at), BODY, at, EXPIRED);
    check(&format!("t=9999999999999999,v1={RIGHT}"), BODY, at, EXPIRED);
    let many = format!("t={at}{},v1={RIGHT}", format!(",v1={OTHER}").repeat(MACS_MAX));
    check(&many, BODY, at, INVALID);
    check("", BODY, at, INVALID);
}

/// The example of the Standard Webhooks libraries' own tests.
#[test]
fn standard_webhooks_example_verifies() {
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const RIGHT: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    let secret = BASE64.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("Base64");
    let config = SignatureConfig {
        scheme: SignatureScheme::StandardWebhooks { tolerance: TOLERANCE },
        secrets: vec![secret],
    };
    let (id, at) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330);
    let check = |id: &str, time: &str, value: &str, at_s, expected| {
        let time = ("webhook-timestamp", time);
        let pairs = [("webhook-id", id), time, ("webhook-signature", value)];
        check(&config, &pairs, BODY, at_s, expected);
    };
    check(id, "1614265330", RIGHT, at, Ok(()));
    check(id, "1614265330", &format!("v1a,xx {RIGHT}"), at, Ok(()));
    check(id, "1614265330", &format!("v1,{} {RIGHT}", BASE64.encode([0; 32])), at, Ok(()));
    check(id, "1614265330", RIGHT, at + 301, EXPIRED);
    check(id, "1614265331", RIGHT, at, INVALID);
    check("msg_other", "1614265330", RIGHT, at, INVALID);
    check("", "1614265330", RIGHT, at, INVALID);
    check(id, "1614265330", &RIGHT.replace("v1,", "v2,"), at, INVALID);
    check(id, "1614265330", "v1,AAAA", at, INVALID);
    check(id, "1614265330", "v1", at, INVALID);
    check(id, "", RIGHT, at, EXPIRED);
}
