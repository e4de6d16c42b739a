//! Priority across pods: the class topics' partitions need not share an owner, but they share a database.

use crate::number::amount;

/// Telemetry keeps this much, whatever waits.
const SHARE_MIN: f64 = 0.1;

/// Up to so many times its objective a partition's wait asks for nothing: a loop that limits holds it at
/// the objective, and what swings around it is no want of the database's time.
const CALM_UP_TO: f64 = 1.5;

/// What share of a shard's telemetry its writers may drain while its worst transactional partition waits
/// `wait_s` and should wait `objective_s` at most: all of it up to one and a half times the objective, less
/// in proportion, a tenth from two and a half times on.
///
/// The owner of that partition publishes it, and the other pods obey. It has no state, so that two owners
/// who see the same say the same; of several the smallest counts.
pub fn telemetry_share(wait_s: f64, objective_s: f64) -> f64 {
    let objective_s = amount(objective_s, 1.0).max(1e-3);
    let over = amount(wait_s, 0.0) / objective_s - CALM_UP_TO;
    (1.0 - over).clamp(SHARE_MIN, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telemetry_gives_way_gradually_and_never_wholly() {
        let check = |wait_s: f64, share: f64| {
            let got = telemetry_share(wait_s, 1.0);
            assert!((got - share).abs() < 1e-9, "{wait_s}: {got}");
        };
        check(0.0, 1.0);
        check(1.5, 1.0);
        check(2.0, 0.5);
        check(2.5, 0.1);
        check(1e9, 0.1);
        check(f64::NAN, 1.0);
        assert!((telemetry_share(3.0, f64::NAN) - 0.1).abs() < 1e-9);
    }
}
