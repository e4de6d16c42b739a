//! What arrives in one step, per tenant and class, and what comes again.

use std::collections::VecDeque;

use crate::random::{Poisson, Random};
use crate::scenario::{STEP_S, Scenario};
use crate::tenants::Population;

/// Events of one step by tenant and class.
pub type Cells = Vec<[f64; 3]>;

/// The source of events.
#[derive(Debug)]
pub struct Arrivals {
    calm: Vec<[Poisson; 3]>,
    spike: Vec<[Poisson; 3]>,
    retry_share: f64,
    /// When what was shed comes again, s.
    again: VecDeque<(f64, Cells)>,
    steps: u64,
}

impl Arrivals {
    /// Of a scenario.
    pub fn new(scenario: &Scenario, population: &Population) -> Self {
        let classes = scenario.load.classes.shares();
        let in_spike = scenario.load.spike_classes.as_ref().map_or(classes, |all| all.shares());
        let of = |rates: &[f64], classes: [f64; 3]| {
            let cells =
                rates.iter().map(|rate| classes.map(|share| Poisson::new(rate * share * STEP_S)));
            cells.collect()
        };
        Self {
            calm: of(&population.base, classes),
            spike: of(&population.spike, in_spike),
            retry_share: scenario.load.retry_share,
            again: VecDeque::new(),
            steps: 0,
        }
    }

    /// First attempts of the step at `now`.
    pub fn fresh(&mut self, scenario: &Scenario, now: f64, random: &mut Random, into: &mut Cells) {
        let load = &scenario.load;
        let half_waves = ((now - load.spike_start_s) / load.square_s).max(0.0) as u64;
        let square_on = load.square_s <= 0.0 || half_waves.is_multiple_of(2);
        let spike = scenario.in_spike(now) && square_on;
        let cells = if spike { &self.spike } else { &self.calm };
        into.clear();
        into.extend(cells.iter().map(|of| of.each_ref().map(|of| random.poisson(of))));
    }

    /// Adds what comes again at `now`.
    pub fn retries(&mut self, now: f64, into: &mut Cells) {
        self.steps += 1;
        while self.again.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, cells)) = self.again.pop_front() else { break };
            for (into, cell) in into.iter_mut().zip(&cells) {
                for (into, events) in into.iter_mut().zip(cell) {
                    *into += events;
                }
            }
        }
    }

    /// Sends a share of what was shed again, after 2 to 4 s.
    pub fn shed(&mut self, now: f64, offered: &Cells, admitted: &Cells) {
        if self.retry_share <= 0.0 {
            return;
        }
        let after = 2.0 + 2.0 * ((self.steps * 7_919 % 100) as f64) / 100.0;
        let cells: Cells = offered
            .iter()
            .zip(admitted)
            .map(|(offered, admitted)| {
                std::array::from_fn(|class| (offered[class] - admitted[class]) * self.retry_share)
            })
            .collect();
        let at = self.again.partition_point(|(due, _)| *due <= now + after);
        self.again.insert(at, (now + after, cells));
    }
}
