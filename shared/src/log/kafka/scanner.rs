//! Looking at records without consuming them: a consumer that never joins its group and commits
//! nothing. The group is the pipeline's, so that what is committed there can be asked for. Blocking;
//! every wait is bounded.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::{Message, Offset as ClientOffset, TopicPartitionList};

use super::{KafkaConfig, KafkaError, record, settings};
use crate::clock::Millis;
use crate::log::{ReadError, Record};
use crate::position::{Class, Offset, PartitionId};

/// A partition that gives nothing for this long cannot be read.
const SILENCE_MAX: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A consumer that never joins. One scan at a time; others wait for it.
pub struct Scanner {
    consumer: Mutex<BaseConsumer<Quiet>>,
    topics: [String; Class::ALL.len()],
}

struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, line: &str) {
        settings::forward_log("scanner", level, fac, line);
    }

    fn error(&self, error: ClientError, reason: &str) {
        tracing::debug!(%error, reason, "kafka scanner");
    }
}

impl ConsumerContext for Quiet {}

impl Scanner {
    /// A scanner of the configured topics, and of what the group of `pipeline` has committed. Connects
    /// when it is first used.
    pub fn connect(config: &KafkaConfig, pipeline: &str) -> Result<Self, KafkaError> {
        let client = settings::scanner(config, pipeline)?;
        let consumer = BaseConsumer::from_config_and_context(&client, Quiet)?;
        Ok(Self { consumer: Mutex::new(consumer), topics: settings::topic_names(config) })
    }

    /// See [`crate::log::Scanner::range`].
    pub fn range(&self, id: PartitionId) -> Result<(Offset, Offset), ReadError> {
        self.range_of(&self.consumer.lock(), id)
    }

    /// See [`crate::log::Scanner::mirrored`].
    pub fn mirrored(
        &self,
        ids: &[PartitionId],
    ) -> Result<BTreeMap<PartitionId, Offset>, ReadError> {
        let mut list = TopicPartitionList::with_capacity(ids.len());
        for id in ids {
            list.add_partition(&self.topics[id.class.index()], id.partition.as_i32());
        }
        let committed = self.consumer.lock().committed_offsets(list, SILENCE_MAX);
        let committed = committed.map_err(unavailable)?;
        let mirrored = ids.iter().filter_map(|id| {
            let topic = &self.topics[id.class.index()];
            match committed.find_partition(topic, id.partition.as_i32())?.offset() {
                ClientOffset::Offset(offset) => Some((*id, Offset(offset))),
                _ => None,
            }
        });
        Ok(mirrored.collect())
    }

    /// See [`crate::log::Scanner::offset_at`].
    pub fn offset_at(&self, id: PartitionId, time: Millis) -> Result<Option<Offset>, ReadError> {
        let topic = &self.topics[id.class.index()];
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(topic, id.partition.as_i32(), ClientOffset::Offset(time.0))
            .map_err(unavailable)?;
        let found = self.consumer.lock().offsets_for_times(list, SILENCE_MAX);
        let found = found.map_err(unavailable)?;
        let element = found.elements().into_iter().next();
        let element =
            element.ok_or_else(|| ReadError::Unavailable(format!("no answer for {id}")))?;
        element.error().map_err(unavailable)?;
        match element.offset() {
            ClientOffset::Offset(offset) => Ok(Some(Offset(offset))),
            // No record is so young.
            _ => Ok(None),
        }
    }

    fn range_of(
        &self,
        consumer: &BaseConsumer<Quiet>,
        id: PartitionId,
    ) -> Result<(Offset, Offset), ReadError> {
        let topic = &self.topics[id.class.index()];
        let (low, end) = consumer
            .fetch_watermarks(topic, id.partition.as_i32(), SILENCE_MAX)
            .map_err(unavailable)?;
        Ok((Offset(low), Offset(end)))
    }

    /// See [`crate::log::Scanner::scan`].
    pub fn scan(
        &self,
        id: PartitionId,
        from: Offset,
        to: Offset,
        visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let consumer = self.consumer.lock();
        let (low, end) = self.range_of(&consumer, id)?;
        let (from, to) = (from.max(low), to.min(end));
        if from >= to {
            return Ok(());
        }
        let mut list = TopicPartitionList::with_capacity(1);
        let topic = &self.topics[id.class.index()];
        list.add_partition_offset(topic, id.partition.as_i32(), ClientOffset::Offset(from.0))
            .map_err(unavailable)?;
        consumer.assign(&list).map_err(unavailable)?;
        let scanned = visit_all(&consumer, id, to, visit);
        consumer.unassign().map_err(unavailable)?;
        scanned
    }
}

fn visit_all(
    consumer: &BaseConsumer<Quiet>,
    id: PartitionId,
    to: Offset,
    visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
) -> Result<(), ReadError> {
    let mut heard = Instant::now();
    while heard.elapsed() < SILENCE_MAX {
        match consumer.poll(POLL_INTERVAL) {
            None => {}
            Some(Ok(message)) => {
                heard = Instant::now();
                let offset = Offset(message.offset());
                if offset >= to || visit(&record::copied(id, &message)).is_break() {
                    return Ok(());
                }
                if offset.next() >= to {
                    return Ok(());
                }
            }
            // The last offsets may hold no record (a transaction's marker, a compacted key).
            Some(Err(ClientError::PartitionEOF(_))) => return Ok(()),
            Some(Err(error)) => tracing::debug!(%error, "kafka scanner"),
        }
    }
    Err(ReadError::Unavailable(format!("{id} gave nothing for {} s", SILENCE_MAX.as_secs())))
}

fn unavailable(error: ClientError) -> ReadError {
    ReadError::Unavailable(error.to_string())
}

impl fmt::Debug for Scanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scanner").field("topics", &self.topics).finish_non_exhaustive()
    }
}
