//! The control plane on Kafka: words and changes to records and back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ears::Ears;
use super::message::{Envelope, Live, VERSION};
use super::state::{Change, State};
use super::{Heard, PlaneError, decode};
use crate::clock::{Clock, Millis};
use crate::health::Health;
use crate::log::kafka::{ControlRecord, ControlTopics, KafkaConfig, KafkaError, Unsent};

/// What is older, or seems so by a clock that has jumped, counts as this old.
const AGE_MAX: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Remote(ControlTopics);

impl Remote {
    pub(super) fn start(
        from: &str,
        config: &KafkaConfig,
        clock: Clock,
        health: &Health,
        ears: &Arc<Ears>,
    ) -> Result<Self, KafkaError> {
        let failed = ears.metrics.dropped.with_label_values(&["failed"]);
        let mut ear = Ear::new(from, Arc::clone(ears));
        let topics =
            ControlTopics::start(config, clock, health, failed, move |record| ear.hear(record))?;
        Ok(Self(topics))
    }

    /// Never waits.
    pub(super) fn publish(&self, from: &str, live: Live, ears: &Ears) {
        let at_ms = ears.clock.now().0;
        let word = Envelope { v: VERSION, from: from.to_owned(), at_ms, live };
        let text = serde_json::to_vec(&word).expect("words are structs of texts and numbers");
        let Err(why) = self.0.publish(from, &text) else { return };
        let reason = match why {
            Unsent::Full => "full",
            Unsent::TooLong => "too_long",
            Unsent::Failed => "failed",
        };
        ears.metrics.dropped.with_label_values(&[reason]).inc();
    }

    /// Returns when this process has read them back.
    pub(super) async fn change(&self, changes: Vec<Change>) -> Result<(), PlaneError> {
        let record = |change: Change| {
            let value = change.entry.as_ref().map(serde_json::to_vec);
            let value = value.transpose().expect("entries are structs of texts and numbers");
            (change.subject.to_string(), value.unwrap_or_default())
        };
        let records = changes.into_iter().map(record).collect();
        let changed = self.0.change(records).await;
        changed.map_err(|error| PlaneError::Unavailable(error.to_string()))
    }
}

/// On the reading thread.
struct Ear {
    /// Who we are to the others.
    us: Arc<str>,
    ears: Arc<Ears>,
    /// The state as far as it was read, until its end is reached.
    reading: Option<State>,
    /// How far the broker's clock is ahead of ours at most, ms: what our own newest word has told. Without
    /// it the words of a process whose clock is off would all be stale, or none of them.
    ahead_ms: i64,
}

impl Ear {
    fn new(us: &str, ears: Arc<Ears>) -> Self {
        Self { us: Arc::from(us), ears, reading: None, ahead_ms: 0 }
    }

    fn hear(&mut self, record: ControlRecord<'_>) {
        match record {
            ControlRecord::StateBegins => self.reading = Some(State::default()),
            ControlRecord::State { key, value } => self.state(key, value),
            ControlRecord::StateRead => {
                let Some(state) = self.reading.take() else { return };
                let entries = state.at(self.ears.clock.now()).count();
                tracing::info!(entries, "what operators have set was read");
                self.ears.state.send_replace(Arc::new(state));
            }
            ControlRecord::Live { value, sent } => match decode::live(value) {
                Ok(word) => self.live(word, sent),
                Err(reason) => self.ears.ignore("live", reason),
            },
        }
    }

    fn live(&mut self, word: Envelope, sent: Option<Millis>) {
        // By our own clock at its sending and the broker's at its arrival: the way there is in it.
        if let (true, Some(Millis(sent))) = (word.from == *self.us, sent) {
            self.ahead_ms = sent.saturating_sub(word.at_ms);
        }
        let Millis(now) = self.ears.clock.now();
        let brokers = Millis(now.saturating_add(self.ahead_ms));
        self.ears.hear(Heard {
            from: Arc::from(word.from),
            at: Instant::now(),
            age: age(sent, brokers),
            live: word.live,
        });
    }

    fn state(&mut self, key: &[u8], value: &[u8]) {
        let change = match decode::change(key, value) {
            Ok(change) => change,
            Err(reason) => return self.ears.ignore("state", reason),
        };
        let Some(reading) = &mut self.reading else { return self.ears.take(change) };
        match reading.apply(change, self.ears.clock.now()) {
            Ok(()) => self.ears.metrics.heard.with_label_values(&["state"]).inc(),
            Err(reason) => self.ears.ignore("state", reason),
        }
    }
}

fn age(sent: Option<Millis>, now: Millis) -> Duration {
    let ms = sent.map_or(0, |Millis(sent)| now.0.saturating_sub(sent));
    Duration::from_millis(u64::try_from(ms).unwrap_or(0)).min(AGE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The age of another's word that the broker had 50 ms ago, where our clock is so far off.
    fn age_with_a_clock_ahead_by(ahead_ms: i64, heard_ourselves: bool) -> Duration {
        let clock = Clock::manual(Millis(1_000_000 + ahead_ms));
        let metrics = super::super::PlaneMetrics::new(&crate::metrics::Registry::new());
        let ears = Arc::new(Ears::new(clock, metrics, State::default()));
        let mut words = ears.live.subscribe();
        let mut ear = Ear::new("us", ears);
        let mut hear = |from: &str, at_ms: i64, sent: i64| {
            let live = Live::Demand(super::super::message::Demand::default());
            let word = Envelope { v: VERSION, from: from.to_owned(), at_ms, live };
            let value = serde_json::to_vec(&word).expect("written");
            ear.hear(ControlRecord::Live { value: &value, sent: Some(Millis(sent)) });
            words.try_recv().expect("heard").age
        };
        if heard_ourselves {
            hear("us", 999_900 + ahead_ms, 999_900);
        }
        hear("them", 0, 999_950)
    }

    #[test]
    fn our_own_words_tell_how_the_clocks_differ() {
        for ahead_ms in [0, 7_000, -7_000, 290_000] {
            let age = age_with_a_clock_ahead_by(ahead_ms, true);
            assert_eq!(age, Duration::from_millis(50), "{ahead_ms} ms ahead");
        }
        assert_eq!(age_with_a_clock_ahead_by(0, false), Duration::from_millis(50));
        assert_eq!(age_with_a_clock_ahead_by(7_000, false), Duration::from_millis(7_050));
    }

    #[test]
    fn ages_are_bounded_whatever_the_clocks_say() {
        let check = |sent: Option<i64>, expected_ms: u64| {
            assert_eq!(age(sent.map(Millis), Millis(5_000)), Duration::from_millis(expected_ms));
        };
        check(Some(4_960), 40);
        check(Some(5_001), 0);
        check(Some(-1), 5_001);
        check(Some(i64::MIN), 10_000);
        check(Some(i64::MAX), 0);
        check(None, 0);
    }
}
