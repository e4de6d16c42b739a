//! How long the writer is busy with one batch, and the waits it owes to others afterwards: to its own
//! rate, and to the higher classes of its database.

use std::time::{Duration, Instant};

use shared::log::Record;
use shared::position::{Class, Offset};

use super::{End, Worker};
use crate::load::gauge::Worked;

/// A wait is at most so long at a time: then the share is asked for again, for it may be over.
const GIVE_WAY_MAX: Duration = Duration::from_secs(2);
/// Less than this is owed until it is more: a timer is no more precise.
const GIVE_WAY_MIN: Duration = Duration::from_millis(2);

/// The time of one batch.
#[derive(Debug)]
pub(super) struct Turn {
    since: Instant,
    /// From here on nothing has failed yet.
    mark: Instant,
    failed: Duration,
    /// How many records make a batch that tells the writer's capacity as it is.
    full: Option<usize>,
}

impl Turn {
    /// Begins then. `full`: so many records are all that a batch takes, or a batch's worth waits behind
    /// them.
    pub(super) fn new(since: Instant, full: Option<usize>) -> Self {
        Self { since, mark: since, failed: Duration::ZERO, full }
    }

    /// From the mark to now nothing was done that counts.
    fn lose(&mut self) {
        let now = Instant::now();
        self.failed += now - self.mark;
        self.mark = now;
    }

    fn busy(&self) -> Duration {
        self.since.elapsed().saturating_sub(self.failed)
    }
}

impl Worker {
    /// After a poll. `waits`: at its begin there was something to poll, so that it was no waiting for
    /// others. One that brings nothing says nothing: what stands between position and end may be no record.
    pub(super) fn turn_begins(
        &mut self,
        polled: Instant,
        waits: bool,
        records: &[Record],
        end: Offset,
    ) {
        let Some(last) = records.last() else { return };
        let since = if waits { polled } else { Instant::now() };
        let behind = usize::try_from(end.0 - last.position.offset.0 - 1).unwrap_or_default();
        let full = records.len() >= self.records_max
            || behind >= self.records_max
            || records.iter().map(Record::size_bytes).sum::<usize>()
                >= self.shared.config.batch_bytes_max;
        self.turn = Turn::new(since, full.then_some(records.len()));
        self.gauge.begins(since);
    }

    /// The store has failed: from the begin of what failed on this is no work.
    pub(super) fn lose_turn(&mut self) {
        self.gauge.failed(self.turn.mark);
        self.turn.lose();
    }

    /// After the wait that a failure brings.
    pub(super) fn turn_goes_on(&mut self) {
        self.turn.lose();
        self.gauge.begins(self.turn.mark);
    }

    /// Waits while the clocks disagree. With records in hand that is an outage.
    pub(super) async fn stand_still(&mut self, records: &[Record]) -> Result<(), End> {
        if records.is_empty() {
            return self.wait().await;
        }
        self.lose_turn();
        self.wait().await?;
        self.turn_goes_on();
        Ok(())
    }

    /// After a commit of so many records: waits for what the writer's own rate asks for, gives way to
    /// higher classes, and tells what the batch took.
    pub(super) async fn rest(&mut self, records: usize) -> Result<(), End> {
        self.gauge.committed(records);
        let rate = self.shared.config.rate_per_s_max;
        let least = rate.map_or(0.0, |rate| records as f64 / f64::from(rate.get()));
        let least = Duration::from_secs_f64(least).saturating_sub(self.turn.busy());
        if !least.is_zero() {
            self.pause(least).await?;
        }
        let busy = self.turn.busy();
        let gave_way = self.give_way(busy).await?;
        let full = self.turn.full == Some(records);
        self.gauge.worked(&Worked { records, busy, gave_way, full });
        // What is left of a poll that was taken in parts is no measure of a batch.
        self.turn = Turn::new(Instant::now(), None);
        Ok(())
    }

    /// Waits as long as the share of this class asks for after so much work; how long it did.
    async fn give_way(&mut self, busy: Duration) -> Result<Duration, End> {
        if self.id.class == Class::Control {
            return Ok(Duration::ZERO);
        }
        let (began, mut gave_way) = (Instant::now(), Duration::ZERO);
        let due = |share: f64| busy.mul_f64(1.0 / share - 1.0);
        let owed = std::mem::take(&mut self.owes);
        loop {
            let share = self.shared.load.shares.of(self.id.class);
            if share >= 1.0 {
                break;
            }
            let left = (due(share) + owed).saturating_sub(gave_way);
            if left < GIVE_WAY_MIN {
                self.owes = left;
                break;
            }
            self.pause(left.min(GIVE_WAY_MAX)).await?;
            gave_way = began.elapsed();
        }
        let counter = &self.shared.metrics.load.gave_way;
        counter.with_label_values(&[self.id.class.name()]).inc_by(gave_way.as_secs_f64());
        Ok(gave_way)
    }
}
