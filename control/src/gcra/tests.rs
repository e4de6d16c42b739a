//! The bucket against an exact model, and what a change of rate, a batch and a clock do to it.

use proptest::prelude::*;

use super::*;

const NOW: Nanos = Nanos(1_000_000_000_000);
const DEPTH: Tolerance = Tolerance::Nanos(250_000_000);

fn at(millis: u64) -> Nanos {
    Nanos(NOW.0 + millis * 1_000_000)
}

/// How many of `offered_per_s` evenly spaced single events pass between two times, ms.
fn passed(bucket: &Bucket, offered_per_s: u64, from_ms: u64, to_ms: u64) -> u64 {
    let step = 1_000_000_000 / offered_per_s;
    let count = (to_ms - from_ms) * 1_000_000 / step;
    let events = (0..count).map(|event| Nanos(at(from_ms).0 + event * step));
    events.filter(|now| bucket.admit(1, DEPTH, *now).is_ok()).count() as u64
}

#[test]
fn the_rate_is_kept_and_the_depth_is_a_time() {
    let bucket = Bucket::new(Some(1_000.0));
    let first = passed(&bucket, 10_000, 0, 1_000);
    assert!((1_249..=1_251).contains(&first), "{first}");
    let second = passed(&bucket, 10_000, 1_000, 2_000);
    assert!((999..=1_001).contains(&second), "{second}");
}

#[test]
fn a_new_rate_counts_at_once_and_refills_nothing() {
    let bucket = Bucket::new(Some(20_000.0));
    passed(&bucket, 96_000, 0, 1_000);
    bucket.set_rate(Some(40_000.0));
    let up = passed(&bucket, 96_000, 1_000, 1_100);
    assert!((3_990..=4_010).contains(&up), "{up}");
    bucket.set_rate(Some(8_000.0));
    // No window of 100 ms lets in more than a tenth over the new limit, and none is dark.
    for window in 0..20 {
        let down = passed(&bucket, 96_000, 1_100 + window * 100, 1_200 + window * 100);
        assert!((790..=880).contains(&down), "window {window}: {down}");
    }
}

#[test]
fn priority_comes_from_the_tolerance() {
    let bucket = Bucket::new(Some(1_000.0));
    let mut by_level = [0_u32; Level::COUNT];
    for event in 0..50_000_u64 {
        // 5,000/s, a fifth of each level, in turn; after the first second the depth is used.
        let level = Level::ALL[usize::try_from(event % 5).expect("small")];
        let now = Nanos(NOW.0 + event * 200_000);
        if bucket.admit(1, Tolerance::of(level), now).is_ok() && event >= 5_000 {
            by_level[level.index()] += 1;
        }
    }
    let [control, rest @ ..] = by_level;
    assert_eq!(control, 9_000);
    assert_eq!(rest.iter().sum::<u32>(), 0, "control has used all there is: {rest:?}");
    let half = Bucket::new(Some(2_500.0));
    let mut by_level = [0_u32; Level::COUNT];
    for event in 0..50_000_u64 {
        let level = Level::ALL[usize::try_from(event % 5).expect("small")];
        let now = Nanos(NOW.0 + event * 200_000);
        if half.admit(1, Tolerance::of(level), now).is_ok() && event >= 5_000 {
            by_level[level.index()] += 1;
        }
    }
    assert_eq!(&by_level[..2], [9_000, 9_000], "{by_level:?}");
    assert!((4_400..=4_600).contains(&by_level[2]), "{by_level:?}");
    assert_eq!(&by_level[3..], [0, 0], "{by_level:?}");
}

#[test]
fn a_batch_goes_into_debt_and_an_oversized_one_passes_in_part() {
    let bucket = Bucket::new(Some(100.0));
    assert_eq!(bucket.admit(150, DEPTH, NOW).map(|permit| permit.events), Ok(150));
    assert_eq!(bucket.ahead_ns(NOW), 1_500_000_000);
    let refused = bucket.admit(1, DEPTH, NOW).expect_err("in debt");
    assert_eq!(refused.wait_ns, Some(1_250_000_001));
    assert!(bucket.admit(1, DEPTH, Nanos(NOW.0 + 1_250_000_001)).is_ok());
    let other = Bucket::new(Some(100.0));
    assert_eq!(other.admit(100_000, DEPTH, NOW).map(|permit| permit.events), Ok(200));
    let slow = Bucket::new(Some(0.4));
    assert_eq!(slow.admit(9, DEPTH, NOW).map(|permit| permit.events), Ok(1));
}

#[test]
fn what_is_given_back_can_be_taken_again() {
    let bucket = Bucket::new(Some(100.0));
    let permit = bucket.admit(50, DEPTH, NOW).expect("there is room");
    bucket.set_rate(Some(1_000.0));
    bucket.give_back(permit, 20);
    assert_eq!(bucket.ahead_ns(NOW), 300_000_000, "at what was charged, not at the new rate");
    bucket.give_back(permit, 1_000);
    assert_eq!(bucket.ahead_ns(NOW), 0);
}

#[test]
fn open_closed_and_absurd_rates() {
    let check = |per_s: Option<f64>, passes: bool| {
        let bucket = Bucket::new(per_s);
        for _ in 0..3 {
            assert_eq!(bucket.admit(1, Tolerance::Nanos(0), NOW).is_ok(), passes, "{per_s:?}");
            if per_s.is_some_and(|rate| rate > 0.0 && rate < 1e10) {
                break;
            }
        }
        assert!(bucket.admit(1, Tolerance::Always, NOW).is_ok());
    };
    check(None, true);
    check(Some(0.0), false);
    check(Some(-5.0), false);
    check(Some(f64::NAN), false);
    check(Some(1e-300), false);
    let refused = Bucket::new(Some(0.0)).admit(1, DEPTH, NOW).expect_err("closed");
    assert_eq!(refused.wait_ns, None);
    let fast = Bucket::new(Some(f64::INFINITY));
    assert!((0..1_000).all(|_| fast.admit(1, DEPTH, NOW).is_ok()));
}

#[test]
fn a_clock_that_is_set_back_closes_nothing_for_long() {
    let bucket = Bucket::new(Some(1_000.0));
    passed(&bucket, 10_000, 0, 1_000);
    let earlier = |seconds: u64| Nanos(NOW.0 - 600_000_000_000 + seconds * 1_000_000_000);
    assert!(bucket.admit(1, DEPTH, earlier(0)).is_err());
    // The debt is cut to the most there can be, and from there runs off by the new clock.
    assert!(bucket.admit(1, Tolerance::Always, earlier(0)).is_ok());
    assert!(bucket.admit(1, DEPTH, earlier(4)).is_ok());
    assert!(
        bucket.admit(1, DEPTH, Nanos(u64::MAX)).is_err() || bucket.ahead_ns(NOW) <= AHEAD_NS_MAX
    );
}

#[test]
fn a_bucket_is_two_words() {
    assert_eq!(size_of::<Bucket>(), 16);
}

/// The model: tokens in exact integers of sixteenths of a nanosecond.
struct Model {
    tat: u128,
    cost: u128,
}

impl Model {
    fn admit(&mut self, events: u32, tolerance_ns: u64, now: Nanos) -> u32 {
        let now = u128::from(now.0) * 16;
        let from = self.tat.max(now);
        if from >= now + u128::from(tolerance_ns) * 16 {
            return 0;
        }
        let most = (u128::from(BATCH_NS_MAX) * 16 / self.cost).max(1);
        let events = u128::from(events).min(most);
        self.tat = from + events * self.cost;
        u32::try_from(events).expect("at most what was asked")
    }
}

proptest! {
    #[test]
    fn it_does_what_the_exact_model_does(
        steps in proptest::collection::vec(
            (0_u64..400_000_000, 1_u32..300, 0_u64..300_000_000, 1_u32..200_000),
            1..200,
        ),
    ) {
        let bucket = Bucket::new(Some(1_000.0));
        let mut model = Model { tat: 0, cost: u128::from(cost_of(Some(1_000.0))) };
        let mut now = NOW;
        for (wait, events, tolerance, rate) in steps {
            now = Nanos(now.0 + wait);
            bucket.set_rate(Some(f64::from(rate)));
            model.cost = u128::from(cost_of(Some(f64::from(rate))));
            let got = bucket.admit(events, Tolerance::Nanos(tolerance), now);
            let expected = model.admit(events, tolerance, now);
            prop_assert_eq!(got.map_or(0, |permit| permit.events), expected);
        }
    }

    #[test]
    fn no_window_lets_in_more_than_its_time_and_the_depth(
        gaps in proptest::collection::vec(0_u64..3_000_000, 10..400),
        rate in 100_u32..100_000,
    ) {
        let bucket = Bucket::new(Some(f64::from(rate)));
        let mut now = NOW;
        let mut times = Vec::new();
        for gap in gaps {
            now = Nanos(now.0 + gap);
            if bucket.admit(1, Tolerance::of(Level::ALL[4]), now).is_ok() {
                times.push(now);
            }
        }
        for (first, start) in times.iter().enumerate() {
            for (last, end) in times.iter().enumerate().skip(first) {
                let count = (last - first + 1) as f64;
                let most = f64::from(rate) * (end.seconds_since(*start) + 0.1) + 1.0;
                prop_assert!(count <= most + 1e-3, "{count} of {most}");
            }
        }
    }
}

/// A replica's part of a slow partition's limit is a few events a second. What comes at random, at about
/// that rate, must still get about all of it.
#[test]
fn a_slow_bucket_is_used_up_by_what_comes_at_random() {
    let used = |level: usize, limit_per_s: f64| {
        let bucket = Bucket::new(Some(limit_per_s));
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let (seconds, mut admitted) = (2_000_u64, 0_u32);
        for millisecond in 0..seconds * 1_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let comes = (random >> 11) as f64 / ((1_u64 << 53) as f64) < limit_per_s * 1.05 / 1e3;
            let now = Nanos::from_millis(1_000_000 + millisecond);
            let tolerance = Tolerance::of(Level::ALL[level]);
            if comes && bucket.admit(1, tolerance, now).is_ok() {
                admitted += 1;
            }
        }
        f64::from(admitted) / (limit_per_s * seconds as f64)
    };
    for (limit_per_s, least) in [(1_000.0, 0.99), (20.0, 0.95), (8.0, 0.80)] {
        for level in [3, 4] {
            let used = used(level, limit_per_s);
            assert!(used >= least, "level {level} at {limit_per_s}/s: {used}");
        }
    }
}

#[test]
fn a_slow_bucket_admits_one_in_its_time_and_no_more() {
    let bucket = Bucket::new(Some(0.1));
    let second = Tolerance::seconds(1.0);
    let mut admitted = 0;
    for tenth in 0..1_000 {
        let now = Nanos::from_millis(1_000_000 + 100 * tenth);
        admitted += u32::from(bucket.admit(1, second, now).is_ok());
    }
    assert!((10..=11).contains(&admitted), "a tenth a second over 100 s: {admitted}");
}
