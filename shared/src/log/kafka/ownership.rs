//! What this member owns, and what the group's callbacks do about it.
//!
//! An assignment is acknowledged with nothing to fetch: a partition is fetched only after the
//! consumer has claimed it in its database and started it. A revocation waits for the writers to
//! stop, at most [`DRAIN_TIMEOUT`], mirrors their positions and then lets go. What was lost is let
//! go at once. Every assignment has a generation: a claim from an earlier stay starts nothing.
//!
//! Positions are committed to the group with a mark. What stands there without it when a partition is
//! assigned was put there by somebody who wanted to move the consumer: that moves nothing, and is said.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError as ClientError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset as ClientOffset, TopicPartitionList};
use tokio::sync::mpsc;

use super::reader::Slot;
use super::settings;
use crate::log::{Change, Drained};
use crate::position::{Class, Offset, Partition, PartitionId};

/// The longest that a revocation waits for the writers. Less than the shortest sensible session
/// time-out: the group's other members wait meanwhile.
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest wait for what the group holds.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// The metadata of every offset that is committed here; Kafka's own tools leave none.
const MARK: &str = "shock";

/// Counts assignments: a partition that went away and came back has another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Generation(u64);

/// A change, and the generation of what it assigns.
#[derive(Debug)]
pub(super) struct Moved {
    pub(super) change: Change,
    pub(super) generation: Generation,
}

/// The member's callbacks and what they share with its thread.
pub(super) struct Ownership {
    topics: [String; Class::ALL.len()],
    changes: mpsc::Sender<Moved>,
    state: Mutex<State>,
    /// A commit has failed: what counted as mirrored may not be.
    commit_failed: AtomicBool,
}

struct State {
    generation: Generation,
    owned: BTreeMap<PartitionId, Owned>,
}

struct Owned {
    generation: Generation,
    /// The reader's half, from its start on.
    slot: Option<Arc<Slot>>,
    /// What was last committed to Kafka in this stay.
    committed: Option<Offset>,
    found: Found,
}

/// What stood in the group when the partition was assigned; nothing is mirrored over it before it is
/// known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// It is asked for.
    Asked,
    /// Nothing, or our own.
    Ours,
    /// What somebody else has put there.
    Foreign(Offset),
}

impl Ownership {
    pub(super) fn new(topics: [String; Class::ALL.len()], changes: mpsc::Sender<Moved>) -> Self {
        let state = State { generation: Generation(0), owned: BTreeMap::new() };
        Self { topics, changes, state: Mutex::new(state), commit_failed: AtomicBool::new(false) }
    }

    pub(super) fn topic(&self, class: Class) -> &str {
        &self.topics[class.index()]
    }

    /// Whether the partition is still ours since `generation`.
    pub(super) fn owns(&self, id: PartitionId, generation: Generation) -> bool {
        let state = self.state.lock();
        state.owned.get(&id).is_some_and(|owned| owned.generation == generation)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state.lock().owned.is_empty()
    }

    /// Puts a partition's reader in place, or takes it away; the earlier one if there was one.
    pub(super) fn set_slot(&self, id: PartitionId, slot: Option<Arc<Slot>>) -> Option<Arc<Slot>> {
        let mut state = self.state.lock();
        let owned = state.owned.get_mut(&id)?;
        std::mem::replace(&mut owned.slot, slot)
    }

    /// One list of partitions at offsets, as librdkafka takes it.
    pub(super) fn list(&self, ids: &[(PartitionId, Option<Offset>)]) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(ids.len());
        for (id, offset) in ids {
            let mut element = list.add_partition(self.topic(id.class), id.partition.as_i32());
            if let Some(offset) = offset {
                element
                    .set_offset(ClientOffset::Offset(offset.0))
                    .expect("positions are not negative");
            }
        }
        list
    }

    fn ids(&self, list: &TopicPartitionList) -> Vec<PartitionId> {
        let class =
            |name: &str| Class::ALL.into_iter().find(|class| self.topics[class.index()] == name);
        list.elements()
            .iter()
            .filter_map(|element| {
                let partition = Partition(u32::try_from(element.partition()).ok()?);
                Some(PartitionId { class: class(element.topic())?, partition })
            })
            .collect()
    }

    /// Commits the positions that moved since the last time. Never waits for the answer: librdkafka
    /// sends it before whatever follows, and lets no partition go while one is under way.
    pub(super) fn mirror(&self, consumer: &BaseConsumer<Self>, only: Option<&[PartitionId]>) {
        let again = self.commit_failed.swap(false, Ordering::AcqRel);
        let (mut moved, mut foreign) = (Vec::new(), Vec::new());
        for (id, owned) in &mut self.state.lock().owned {
            let Some(slot) = owned.slot.as_ref().filter(|_| owned.found != Found::Asked) else {
                continue;
            };
            if let Found::Foreign(offset) = std::mem::replace(&mut owned.found, Found::Ours)
                && offset != slot.from()
            {
                foreign.push((*id, offset, slot.from()));
            }
            let position = Some(slot.mirrored());
            let wanted = only.is_none_or(|ids| ids.contains(id));
            if wanted && (again || position != owned.committed) {
                owned.committed = position;
                moved.push((*id, position));
            }
        }
        warn_of(&foreign);
        if moved.is_empty() {
            return;
        }
        let list = self.list(&moved);
        for (id, _) in &moved {
            let partition = id.partition.as_i32();
            if let Some(mut element) = list.find_partition(self.topic(id.class), partition) {
                element.set_metadata(MARK);
            }
        }
        if let Err(error) = consumer.commit(&list, CommitMode::Async) {
            tracing::warn!(%error, "cannot mirror positions to kafka");
            self.commit_failed.store(true, Ordering::Release);
        }
    }

    /// Asks what the group holds of partitions that were just assigned. Blocking.
    pub(super) fn look(
        &self,
        consumer: &BaseConsumer<Self>,
        ids: &[PartitionId],
        generation: Generation,
    ) {
        let asked: Vec<_> = ids.iter().map(|id| (*id, None)).collect();
        let answer = consumer.committed_offsets(self.list(&asked), LOOK_TIMEOUT);
        if let Err(error) = &answer {
            tracing::debug!(%error, "cannot ask for what the group holds");
        }
        let mut state = self.state.lock();
        for id in ids {
            let Some(owned) = state.owned.get_mut(id).filter(|one| one.generation == generation)
            else {
                continue;
            };
            let list = answer.as_ref().ok();
            let partition = id.partition.as_i32();
            let element =
                list.and_then(|list| list.find_partition(self.topic(id.class), partition));
            owned.found = match element.map(|one| (one.offset(), one.metadata() == MARK)) {
                Some((ClientOffset::Offset(offset), false)) => Found::Foreign(Offset(offset)),
                _ => Found::Ours,
            };
        }
    }

    fn assigned(&self, consumer: &BaseConsumer<Self>, ids: Vec<PartitionId>) {
        // Acknowledged with nothing: each partition is added when it is started.
        if let Err(error) = consumer.incremental_assign(&TopicPartitionList::new()) {
            tracing::warn!(%error, "cannot acknowledge an assignment");
        }
        let generation = {
            let mut state = self.state.lock();
            state.generation.0 += 1;
            let generation = state.generation;
            for id in &ids {
                let (slot, committed) = (None, None);
                let owned = Owned { generation, slot, committed, found: Found::Asked };
                state.owned.insert(*id, owned);
            }
            generation
        };
        tracing::info!(partitions = ids.len(), "partitions assigned");
        self.send(Change::Assigned(ids), generation);
    }

    fn revoked(&self, consumer: &BaseConsumer<Self>, ids: Vec<PartitionId>) {
        tracing::info!(partitions = ids.len(), "partitions revoked");
        let (done, drained) = sync_channel(1);
        let generation = self.state.lock().generation;
        self.send(Change::Revoked(ids.clone(), Drained(Some(done))), generation);
        if drained.recv_timeout(DRAIN_TIMEOUT) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!("writers of revoked partitions did not stop in time, they are fenced");
        }
        self.mirror(consumer, Some(&ids));
        self.let_go(consumer, &ids);
    }

    fn lost(&self, consumer: &BaseConsumer<Self>, ids: Vec<PartitionId>) {
        tracing::warn!(partitions = ids.len(), "partitions lost");
        let generation = self.state.lock().generation;
        self.let_go(consumer, &ids);
        self.send(Change::Lost(ids), generation);
    }

    /// Everything is lost: the member can go on no more.
    pub(super) fn lose_all(&self) {
        let (generation, owned) = {
            let mut state = self.state.lock();
            (state.generation, std::mem::take(&mut state.owned))
        };
        let ids = owned.keys().copied().collect();
        owned.into_values().filter_map(|owned| owned.slot).for_each(|slot| slot.close());
        self.send(Change::Lost(ids), generation);
    }

    fn let_go(&self, consumer: &BaseConsumer<Self>, ids: &[PartitionId]) {
        let mut started = Vec::new();
        for id in ids {
            let owned = self.state.lock().owned.remove(id);
            if let Some(slot) = owned.and_then(|owned| owned.slot) {
                slot.close();
                started.push((*id, None));
            }
        }
        // librdkafka refuses the whole list for one partition that it does not fetch, and then the
        // rebalance would hang: only what was started is removed, an empty list acknowledges.
        if let Err(error) = consumer.incremental_unassign(&self.list(&started)) {
            tracing::warn!(%error, "cannot let go of partitions");
        }
    }

    fn send(&self, change: Change, generation: Generation) {
        let empty = match &change {
            Change::Assigned(ids) | Change::Revoked(ids, _) | Change::Lost(ids) => ids.is_empty(),
        };
        if !empty {
            // Fails only when the consumer has dropped its group; then nobody reads or writes.
            let _ = self.changes.blocking_send(Moved { change, generation });
        }
    }
}

/// Says once for an assignment that somebody has changed the group's offsets: each partition's found
/// offset and our position.
fn warn_of(foreign: &[(PartitionId, Offset, Offset)]) {
    let Some((id, committed, position)) = foreign.first() else { return };
    tracing::warn!(
        partitions = foreign.len(), partition = %id, committed = committed.0, position = position.0,
        "the consumer group's offsets were changed by somebody else: that moves nothing, positions are \
         the database's; to read records again: shock ctl replay {id} --from-offset {} --why …",
        committed.0.min(position.0)
    );
}

impl ClientContext for Ownership {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, line: &str) {
        settings::forward_log("consumer", level, fac, line);
    }

    fn error(&self, error: ClientError, reason: &str) {
        // Also called for what a partition's reader hands to its consumer as a value.
        tracing::debug!(%error, reason, "kafka consumer");
    }
}

impl ConsumerContext for Ownership {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let ids = self.ids(list);
        match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assigned(consumer, ids),
            _ if consumer.assignment_lost() => self.lost(consumer, ids),
            _ => self.revoked(consumer, ids),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "positions were not mirrored to kafka, trying again");
            self.commit_failed.store(true, Ordering::Release);
        }
    }
}
