//! Which message about a limit a replica acts on. One bad message must not open or close the gate.

use std::fmt;

/// The version of the message that this build understands.
pub const VERSION: u16 = 1;
/// A step larger than this, up or down, needs a second message that agrees.
const STEP_MAX: f64 = 20.0;
/// A leap of more epochs, too: each is a change of the owner.
const EPOCHS_MAX: u64 = 1_000;
/// A leap over more messages of one owner, too: half a day at two a second.
const MESSAGES_MAX: u64 = 100_000;

/// What a message says, as far as it is decided on here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LimitMessage {
    /// Of the format.
    pub version: u16,
    /// The sender's fencing epoch: a new owner has a higher one.
    pub epoch: u64,
    /// Counts the sender's messages.
    pub seq: u64,
    /// Events/s; `None`: no limit.
    pub limit_per_s: Option<f64>,
}

/// Why a message changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// A version of another build.
    Version,
    /// Not newer than what is in effect.
    Stale,
    /// Negative, infinite, or no number.
    Malformed,
    /// More than twentyfold: waits for a second one that agrees.
    Unconfirmed,
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "version",
            Self::Stale => "stale",
            Self::Malformed => "malformed",
            Self::Unconfirmed => "unconfirmed",
        })
    }
}

/// What is in effect for one limit.
#[derive(Clone, Debug, Default)]
pub struct Accepted {
    /// Epoch and seq of the message in effect; nothing older counts.
    newest: Option<At>,
    limit_per_s: Option<f64>,
    /// A message was taken at least once, so a step can be measured.
    begun: bool,
    /// A step that waits for its confirmation.
    waiting: Option<(At, Option<f64>)>,
}

/// Epoch and seq.
type At = (u64, u64);

impl Accepted {
    /// Takes a message, or says why not. `admitted_per_s` is what the replica lets in now: what a step
    /// is measured by while there is no limit.
    ///
    /// A message that waits for its confirmation changes nothing, not even what counts as older.
    ///
    /// # Errors
    /// Why nothing changed.
    pub fn take(&mut self, message: &LimitMessage, admitted_per_s: f64) -> Result<(), Ignored> {
        if message.version != VERSION {
            return Err(Ignored::Version);
        }
        if message.limit_per_s.is_some_and(|limit| !(limit.is_finite() && limit >= 0.0)) {
            return Err(Ignored::Malformed);
        }
        let at = (message.epoch, message.seq);
        let again = self.waiting.is_some_and(|(waiting, _)| at == waiting);
        if again || self.newest.is_some_and(|newest| at <= newest) {
            return Err(Ignored::Stale);
        }
        // To lift a limit is the largest step of all.
        let near = match (self.limit_per_s, message.limit_per_s) {
            (None, None) => true,
            (Some(_), None) => false,
            (from, Some(limit)) => is_near(from.unwrap_or(admitted_per_s), limit),
        };
        let believed = !self.begun || (near && self.newest.is_none_or(|from| follows(from, at)));
        let confirmed = self.waiting.is_some_and(|(from, waited)| {
            let agrees = match (waited, message.limit_per_s) {
                (Some(waited), Some(limit)) => is_near(waited, limit),
                (None, None) => true,
                _ => false,
            };
            agrees && follows(from, at)
        });
        if !believed && !confirmed {
            self.waiting = Some((at, message.limit_per_s));
            return Err(Ignored::Unconfirmed);
        }
        (self.newest, self.begun, self.waiting) = (Some(at), true, None);
        self.limit_per_s = message.limit_per_s;
        Ok(())
    }

    /// Nothing newer came for the time a limit is valid: whatever comes next counts, so that one wrong
    /// epoch does not shut its owner out for ever. What is in effect stays, and so does the measure of
    /// a step.
    pub fn expire(&mut self) {
        (self.newest, self.waiting) = (None, None);
    }

    /// The limit in effect.
    pub const fn limit_per_s(&self) -> Option<f64> {
        self.limit_per_s
    }
}

/// Whether `to` may come right after `from`: an owner is replaced now and then, and counts by one.
const fn follows(from: At, to: At) -> bool {
    let (epochs, messages) = (to.0.saturating_sub(from.0), to.1.saturating_sub(from.1));
    epochs <= EPOCHS_MAX && (epochs > 0 || messages <= MESSAGES_MAX)
}

/// Within the step that is believed. One event/s is the smallest rate that counts.
fn is_near(from: f64, to: f64) -> bool {
    let (from, to) = (from.max(1.0), to.max(1.0));
    to <= from * STEP_MAX && from <= to * STEP_MAX
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(epoch: u64, seq: u64, limit_per_s: Option<f64>) -> LimitMessage {
        LimitMessage { version: VERSION, epoch, seq, limit_per_s }
    }

    #[test]
    fn poisoned_messages_change_nothing() {
        let mut accepted = Accepted::default();
        accepted.take(&message(3, 10, Some(1000.0)), 900.0).expect("the first");
        let mut check = |message: LimitMessage, why: Ignored| {
            assert_eq!(accepted.take(&message, 900.0), Err(why), "{message:?}");
            assert_eq!(accepted.limit_per_s(), Some(1000.0));
        };
        check(LimitMessage { version: 2, ..message(9, 1, Some(1.0)) }, Ignored::Version);
        check(message(9, 1, Some(f64::NAN)), Ignored::Malformed);
        check(message(9, 1, Some(f64::INFINITY)), Ignored::Malformed);
        check(message(9, 1, Some(-1.0)), Ignored::Malformed);
        check(message(3, 10, Some(900.0)), Ignored::Stale);
        check(message(2, 99, Some(900.0)), Ignored::Stale);
        check(message(3, 11, Some(1_000_000.0)), Ignored::Unconfirmed);
        accepted.take(&message(3, 12, Some(1100.0)), 900.0).expect("near the one in effect");
        assert_eq!(accepted.limit_per_s(), Some(1100.0));
    }

    #[test]
    fn one_wrong_epoch_shuts_nobody_out() {
        let mut accepted = Accepted::default();
        accepted.take(&message(3, 10, Some(1000.0)), 900.0).expect("the first");
        for poison in [message(u64::MAX, 0, Some(900.0)), message(3, u64::MAX, Some(900.0))] {
            assert_eq!(accepted.take(&poison, 900.0), Err(Ignored::Unconfirmed), "{poison:?}");
            assert_eq!(accepted.take(&poison, 900.0), Err(Ignored::Stale), "its duplicate");
        }
        accepted.take(&message(3, 11, Some(950.0)), 900.0).expect("the owner goes on");
        accepted.take(&message(4, 0, Some(950.0)), 900.0).expect("and its successor");

        let mut poisoned = Accepted::default();
        poisoned.take(&message(u64::MAX, 0, Some(2.0)), 900.0).expect("the first");
        assert_eq!(poisoned.take(&message(3, 11, Some(950.0)), 900.0), Err(Ignored::Stale));
        poisoned.expire();
        assert_eq!(poisoned.take(&message(3, 12, Some(950.0)), 900.0), Err(Ignored::Unconfirmed));
        poisoned.take(&message(3, 13, Some(950.0)), 900.0).expect("confirmed");
        assert_eq!(poisoned.limit_per_s(), Some(950.0));
    }

    #[test]
    fn a_large_step_counts_when_said_twice() {
        let mut accepted = Accepted::default();
        accepted.take(&message(1, 1, Some(100_000.0)), 0.0).expect("the first");
        assert_eq!(accepted.take(&message(1, 2, Some(10.0)), 0.0), Err(Ignored::Unconfirmed));
        assert_eq!(accepted.take(&message(1, 2, Some(10.0)), 0.0), Err(Ignored::Stale));
        accepted.take(&message(1, 3, Some(12.0)), 0.0).expect("confirmed");
        assert_eq!(accepted.limit_per_s(), Some(12.0));
    }

    #[test]
    fn without_a_limit_a_step_is_measured_by_what_is_let_in() {
        let mut accepted = Accepted::default();
        accepted.take(&message(1, 1, None), 50_000.0).expect("the first");
        assert_eq!(accepted.take(&message(1, 2, Some(1.0)), 50_000.0), Err(Ignored::Unconfirmed));
        accepted.take(&message(1, 3, Some(20_000.0)), 50_000.0).expect("near");
        assert_eq!(accepted.take(&message(2, 0, None), 50_000.0), Err(Ignored::Unconfirmed));
        accepted.take(&message(2, 1, None), 50_000.0).expect("said twice, it is lifted");
        assert_eq!(accepted.limit_per_s(), None);
    }

    proptest! {
        #[test]
        fn the_limit_is_always_a_rate(
            messages in proptest::collection::vec(
                (0_u16..3, 0_u64..4, 0_u64..9, proptest::option::of(any::<f64>())), 0..50),
        ) {
            let mut accepted = Accepted::default();
            let mut newest = None;
            for (version, epoch, seq, limit_per_s) in messages {
                let message = LimitMessage { version, epoch, seq, limit_per_s };
                if accepted.take(&message, 100.0).is_ok() {
                    prop_assert!(newest < Some((epoch, seq)));
                    newest = Some((epoch, seq));
                }
                let limit = accepted.limit_per_s().unwrap_or(0.0);
                prop_assert!(limit.is_finite() && limit >= 0.0);
            }
        }
    }
}
