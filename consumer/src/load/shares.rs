//! What share of its capacity a lower class may use while a higher one of the same database waits.

use std::time::Instant;

use parking_lot::Mutex;
use shared::position::Class;

/// A share that nobody has repeated for so long is over, s: whoever waits says so twice a second.
pub const SHARE_TTL_S: f64 = 3.0;

/// The least that a class keeps, whatever waits above it, by `class.index()`. Telemetry keeps a tenth.
/// Transactional keeps half: control is a few hundredths of the load, so if half of the database is not
/// enough for it, transactional is not what keeps it waiting, and must not pay for it.
const KEEPS: [f64; Class::ALL.len()] = [1.0, 0.5, 0.1];

/// The shares that are to be obeyed now.
#[derive(Debug)]
pub struct Shares(Mutex<([f64; Class::ALL.len()], Instant)>);

impl Default for Shares {
    fn default() -> Self {
        Self(Mutex::new(([1.0; Class::ALL.len()], Instant::now())))
    }
}

impl Shares {
    /// These hold from now on, by `class.index()`.
    pub fn set(&self, shares: [f64; Class::ALL.len()]) {
        *self.0.lock() = (shares, Instant::now());
    }

    /// The share of a class; all of it where nobody speaks any more.
    pub fn of(&self, class: Class) -> f64 {
        let (shares, at) = *self.0.lock();
        if at.elapsed().as_secs_f64() > SHARE_TTL_S {
            return 1.0;
        }
        let keeps = KEEPS[class.index()];
        let share = shares[class.index()];
        // What is no number asks for nothing.
        if share.is_finite() { share.clamp(keeps, 1.0) } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_keeps_its_least_and_odd_words_ask_for_nothing() {
        let shares = Shares::default();
        let of = || Class::ALL.map(|class| shares.of(class));
        assert_eq!(of(), [1.0; 3]);
        shares.set([0.0, 0.0, 0.0]);
        assert_eq!(of(), [1.0, 0.5, 0.1]);
        shares.set([0.3, 0.7, 0.2]);
        assert_eq!(of(), [1.0, 0.7, 0.2]);
        shares.set([f64::NAN, f64::INFINITY, -1.0]);
        assert_eq!(of(), [1.0, 1.0, 0.1]);
    }
}
