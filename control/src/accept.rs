//! Which message about a limit a replica acts on. One bad message must not open or close the gate.

use std::fmt;

/// The version of the message that this build understands.
pub const VERSION: u16 = 1;
/// A step larger than this, up or down, needs a second message that agrees.
const STEP_MAX: f64 = 20.0;

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
    /// Epoch and seq of the last message that was looked at.
    newest: Option<(u64, u64)>,
    limit_per_s: Option<f64>,
    /// A step that waits for its confirmation.
    waiting: Option<Option<f64>>,
}

impl Accepted {
    /// Takes a message, or says why not. `admitted_per_s` is what the replica lets in now: what a step
    /// is measured by while there is no limit.
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
        if self.newest.is_some_and(|newest| at <= newest) {
            return Err(Ignored::Stale);
        }
        let first = self.newest.replace(at).is_none();
        let from = self.limit_per_s.unwrap_or(admitted_per_s);
        let agrees = |with: Option<f64>| match (with, message.limit_per_s) {
            (Some(with), Some(limit)) => is_near(with, limit),
            (None, None) => true,
            _ => false,
        };
        // To lift a limit is the largest step of all.
        let near = match (self.limit_per_s, message.limit_per_s) {
            (None, None) => true,
            (Some(_), None) => false,
            (_, Some(limit)) => is_near(from, limit),
        };
        if first || near || self.waiting.is_some_and(agrees) {
            self.waiting = None;
            self.limit_per_s = message.limit_per_s;
            return Ok(());
        }
        self.waiting = Some(message.limit_per_s);
        Err(Ignored::Unconfirmed)
    }

    /// The limit in effect.
    pub const fn limit_per_s(&self) -> Option<f64> {
        self.limit_per_s
    }
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
