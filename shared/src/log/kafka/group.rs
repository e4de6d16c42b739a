//! Membership in a consumer group: the handle that a consumer holds. Its work is done on the
//! member's own thread, because librdkafka's rebalance callback blocks.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset as ClientOffset, TopicPartitionList};
use tokio::sync::{mpsc, oneshot};

use super::member::{Command, Member};
use super::ownership::{Generation, Moved, Ownership};
use super::reader::{PartitionReader, gap};
use super::{KafkaConfig, KafkaError, native, settings};
use crate::log::{Change, ReadError};
use crate::position::{Offset, PartitionId};

/// Changes that wait for the consumer. At the bound the rebalance waits, and with it the group.
const CHANGES_MAX: usize = 64;
/// The longest wait for one answer about offsets.
const OFFSETS_TIMEOUT: Duration = Duration::from_secs(5);

/// The answer to a start.
type Started = oneshot::Receiver<Result<PartitionReader, ReadError>>;

/// A member of a consumer group. Dropping it without [`Group::leave`] leaves too, unheard.
pub struct Group {
    topics: [String; 3],
    changes: mpsc::Receiver<Moved>,
    commands: SyncSender<Command>,
    consumer: Weak<BaseConsumer<Ownership>>,
    /// The generation of what is assigned, as far as the consumer has been told.
    told: BTreeMap<PartitionId, Generation>,
}

impl Group {
    /// Joins the group of `pipeline`. `instance` names this member and is stable over restarts (a
    /// pod's name): two live members of the same name fence each other. Returns at once; the first
    /// assignment comes from [`Group::next`], later if Kafka is away.
    pub fn join(config: &KafkaConfig, pipeline: &str, instance: &str) -> Result<Self, KafkaError> {
        let topics = settings::topic_names(config);
        let (sender, changes) = mpsc::channel(CHANGES_MAX);
        let ownership = Ownership::new(topics.clone(), sender);
        let client = settings::member(config, pipeline, instance)?;
        let consumer = Arc::new(BaseConsumer::from_config_and_context(&client, ownership)?);
        consumer.subscribe(&topics.each_ref().map(String::as_str))?;

        // Every partition may have a start under way, and the group one leave.
        let partitions: usize = config.topics.iter().map(|topic| topic.partitions as usize).sum();
        let (commands, received) = sync_channel(partitions + 1);
        let weak = Arc::downgrade(&consumer);
        let member = Member { consumer, commands: received, protocol: config.group_protocol };
        thread::Builder::new()
            .name(format!("kafka-{pipeline}"))
            .spawn(move || member.run())
            .map_err(|error| KafkaError::Unavailable(error.to_string()))?;
        Ok(Self { topics, changes, commands, consumer: weak, told: BTreeMap::new() })
    }

    /// See [`crate::log::Subscription::next`]. `None` without [`Group::leave`] means that the
    /// membership has failed for good (another member of the same name took its place).
    pub async fn next(&mut self) -> Option<Change> {
        let Moved { change, generation } = self.changes.recv().await?;
        match &change {
            Change::Assigned(ids) => {
                self.told.extend(ids.iter().map(|id| (*id, generation)));
                self.look(ids.clone(), generation);
            }
            Change::Revoked(ids, _) | Change::Lost(ids) => {
                self.told.retain(|id, _| !ids.contains(id));
            }
        }
        Some(change)
    }

    /// Asks what the group holds of these, beside everything else.
    fn look(&self, ids: Vec<PartitionId>, generation: Generation) {
        let consumer = Weak::clone(&self.consumer);
        tokio::task::spawn_blocking(move || {
            if let Some(consumer) = consumer.upgrade() {
                consumer.context().look(&consumer, &ids, generation);
            }
        });
    }

    /// See [`crate::log::Subscription::first_position`].
    pub fn first_position(
        &self,
        id: PartitionId,
    ) -> impl Future<Output = Result<Offset, ReadError>> + Send + use<> {
        let consumer = Weak::clone(&self.consumer);
        let topic = self.topics[id.class.index()].clone();
        async move {
            let asked = tokio::task::spawn_blocking(move || {
                // Taken where blocking is allowed: whoever drops the last handle closes the consumer.
                let consumer = consumer.upgrade()?;
                Some(first_position(&consumer, &topic, id.partition.as_i32()))
            });
            match asked.await {
                Ok(None) => Err(ReadError::Revoked),
                Ok(Some(Ok(offset))) => Ok(offset),
                Ok(Some(Err(error))) => Err(ReadError::Unavailable(error.to_string())),
                Err(error) => Err(ReadError::Unavailable(error.to_string())),
            }
        }
    }

    /// See [`crate::log::Subscription::start`]. Starting again at another position ends the earlier
    /// reader.
    pub fn start(
        &self,
        id: PartitionId,
        from: Offset,
    ) -> impl Future<Output = Result<PartitionReader, ReadError>> + Send + use<> {
        let asked = self.ask_start(id, from);
        let (consumer, topic) =
            (Weak::clone(&self.consumer), self.topics[id.class.index()].clone());
        async move {
            match asked? {
                // The thread answers unless it has ended, and then nothing is ours.
                Some(started) => started.await.unwrap_or(Err(ReadError::Revoked)),
                // Only a hand writes such a position; to librdkafka negative offsets are words of their own.
                None => Err(gap(&consumer, native::topic_name(&topic), id, from).await),
            }
        }
    }

    /// `None`: nothing can be delivered from there.
    fn ask_start(&self, id: PartitionId, from: Offset) -> Result<Option<Started>, ReadError> {
        let generation = *self.told.get(&id).ok_or(ReadError::Revoked)?;
        if from.0 < 0 {
            return Ok(None);
        }
        let (reply, started) = oneshot::channel();
        self.commands.try_send(Command::Start { id, generation, from, reply }).map_err(
            |error| match error {
                TrySendError::Full(_) => ReadError::Unavailable("too many starts".to_owned()),
                TrySendError::Disconnected(_) => ReadError::Revoked,
            },
        )?;
        Ok(Some(started))
    }

    /// See [`crate::log::Subscription::leave`].
    pub fn leave(&mut self) {
        // Disconnected: it has left already. Full is not possible for long: see `join`.
        let _ = self.commands.send(Command::Leave);
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("topics", &self.topics)
            .field("told", &self.told)
            .finish_non_exhaustive()
    }
}

/// The group's mirrored offset, else the oldest record. Blocking.
fn first_position(
    consumer: &BaseConsumer<Ownership>,
    topic: &str,
    partition: i32,
) -> Result<Offset, rdkafka::error::KafkaError> {
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, partition);
    let committed = consumer.committed_offsets(list, OFFSETS_TIMEOUT)?;
    let mirrored = committed.elements().first().map(|element| element.offset());
    match mirrored {
        Some(ClientOffset::Offset(offset)) => Ok(Offset(offset)),
        _ => Ok(Offset(consumer.fetch_watermarks(topic, partition, OFFSETS_TIMEOUT)?.0)),
    }
}
