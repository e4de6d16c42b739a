//! Steady load of small events on `/v1/events`, every one with its own id, noted in the ledger.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::json;
use shared::Shutdown;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::canonical;
use crate::client::{Connection, Reply, Target};
use crate::ledger::{Identity, Ledger, Outcome, Posted};
use crate::wait::let_pass;

/// The size of one event: that of the project's CPU figures.
pub const EVENT_BYTES: usize = 331;

/// An event that is not accepted within this time fails the run.
const EVENT_DEADLINE: Duration = Duration::from_secs(120);

/// Between two tries of one event.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Who posts: a tenant, and the credential that writes for it.
#[derive(Clone, Debug)]
pub struct Producer {
    /// The tenant's name.
    pub tenant: String,
    /// `ID.SECRET`.
    pub key: String,
}

/// A steady load.
#[derive(Clone, Debug)]
pub struct Load {
    /// What the events' ids begin with; a run that posts several loads names each.
    pub name: String,
    /// Where to post.
    pub target: Target,
    /// They take turns.
    pub producers: Vec<Producer>,
    /// Where every request is noted.
    pub ledger: Arc<Ledger>,
    /// Events per second over all connections.
    pub rate_per_s: u32,
    /// Kept-alive connections; one request at a time on each.
    pub connections: u32,
    /// Ends the load by itself after so many events.
    pub events_max: Option<u64>,
}

/// How the requests were answered.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Requests by status.
    pub by_status: BTreeMap<u16, u64>,
    /// Requests without an answer, and those that could not be sent.
    pub unanswered: u64,
    /// The slowest answer.
    pub slowest: Duration,
    /// One answer that was not 202, for a message.
    pub other: Option<String>,
}

impl Answers {
    /// How many requests had this status.
    pub fn count(&self, status: u16) -> u64 {
        self.by_status.get(&status).copied().unwrap_or(0)
    }

    /// An error unless every request was answered 202.
    pub fn all_accepted(&self) -> anyhow::Result<u64> {
        let accepted = self.count(202);
        let others: u64 = self.by_status.values().sum::<u64>() - accepted + self.unanswered;
        if others > 0 || accepted == 0 {
            bail!("not every post was answered 202: {self:?}");
        }
        Ok(accepted)
    }

    fn note(&mut self, reply: &Reply, took: Duration) {
        match reply.status() {
            Some(status) => *self.by_status.entry(status).or_default() += 1,
            None => self.unanswered += 1,
        }
        self.slowest = self.slowest.max(took);
        if reply.status() != Some(202) {
            self.other = Some(format!("{reply:?}"));
        }
    }

    fn add(&mut self, other: Self) {
        for (status, count) in other.by_status {
            *self.by_status.entry(status).or_default() += count;
        }
        self.unanswered += other.unanswered;
        self.slowest = self.slowest.max(other.slowest);
        self.other = other.other.or(self.other.take());
    }
}

impl Load {
    /// Posts until `stop` or the last event. What is not accepted is posted again under the same id, until it is.
    pub async fn run(&self, stop: &Shutdown) -> anyhow::Result<Answers> {
        let number = Arc::new(AtomicU64::new(0));
        let mut connections = JoinSet::new();
        for _ in 0..self.connections {
            let (load, number, stop) = (self.clone(), Arc::clone(&number), stop.clone());
            connections.spawn(async move { load.connection(&number, &stop).await });
        }
        let mut answers = Answers::default();
        while let Some(ended) = connections.join_next().await {
            answers.add(ended.context("a connection's task")??);
        }
        Ok(answers)
    }

    async fn connection(&self, number: &AtomicU64, stop: &Shutdown) -> anyhow::Result<Answers> {
        let every = Duration::from_secs(1) * self.connections / self.rate_per_s;
        let mut ticks = tokio::time::interval(every);
        // A late tick is made up for: the rate is the load's, not the answers'.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut connection = Connection::new(self.target.clone());
        let mut answers = Answers::default();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(answers),
                _ = ticks.tick() => {}
            }
            let number = number.fetch_add(1, Ordering::Relaxed);
            if self.events_max.is_some_and(|max| number >= max) {
                return Ok(answers);
            }
            self.deliver(&mut connection, number, &mut answers).await?;
        }
    }

    async fn deliver(
        &self,
        connection: &mut Connection,
        number: u64,
        answers: &mut Answers,
    ) -> anyhow::Result<()> {
        let producer = &self.producers[number as usize % self.producers.len()];
        let (body, posted) = event(&producer.tenant, &format!("{}-{number}", self.name));
        let started = Instant::now();
        loop {
            let request = Request::post("/v1/events")
                .header("host", self.target.get().to_string())
                .header("authorization", format!("Bearer {}", producer.key))
                .header("content-type", "application/json")
                .body(Full::new(body.clone()))
                .context("a valid request")?;
            let noted = self.ledger.sent(vec![posted.clone()])?;
            let sent = Instant::now();
            let reply = connection.send(request).await;
            answers.note(&reply, sent.elapsed());
            let outcome = outcome(&reply);
            self.ledger.answered(noted, reply.status(), vec![outcome])?;
            match (outcome, reply.status()) {
                (Outcome::Accepted, _) => return Ok(()),
                (_, Some(status @ 400..=499)) => bail!("a valid event was answered {status}"),
                _ if started.elapsed() > EVENT_DEADLINE => {
                    bail!("event {number} was not accepted in {EVENT_DEADLINE:?}: {reply:?}")
                }
                _ => let_pass(TRY_AGAIN_AFTER).await,
            }
        }
    }
}

/// What an answer to a request of one event says of that event.
pub fn outcome(reply: &Reply) -> Outcome {
    match (reply, reply.status()) {
        (Reply::NotSent(_), _) => Outcome::Refused,
        (_, Some(202)) => Outcome::Accepted,
        // 503 promises that nothing was written, every 4xx as well.
        (_, Some(400..=499 | 503)) => Outcome::Refused,
        _ => Outcome::Unknown,
    }
}

/// An event of [`EVENT_BYTES`] bytes, and its ledger entry.
pub fn event(tenant: &str, id: &str) -> (Bytes, Posted) {
    let with_note = |note: &str| {
        json!({
            "id": id,
            "type": "order.paid",
            "subject": "customer/7",
            "data": {"amount": 4200, "currency": "EUR", "lines": [1, 2, 3], "note": note},
        })
    };
    let padding = EVENT_BYTES.saturating_sub(with_note("").to_string().len());
    let value = with_note(&"x".repeat(padding));
    let body = Bytes::from(value.to_string());
    let posted = Posted {
        identity: Identity { tenant: tenant.to_owned(), source: "/".to_owned(), id: id.to_owned() },
        key: tenant.to_owned(),
        value: canonical::of_bytes(&body),
        data: canonical::of_value(&value["data"]),
    };
    (body, posted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_the_size_of_the_figures() {
        for id in ["load-1", "load-123456789"] {
            assert_eq!(event("acme", id).0.len(), EVENT_BYTES);
        }
    }
    #[test]
    fn the_benchmark_of_validation_takes_this_event() {
        let theirs = include_bytes!("../../ingress/benches/order.paid.event.json");
        assert_eq!(*event("acme", "load-123456789").0, *theirs);
    }
}
