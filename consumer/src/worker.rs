//! The way of a batch: one worker per assigned partition, `Worker::way` from top to bottom.
//!
//! Poll the partition's own queue → decode, or poison with a reason → drop below the stored position
//! → one transaction {fence and position, ids, effects, parked} → mirror the offset to the log. While the
//! database works on one batch, the next one is read and decoded, and no more than that. A worker owns
//! nothing but its claim: killed at any point it loses at most an uncommitted batch, which the next
//! owner reads again. It never blocks its neighbours and never moves a position that it has not claimed.

mod bisect;
mod claim;
pub(crate) mod due;
mod end;
mod flags;
mod hand;
mod observe;
mod order;
mod parked;
mod replay;
mod request;
mod room;
mod state;
mod storm;
mod suspicion;
mod trial;
mod turn;
mod wait;

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::clock::{Clock, Millis};
use shared::config::{ConsumerConfig, ControlConfig};
use shared::health::Heartbeat;
use shared::log::{ReadBounds, Reader};
use shared::position::{Epoch, PartitionId};
use shared::route::Router;
use shared::skew::Skew;
use tokio::sync::{OwnedMutexGuard, mpsc, watch};
use tracing::warn;

use self::bisect::{Bisect, Next};
pub use self::end::{End, Halt};
use self::flags::Flag;
pub use self::flags::Flags;
pub use self::hand::AheadBytes;
use self::hand::Hand;
use self::parked::Pace;
pub use self::request::Request;
use self::storm::Storm;
use self::suspicion::Suspicion;
use self::turn::Turn;
use crate::backoff::Backoff;
use crate::batch::{Batch, Context, Refusals};
use crate::bucket::{Bucket, Width};
use crate::failure::{Failure, StoreError};
use crate::handler::{Handled, Live};
use crate::load::{Gauge, Load, batch_records_max};
use crate::log_limit::LogLimits;
use crate::metrics::Metrics;
use crate::resolution::{Resolution, Stored, resolve};
use crate::retry::Schedule;
use crate::store::{Applied, Store};

/// The most buckets a worker remembers as made; beyond it, it asks again.
const BUCKETS_KNOWN_MAX: usize = 1_024;

/// What all workers of a process share.
#[derive(Debug)]
pub struct Shared {
    /// Bounds and waits. Its `control` is the start's.
    pub config: ConsumerConfig,
    /// How load is limited, as of now.
    pub control: watch::Receiver<ControlConfig>,
    /// Where effects go.
    pub store: Store,
    /// Recomputes routes.
    pub router: Router,
    /// The time of day.
    pub clock: Clock,
    /// What is exported.
    pub metrics: Metrics,
    /// What keeps an outage from flooding the log.
    pub log_limits: LogLimits,
    /// The width of the buckets, settled with the store.
    pub width: Width,
    /// Whether our clock agrees with the database's.
    pub skew: Skew,
    /// What the workers measure, and what they obey.
    pub load: Load,
    /// The user's Rust, where there is some.
    pub handler: Option<Handled>,
    /// Which partitions have a parked record to try.
    pub due: Flags,
    /// Which idle partitions have a row that is not as their writer left it.
    pub strayed: Flags,
    /// Held by the one worker whose record is marked: whoever dies meanwhile died of that. Nobody waits
    /// with it, neither for records nor after a failure.
    pub suspects: Arc<tokio::sync::Mutex<()>>,
    /// What was read ahead takes.
    pub ahead: AheadBytes,
}

/// What became of a batch.
enum Verdict {
    /// Committed; `None` where the answer was lost and the row told us.
    Committed(Option<Applied>),
    /// Refused for a record's content; nothing is committed.
    Refused(StoreError),
    /// Its statements end with their connection, and nothing is committed.
    Struck(Option<String>),
    /// Nothing is committed, and a wait has given the turn of its mark away.
    Again,
    /// The database is at an earlier state than we left it.
    WentBack,
}

/// The single writer of one partition, for one assignment.
#[derive(Debug)]
pub struct Worker {
    id: PartitionId,
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
    stop: watch::Receiver<bool>,
    heartbeat: Heartbeat,
    backoff: Backoff,
    buckets: HashSet<Bucket>,
    misrouted_seen: bool,
    /// The timestamp of the record at the stored position, as far as it is known.
    oldest: Option<Millis>,
    records_max: usize,
    gauge: Arc<Gauge>,
    turn: Turn,
    /// How much longer it has to give way to higher classes than it has done yet.
    owes: Duration,
    schedule: Schedule,
    due: Arc<Flag>,
    pace: Pace,
    strayed: Arc<Flag>,
    suspicion: Suspicion,
    /// The turn of the record that is marked, until the next wait.
    alone: Option<OwnedMutexGuard<()>>,
    storm: Storm,
    /// A record may be parked that later ones of its entity wait behind.
    some_wait: bool,
    /// The claim, while the position has not moved since.
    unmoved: Option<Epoch>,
    /// The user's Rust with this partition's state, as far as it is loaded.
    live: Option<Box<dyn Live>>,
}

impl Worker {
    /// A worker that has claimed nothing yet. `stop` turns true when it is to end.
    pub fn new(
        id: PartitionId,
        shared: Arc<Shared>,
        requests: mpsc::Sender<Request>,
        stop: watch::Receiver<bool>,
        heartbeat: Heartbeat,
    ) -> Self {
        let config = &shared.config;
        let backoff = Backoff::new(config.retry_backoff_min, config.retry_backoff_max);
        Self {
            id,
            requests,
            stop,
            heartbeat,
            backoff,
            buckets: HashSet::new(),
            misrouted_seen: false,
            oldest: None,
            records_max: batch_records_max(&shared.config),
            gauge: shared.load.gauges.open(id),
            turn: Turn::new(Instant::now(), None),
            owes: Duration::ZERO,
            schedule: Schedule::of(&shared.config),
            due: shared.due.open(id),
            pace: Pace::new(),
            strayed: shared.strayed.open(id),
            suspicion: Suspicion::default(),
            alone: None,
            storm: Storm::new(&shared.config),
            some_wait: true,
            unmoved: None,
            live: None,
            shared,
        }
    }

    /// Works until it is stopped, fenced or halted.
    pub async fn run(mut self) -> End {
        let end = match self.way().await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        if matches!(end, End::Fenced) {
            // Here and not where workers are awaited: nobody awaits one whose partition was lost.
            self.shared.metrics.fenced.inc();
            warn!(partition = %self.id, "fenced: another writer has claimed the partition");
        }
        if matches!(end, End::Halted(_)) {
            self.gauge.halt();
        }
        if !matches!(end, End::Fenced) {
            self.release().await;
        }
        end
    }

    async fn way(&mut self) -> Result<Infallible, End> {
        let mut claim = self.claim(0).await?;
        let mut reader = self.start(claim.next).await?;
        self.bound_suspicion(claim.next, &reader).await;
        let mut hand = Hand::new(Arc::clone(&self.shared), self.read_bounds());
        let mut bisect = self.bisect();
        let mut retries = self.backoff();
        let mut idle = false;
        loop {
            self.heartbeat.beat();
            self.alone = None;
            self.load_state(claim.epoch).await?;
            if hand.is_empty() {
                let before = claim.next;
                claim = self.try_parked(claim, idle).await?;
                claim = self.look_where_it_stands(claim).await?;
                if claim.next != before {
                    reader = self.restart(reader, claim.next).await?;
                    hand = Hand::new(Arc::clone(&self.shared), self.read_bounds());
                }
                let (started, waits) = (Instant::now(), reader.end() > claim.next);
                self.fill(&mut hand, &mut reader).await?;
                self.polled(started, hand.records(), claim.next, reader.end());
                self.turn_begins(started, waits, hand.records(), reader.end());
                idle = hand.is_empty();
            }
            if *self.stop.borrow() {
                return Err(End::Stopped);
            }
            if !self.shared.skew.agrees() {
                // What is read is kept: which records are plausible is not for this clock to say.
                hand.undo();
                self.stand_still(hand.records()).await?;
                continue;
            }

            failpoint!(Polled, self.id, if !hand.is_empty());
            let take = self.suspicion.take(bisect.take(hand.records().len()));
            self.suspect(claim, &hand.records()[..take], &mut bisect).await?;
            let mut decoded = hand.decode(take, claim, &self.context(claim, bisect.refused()));
            self.keep_order(&mut decoded).await?;
            let Some(batch) = decoded.batch() else {
                self.replayed(take);
                hand.put_back(decoded, take);
                continue;
            };
            if let Some(poison) = self.weigh(batch)? {
                // What stands before it is applied; then it is the first, and the partition halts.
                bisect.limit(decoded.before(poison));
                hand.put_back(decoded, 0);
                continue;
            }
            self.decoded(decoded.took(), batch);
            failpoint!(Decoded, self.id);

            let started = Instant::now();
            self.ensure_buckets(batch).await?;
            self.make_room(batch).await?;
            self.load_state(claim.epoch).await?;
            if self.suspicion.is_alone() && self.alone.is_none() {
                // It waited, and the mark's turn is another's.
                hand.put_back(decoded, 0);
                continue;
            }
            let then = Stored { epoch: claim.epoch, next: batch.target };
            let verdict = if self.reads_ahead() && decoded.is_whole(take) {
                let ahead = hand.read_ahead(&mut reader, self.id, then);
                // The statement is sent before anything is read.
                tokio::join!(biased; self.commit(batch), ahead).0?
            } else {
                self.commit(batch).await?
            };
            match verdict {
                Verdict::Committed(applied) => {
                    failpoint!(Committed, self.id);
                    claim = then;
                    self.storm.add(batch.records(), batch.poisoned().count());
                    self.shared.store.sinks().wake(&batch.rows);
                    reader.mirror(claim.next);
                    failpoint!(Mirrored, self.id);
                    self.committed(started, batch, applied, reader.end());
                    hand.put_back(decoded, take);
                    self.alone = None;
                    bisect.passed(hand.records().len());
                    self.shared.metrics.alone.inc_by(u64::from(self.suspicion.is_alone()));
                    self.suspicion.passed(take);
                    self.unmoved = None;
                    retries.reset();
                    self.advanced(hand.first(), claim.next, reader.end());
                    self.rest(take).await?;
                }
                Verdict::Refused(refusal) => {
                    hand.put_back(decoded, 0);
                    let first = hand.records()[0].position.offset;
                    if let Some(kept_back) = self.shared.log_limits.refused.admit() {
                        warn!(partition = %self.id, offset = first.0, records = take,
                            code = refusal.code, kept_back,
                            "the database refused a batch for its content");
                    }
                    let next = bisect
                        .narrow(take, first, refusal)
                        .map_err(|refusal| End::Halted(Halt::Unparkable(first, refusal)))?;
                    match next {
                        Next::Halve => self.shared.metrics.bisections.inc(),
                        Next::Again => {
                            self.shared.metrics.record_retries.inc();
                            self.pause(retries.next_wait()).await?;
                        }
                        Next::Park => {}
                    }
                }
                Verdict::Struck(code) => {
                    hand.put_back(decoded, 0);
                    self.doubt(claim, take, hand.records(), code, &mut bisect).await?;
                }
                Verdict::Again => hand.put_back(decoded, 0),
                Verdict::WentBack => {
                    claim = self.claim_what_went_back(claim).await?;
                    reader = self.restart(reader, claim.next).await?;
                    hand = Hand::new(Arc::clone(&self.shared), self.read_bounds());
                    bisect = self.bisect();
                }
            }
        }
    }

    fn context<'c>(&'c self, claim: Stored, refused: &'c Refusals) -> Context<'c> {
        Context {
            id: self.id,
            epoch: claim.epoch,
            expected: claim.next,
            width: self.shared.width,
            now: self.shared.clock.now(),
            router: &self.shared.router,
            refused,
        }
    }

    /// Whether the next batch may be read while this one's statement runs. Not with a record under a
    /// mark, which is to be the only one that is touched; nor before a first batch is committed: who
    /// dies of a record that was read ahead is to die next with that record's batch in front (ADR 20).
    /// And a writer with a rate has time enough.
    fn reads_ahead(&self) -> bool {
        !self.suspicion.is_alone()
            && self.unmoved.is_none()
            && self.shared.config.rate_per_s_max.is_none()
    }

    fn read_bounds(&self) -> ReadBounds {
        let config = &self.shared.config;
        ReadBounds {
            records_max: self.records_max,
            bytes_max: config.batch_bytes_max,
            wait: config.poll_wait,
        }
    }

    fn bisect(&self) -> Bisect {
        Bisect::new(self.shared.config.retries_max, self.schedule)
    }

    /// The waits between the tries of one record.
    fn backoff(&self) -> Backoff {
        let config = &self.shared.config;
        Backoff::new(config.retry_backoff_min, config.retry_backoff_max)
    }

    /// The next records; empty-handed after `poll_wait`.
    async fn fill(&mut self, hand: &mut Hand, reader: &mut Reader) -> Result<(), End> {
        let filled = tokio::select! {
            biased;
            _ = self.stop.wait_for(|stop| *stop) => return Err(End::Stopped),
            filled = hand.fill(reader) => filled,
        };
        if hand.is_ready() {
            self.shared.metrics.read_ahead.with_label_values(&[self.id.class.name()]).inc();
        }
        match filled {
            Ok(()) => Ok(()),
            Err(error) => self.wait_for_log(error).await,
        }
    }

    /// Makes the tables of buckets that this worker has not met, outside the batch statement: DDL in
    /// it would hold its locks while the batch is written.
    async fn ensure_buckets(&mut self, batch: &Batch<'_>) -> Result<(), End> {
        while let Err(error) = self.make_buckets(batch.buckets()).await {
            self.wait_or_halt(error).await?;
        }
        Ok(())
    }

    async fn make_buckets(
        &mut self,
        buckets: impl Iterator<Item = Bucket>,
    ) -> Result<(), StoreError> {
        let missing: HashSet<Bucket> =
            buckets.filter(|bucket| !self.buckets.contains(bucket)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let missing: Vec<Bucket> = missing.into_iter().collect();
        failpoint!(MakingBuckets, self.id);
        self.shared.store.ensure_buckets(&missing).await?;
        failpoint!(MadeBuckets, self.id);
        if self.buckets.len() + missing.len() > BUCKETS_KNOWN_MAX {
            self.buckets.clear();
        }
        self.buckets.extend(missing);
        Ok(())
    }

    /// Sends the batch until it is known what became of it.
    async fn commit(&mut self, batch: &Batch<'_>) -> Result<Verdict, End> {
        loop {
            failpoint!(Sending, self.id);
            failpoint!(Event, each row in &batch.rows => row.event.id);
            let (now, asked) = (self.shared.clock.now(), Instant::now());
            let mut struck = None;
            match self.apply(batch, now).await {
                Ok(applied) if applied.owned => {
                    self.keep_state();
                    self.backoff.reset();
                    self.gauge.answered(asked.elapsed());
                    return Ok(Verdict::Committed(Some(applied)));
                }
                Ok(_) => {}
                Err(error) if error.failure == Failure::Data => {
                    self.gauge.answered(asked.elapsed());
                    return Ok(Verdict::Refused(error));
                }
                Err(error) => {
                    if error.failure == Failure::Bucket {
                        self.buckets.clear();
                        self.ensure_buckets(batch).await?;
                    }
                    struck = (error.failure == Failure::Lost).then(|| error.code.clone());
                    self.wait_or_halt(error).await?;
                }
            }
            // The fence did not hold, or nobody said: the row knows.
            let row = self.stored().await?;
            match resolve(batch.epoch, batch.expected, batch.target, row) {
                Resolution::Committed => {
                    self.drop_state();
                    self.shared.metrics.unknown_commits.inc();
                    self.backoff.reset();
                    self.gauge.answered(asked.elapsed());
                    return Ok(Verdict::Committed(None));
                }
                Resolution::Resend => {
                    if let Some(code) = struck
                        && self.suspicion.strike()
                    {
                        return Ok(Verdict::Struck(code));
                    }
                    if self.suspicion.is_alone() {
                        return Ok(Verdict::Again);
                    }
                }
                Resolution::Reclaim => return Ok(Verdict::WentBack),
                Resolution::Fenced => return Err(End::Fenced),
                Resolution::Vanished => return Err(End::Halted(Halt::Vanished)),
            }
        }
    }

    async fn stored(&mut self) -> Result<Option<Stored>, End> {
        loop {
            match self.shared.store.stored(self.id).await {
                Ok(row) => return Ok(row),
                Err(error) => self.wait_or_halt(error).await?,
            }
        }
    }
}
