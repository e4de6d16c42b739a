//! S8: one hot partition among 64. A loop per partition limits its own tenants; a global loop sheds
//! everybody's events.

use std::collections::VecDeque;

use control::profile::Policy;
use control::signal::Measured;
use control::tick::{Inputs, PERIOD_S, PartitionLoop};

use crate::consumers::nanos;
use crate::random::{Poisson, Random};
use crate::scenario::STEP_S;

const PARTITIONS: usize = 64;
const EACH_PER_S: f64 = 20_000.0 / PARTITIONS as f64;
const SECONDS: u32 = 240;
const APPLY_DELAY_S: f64 = 0.5;
const BURST_S: f64 = 0.1;

/// What the loop looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// One loop on the mean drain time.
    GlobalMean,
    /// One loop on the longest drain time.
    GlobalWorst,
    /// A loop per partition.
    Each,
}

/// What came of it. Shares from 0 to 1, times in s.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The hot partition's longest drain time.
    pub hot_lag_s: f64,
    /// What of its events was shed.
    pub hot_shed: f64,
    /// What of the others' events was shed.
    pub innocent_shed: f64,
    /// Their longest drain time.
    pub innocent_lag_s: f64,
}

struct Partition {
    calm: Poisson,
    hot: Poisson,
    backlog: f64,
    tokens: f64,
    rate: f64,
    offered: f64,
    admitted: f64,
    lag_max_s: f64,
}

/// Runs it: 70 % load everywhere, and six times its capacity on the first partition for 120 s.
pub fn run(view: View) -> Outcome {
    let mut random = Random::new(3);
    let at = |share: f64| Poisson::new(share * EACH_PER_S * STEP_S);
    let partition = |hot: f64| Partition {
        calm: at(0.7),
        hot: at(hot),
        backlog: 0.0,
        tokens: 0.0,
        rate: 0.0,
        offered: 0.0,
        admitted: 0.0,
        lag_max_s: 0.0,
    };
    let mut all: Vec<Partition> =
        (0..PARTITIONS).map(|one| partition(if one == 0 { 6.0 } else { 0.7 })).collect();
    let count = if view == View::Each { PARTITIONS } else { 1 };
    let unit = EACH_PER_S * PARTITIONS as f64 / count as f64;
    let mut loops = vec![PartitionLoop::new(Policy::shared_topic(), unit); count];
    let mut limits = vec![None; count];
    let mut way = VecDeque::new();
    let mut shared_tokens = 0.0;
    let every = (PERIOD_S / STEP_S + 0.5) as u32;
    for step in 0..(f64::from(SECONDS) / STEP_S + 0.5) as u32 {
        let now = f64::from(step) * STEP_S;
        while way.front().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, newer)) = way.pop_front() {
                limits = newer;
            }
        }
        let hot = (30.0..150.0).contains(&now);
        let offered: Vec<f64> =
            all.iter().map(|one| random.poisson(if hot { &one.hot } else { &one.calm })).collect();
        let shares = match view {
            View::Each => all.iter_mut().zip(&offered).zip(&limits).map(bucket).collect(),
            View::GlobalMean | View::GlobalWorst => {
                let share = taken(&mut shared_tokens, limits[0], offered.iter().sum());
                vec![share; PARTITIONS]
            }
        };
        for ((one, offered), share) in all.iter_mut().zip(&offered).zip(shares) {
            one.serve(*offered, offered * share);
        }
        if step % every == 0 {
            let inputs = inputs(view, &all);
            let stepped = loops.iter_mut().zip(&inputs);
            let newer = stepped.map(|(tick, inputs)| tick.step(inputs, nanos(now)).limit_per_s);
            way.push_back((now + APPLY_DELAY_S, newer.collect()));
        }
    }
    outcome(&all)
}

impl Partition {
    fn serve(&mut self, offered: f64, admitted: f64) {
        self.rate += control::number::weight(STEP_S, 1.0) * (offered / STEP_S - self.rate);
        self.offered += offered;
        self.admitted += admitted;
        self.backlog = (self.backlog + admitted - EACH_PER_S * STEP_S).max(0.0);
        self.lag_max_s = self.lag_max_s.max(self.backlog / EACH_PER_S);
    }
}

fn bucket(((one, offered), limit): ((&mut Partition, &f64), &Option<f64>)) -> f64 {
    taken(&mut one.tokens, *limit, *offered)
}

/// The share of `offered` that the bucket lets in.
fn taken(tokens: &mut f64, limit: Option<f64>, offered: f64) -> f64 {
    let Some(limit) = limit else { return 1.0 };
    *tokens = (*tokens + limit * STEP_S).min(limit * BURST_S + 1.0);
    let admitted = offered.min(*tokens);
    *tokens -= admitted;
    if offered > 0.0 { admitted / offered } else { 1.0 }
}

fn inputs(view: View, all: &[Partition]) -> Vec<Inputs> {
    let of = |backlog: f64, capacity_per_s: f64, offered_per_s: f64| Inputs {
        measured: Measured { backlog, capacity_per_s, ..Measured::default() },
        offered_per_s,
        admitted_per_s: offered_per_s,
        ..Inputs::default()
    };
    let total = EACH_PER_S * PARTITIONS as f64;
    let offered: f64 = all.iter().map(|one| one.rate).sum();
    match view {
        View::Each => all.iter().map(|one| of(one.backlog, EACH_PER_S, one.rate)).collect(),
        View::GlobalMean => vec![of(all.iter().map(|one| one.backlog).sum(), total, offered)],
        View::GlobalWorst => {
            let worst = all.iter().map(|one| one.backlog).fold(0.0, f64::max);
            vec![of(worst * PARTITIONS as f64, total, offered)]
        }
    }
}

fn outcome(all: &[Partition]) -> Outcome {
    let shed = |some: &[Partition]| {
        let sums =
            some.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.offered, sum.1 + one.admitted));
        1.0 - sums.1 / sums.0
    };
    let (hot, others) = all.split_at(1);
    Outcome {
        hot_lag_s: hot[0].lag_max_s,
        hot_shed: shed(hot),
        innocent_shed: shed(others),
        innocent_lag_s: others.iter().map(|one| one.lag_max_s).fold(0.0, f64::max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hot_partition_limits_its_own_tenants_only() {
        let each = run(View::Each);
        assert!(each.innocent_shed < 0.0005, "{each:?}");
        assert!(each.hot_lag_s < 1.0, "{each:?}");
        for view in [View::GlobalMean, View::GlobalWorst] {
            let global = run(view);
            assert!(global.innocent_shed > 0.35, "{view:?}: {global:?}");
        }
    }
}
