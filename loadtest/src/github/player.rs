//! Posts a plan over several kept-alive connections, and notes every request in the ledger.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use tokio::task::JoinSet;

use super::{Delivery, Plan, SOURCE_NAME, sign};
use crate::client::{Connection, Reply, Target};
use crate::ledger::Ledger;
use crate::load::outcome;
use crate::wait::let_pass;

/// A delivery that gets no answer for good within this time fails the run.
const DELIVERY_DEADLINE: Duration = Duration::from_secs(120);

/// Between two tries of one delivery; short, so that a restarted ingress is found at once.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// GitHub, as far as one ingress sees it.
#[derive(Clone, Debug)]
pub struct Player {
    /// Where to post.
    pub target: Target,
    /// The webhook's secret.
    pub secret: String,
    /// CloudEvents `source` that the ingress gives these events.
    pub source: String,
    /// Where every request is noted.
    pub ledger: Arc<Ledger>,
}

/// The final answer of every delivery.
#[derive(Debug)]
pub struct Played {
    /// Requests that were sent, or tried.
    pub requests: usize,
    /// The final status per delivery, in the plan's order.
    pub status: Vec<u16>,
}

impl Player {
    /// Posts the whole plan over `connections` connections.
    pub async fn play(&self, plan: &Arc<Plan>, connections: usize) -> anyhow::Result<Played> {
        let next = Arc::new(AtomicUsize::new(0));
        let mut workers = JoinSet::new();
        for _ in 0..connections {
            let (player, plan, next) = (self.clone(), Arc::clone(plan), Arc::clone(&next));
            workers.spawn(async move { player.work(&plan, &next).await });
        }
        let mut answers: BTreeMap<usize, u16> = BTreeMap::new();
        let mut requests = 0;
        while let Some(worked) = workers.join_next().await {
            let (tries, answered) = worked.context("a connection's task")??;
            requests += tries;
            for (delivery, status) in answered {
                if let Some(before) = answers.insert(delivery, status)
                    && before != status
                {
                    let id = &plan.deliveries[delivery].id;
                    bail!("delivery {id} was answered {before}, and {status} when retried");
                }
            }
        }
        Ok(Played { requests, status: answers.into_values().collect() })
    }

    async fn work(
        &self,
        plan: &Plan,
        next: &AtomicUsize,
    ) -> anyhow::Result<(usize, Vec<(usize, u16)>)> {
        let mut connection = Connection::new(self.target.clone());
        let mut answered = Vec::new();
        let mut requests = 0;
        while let Some(step) = plan.steps.get(next.fetch_add(1, Ordering::Relaxed)) {
            let delivery = &plan.deliveries[step.delivery];
            let started = Instant::now();
            let status = loop {
                requests += 1;
                let signature = sign(&self.secret, &delivery.example.body)?;
                let reply = self.post(&mut connection, delivery, &signature).await?;
                match reply.status() {
                    Some(status @ (202 | 400..=407 | 409..=428 | 430..=499)) => break status,
                    _ if started.elapsed() > DELIVERY_DEADLINE => {
                        bail!("{} got no answer for good, last: {reply:?}", delivery.id)
                    }
                    _ => let_pass(TRY_AGAIN_AFTER).await,
                }
            };
            answered.push((step.delivery, status));
        }
        Ok((requests, answered))
    }

    /// One posting, noted before and after.
    pub async fn post(
        &self,
        connection: &mut Connection,
        delivery: &Delivery,
        signature: &str,
    ) -> anyhow::Result<Reply> {
        let request = self.request(delivery, signature)?;
        let number = self.ledger.sent(vec![delivery.posted(&self.source)])?;
        let reply = connection.send(request).await;
        self.ledger.answered(number, reply.status(), vec![outcome(&reply)])?;
        Ok(reply)
    }

    fn request(
        &self,
        delivery: &Delivery,
        signature: &str,
    ) -> anyhow::Result<Request<Full<Bytes>>> {
        Request::post(format!("/v1/sources/{SOURCE_NAME}"))
            .header("host", self.target.get().to_string())
            .header("user-agent", "GitHub-Hookshot/0000000")
            .header("content-type", "application/json")
            .header("x-github-event", &delivery.example.event)
            .header("x-github-delivery", &delivery.id)
            .header("x-hub-signature-256", signature)
            .body(Full::new(delivery.example.body.clone()))
            .context("a valid request")
    }
}
