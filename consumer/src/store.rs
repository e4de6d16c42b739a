//! The store: PostgreSQL or SQLite, where effects, identities and positions are one transaction.
//!
//! A closed enum: the worker is the same on both. Each pipeline has a store of its own (a schema
//! `shock_<pipeline>` on PostgreSQL, a file on SQLite), so no key carries the pipeline's name and
//! two pipelines on one server share nothing that could be confused. Nothing here retries: errors
//! come back with what they mean ([`crate::failure`]), and the worker decides.

pub mod dlq;
mod fate;
mod filter;
mod forgetting;
pub mod outbox;
pub mod postgres;
mod relocation;
mod schema;
pub mod sqlite;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shared::clock::Millis;
use shared::config::{Backend, ProjectionsConfig};
use shared::identity::Identity;
use shared::position::{Class, Epoch, Offset, Partition, PartitionId};

use crate::batch::Batch;
use crate::bucket::{Bucket, Width};
use crate::failure::{Failure, StoreError};
use crate::handler::{Handled, Live, Loader};
use crate::headers;
use crate::outbox::Sinks;
use crate::resolution::Stored;
use crate::retry::{Order, Picked, Retried, Retry, Settlement};

pub use self::fate::{AppliedAt, AppliedEvent, ParkedAt};
pub use self::filter::{Filtered, Known, Reading};
pub use self::forgetting::{CaughtUp, Forgotten, IdBuckets};
pub use self::postgres::PostgresStore;
pub use self::relocation::{Note, OPERATOR_PREFIX, Relocation};
pub use self::schema::{SchemaError, SchemaState};
pub use self::sqlite::SqliteStore;

/// Where effects live. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub enum Store {
    /// A schema of a PostgreSQL database.
    Postgres(PostgresStore),
    /// A file.
    Sqlite(SqliteStore),
}

/// A bucket is over so long after its end: records of one partition are in order only as far as clocks
/// and retries go. What comes later all the same costs a filter, and nothing else.
const LATE_MS: i64 = 3_600_000;
/// Or a part of a narrower bucket.
const LATE_PARTS: i64 = 24;

/// A claim: fence and position, and how the owners before ended there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Fence and position.
    pub stored: Stored,
    /// What they left.
    pub unfinished: Unfinished,
}

/// Owners that ended at the position without a word (ADR 20).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unfinished {
    /// How many, in a row; under the same mark, where there is one.
    pub times: i32,
    /// The record that was marked.
    pub marked: Option<Offset>,
}

impl Unfinished {
    fn of(times: i32, attempt_to: Option<i64>) -> Self {
        Self { times, marked: attempt_to.map(|end| Offset(end - 1)) }
    }
}

/// What a batch statement did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The fence held: all of it is committed. `false`: nothing is.
    pub owned: bool,
    /// Events that had their effect now.
    pub fresh: u64,
    /// Records that were parked now.
    pub parked: u64,
    /// Duplicates whose payload differs from the first one's.
    pub conflicts: u64,
    /// What filters spared.
    pub filtered: Filtered,
}

/// A progress row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The partition.
    pub id: PartitionId,
    /// Fence and position.
    pub stored: Stored,
    /// Who claimed it last.
    pub owner: String,
    /// When the row last changed.
    pub updated_at: Millis,
    /// The oldest timestamp of the last batch before the position.
    pub record_timestamp: Option<Millis>,
}

/// The partition of a row. Only rows we wrote are read, but a database can be edited by hand.
fn partition_id(class: i64, partition: i64) -> Result<PartitionId, StoreError> {
    let found = usize::try_from(class).ok().and_then(|index| Class::ALL.get(index));
    match (found, u32::try_from(partition)) {
        (Some(class), Ok(number)) => {
            Ok(PartitionId { class: *class, partition: Partition(number) })
        }
        _ => Err(StoreError {
            failure: Failure::Halt,
            code: None,
            message: format!("a row names class {class} and partition {partition}"),
        }),
    }
}

/// The headers of a parked row, which was ours unless somebody edited it.
fn headers_of(text: &str) -> Result<Vec<(String, Bytes)>, StoreError> {
    headers::of_json(text).ok_or_else(|| StoreError {
        failure: Failure::Halt,
        code: None,
        message: "a parked row's headers are not as they were written".to_owned(),
    })
}

macro_rules! each {
    ($store:expr, $inner:ident => $call:expr) => {
        match $store {
            Store::Postgres($inner) => $call,
            Store::Sqlite($inner) => $call,
        }
    };
}

impl Store {
    /// Opens the backend's store for a pipeline. PostgreSQL is not contacted yet: it may be away.
    pub async fn connect(backend: &Backend, pipeline: &str) -> Result<Self, SchemaError> {
        match backend {
            Backend::Cluster { postgres, .. } => {
                PostgresStore::connect(postgres, pipeline).map(Self::Postgres)
            }
            Backend::Embedded(embedded) => {
                SqliteStore::open(&embedded.data_dir.join("effects.sqlite"), pipeline)
                    .await
                    .map(Self::Sqlite)
            }
        }
    }

    /// With the user's own SQL in every transaction that applies events. Refuses what is not one
    /// statement that changes rows; the database is not asked yet.
    pub fn with_projections(self, config: &ProjectionsConfig) -> Result<Self, SchemaError> {
        match self {
            Self::Postgres(store) => store.with_projections(config).map(Self::Postgres),
            Self::Sqlite(store) => store.with_projections(config).map(Self::Sqlite),
        }
    }

    /// With an outbox that these sinks empty: what they select becomes a row of it in every
    /// transaction that applies events.
    pub fn with_sinks(self, sinks: Sinks) -> Self {
        let sinks = Arc::new(sinks);
        match self {
            Self::Postgres(store) => Self::Postgres(store.with_sinks(sinks)),
            Self::Sqlite(store) => Self::Sqlite(store.with_sinks(sinks)),
        }
    }

    /// The sinks; none unless it was told some.
    pub fn sinks(&self) -> &Arc<Sinks> {
        each!(self, store => store.sinks())
    }

    /// Brings the schema to this program's version, step by step. Needs the right to make tables.
    pub async fn migrate(&self) -> Result<(), SchemaError> {
        each!(self, store => store.migrate().await)
    }

    /// Refuses a schema that is not exactly this program's, and projections that do not work on what
    /// there is: each runs on its sample events, and what it did is rolled back.
    pub async fn check(&self) -> Result<(), SchemaError> {
        let applied = each!(self, store => store.schema_state().await)?;
        applied.check(each!(self, store => store.migrator()))?;
        each!(self, store => store.check_projections().await)
    }

    /// Settles the pipeline's name and the width of its buckets with what is stored: the first ones
    /// stay, others are refused.
    pub async fn settle(&self, width: Width) -> Result<(), SchemaError> {
        let (stored, stored_ms) = each!(self, store => store.settle(width.as_millis()).await)?;
        let wanted = each!(self, store => store.pipeline());
        if stored != wanted {
            return Err(SchemaError::Pipeline { stored, wanted: wanted.to_owned() });
        }
        if stored_ms != width.as_millis() {
            return Err(SchemaError::Width { stored_ms, wanted_ms: width.as_millis() });
        }
        Ok(())
    }

    /// Refuses a store whose ids are in buckets of another width, and settles nothing.
    pub async fn compare(&self, width: Width) -> Result<(), SchemaError> {
        match each!(self, store => store.width_ms().await)? {
            Some(stored_ms) if stored_ms != width.as_millis() => {
                Err(SchemaError::Width { stored_ms, wanted_ms: width.as_millis() })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Claims a partition above its stored epoch and above `floor`; `None` where it has no row yet.
    /// It waits for a statement of the previous owner that is still running, so the position it
    /// returns is the last one that owner committed. With a floor above 0 the claim is one of the
    /// same process, whose epoch that was: nobody is counted as dead, and where somebody else has claimed
    /// meanwhile there is none.
    pub async fn claim(
        &self,
        id: PartitionId,
        owner: &str,
        floor: i64,
    ) -> Result<Option<Claimed>, StoreError> {
        each!(self, store => store.claim(id, owner, floor).await)
    }

    /// Makes the row of a partition that had none, at `first`, and claims it; a row that somebody
    /// made meanwhile keeps its position.
    pub async fn seed(
        &self,
        id: PartitionId,
        owner: &str,
        first: Offset,
    ) -> Result<Stored, StoreError> {
        each!(self, store => store.seed(id, owner, first).await)
    }

    /// Marks an attempt at the records from `next` to below `end`, where claim and position hold: the
    /// mark is committed before the attempt begins.
    pub async fn mark(
        &self,
        id: PartitionId,
        epoch: Epoch,
        next: Offset,
        end: Offset,
    ) -> Result<(), StoreError> {
        each!(self, store => store.mark(id, epoch, next, end).await)
    }

    /// The owner ends cleanly: whoever claims next counts nobody as dead.
    pub async fn release(&self, id: PartitionId, epoch: Epoch) -> Result<(), StoreError> {
        each!(self, store => store.release(id, epoch).await)
    }

    /// The database's time; `None` where it has no other clock than ours.
    pub async fn time(&self) -> Result<Option<Millis>, StoreError> {
        match self {
            Self::Postgres(store) => store.time().await.map(Some),
            Self::Sqlite(_) => Ok(None),
        }
    }

    /// Fence and position of a partition.
    pub async fn stored(&self, id: PartitionId) -> Result<Option<Stored>, StoreError> {
        each!(self, store => store.stored(id).await)
    }

    /// Which of these partitions have a row that is further back than its writer left it, or none: the
    /// database is at an earlier state.
    pub async fn strayed(
        &self,
        left: &[(PartitionId, Stored)],
    ) -> Result<Vec<PartitionId>, StoreError> {
        each!(self, store => store.strayed(left).await)
    }

    /// Every progress row.
    pub async fn positions(&self) -> Result<Vec<Progress>, StoreError> {
        each!(self, store => store.positions().await)
    }

    /// Puts a partition somewhere else under a new epoch, so that whoever has it is fenced. `None`:
    /// the row is not the one that was seen, and nothing is changed. It waits for a statement of the
    /// owner that is still running.
    pub async fn relocate(
        &self,
        id: PartitionId,
        to: &Relocation<'_>,
    ) -> Result<Option<Stored>, StoreError> {
        each!(self, store => store.relocate(id, to).await)
    }

    /// The partitions that an operator has moved and nobody has claimed since, with the epoch of the
    /// move.
    pub async fn relocated(&self) -> Result<Vec<(PartitionId, Epoch)>, StoreError> {
        each!(self, store => store.relocated().await)
    }

    /// The offset of a partition's last applied record; `None` where no events row is left.
    pub async fn applied_last(&self, id: PartitionId) -> Result<Option<Offset>, StoreError> {
        each!(self, store => store.applied_last(id).await)
    }

    /// Makes the tables of these buckets, where buckets are tables.
    pub async fn ensure_buckets(&self, buckets: &[Bucket]) -> Result<(), StoreError> {
        match self {
            Self::Postgres(store) => store.ensure_buckets(buckets).await,
            Self::Sqlite(_) => Ok(()),
        }
    }

    /// Keeps what partitions say that were idle. What a writer has moved on since stays as it is.
    pub async fn caught_up(&self, all: &[CaughtUp]) -> Result<(), StoreError> {
        each!(self, store => store.caught_up(all).await)
    }

    /// One step of forgetting ids: drops buckets, or a slice of one, that every position has passed by
    /// more than a window, and nothing else. On PostgreSQL batches are kept waiting at most `wait`;
    /// where a lock cannot be had in that time the error says so ([`StoreError::is_busy`]).
    pub async fn forget_ids(&self, wait: Duration, now: Millis) -> Result<Forgotten, StoreError> {
        match self {
            Self::Postgres(store) => store.forget_ids(wait).await,
            Self::Sqlite(store) => store.forget_ids(now).await,
        }
    }

    /// The buckets of ids there are.
    pub async fn id_buckets(&self, now: Millis) -> Result<IdBuckets, StoreError> {
        match self {
            Self::Postgres(store) => store.id_buckets().await,
            Self::Sqlite(store) => store.id_buckets(now).await,
        }
    }

    /// Ids of records before this time may be forgotten: read again, such a record is known only by its
    /// event's row. `None`: nothing was ever forgotten.
    pub async fn forgotten_before(&self) -> Result<Option<Millis>, StoreError> {
        each!(self, store => store.forgotten_before().await)
    }

    /// Reads the ids of a bucket into a filter of at most so much memory, in the place of another
    /// bucket's, where every position has passed it; see [`Reading`]. SQLite has none: its ids are in
    /// this process's own file.
    pub async fn read_ids(
        &self,
        bucket: Bucket,
        width: Width,
        bytes_max: usize,
    ) -> Result<Reading, StoreError> {
        match self {
            Self::Postgres(store) => {
                let end = (bucket.0 + 1).saturating_mul(width.as_millis());
                let passed = end.saturating_add(LATE_MS.min(width.as_millis() / LATE_PARTS));
                store.read_ids(bucket, passed, bytes_max).await
            }
            Self::Sqlite(_) => Ok(Reading::NotYet),
        }
    }

    /// What the filters hold.
    pub fn known(&self) -> Known {
        match self {
            Self::Postgres(store) => store.known(),
            Self::Sqlite(_) => Known::default(),
        }
    }

    /// Applies a batch: fence, ids, effects, parked records and position, all or nothing.
    pub async fn apply(&self, batch: &Batch<'_>, now: Millis) -> Result<Applied, StoreError> {
        match self {
            Self::Postgres(store) => store.apply(batch).await,
            Self::Sqlite(store) => store.apply(batch, now, None).await,
        }
    }

    /// The same with what a handler says of the fresh events.
    pub(crate) async fn apply_with(
        &self,
        batch: &Batch<'_>,
        now: Millis,
        live: &mut dyn Live,
    ) -> Result<Applied, StoreError> {
        match self {
            Self::Postgres(store) => store.apply_with(batch, live).await,
            Self::Sqlite(store) => store.apply(batch, now, Some(live)).await,
        }
    }

    /// Makes a handler's tables. Needs the right to make tables.
    pub async fn make_tables(&self, handled: &Handled) -> Result<(), SchemaError> {
        each!(self, store => store.make_tables(handled).await)
    }

    /// Loads a handler's state of a partition, after everything that was written under this claim.
    pub(crate) async fn load(
        &self,
        id: PartitionId,
        epoch: Epoch,
        loader: &dyn Loader,
    ) -> Result<Box<dyn Live>, StoreError> {
        match self {
            Self::Postgres(store) => store.load(id, epoch, loader).await,
            Self::Sqlite(store) => store.load(id, loader).await,
        }
    }

    /// Whether a batch passes, where its claim and position hold: all of it is run, and nothing of it
    /// stays.
    pub async fn passes(&self, batch: &Batch<'_>, now: Millis) -> Result<bool, StoreError> {
        match self {
            Self::Postgres(store) => store.passes(batch).await,
            Self::Sqlite(store) => store.passes(batch, now).await,
        }
    }

    /// Which of these partitions have a parked row to try now.
    pub async fn due(
        &self,
        partitions: &[PartitionId],
        now: Millis,
    ) -> Result<Vec<PartitionId>, StoreError> {
        match self {
            Self::Postgres(store) => store.due(partitions).await,
            Self::Sqlite(store) => store.due(partitions, now).await,
        }
    }

    /// Picks up at most `rows_max` rows of a partition that are due, in the log's order, and takes a
    /// try of each; none where the claim does not hold. In the order of entities: the first of each, and
    /// what waits right behind it.
    pub async fn pick(
        &self,
        id: PartitionId,
        epoch: Epoch,
        rows_max: u16,
        order: Order,
        now: Millis,
    ) -> Result<Vec<Picked>, StoreError> {
        match self {
            Self::Postgres(store) => store.pick(id, epoch, rows_max, order).await,
            Self::Sqlite(store) => store.pick(id, epoch, rows_max, order, now).await,
        }
    }

    /// Makes due what waits behind others and has its turn, or all of it, where no order is kept any more.
    /// How many rows it were.
    pub async fn arm(
        &self,
        id: PartitionId,
        epoch: Epoch,
        order: Order,
        now: Millis,
    ) -> Result<u64, StoreError> {
        match self {
            Self::Postgres(store) => store.arm(id, epoch, order).await,
            Self::Sqlite(store) => store.arm(id, epoch, order, now).await,
        }
    }

    /// Which of these entities have a parked row that is to be tried yet; `None` where the whole partition
    /// has none.
    pub async fn waiting(
        &self,
        id: PartitionId,
        entities: &[String],
    ) -> Result<Option<HashSet<String>>, StoreError> {
        let found = each!(self, store => store.waiting(id, entities).await)?;
        let any = found.contains(&None);
        Ok(any.then(|| found.into_iter().flatten().collect()))
    }

    /// Tries picked rows: fence, ids, effects, and the rows go, all or nothing.
    pub async fn retry(&self, retry: &Retry<'_>, now: Millis) -> Result<Retried, StoreError> {
        match self {
            Self::Postgres(store) => store.retry(retry).await,
            Self::Sqlite(store) => store.retry(retry, now, None).await,
        }
    }

    /// The same with what a handler says of those that have their effect.
    pub(crate) async fn retry_with(
        &self,
        retry: &Retry<'_>,
        now: Millis,
        live: &mut dyn Live,
    ) -> Result<Retried, StoreError> {
        match self {
            Self::Postgres(store) => store.retry_with(retry, live).await,
            Self::Sqlite(store) => store.retry(retry, now, Some(live)).await,
        }
    }

    /// Says what failed tries leave of their rows, where the claim holds.
    pub async fn settle_tries(
        &self,
        id: PartitionId,
        epoch: Epoch,
        settlements: &[Settlement<'_>],
        now: Millis,
    ) -> Result<(), StoreError> {
        match self {
            Self::Postgres(store) => store.settle_tries(id, epoch, settlements).await,
            Self::Sqlite(store) => store.settle_tries(id, epoch, settlements, now).await,
        }
    }

    /// Where an identity had its effect.
    pub async fn applied(&self, identity: &Identity) -> Result<Option<AppliedAt>, StoreError> {
        each!(self, store => store.applied(identity).await)
    }

    /// Where an identity is parked.
    pub async fn parked(&self, identity: &Identity) -> Result<Option<ParkedAt>, StoreError> {
        each!(self, store => store.parked(identity).await)
    }

    /// The last `n` applied events, newest first.
    pub async fn tail(&self, n: u16) -> Result<Vec<AppliedEvent>, StoreError> {
        each!(self, store => store.tail(n).await)
    }

    /// Closes the connections, after running statements.
    pub async fn close(&self) {
        each!(self, store => store.close().await);
    }
}
