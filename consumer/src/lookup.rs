//! What became of an event, and what was applied last: for `shock ctl events` and the admin port.
//!
//! It only reads. An event is looked for where it would be if it had gone its way: among the applied
//! identities, among the parked, then in the log between the stored position and its end. It never
//! answers "unknown" without saying how far it looked.

mod routes;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use shared::clock::Clock;
use shared::event::Event;
use shared::identity::{Identity, SOURCE_DEFAULT};
use shared::log::{ReadError, Record, Scanner};
use shared::position::{Class, Offset, PartitionId, Position};
use shared::route::Router;
use shared::tenant::TenantId;

use crate::failure::StoreError;
use crate::store::{AppliedEvent, Store};

pub use self::routes::{FIND_PATH, TAIL_PATH, TailEvent, routes};

/// The most records one look-up reads from the log.
pub const SCAN_RECORDS_MAX: u64 = 1_000_000;

/// The longest one look-up reads the log.
pub const SCAN_TIME_MAX: Duration = Duration::from_secs(10);

/// The most events [`Lookup::tail`] returns.
pub const TAIL_MAX: u16 = 1_000;

/// Where a record stands, as JSON shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The class.
    pub class: &'static str,
    /// The partition's number.
    pub partition: u32,
    /// The offset.
    pub offset: i64,
}

impl From<Position> for Place {
    fn from(position: Position) -> Self {
        Self {
            class: position.id.class.name(),
            partition: position.id.partition.0,
            offset: position.offset.0,
        }
    }
}

/// What became of an event. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "fate", rename_all = "snake_case")]
pub enum Fate {
    /// It had its effect.
    Applied {
        /// The record that had it; retries of it are duplicates.
        position: Place,
        /// When.
        applied_at_ms: Option<i64>,
    },
    /// It could not be applied.
    Parked {
        /// Its record.
        position: Place,
        /// Why.
        reason: String,
        /// The database's code, where it was the database that refused.
        sqlstate: Option<String>,
        /// How often it was tried.
        attempts: i32,
        /// What is to become of it.
        state: String,
        /// Since when.
        parked_at_ms: i64,
    },
    /// It is in the log and waits for its turn.
    Pending {
        /// Its record.
        position: Place,
        /// How many records are before it.
        behind: i64,
    },
    /// It was not found.
    Unknown {
        /// Records of the log that were read.
        scanned: u64,
        /// Whether that was everything between the stored positions and the end: where it is false,
        /// a bound was met, and the event may be further on.
        complete: bool,
        /// Ids of records older than this may be forgotten: such an event may have had its effect.
        #[serde(skip_serializing_if = "Option::is_none")]
        forgotten_before_ms: Option<i64>,
    },
}

/// A partition as the store and the log see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionView {
    /// The class.
    pub class: &'static str,
    /// The partition's number.
    pub partition: u32,
    /// The fencing epoch; `None` where nobody has claimed it yet.
    pub epoch: Option<i64>,
    /// Who claimed it last.
    pub owner: Option<String>,
    /// The stored position: the next record to apply.
    pub position: Option<i64>,
    /// When the position last moved.
    pub updated_at_ms: Option<i64>,
    /// The oldest timestamp of the last batch before the position.
    pub record_timestamp_ms: Option<i64>,
    /// The position as it is mirrored to the log, for tools: it decides nothing. `None` where nothing is
    /// mirrored, or the log cannot be asked.
    pub mirror: Option<i64>,
    /// The oldest record in the log; `None` where the log cannot be read.
    pub low: Option<i64>,
    /// The offset after the newest record.
    pub end: Option<i64>,
    /// Records between position and end.
    pub lag_records: Option<i64>,
    /// The age of the record at the position, 0 at the end.
    pub lag_ms: Option<i64>,
}

/// Why a look-up has no answer.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The store cannot be asked.
    #[error("the store cannot be asked: {0}")]
    Store(#[from] StoreError),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// The process is going down.
    #[error("the look-up was given up")]
    Aborted,
}

/// Looks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lookup {
    store: Store,
    scanner: Arc<Scanner>,
    router: Router,
    sources: Vec<String>,
    clock: Clock,
}

struct Scan {
    records: u64,
    complete: bool,
    found: Option<(Position, i64)>,
}

impl Lookup {
    /// A look-up over a store and its log. `known_sources` are tried where none is given, besides
    /// [`SOURCE_DEFAULT`].
    pub fn new(
        store: Store,
        scanner: Arc<Scanner>,
        router: Router,
        known_sources: Vec<String>,
    ) -> Self {
        let mut sources = known_sources;
        sources.push(SOURCE_DEFAULT.to_owned());
        sources.sort();
        sources.dedup();
        Self { store, scanner, router, sources, clock: Clock::default() }
    }

    /// What became of the event `id` of `tenant`, from `source` or from any known one.
    pub async fn find(
        &self,
        tenant: TenantId,
        source: Option<&str>,
        id: &str,
    ) -> Result<Fate, LookupError> {
        if let Some(fate) = self.settled(tenant, source, id).await? {
            return Ok(fate);
        }
        let scan = self.scan(tenant, source.map(str::to_owned), id.to_owned()).await?;
        // It may have been applied while the log was read.
        if let Some(fate) = self.settled(tenant, source, id).await? {
            return Ok(fate);
        }
        Ok(match scan.found {
            Some((position, behind)) => Fate::Pending { position: position.into(), behind },
            None => Fate::Unknown {
                scanned: scan.records,
                complete: scan.complete,
                forgotten_before_ms: self.store.forgotten_before().await?.map(|at| at.0),
            },
        })
    }

    /// The last applied events, newest first; at most [`TAIL_MAX`].
    pub async fn tail(&self, n: u16) -> Result<Vec<AppliedEvent>, LookupError> {
        Ok(self.store.tail(n.min(TAIL_MAX)).await?)
    }

    /// Every partition: position, end of the log, lag.
    pub async fn partitions(&self) -> Result<Vec<PartitionView>, LookupError> {
        let rows = self.store.positions().await?;
        let ids: Vec<PartitionId> = self.router.ids().collect();
        let (scanner, now) = (Arc::clone(&self.scanner), self.clock.now());
        let views = tokio::task::spawn_blocking(move || {
            // A log that does not answer once is not asked for each of hundreds of partitions: every
            // question would wait its whole time-out.
            let mirrored = scanner.mirrored(&ids).ok();
            let mut readable = mirrored.is_some();
            let view = |id: PartitionId| {
                let row = rows.iter().find(|row| row.id == id);
                let range = readable.then(|| scanner.range(id).ok()).flatten();
                readable = range.is_some();
                let next = row.map(|row| row.stored.next);
                let lag = next.zip(range).map(|(next, (_, end))| (end.0 - next.0).max(0));
                let age = match (lag, next) {
                    (Some(0), _) => Some(0),
                    (Some(_), Some(next)) => {
                        timestamp_at(&scanner, id, next).map(|at| now.0.saturating_sub(at).max(0))
                    }
                    _ => None,
                };
                PartitionView {
                    class: id.class.name(),
                    partition: id.partition.0,
                    epoch: row.map(|row| row.stored.epoch.0),
                    owner: row.map(|row| row.owner.clone()),
                    position: next.map(|next| next.0),
                    updated_at_ms: row.map(|row| row.updated_at.0),
                    record_timestamp_ms: row.and_then(|row| Some(row.record_timestamp?.0)),
                    mirror: mirrored.as_ref().and_then(|all| Some(all.get(&id)?.0)),
                    low: range.map(|(low, _)| low.0),
                    end: range.map(|(_, end)| end.0),
                    lag_records: lag,
                    lag_ms: age,
                }
            };
            ids.iter().copied().map(view).collect()
        });
        views.await.map_err(|_| LookupError::Aborted)
    }

    /// What the store knows of it.
    async fn settled(
        &self,
        tenant: TenantId,
        source: Option<&str>,
        id: &str,
    ) -> Result<Option<Fate>, LookupError> {
        let given: Vec<&str> = match source {
            Some(source) => vec![source],
            None => self.sources.iter().map(String::as_str).collect(),
        };
        for source in given {
            let identity = Identity::new(tenant, source, id);
            if let Some(applied) = self.store.applied(&identity).await? {
                return Ok(Some(Fate::Applied {
                    position: applied.position.into(),
                    applied_at_ms: applied.at.map(|at| at.0),
                }));
            }
            if let Some(parked) = self.store.parked(&identity).await? {
                return Ok(Some(Fate::Parked {
                    position: parked.position.into(),
                    reason: parked.reason,
                    sqlstate: parked.sqlstate,
                    attempts: parked.attempts,
                    state: parked.state,
                    parked_at_ms: parked.at.0,
                }));
            }
        }
        Ok(None)
    }

    /// Reads every partition from the stored position to the end, within the bounds.
    async fn scan(
        &self,
        tenant: TenantId,
        source: Option<String>,
        id: String,
    ) -> Result<Scan, LookupError> {
        let rows = self.store.positions().await?;
        let (scanner, router) = (Arc::clone(&self.scanner), self.router.clone());
        let scan = tokio::task::spawn_blocking(move || {
            let deadline = Instant::now() + SCAN_TIME_MAX;
            let mut scan = Scan { records: 0, complete: true, found: None };
            // The tenant's own partitions first; then the others, for a tenant that is spread and for
            // a foreign writer's routes.
            let home = Class::ALL.map(|class| router.partition(class, tenant.as_bytes()));
            let others = router.ids().filter(|id| !home.contains(id));
            for partition in home.into_iter().chain(others) {
                if Instant::now() >= deadline {
                    scan.complete = false;
                    break;
                }
                let row = rows.iter().find(|row| row.id == partition);
                let (low, end) = scanner.range(partition)?;
                let from = row.map_or(low, |row| row.stored.next.max(low));
                let mut visit = |record: &Record| {
                    scan.records += 1;
                    if is(record, tenant, source.as_deref(), &id) {
                        let behind = record.position.offset.0 - from.0;
                        scan.found = Some((record.position, behind));
                        return ControlFlow::Break(());
                    }
                    if scan.records >= SCAN_RECORDS_MAX || Instant::now() >= deadline {
                        scan.complete = false;
                        return ControlFlow::Break(());
                    }
                    ControlFlow::Continue(())
                };
                scanner.scan(partition, from, end, &mut visit)?;
                if scan.found.is_some() || !scan.complete {
                    break;
                }
            }
            Ok(scan)
        });
        scan.await.map_err(|_| LookupError::Aborted)?
    }
}

fn is(record: &Record, tenant: TenantId, source: Option<&str>, id: &str) -> bool {
    Event::decode(record).is_ok_and(|event| {
        event.tenant == tenant && event.id == id && source.is_none_or(|one| event.source == one)
    })
}

fn timestamp_at(scanner: &Scanner, id: PartitionId, next: Offset) -> Option<i64> {
    let mut timestamp = None;
    let mut visit = |record: &Record| {
        timestamp = Some(record.timestamp.0);
        ControlFlow::Break(())
    };
    scanner.scan(id, next, Offset(i64::MAX), &mut visit).ok()?;
    timestamp
}
