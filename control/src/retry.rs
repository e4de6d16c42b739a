//! When whoever was refused should come back: `Retry-After`, in whole seconds.

use crate::number::amount;

/// Nobody is sent away for longer: who has waited five minutes may ask.
const SECONDS_MAX: f64 = 300.0;

/// `after_s` is the bucket's wait, or the wait beyond the setpoint. Rounded up, at least 1 s, and spread
/// over as much again by `jitter` in `[0, 1]`, so that those who were refused together do not come back
/// together.
pub fn after_s(after_s: f64, jitter: f64) -> u32 {
    let least = amount(after_s, 1.0).clamp(1.0, SECONDS_MAX);
    let spread = least * amount(jitter, 0.5).min(1.0);
    let seconds = (least + spread).min(SECONDS_MAX);
    let whole = seconds as u32;
    if f64::from(whole) < seconds { whole + 1 } else { whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_whole_at_least_one_and_spread() {
        assert_eq!(after_s(0.0, 0.0), 1);
        assert_eq!(after_s(0.2, 1.0), 2);
        assert_eq!(after_s(4.1, 0.0), 5);
        assert_eq!(after_s(4.0, 0.5), 6);
        assert_eq!(after_s(1e12, 1.0), 300);
        assert_eq!(after_s(f64::NAN, f64::NAN), 2);
    }
}
