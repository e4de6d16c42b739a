//! On a writer whose service time is known: what is charged leads to the rate of its full batches.

use proptest::prelude::*;

use super::*;
use crate::capacity::{Capacity, CapacityConfig};

/// A writer with a service time of a + b·n that takes what has come meanwhile, up to a full batch.
struct Writer {
    fixed_s: f64,
    per_record_s: f64,
    records_max: u64,
    capacity: Capacity,
    amortiser: Amortiser,
    /// Longest and shortest factor of a batch's time.
    noise: (f64, f64),
    now_s: f64,
    waiting: f64,
    batches: u64,
    /// Batches that said something.
    told: u64,
    /// The time that was charged for full batches and for those that tell, s: the rest only proves an
    /// estimate too low. Where the fixed part is nearly all of a batch's time, only full ones tell.
    told_s: f64,
}

const PRIOR_PER_S: f64 = 20_000.0;

impl Writer {
    fn new(fixed_s: f64, per_record_s: f64, records_max: u64) -> Self {
        let config = CapacityConfig { unit_per_s: PRIOR_PER_S, ..CapacityConfig::default() };
        Self {
            fixed_s,
            per_record_s,
            records_max,
            capacity: Capacity::new(config),
            amortiser: Amortiser::new(records_max),
            noise: (1.0, 1.0),
            now_s: 1.0,
            waiting: 0.0,
            batches: 0,
            told: 0,
            told_s: 0.0,
        }
    }

    /// What a full batch gives, records/s.
    fn true_per_s(&self) -> f64 {
        let records = self.records_max as f64;
        records / (self.fixed_s + self.per_record_s * records)
    }

    fn off(&self) -> f64 {
        (self.capacity.per_s() / self.true_per_s() - 1.0).abs()
    }

    fn run(&mut self, load_per_s: f64, seconds: f64) {
        let until = self.now_s + seconds;
        while self.now_s < until {
            if self.waiting < 1.0 {
                let idle_s = (1.0 - self.waiting) / load_per_s;
                self.now_s += idle_s;
                self.waiting = 1.0;
            }
            let records = (self.waiting as u64).min(self.records_max);
            self.batches += 1;
            let (shortest, longest) = self.noise;
            // The golden ratio's multiples: even, and the same in every run.
            let spread = (self.batches as f64 * 0.618_033_988_75).fract();
            let factor = shortest + (longest - shortest) * spread;
            let busy_s = (self.fixed_s + self.per_record_s * records as f64) * factor;
            self.now_s += busy_s;
            self.waiting += load_per_s * busy_s - records as f64;
            let now = Nanos(0).plus_seconds(self.now_s);
            let busy_ns = (busy_s * 1e9) as u64;
            let batch = BatchTime { records, busy_ns, full: false };
            if let Some(charge) = self.amortiser.charge(&batch, self.capacity.per_s(), now) {
                self.told += 1;
                if records == self.records_max || charge.busy_ns < busy_ns {
                    self.told_s += charge.busy_ns as f64 / 1e9;
                }
                self.capacity.report(charge.records, charge.busy_ns, now);
            }
        }
    }
}

#[test]
fn a_small_batch_is_no_small_capacity() {
    // 4 ms for any batch, 50 µs for each record: 1,000 at a time make 18,500/s, one at a time 247/s.
    let mut writer = Writer::new(0.004, 0.000_05, 1000);
    for load_per_s in [10.0, 100.0, 1_000.0, 4_000.0, 9_000.0] {
        writer.run(load_per_s, 5.0);
        assert!(writer.capacity.per_s() > 0.85 * writer.true_per_s(), "at {load_per_s}/s");
    }
    writer.run(30_000.0, 5.0);
    assert!(writer.off() < 0.02, "{}", writer.capacity.per_s());
    writer.run(10.0, 30.0);
    assert!(writer.off() < 0.10, "{}", writer.capacity.per_s());
}

#[test]
fn where_nothing_tells_the_prior_stays() {
    let mut writer = Writer::new(0.004, 0.000_05, 1000);
    writer.run(50.0, 60.0);
    assert_eq!((writer.capacity.per_s().to_bits(), writer.told), (PRIOR_PER_S.to_bits(), 0));
}

#[test]
fn a_slower_database_is_seen_in_two_seconds() {
    for load in [0.5, 0.8, 1.2, 2.0] {
        let mut writer = Writer::new(0.004, 0.000_05, 1000);
        let load_per_s = load * writer.true_per_s();
        writer.run(load_per_s, 10.0);
        writer.fixed_s /= 0.4;
        writer.per_record_s /= 0.4;
        writer.run(load_per_s, 2.5);
        assert!(writer.off() < 0.25, "at {load}: {}", writer.capacity.per_s());
        writer.run(load_per_s, 2.0);
        assert!(writer.off() < 0.10, "at {load}: {}", writer.capacity.per_s());
    }
}

/// The load is held below an estimate that is far too low: no batch is full, none is several times
/// another.
#[test]
fn an_estimate_that_is_too_low_is_no_trap() {
    let mut writer = Writer::new(0.004, 0.000_05, 1000);
    for _ in 0..40 {
        writer.capacity.report(1_000, 1_000_000_000, Nanos(0).plus_seconds(writer.now_s));
        writer.now_s += 1.0;
    }
    assert!(writer.capacity.per_s() < 1_100.0);
    for _ in 0..120 {
        writer.run(1.2 * writer.capacity.per_s(), 0.5);
    }
    assert!(writer.off() < 0.15, "{}", writer.capacity.per_s());
}

#[test]
fn one_odd_batch_says_nothing() {
    let mut writer = Writer::new(0.001, 0.000_05, 1000);
    writer.run(2_000.0, 5.0);
    let before = writer.capacity.per_s();
    // A commit of a handful of records that waited for somebody else's lock.
    let now = Nanos(0).plus_seconds(writer.now_s);
    let odd = BatchTime { records: 3, busy_ns: 400_000_000, full: false };
    assert_eq!(writer.amortiser.charge(&odd, before, now), None);
}

#[test]
fn broken_counts_and_clocks_are_harmless() {
    let mut amortiser = Amortiser::new(0);
    let mut charge = |records, busy_ns, full, now| {
        amortiser.charge(&BatchTime { records, busy_ns, full }, f64::NAN, Nanos(now))
    };
    assert_eq!(charge(0, 5, true, 9), None);
    assert_eq!(charge(5, 0, true, 9), None);
    for (records, busy_ns) in [(1, 1), (u64::MAX, u64::MAX), (7, u64::MAX), (u64::MAX, 7)] {
        for now in [0, u64::MAX, 5] {
            let charged = charge(records, busy_ns, false, now);
            assert!(charged.is_none_or(|charge| charge.busy_ns > 0 && charge.records > 0));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever the load is and however it comes in bursts: once batches came that tell, the estimate is
    /// the rate of full batches, within a sixth and twice the noise: the line goes through two batches.
    #[test]
    fn the_estimate_is_the_rate_of_full_batches(
        fixed_ms in 0.0_f64..20.0,
        per_record_us in 2.0_f64..500.0,
        records_max in 50_u64..2_000,
        loads in proptest::collection::vec(0.01_f64..2.0, 1..6),
        prior in 0.5_f64..2.0,
        noise in 0.0_f64..0.1,
    ) {
        let mut writer = Writer::new(fixed_ms / 1e3, per_record_us / 1e6, records_max);
        let unit_per_s = prior * writer.true_per_s();
        let config = CapacityConfig { unit_per_s, ..CapacityConfig::default() };
        writer.capacity = Capacity::new(config);
        writer.noise = (1.0 - noise, 1.0 + noise);
        for load in loads {
            let told_s = writer.told_s;
            for _ in 0..30 {
                writer.run(0.02 * load * writer.true_per_s(), 0.3);
                writer.run(load * writer.true_per_s(), 0.7);
            }
            // Enough for the smoothing to have forgotten the prior.
            if writer.told_s > told_s + 3.0 {
                prop_assert!(
                    writer.off() < 0.15 + 2.0 * noise,
                    "at {}: {} is not {}", load, writer.capacity.per_s(), writer.true_per_s()
                );
            }
        }
    }
}
