//! The member's thread: the only one that polls the group's queue, and so the one on which
//! rebalances happen and partitions are started.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode as Code};
use tokio::sync::oneshot;

use super::ownership::{DRAIN_TIMEOUT, Generation, Ownership};
use super::reader::{PartitionReader, Slot};
use super::{GroupProtocol, native};
use crate::log::ReadError;
use crate::position::{Offset, PartitionId};

/// How long one poll waits; also how late a command may be heard.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How often positions are mirrored. Autoscalers read them every 15 s or more.
const MIRROR_INTERVAL: Duration = Duration::from_secs(2);
/// The longest wait for the group to let a leaving member go.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(DRAIN_TIMEOUT.as_secs() + 5);

/// What the group's handle asks of its thread.
#[derive(Debug)]
pub(super) enum Command {
    /// Deliver this partition from this position on.
    Start {
        id: PartitionId,
        generation: Generation,
        from: Offset,
        reply: oneshot::Sender<Result<PartitionReader, ReadError>>,
    },
    /// Give everything back and end.
    Leave,
}

/// The thread's state.
pub(super) struct Member {
    pub(super) consumer: Arc<BaseConsumer<Ownership>>,
    pub(super) commands: Receiver<Command>,
    pub(super) protocol: GroupProtocol,
}

impl Member {
    /// Runs until the member has left or cannot go on.
    pub(super) fn run(self) {
        let mut mirrored = Instant::now();
        let mut leaving: Option<Instant> = None;
        loop {
            // Rebalances first: a start must not overtake the revocation of its partition.
            if self.poll().is_err() {
                break;
            }
            if self.obey() && leaving.is_none() {
                self.consumer.unsubscribe();
                leaving = Some(Instant::now());
            }
            if mirrored.elapsed() >= MIRROR_INTERVAL {
                self.ownership().mirror(&self.consumer, None);
                mirrored = Instant::now();
            }
            if leaving.is_some_and(|since| self.has_left(since)) {
                break;
            }
        }
        self.ownership().lose_all();
        // Dropping the consumer closes it, and closes the stream of changes with it.
    }

    /// Does all that was asked for; true when the member is to leave.
    fn obey(&self) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Start { id, generation, from, reply }) => {
                    // The asker may be gone; then the partition is fetched up to its queue's bound.
                    let _ = reply.send(self.start(id, generation, from));
                }
                Ok(Command::Leave) | Err(TryRecvError::Disconnected) => return true,
                Err(TryRecvError::Empty) => return false,
            }
        }
    }

    /// One turn of the group's queue; an error is final.
    fn poll(&self) -> Result<(), ()> {
        match self.consumer.poll(POLL_INTERVAL) {
            None => Ok(()),
            Some(Ok(message)) => {
                panic!("{message:?} came past its partition's queue: its reader would miss it")
            }
            Some(Err(error @ ClientError::MessageConsumptionFatal(_))) => {
                tracing::error!(%error, "kafka consumer failed for good");
                Err(())
            }
            Some(Err(error)) => {
                match error.rdkafka_error_code() {
                    // librdkafka connects again by itself, and its log lines say so.
                    Some(Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve) => {
                        tracing::debug!(%error, "kafka consumer")
                    }
                    _ => tracing::warn!(%error, "kafka consumer"),
                }
                Ok(())
            }
        }
    }

    fn start(
        &self,
        id: PartitionId,
        generation: Generation,
        from: Offset,
    ) -> Result<PartitionReader, ReadError> {
        let ownership = self.ownership();
        if !ownership.owns(id, generation) {
            return Err(ReadError::Revoked);
        }
        if let Some(earlier) = ownership.set_slot(id, None) {
            // Started again, at another position: the earlier reader ends.
            earlier.close();
            let list = ownership.list(&[(id, None)]);
            self.consumer.incremental_unassign(&list).map_err(unavailable)?;
        }
        // Split before the fetch begins: a record that came to the group's queue would be lost.
        let topic = ownership.topic(id.class);
        let queue = self
            .consumer
            .split_partition_queue(topic, id.partition.as_i32())
            .ok_or_else(|| ReadError::Unavailable(format!("no queue for {id}")))?;
        let slot = Slot::new(queue, from);
        if let Err(error) = self.consumer.incremental_assign(&ownership.list(&[(id, Some(from))])) {
            slot.close();
            return Err(unavailable(error));
        }
        ownership.set_slot(id, Some(Arc::clone(&slot)));
        let consumer = Arc::downgrade(&self.consumer);
        Ok(PartitionReader::new(id, slot, consumer, native::topic_name(topic), from))
    }

    /// Nothing is owned, and the coordinator has been told. Closing earlier would keep a static
    /// member's place, and the others would wait for its session to end. One that is not static keeps
    /// the name that it gave itself, and says good-bye when it is closed.
    fn has_left(&self, since: Instant) -> bool {
        let told = match self.protocol {
            GroupProtocol::Classic => !native::is_member(self.consumer.client()),
            GroupProtocol::Consumer => true,
        };
        let gone = told && self.ownership().is_empty();
        if !gone && since.elapsed() > LEAVE_TIMEOUT {
            tracing::warn!("the group did not let this member go in time, closing anyway");
            return true;
        }
        gone
    }

    fn ownership(&self) -> &Ownership {
        self.consumer.context()
    }
}

fn unavailable(error: ClientError) -> ReadError {
    ReadError::Unavailable(error.to_string())
}
