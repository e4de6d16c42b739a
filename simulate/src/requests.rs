//! S14: the real bucket, event by event. A limit of 20,000/s, doubled after 10 s, cut to a fifth after
//! 20 s, with 96,000/s offered.

use control::gcra::{Bucket, Tolerance};
use control::level::Level;
use control::time::Nanos;

use crate::random::{Poisson, Random};

/// Offered by level, events/s.
const OFFERED_PER_S: [f64; Level::COUNT] = [1_920.0, 2_500.0, 4_000.0, 33_980.0, 53_600.0];
/// The limits, 10 s each, events/s.
pub const LIMITS_PER_S: [f64; 3] = [20_000.0, 40_000.0, 8_000.0];
const SLOT_NS: u64 = 1_000_000;
const PHASE_NS: u64 = 10_000_000_000;
const WINDOW_NS: u64 = 100_000_000;
const START_NS: u64 = 1_000_000_000;

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// By limit and level: the share that was let in.
    pub admitted: [[f64; Level::COUNT]; 3],
    /// By limit: let in, events/s.
    pub admitted_per_s: [f64; 3],
    /// By limit: the largest window of 100 ms in the first half second of it, events/s.
    pub window_max_per_s: [f64; 3],
}

/// Runs it with the levels' tolerances, or the same one for all.
pub fn run(tolerance_of: impl Fn(Level) -> Tolerance) -> Outcome {
    let mut random = Random::new(11);
    let arrivals = OFFERED_PER_S.map(|rate| Poisson::new(rate * SLOT_NS as f64 / 1e9));
    let bucket = Bucket::new(Some(LIMITS_PER_S[0]));
    let mut offered = [[0_u32; Level::COUNT]; 3];
    let mut admitted = [[0_u32; Level::COUNT]; 3];
    let mut windows = vec![0_u32; (3 * PHASE_NS / WINDOW_NS) as usize];
    let mut slot = Vec::new();
    for start in (0..3 * PHASE_NS).step_by(SLOT_NS as usize) {
        let phase = (start / PHASE_NS) as usize;
        if start % PHASE_NS == 0 {
            bucket.set_rate(Some(LIMITS_PER_S[phase]));
        }
        slot.clear();
        for (level, arrivals) in Level::ALL.into_iter().zip(&arrivals) {
            for _ in 0..random.poisson(arrivals) as u32 {
                slot.push((start + (random.unit() * SLOT_NS as f64) as u64, level));
            }
        }
        slot.sort_unstable();
        for (at, level) in &slot {
            offered[phase][level.index()] += 1;
            if bucket.admit(1, tolerance_of(*level), Nanos(START_NS + at)).is_ok() {
                admitted[phase][level.index()] += 1;
                windows[(at / WINDOW_NS) as usize] += 1;
            }
        }
    }
    let per_phase = windows.len() / 3;
    let share = |phase: usize, level: usize| {
        f64::from(admitted[phase][level]) / f64::from(offered[phase][level].max(1))
    };
    Outcome {
        admitted: std::array::from_fn(|phase| std::array::from_fn(|level| share(phase, level))),
        admitted_per_s: admitted.map(|levels| f64::from(levels.iter().sum::<u32>()) / 10.0),
        window_max_per_s: std::array::from_fn(|phase| {
            let first = &windows[phase * per_phase..phase * per_phase + 5];
            f64::from(*first.iter().max().unwrap_or(&0)) * 10.0
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_keep_their_order_and_a_new_limit_counts_within_a_window() {
        let levels = run(Tolerance::of);
        for (phase, of) in levels.admitted.iter().enumerate() {
            assert!(of[..2].iter().all(|share| *share > 0.9999), "limit {phase}: {of:?}");
            assert!(of.windows(2).all(|pair| pair[0] >= pair[1]), "limit {phase}: {of:?}");
        }
        assert!(levels.window_max_per_s[1] <= 1.1 * 40_000.0, "{levels:?}");
        assert!(levels.window_max_per_s[2] <= 1.1 * 8_000.0, "{levels:?}");
        // Priority comes from the tolerance alone.
        let equal = run(|level| match level.tolerance_s() {
            None => Tolerance::Always,
            Some(_) => Tolerance::seconds(0.25),
        });
        let [_, rest @ ..] = equal.admitted[0];
        assert!(rest.iter().all(|share| (0.18..0.22).contains(share)), "{equal:?}");
    }
}
