//! What the ingress's admission of one event costs, with 10,000 tenants, beside `governor`'s keyed
//! limiter: `cargo bench -p ingress --bench admission`.
//!
//! Ours is the whole step of the pipeline: parties, the thread's table of flows, ceiling, contract, fair
//! part, level, mode, the partition's bucket, counters. The reference finds a tenant and takes one
//! event. CPU time of this thread; medians of rounds that take turns, so that a busy machine slows all
//! sides alike.

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::fs;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::Instant;

use governor::clock::MonotonicClock;
use governor::{Quota, RateLimiter};
use ingress::probe::Admissions;

const TENANTS: usize = 10_000;
const DECISIONS: u32 = 200_000;
const ROUNDS: usize = 15;
/// About half of the events are in contract.
const CONTRACT_PER_S: u32 = 500;
/// What is asked of one decision, ns.
const REACH_NS: f64 = 250.0;

fn main() {
    let mut ours = Admissions::new(TENANTS, f64::from(CONTRACT_PER_S));
    let quota = Quota::per_second(NonZeroU32::new(CONTRACT_PER_S).expect("positive"));
    let keyed = RateLimiter::<String, _, _>::dashmap_with_clock(quota, MonotonicClock);
    let names: Vec<String> = (0..TENANTS).map(|tenant| format!("tenant-{tenant:012}")).collect();
    let mut times: [Vec<f64>; 3] = Default::default();
    for round in 0..ROUNDS {
        times[0].push(measure(round, |tenant| ours.prepare(tenant)));
        times[1].push(measure(round, |tenant| ours.decide(tenant, Instant::now())));
        times[2].push(measure(round, |tenant| keyed.check_key(&names[tenant]).is_ok()));
    }
    let [prepared, decided, governor] = times.map(median);
    let own = decided - prepared;
    println!(
        "{TENANTS} tenants, {DECISIONS} decisions a round, median of {ROUNDS} rounds, CPU time"
    );
    println!("governor keyed, DashMap             {governor:>7.1} ns");
    println!(
        "admission of one event              {own:>7.1} ns   {:.2} of governor",
        own / governor
    );
    println!("at most {REACH_NS} ns: {}", if own <= REACH_NS { "reached" } else { "missed" });
}

fn measure(round: usize, mut decide: impl FnMut(usize) -> bool) -> f64 {
    let mut at = round;
    let began = cpu_ns();
    for _ in 0..DECISIONS {
        at = (at + 7_919) % TENANTS;
        black_box(decide(black_box(at)));
    }
    (cpu_ns() - began) / f64::from(DECISIONS)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 2]
}

/// What this thread has run, from the first field of its schedstat: nanoseconds.
fn cpu_ns() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has it");
    let ran = text.split_whitespace().next().and_then(|ran| ran.parse().ok());
    ran.expect("nanoseconds")
}
