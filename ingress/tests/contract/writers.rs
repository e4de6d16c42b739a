//! What a credential may write, how often, and who says whose event it is.

use std::num::NonZeroU32;

use serde_json::{Value, json};
use shared::config::{RateBound, Scopes, SignatureConfig, SignatureScheme};
use shared::position::Class;
use shared::tenant::TenantId;

use crate::client::{Answer, Post};
use crate::fixture::{Fixture, NOW, key};

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

/// A server whose one key has these scopes.
fn server(scopes: Scopes) -> Fixture {
    Fixture::start_with(|config| config.keys[0].scopes = scopes)
}

fn event(id: u32, member: &str) -> String {
    let plain = format!(r#""id":"{id}","data":{{"n":1}}"#);
    let event_type = if member.contains("\"type\"") { "" } else { r#""type":"order.placed","# };
    let comma = if member.is_empty() { "" } else { "," };
    format!("{{{event_type}{member}{comma}{plain}}}")
}

async fn batch(server: &Fixture, events: &[String]) -> Answer {
    Post::json(format!("[{}]", events.join(","))).send(server).await
}

fn codes(answer: &Answer) -> Vec<Value> {
    let results = answer.json()["results"].as_array().expect("results").clone();
    results.iter().map(|one| one.get("code").unwrap_or(&one["status"]).clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_out_of_scope_is_refused_event_by_event() {
    let acme = TenantId::parse("acme").expect("a valid name");
    let server = server(Scopes {
        types: texts(&["order.*", "metrics.cpu"]),
        sources: texts(&["/", "/shop/*"]),
        classes: vec![Class::Transactional],
        ..Scopes::of(acme)
    });
    let events = [
        event(1, ""),
        event(2, r#""type":"user.created""#),
        event(3, r#""source":"/shop/1""#),
        event(4, r#""source":"/desk""#),
        event(5, r#""type":"metrics.cpu""#),
        event(6, r#""tenant":"globex""#),
    ];
    let answer = batch(&server, &events).await;
    assert_eq!(answer.status, 207);
    let expected = [
        "accepted",
        "type_forbidden",
        "accepted",
        "source_forbidden",
        "class_forbidden",
        "tenant_forbidden",
    ];
    assert_eq!(codes(&answer), expected);
    assert_eq!(server.log.records().len(), 2);
    // A type that is not theirs is not told whether it is one of ours.
    let single = Post::json(&events[1]).send(&server).await;
    single.problem(403, "type_forbidden");
    let all = [event(7, r#""source":"/desk""#), event(8, r#""source":"/other""#)];
    batch(&server, &all).await.problem(403, "source_forbidden");
    let binary = Post::json(r#"{"n":1}"#)
        .header("ce-specversion", "1.0")
        .header("ce-type", "order.placed")
        .header("ce-source", "/desk");
    binary.send(&server).await.problem(403, "source_forbidden");
    assert_eq!(server.log.records().len(), 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarder_says_whose_events_it_passes_on() {
    let server = server(Scopes { tenants: texts(&["acme", "team-*"]), ..Scopes::default() });
    // One id, two tenants: two events. The same id for one tenant is a duplicate.
    let events = [
        event(1, r#""tenant":"acme""#),
        event(1, r#""tenant":"team-a""#),
        event(1, r#""tenant":"team-a""#),
        event(2, r#""tenant":"globex""#),
        event(3, ""),
    ];
    let answer = batch(&server, &events).await;
    assert_eq!(answer.status, 207);
    let expected = ["accepted", "accepted", "duplicate", "tenant_forbidden", "invalid_envelope"];
    assert_eq!(codes(&answer), expected);
    let binary = Post::json(r#"{"n":1}"#)
        .header("ce-specversion", "1.0")
        .header("ce-type", "order.placed")
        .header("ce-tenant", "team-b");
    assert_eq!(binary.send(&server).await.status, 202);
    let answer = binary.without("ce-tenant").send(&server).await;
    assert_eq!(answer.problem(422, "invalid_envelope")["errors"][0]["pointer"], "/tenant");
    let mut keys: Vec<_> = server.log.records().into_iter().map(|record| record.key).collect();
    keys.sort();
    assert_eq!(keys, ["acme", "team-a", "team-b"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_its_own_rate() {
    let number = |number| NonZeroU32::new(number).expect("not zero");
    let server = Fixture::start_with(|config| {
        let rate = RateBound { requests_per_s: number(1), burst: number(20) };
        config.keys[0].rate = Some(rate);
        config.keys.push(key("k2", "other"));
    });
    let post = |id: u32| Post::json(event(id, ""));
    let mut accepted = 0;
    let refused = loop {
        let answer = post(accepted).send(&server).await;
        if answer.status != 202 {
            break answer;
        }
        accepted += 1;
        let told = answer.header("ratelimit").is_some();
        assert_eq!(told, answer.header("ratelimit-policy").is_some());
        assert!(!told || accepted >= 19, "told too early: {accepted}");
        assert!(told || accepted <= 19 + 5, "not told: {accepted}");
        assert!(accepted < 100, "the limit does not hold");
    };
    assert!(accepted >= 20);
    refused.problem(429, "rate_limited");
    assert_eq!(refused.header("ratelimit-policy"), Some("\"requests\";q=20;w=20"));
    assert_eq!(refused.header("ratelimit"), Some("\"requests\";r=0;t=1"));
    let other = post(100).header("authorization", "Bearer k2.other").send(&server).await;
    assert_eq!((other.status, other.header("ratelimit")), (202, None));
    assert_eq!(server.log.records().len(), accepted as usize + 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_are_bounded_and_the_right_one_passes() {
    let server = Fixture::start_with(|config| {
        config.failed_logins_per_minute = NonZeroU32::new(3).expect("not zero");
    });
    let wrong = Post::json(event(1, "")).header("authorization", "Bearer k1.wrong");
    for _ in 0..3 {
        wrong.send(&server).await.problem(401, "unauthorized");
    }
    wrong.send(&server).await.problem(429, "too_many_failed_logins");
    let unsigned = Post::webhook("push", "d-1", "{}").without("x-hub-signature-256");
    unsigned.send(&server).await.problem(429, "too_many_failed_logins");
    assert_eq!(Post::json(event(1, "")).send(&server).await.status, 202);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_locks_the_event_says_whose_it_is() {
    let server = Fixture::start_with(|config| {
        config.keys.clear();
        config.insecure = true;
    });
    let post = |member: &str| Post::json(event(1, member)).without("authorization");
    assert_eq!(post("").send(&server).await.status, 202);
    assert_eq!(post(r#""tenant":"acme""#).send(&server).await.status, 202);
    let mut keys: Vec<_> = server.log.records().into_iter().map(|record| record.key).collect();
    keys.sort();
    assert_eq!(keys, ["acme", "insecure"]);
    assert_eq!(server.metric("shock_ingress_insecure"), 1);
    server.stop().await;
}

/// The same delivery twice is one event's identity twice, and too late is 401 before the body.
#[tokio::test(flavor = "multi_thread")]
async fn a_timed_signature_is_bound_to_the_clock() {
    use hmac::{Hmac, KeyInit, Mac};
    let server = Fixture::start_with(|config| {
        config.sources[0].signature = Some(SignatureConfig {
            scheme: SignatureScheme::Stripe { tolerance: std::time::Duration::from_secs(300) },
            secrets: vec![b"new".to_vec(), b"old".to_vec()],
        });
    });
    let body = r#"{"repository":{"owner":{"login":"octo"}}}"#;
    let signed = |secret: &[u8], at_s: i64| {
        let mut hmac = Hmac::<sha2::Sha256>::new_from_slice(secret).expect("any length");
        hmac.update(format!("{at_s}.{body}").as_bytes());
        let mac = hex::encode(hmac.finalize().into_bytes());
        Post::webhook("charge", "evt-1", body)
            .header("stripe-signature", &format!("t={at_s},v1={mac}"))
    };
    let now_s = NOW.0 / 1_000;
    assert_eq!(signed(b"old", now_s).send(&server).await.status, 202);
    assert_eq!(signed(b"new", now_s - 299).send(&server).await.status, 202);
    signed(b"gone", now_s).send(&server).await.problem(401, "signature_invalid");
    let late = signed(b"new", now_s - 400).send(&server).await;
    let problem = late.problem(401, "signature_expired");
    assert_eq!(problem["detail"], json!("the sender's clock and ours may differ by 300 s"));
    assert_eq!(server.log.records().len(), 2);
    server.stop().await;
}
