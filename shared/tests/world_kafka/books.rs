//! The books of an outage: what was sent while it happened, what became of each record, and whether
//! the log agrees.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use shared::log::kafka::Producer;
use shared::log::{Acks, AppendError, Outcome};
use shared::position::PartitionId;

use crate::support::{PATIENCE, plain};

/// librdkafka's message time-out, 8 s, is looked at once a second; and this machine may be busy.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);

/// A record that was appended.
pub struct Sent {
    id: PartitionId,
    value: String,
    acks: Acks,
    since: Instant,
}

/// What became of it.
#[derive(Debug)]
pub struct Settled {
    id: PartitionId,
    value: String,
    pub outcome: Outcome,
}

/// Four seconds of records to each of the partitions, with the outage in the middle.
pub async fn traffic(producer: &Producer, ids: &[PartitionId], outage: impl FnOnce()) -> Vec<Sent> {
    let mut sent = Vec::new();
    let begun = Instant::now();
    let mut outage = Some(outage);
    while begun.elapsed() < Duration::from_secs(4) {
        for &id in ids.iter().cycle().take(20) {
            let (value, acks) = (format!("value-{}", sent.len()), Acks::new(1));
            producer.append(&plain(id, value.as_bytes()), acks.ticket(0));
            sent.push(Sent { id, value, acks, since: Instant::now() });
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        if begun.elapsed() > Duration::from_secs(2)
            && let Some(outage) = outage.take()
        {
            outage();
        }
    }
    sent
}

/// Waits for each record's outcome, and for none longer than its time.
pub async fn settled(sent: Vec<Sent>) -> Vec<Settled> {
    let mut outcomes = Vec::with_capacity(sent.len());
    for Sent { id, value, acks, since } in sent {
        tokio::time::timeout(PATIENCE, acks.settled()).await.expect("every ticket is settled");
        assert!(since.elapsed() < SETTLED_WITHIN, "{:?}", since.elapsed());
        outcomes.push(Settled { id, value, outcome: acks.outcome(0) });
    }
    outcomes
}

/// What was acknowledged stands where it was said to; what was refused is not there; nothing is
/// there twice.
pub fn reconcile(outcomes: &[Settled], id: PartitionId, log: &[String]) {
    let there: BTreeSet<&String> = log.iter().filter(|it| it.starts_with("value-")).collect();
    assert_eq!(there.len(), log.iter().filter(|it| it.starts_with("value-")).count());
    for Settled { value, outcome, .. } in outcomes.iter().filter(|it| it.id == id) {
        match outcome {
            Ok(position) => assert_eq!(&log[position.offset.0 as usize], value),
            Err(AppendError::Unavailable) => assert!(!there.contains(value), "{value}: refused"),
            Err(_) => {}
        }
    }
}
