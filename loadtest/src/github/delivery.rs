//! Deliveries, and the order in which they are posted.

use std::sync::Arc;

use anyhow::Context;
use hmac::{Hmac, KeyInit, Mac};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sha2::Sha256;
use uuid::Uuid;

use super::Example;
use crate::ledger::{Identity, Posted};

/// One in so many deliveries is posted again.
const RETRY_ONE_IN: usize = 3;

/// A late retry comes up to so many steps after its delivery.
const RETRY_STEPS_MAX: usize = 500;

/// One body under one delivery id.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// What is delivered.
    pub example: Arc<Example>,
    /// `X-GitHub-Delivery`.
    pub id: String,
    /// Whether the schema accepts the body.
    pub valid: bool,
}

impl Delivery {
    /// The body under a fresh delivery id.
    pub fn new(example: Arc<Example>, valid: bool) -> Self {
        Self { example, id: Uuid::now_v7().to_string(), valid }
    }

    /// The ledger's entry.
    pub fn posted(&self, source: &str) -> Posted {
        Posted {
            identity: Identity {
                tenant: self.example.tenant.clone(),
                source: source.to_owned(),
                id: self.id.clone(),
            },
            key: self.example.tenant.clone(),
            value: self.example.value_digest,
            data: self.example.data_digest,
        }
    }
}

/// Which delivery is posted next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Index into the plan's deliveries.
    pub delivery: usize,
    /// Whether this is the second posting of a delivery.
    pub retry: bool,
}

/// Everything that will be posted, in order.
#[derive(Debug)]
pub struct Plan {
    /// The deliveries.
    pub deliveries: Vec<Delivery>,
    /// The postings.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Every example `times` times. One delivery in three is retried: every second of those in the
    /// next step, so that another connection posts it at the same time, the others later.
    pub fn new(examples: &[(Arc<Example>, bool)], times: usize, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let count = examples.len() * times;
        let deliveries: Vec<Delivery> = (0..count)
            .map(|n| &examples[n % examples.len()])
            .map(|(example, valid)| Delivery::new(Arc::clone(example), *valid))
            .collect();
        // Twice the delivery's index leaves an odd place behind each for its concurrent retry.
        let mut order: Vec<(usize, Step)> = Vec::with_capacity(count + count / RETRY_ONE_IN + 1);
        for delivery in 0..count {
            order.push((2 * delivery, Step { delivery, retry: false }));
            if delivery % RETRY_ONE_IN == 0 {
                let later = match (delivery / RETRY_ONE_IN) % 2 {
                    0 => 1,
                    _ => 1 + 2 * random.random_range(1..=RETRY_STEPS_MAX),
                };
                order.push((2 * delivery + later, Step { delivery, retry: true }));
            }
        }
        order.sort_by_key(|(place, step)| (*place, step.retry));
        Self { deliveries, steps: order.into_iter().map(|(_, step)| step).collect() }
    }
}

/// `X-Hub-Signature-256` over a body.
pub fn sign(secret: &str, body: &[u8]) -> anyhow::Result<String> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).context("HMAC takes any key")?;
    mac.update(body);
    Ok(format!("sha256={}", hex::encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::json;

    use super::*;
    use crate::canonical;

    /// The vector of GitHub's own documentation ("Validating webhook deliveries").
    #[test]
    fn signature_is_githubs() {
        let signed = sign("It's a Secret to Everybody", b"Hello, World!").expect("signed");
        let expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert_eq!(signed, expected);
    }

    #[test]
    fn one_in_three_is_retried_after_its_delivery() {
        let digest = canonical::of_bytes(b"1");
        let example = Arc::new(Example {
            event: "push".into(),
            body: "1".into(),
            value: json!(1),
            tenant: "acme".into(),
            value_digest: digest,
            data_digest: digest,
        });
        let plan = Plan::new(&[(Arc::clone(&example), true), (example, false)], 30, 7);
        assert_eq!((plan.deliveries.len(), plan.steps.len()), (60, 80));
        let ids: HashSet<_> = plan.deliveries.iter().map(|d| &d.id).collect();
        assert_eq!(ids.len(), 60, "every delivery id is fresh");
        let mut posted = HashSet::new();
        for (at, step) in plan.steps.iter().enumerate() {
            assert_eq!(posted.insert(step.delivery), !step.retry, "step {at}");
        }
        let together = plan.steps.windows(2).filter(|w| w[0].delivery == w[1].delivery).count();
        assert!((10..=12).contains(&together), "{together} are retried at the same time");
    }
}
