//! The thread behind the producer: it collects reports, tells the breaker, and replaces an instance
//! that delivers no more.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::KafkaConfig;
use super::breaker::{self, Breaker};
use super::delivery::{self, Lines};
use super::lane::Moment;
use super::native::{Report, Writer};
use super::producer::Shared;
use super::progress::Progress;
use super::seat::Seat;
use super::settings::MESSAGE_TIMEOUT_MS;
use super::slots::Flight;
use crate::log::{AppendError, Outcome, Ticket};
use crate::position::{Class, PartitionId};

/// How long a turn waits for a report before it looks at everything else.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How often the breaker looks at what is in flight, also while reports come without a pause.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Events of one turn: what has come together is told together, and the rest waits for the next.
const EVENTS_MAX: usize = 64;
/// The most that a turn adds to the clock: a process that was paused was not there to see.
const TURN_MAX: Duration = Duration::from_millis(500);
/// Open records and no report for this long: either no broker answers, and a fresh start costs
/// nothing, or librdkafka will not deliver any more.
const STUCK_AFTER: Duration = Duration::from_secs(30);
/// The longest that a record is kept for a broker that does not answer while others do: far below the
/// time for which identities are remembered, since the client may have tried again long ago.
const KEPT_MAX: Duration = Duration::from_secs(300);
/// The longest wait for what is on its way to brokers that answer, before a purge.
const LANDING_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest wait for the reports of a purged instance; a purge answers without the network.
const PURGE_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause before another attempt to make an instance.
const REPLACE_INTERVAL: Duration = Duration::from_secs(1);

/// The thread's state.
pub(super) struct Poller {
    shared: Arc<Shared>,
    config: KafkaConfig,
    breaker: Breaker,
    /// Reports of this turn.
    reports: Vec<Report>,
    /// Partitions whose records may go, in this turn.
    ready: Vec<PartitionId>,
    /// Outcomes of this turn, by seat.
    outcomes: Vec<Vec<(Ticket, Outcome)>>,
    /// How many records are gone in this turn, and what they count for in bytes.
    gone_records: usize,
    gone_bytes: usize,
    /// Reports in all, which shows that the instance delivers.
    settled: u64,
    turned: Instant,
    looked: Instant,
}

impl Poller {
    /// Over what it shares with the serving threads; partitions by class.
    pub fn new(
        shared: Arc<Shared>,
        config: KafkaConfig,
        partitions: [u32; Class::ALL.len()],
    ) -> Self {
        let now = Instant::now();
        Self {
            shared,
            config,
            breaker: Breaker::new(partitions),
            reports: Vec::new(),
            ready: Vec::new(),
            outcomes: Vec::new(),
            gone_records: 0,
            gone_bytes: 0,
            settled: 0,
            turned: now,
            looked: now,
        }
    }

    /// Polls until the producer is dropped; every record is settled when this returns.
    pub fn run(mut self) {
        let mut progress = Progress::new(self.settled, Instant::now());
        while !self.shared.stop.is_cancelled() {
            let Some(writer) = self.shared.instance() else {
                self.replace();
                progress = Progress::new(self.settled, Instant::now());
                continue;
            };
            self.collect(&writer, POLL_INTERVAL);
            self.settle(Some(&writer));
            let now = self.tick();
            if now.duration_since(self.looked) < LOOK_INTERVAL {
                continue;
            }
            self.looked = now;
            let kept = self.look();
            let stalled = progress.stalled(self.settled, self.shared.load.records(), now);
            let landing = if let Some((code, reason)) = writer.client().fatal_error() {
                tracing::error!(%code, reason, "kafka producer failed for good, replacing it");
                Duration::ZERO
            } else if stalled > STUCK_AFTER {
                tracing::warn!("kafka acknowledges nothing, starting with a new producer");
                Duration::ZERO
            } else if kept > KEPT_MAX {
                tracing::warn!("kafka keeps records unanswered, starting with a new producer");
                LANDING_TIMEOUT
            } else {
                continue;
            };
            drop(writer);
            self.retire(landing);
            if let Some(metrics) = self.shared.metrics.get() {
                metrics.replaced.inc();
            }
        }
        self.retire(Duration::ZERO);
    }

    /// Waits for an event, then takes what else is there.
    fn collect(&mut self, writer: &Writer<Lines>, wait: Duration) {
        let reports = &mut self.reports;
        let mut sink = |report| reports.push(report);
        let mut wait = wait;
        for _ in 0..EVENTS_MAX {
            if !writer.poll(wait, &mut sink) {
                return;
            }
            wait = Duration::ZERO;
        }
    }

    /// Tells every record of this turn's reports what became of it, and lets those go whose turn has
    /// come; none where no writer is left.
    fn settle(&mut self, writer: Option<&Writer<Lines>>) {
        if self.reports.is_empty() {
            return;
        }
        self.settled += self.reports.len() as u64;
        if let Some(metrics) = self.shared.metrics.get() {
            metrics.reports.observe(self.reports.len() as f64);
        }
        let now_ms = self.clock_ms();
        let mut reports = std::mem::take(&mut self.reports);
        let mut ready = std::mem::take(&mut self.ready);
        for report in reports.drain(..) {
            let Some(flight) = self.release(report.opaque) else { continue };
            let id = flight.id;
            let outcome = delivery::outcome(id, &report);
            if outcome.is_ok() && report.broker >= 0 {
                self.breaker.acknowledged(id, report.broker, now_ms);
            }
            let Some(mut lane) = self.shared.lanes.of(id).map(Mutex::lock) else { continue };
            if lane.landed() {
                ready.push(id);
            }
            let behind = if is_retried(outcome) { lane.waiting.words() } else { Vec::new() };
            drop(lane);
            self.tell(report.opaque, flight, outcome);
            self.refuse(behind);
        }
        self.reports = reports;
        self.post();
        for id in ready.drain(..) {
            self.board(id, writer);
        }
        self.ready = ready;
        // Those that could not go.
        self.post();
    }

    /// Lets the records of a partition go that wait for its turn.
    fn board(&mut self, id: PartitionId, writer: Option<&Writer<Lines>>) {
        let shared = Arc::clone(&self.shared);
        let Some(mut lane) = shared.lanes.of(id).map(Mutex::lock) else { return };
        let Some(writer) = writer else {
            let words = lane.waiting.words();
            drop(lane);
            return self.refuse(words);
        };
        let now = Moment { at: Instant::now(), clock_ms: self.clock_ms() };
        lane.board(id, &shared.boarding, now, |record, word| match writer.produce(record, word) {
            Ok(()) => true,
            Err(code) => {
                if let Some(flight) = self.release(word) {
                    self.tell(word, flight, Err(delivery::not_taken(code)));
                }
                false
            }
        });
    }

    /// Refuses records that were never given to librdkafka.
    fn refuse(&mut self, words: Vec<usize>) {
        for word in words {
            if let Some(flight) = self.release(word) {
                self.tell(word, flight, Err(AppendError::Unavailable));
            }
        }
    }

    fn release(&self, word: usize) -> Option<Flight> {
        self.shared.seats.all().of(word)?.release(word)
    }

    /// Notes what became of a record that is gone, for [`Poller::post`].
    fn tell(&mut self, word: usize, flight: Flight, outcome: Outcome) {
        self.gone_records += 1;
        self.gone_bytes += flight.bytes;
        if let Some(ticket) = flight.ticket {
            self.note(Seat::number_of(word), ticket, outcome);
        }
    }

    fn note(&mut self, seat: usize, ticket: Ticket, outcome: Outcome) {
        if self.outcomes.len() <= seat {
            self.outcomes.resize_with(seat + 1, Vec::new);
        }
        self.outcomes[seat].push((ticket, outcome));
    }

    /// Hands the outcomes over.
    fn post(&mut self) {
        let (records, bytes) = (self.gone_records, self.gone_bytes);
        (self.gone_records, self.gone_bytes) = (0, 0);
        for (seat, outcomes) in self.shared.seats.all().iter().zip(&mut self.outcomes) {
            if !outcomes.is_empty() {
                seat.mailbox.post(outcomes);
            }
        }
        self.shared.load.give_back(records, bytes);
        if records > 0 && self.shared.load.is_empty() {
            self.shared.idle.notify_waiters();
        }
    }

    /// Moves the clock on by the time that this thread was there to see.
    fn tick(&mut self) -> Instant {
        let now = Instant::now();
        let turn = now.duration_since(self.turned).min(TURN_MAX);
        let whole_ms = turn.as_millis() as u64;
        if whole_ms > 0 {
            self.turned = now;
            self.shared.clock_ms.fetch_add(whole_ms, Ordering::Relaxed);
        }
        now
    }

    /// The clock by which ages are judged.
    fn clock_ms(&self) -> u64 {
        self.shared.clock_ms.load(Ordering::Relaxed)
    }

    /// Whether librdkafka has records that a broker may just be answering.
    fn is_landing(&self) -> bool {
        let (now_ms, silent_ms) = (self.clock_ms(), breaker::OPEN_AFTER.as_millis() as u64);
        let mut since = self.shared.lanes.iter().filter_map(|(_, lane)| lane.lock().aboard_ms());
        since.any(|since_ms| now_ms.saturating_sub(since_ms) <= silent_ms)
    }

    /// Judges the brokers, and tells whoever has waited long enough. For how long librdkafka has had
    /// its oldest record.
    fn look(&mut self) -> Duration {
        let now_ms = self.clock_ms();
        let mut oldest_ms = now_ms;
        self.breaker.look();
        for (id, lane) in self.shared.lanes.iter() {
            let Some(since_ms) = lane.lock().aboard_ms() else { continue };
            self.breaker.see(id, since_ms);
            oldest_ms = oldest_ms.min(since_ms);
        }
        let open = self.breaker.judge(&self.shared.gates, now_ms);
        if let Some(metrics) = self.shared.metrics.get() {
            metrics.breakers_open.set(open as i64);
            metrics.records.set(self.shared.load.records() as i64);
        }
        self.expire(now_ms.saturating_sub(MESSAGE_TIMEOUT_MS));
        Duration::from_millis(now_ms - oldest_ms)
    }

    /// Refuses what waits behind a silent broker or has waited since before `before_ms`, with all
    /// that waits behind it. What librdkafka has for so long is told to be unknown, and stays: given
    /// up alone it could be overtaken by a later one.
    fn expire(&mut self, before_ms: u64) {
        let shared = Arc::clone(&self.shared);
        for (id, lane) in shared.lanes.iter() {
            let mut lane = lane.lock();
            let late = lane.waiting.oldest_ms().is_some_and(|since_ms| since_ms < before_ms);
            if !late && shared.gates.is_closed(id) {
                continue;
            }
            let words = lane.waiting.words();
            drop(lane);
            tracing::debug!(?id, count = words.len(), "refused before their turn came");
            self.refuse(words);
        }
        for seat in shared.seats.all().iter() {
            seat.overdue(before_ms, |ticket| {
                self.note(seat.number(), ticket, Err(AppendError::Unknown));
            });
        }
        self.post();
    }

    /// Stops sends, and has every record of the instance reported. What was queued was not written;
    /// what was under way may have been. What is on its way to brokers that answer has so long to
    /// land before.
    fn retire(&mut self, landing: Duration) {
        let Some(writer) = self.shared.retire() else { return };
        let deadline = Instant::now() + landing;
        while self.is_landing() && Instant::now() < deadline {
            self.collect(&writer, Duration::from_millis(1));
            self.settle(None);
            self.tick();
        }
        writer.purge();
        let deadline = Instant::now() + PURGE_TIMEOUT;
        while !self.shared.load.is_empty() && Instant::now() < deadline {
            self.collect(&writer, Duration::from_millis(1));
            self.settle(None);
        }
        drop(writer);
        let shared = Arc::clone(&self.shared);
        for (_, lane) in shared.lanes.iter() {
            let mut lane = lane.lock();
            lane.reset();
            let words = lane.waiting.words();
            drop(lane);
            self.refuse(words);
        }
        // A report that did not come by now has nobody left to bring it.
        for seat in shared.seats.all().iter() {
            for flight in seat.abandon() {
                self.tell(seat.number(), flight, Err(AppendError::Unknown));
            }
        }
        self.post();
    }

    fn replace(&self) {
        if let Err(error) = self.shared.replace(&self.config) {
            tracing::error!(%error, "cannot replace the kafka producer, trying again");
            thread::park_timeout(REPLACE_INTERVAL);
        }
    }
}

/// Whether the sender will send the record again, so that nothing may overtake it.
const fn is_retried(outcome: Outcome) -> bool {
    match outcome {
        Ok(_) | Err(AppendError::TooLarge) => false,
        Err(
            AppendError::Full
            | AppendError::Unavailable
            | AppendError::DiskFull
            | AppendError::Unknown,
        ) => true,
    }
}
