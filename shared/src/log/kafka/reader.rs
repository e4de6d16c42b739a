//! One partition's records: a queue of its own, drained without waiting, and a wake-up when it
//! fills. Not draining it is the back-pressure: librdkafka stops fetching at the queue's bound.

use std::ffi::CString;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode as Code};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::ownership::Ownership;
use super::{native, record};
use crate::log::{ReadBounds, ReadError, Record};
use crate::position::{Offset, PartitionId};

/// The longest wait for a partition's bounds.
const RANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a reader and the member's thread share. The thread empties it when the partition goes away:
/// a queue that stayed would keep the consumer alive.
pub(super) struct Slot {
    queue: Mutex<Option<PartitionQueue<Ownership>>>,
    filled: Arc<Notify>,
    from: Offset,
    mirrored: AtomicI64,
}

impl Slot {
    /// A started partition; its position counts as mirrored from the start on.
    pub(super) fn new(mut queue: PartitionQueue<Ownership>, from: Offset) -> Arc<Self> {
        let filled = Arc::new(Notify::new());
        let wake = Arc::clone(&filled);
        queue.set_nonempty_callback(move || wake.notify_one());
        let (queue, mirrored) = (Mutex::new(Some(queue)), AtomicI64::new(from.0));
        Arc::new(Self { queue, filled, from, mirrored })
    }

    /// The partition is not ours any more.
    pub(super) fn close(&self) {
        *self.queue.lock() = None;
        self.filled.notify_one();
    }

    /// Where it was started.
    pub(super) fn from(&self) -> Offset {
        self.from
    }

    /// The position to commit to Kafka.
    pub(super) fn mirrored(&self) -> Offset {
        Offset(self.mirrored.load(Ordering::Relaxed))
    }
}

/// Why the queue gave no record.
enum Fault {
    Revoked,
    OutOfRange,
    Client(ClientError),
}

/// The records of one partition, from [`super::Group::start`].
pub struct PartitionReader {
    id: PartitionId,
    slot: Arc<Slot>,
    consumer: Weak<BaseConsumer<Ownership>>,
    topic: CString,
    next: Offset,
    out_of_range: bool,
}

impl PartitionReader {
    pub(super) fn new(
        id: PartitionId,
        slot: Arc<Slot>,
        consumer: Weak<BaseConsumer<Ownership>>,
        topic: CString,
        from: Offset,
    ) -> Self {
        Self { id, slot, consumer, topic, next: from, out_of_range: false }
    }

    /// See [`crate::log::Reader::read`].
    pub async fn read(
        &mut self,
        bounds: &ReadBounds,
        into: &mut Vec<Record>,
    ) -> Result<(), ReadError> {
        let deadline = Instant::now() + bounds.wait;
        loop {
            match self.drain(bounds, into) {
                Ok(0) => {}
                Ok(_) => return Ok(()),
                Err(Fault::Revoked) => return Err(ReadError::Revoked),
                Err(Fault::OutOfRange) => {
                    return Err(gap(&self.consumer, self.topic.clone(), self.id, self.next).await);
                }
                Err(Fault::Client(error)) => return Err(ReadError::Unavailable(error.to_string())),
            }
            // The callback leaves a permit when it comes between the drain and this wait.
            if timeout_at(deadline, self.slot.filled.notified()).await.is_err() {
                return Ok(());
            }
        }
    }

    /// Takes what is there, up to the bounds. What was taken is not lost to an error that stands
    /// behind it: a position outside the log is remembered for the next call, and anything else is
    /// librdkafka's notice of what it tries again by itself.
    fn drain(&mut self, bounds: &ReadBounds, into: &mut Vec<Record>) -> Result<usize, Fault> {
        let guard = self.slot.queue.lock();
        let Some(queue) = guard.as_ref() else { return Err(Fault::Revoked) };
        if self.out_of_range {
            // librdkafka has stopped the partition: nothing comes until it is started elsewhere.
            return Err(Fault::OutOfRange);
        }
        let (mut records, mut bytes) = (0, 0);
        while records < bounds.records_max && bytes < bounds.bytes_max {
            match queue.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => {
                    let record = record::copied(self.id, &message);
                    assert!(record.position.offset >= self.next, "an offset went backwards");
                    self.next = record.position.offset.next();
                    bytes += record.size_bytes();
                    records += 1;
                    into.push(record);
                }
                Some(Err(error)) => {
                    self.out_of_range = error.rdkafka_error_code() == Some(Code::AutoOffsetReset);
                    if records == 0 {
                        let fault = match self.out_of_range {
                            true => Fault::OutOfRange,
                            false => Fault::Client(error),
                        };
                        return Err(fault);
                    }
                    break;
                }
            }
        }
        Ok(records)
    }

    /// See [`crate::log::Reader::end`]: as the last fetch saw it, no I/O.
    pub fn end(&self) -> Offset {
        self.next.max(cached_end(&self.slot, &self.consumer, &self.topic, self.id))
    }

    /// See [`crate::log::Reader::watch_end`].
    pub fn watch_end(&self) -> PartitionEnd {
        PartitionEnd {
            id: self.id,
            slot: Arc::clone(&self.slot),
            consumer: Weak::clone(&self.consumer),
            topic: self.topic.clone(),
        }
    }

    /// See [`crate::log::Reader::mirror`]: written to Kafka within a few seconds.
    pub fn mirror(&self, next: Offset) {
        self.slot.mirrored.store(next.0, Ordering::Relaxed);
    }
}

impl fmt::Debug for PartitionReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionReader")
            .field("id", &self.id)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

/// See [`crate::log::LogEnd`].
pub struct PartitionEnd {
    id: PartitionId,
    slot: Arc<Slot>,
    consumer: Weak<BaseConsumer<Ownership>>,
    topic: CString,
}

impl PartitionEnd {
    /// The end as the last fetch saw it; 0 before the first, and when the partition is not ours.
    pub fn get(&self) -> Offset {
        cached_end(&self.slot, &self.consumer, &self.topic, self.id)
    }

    /// See [`crate::log::LogEnd::ask`].
    pub async fn ask(&self) -> Result<Offset, ReadError> {
        if self.slot.queue.lock().is_none() {
            return Err(ReadError::Revoked);
        }
        range(&self.consumer, &self.topic, self.id).await.map(|(_, end)| end)
    }
}

impl fmt::Debug for PartitionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionEnd").field("id", &self.id).finish_non_exhaustive()
    }
}

fn cached_end(
    slot: &Slot,
    consumer: &Weak<BaseConsumer<Ownership>>,
    topic: &CString,
    id: PartitionId,
) -> Offset {
    // Under the queue's lock: the queue keeps the consumer alive, so the handle taken here is never
    // the last one, whose drop would close the consumer and block the runtime.
    let queue = slot.queue.lock();
    let consumer = queue.as_ref().and_then(|_| consumer.upgrade());
    let cached = consumer
        .and_then(|consumer| native::cached_end(consumer.client(), topic, id.partition.as_i32()));
    Offset(cached.unwrap_or(0))
}

/// What a position outside the log is told.
pub(super) async fn gap(
    consumer: &Weak<BaseConsumer<Ownership>>,
    topic: CString,
    id: PartitionId,
    wanted: Offset,
) -> ReadError {
    match range(consumer, &topic, id).await {
        Ok((low, end)) => ReadError::Gap { wanted, low, end },
        Err(error) => error,
    }
}

/// The oldest offset and the end, asked of Kafka.
async fn range(
    consumer: &Weak<BaseConsumer<Ownership>>,
    topic: &CString,
    id: PartitionId,
) -> Result<(Offset, Offset), ReadError> {
    let (consumer, topic) = (Weak::clone(consumer), topic.clone());
    let asked = tokio::task::spawn_blocking(move || {
        // Taken where blocking is allowed: whoever drops the last handle closes the consumer.
        let consumer = consumer.upgrade()?;
        let topic = topic.to_string_lossy();
        Some(consumer.fetch_watermarks(&topic, id.partition.as_i32(), RANGE_TIMEOUT))
    });
    match asked.await {
        Ok(None) => Err(ReadError::Revoked),
        Ok(Some(Ok((low, end)))) => Ok((Offset(low), Offset(end))),
        Ok(Some(Err(error))) => Err(ReadError::Unavailable(error.to_string())),
        Err(error) => Err(ReadError::Unavailable(error.to_string())),
    }
}
