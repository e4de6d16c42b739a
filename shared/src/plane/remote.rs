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

/// What is older, or seems so by clocks that differ, counts as this old.
const AGE_MAX: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Remote(ControlTopics);

impl Remote {
    pub(super) fn start(
        config: &KafkaConfig,
        clock: Clock,
        health: &Health,
        ears: &Arc<Ears>,
    ) -> Result<Self, KafkaError> {
        let failed = ears.metrics.dropped.with_label_values(&["failed"]);
        let mut ear = Ear { ears: Arc::clone(ears), reading: None };
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
    ears: Arc<Ears>,
    /// The state as far as it was read, until its end is reached.
    reading: Option<State>,
}

impl Ear {
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
                Ok(word) => self.ears.hear(Heard {
                    from: Arc::from(word.from),
                    at: Instant::now(),
                    age: age(sent, self.ears.clock.now()),
                    live: word.live,
                }),
                Err(reason) => self.ears.ignore("live", reason),
            },
        }
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
