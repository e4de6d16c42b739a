//! What one admission decision costs beside `governor`'s keyed limiter, with 10,000 tenants:
//! `cargo bench -p control --bench decision`.
//!
//! Both find the tenant by its name in a map and take one event from its bucket; ours then takes it
//! from the partition's bucket too, as the ingress does. The clock is read once per decision on both
//! sides. Medians of rounds that take turns, so that a busy machine slows all sides alike.

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::collections::HashMap;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::Instant;

use control::gcra::{Bucket, Tolerance};
use control::level::{Class, Colour, Level, ShedOrder};
use control::time::Nanos;
use governor::clock::MonotonicClock;
use governor::{Quota, RateLimiter};

const TENANTS: u32 = 10_000;
const DECISIONS: u32 = 400_000;
const ROUNDS: usize = 15;
/// Each tenant's contract: about half of the events are inside.
const CONTRACT_PER_S: u32 = 500;

type Side<'a> = (&'static str, Box<dyn FnMut(&str) -> bool + 'a>);

fn main() {
    let names: Vec<String> = (0..TENANTS).map(|tenant| format!("tenant-{tenant:012}")).collect();
    let started = Instant::now();
    let now = || Nanos(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));

    let contracts: HashMap<&str, Bucket> = names
        .iter()
        .map(|name| (name.as_str(), Bucket::new(Some(f64::from(CONTRACT_PER_S)))))
        .collect();
    let partition = Bucket::new(Some(2_000_000.0));
    let alone = Bucket::new(Some(2_000_000.0));
    let quota = Quota::per_second(NonZeroU32::new(CONTRACT_PER_S).expect("positive"));
    let keyed = RateLimiter::<String, _, _>::dashmap_with_clock(quota, MonotonicClock);
    let own: Vec<String> = names.clone();
    let decide = |name: &str| {
        let now = now();
        let contract = &contracts[name];
        let colour = match contract.admit(1, Tolerance::seconds(1.0), now) {
            Ok(_) => Colour::InContract,
            Err(_) => Colour::Excess,
        };
        let level = Level::of(Class::Transactional, colour, ShedOrder::ContractFirst);
        partition.admit(1, Tolerance::of(level), now).is_ok()
    };
    let mut next = 0_usize;
    let mut sides: [Side<'_>; 5] = [
        ("the clock and nothing else", Box::new(|_| now().0 > 0)),
        (
            "one bucket, no map",
            Box::new(|_| alone.admit(1, Tolerance::seconds(0.25), now()).is_ok()),
        ),
        (
            "tenant's bucket by name",
            Box::new(|name| contracts[name].admit(1, Tolerance::seconds(1.0), now()).is_ok()),
        ),
        ("whole decision: colour, level, partition", Box::new(decide)),
        (
            "governor keyed, DashMap",
            Box::new(move |_| {
                // It wants a key of the map's own type; the name is not made for it again.
                next = (next + 7_919) % own.len();
                keyed.check_key(&own[next]).is_ok()
            }),
        ),
    ];

    let mut times = vec![Vec::new(); sides.len()];
    for round in 0..ROUNDS {
        for (side, (_, decide)) in sides.iter_mut().enumerate() {
            let mut at = round;
            let began = Instant::now();
            for _ in 0..DECISIONS {
                at = (at + 7_919) % names.len();
                black_box(decide(black_box(&names[at])));
            }
            times[side].push(began.elapsed().as_secs_f64() * 1e9 / f64::from(DECISIONS));
        }
    }
    let names: Vec<&str> = sides.iter().map(|(name, _)| *name).collect();
    report(&names, times);
}

/// Medians, and their ratio to the last side's.
fn report(sides: &[&str], mut times: Vec<Vec<f64>>) {
    for side in &mut times {
        side.sort_by(f64::total_cmp);
    }
    let median = |side: usize| times[side][ROUNDS / 2];
    let reference = median(sides.len() - 1);
    println!("{TENANTS} tenants, {DECISIONS} decisions a round, median of {ROUNDS} rounds");
    for (side, name) in sides.iter().enumerate() {
        let (cost, ratio) = (median(side), median(side) / reference);
        println!("{name:<42} {cost:>7.1} ns   {ratio:>5.2} of governor");
    }
    println!("bytes per tenant, without its name: {}", size_of::<Bucket>());
}
