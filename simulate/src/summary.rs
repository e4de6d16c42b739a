//! The figures of a run, counted step by step.

use control::fair::{Alpha, Demand, jain};
use control::level::Class;

use crate::arrivals::Cells;
use crate::scenario::{STEP_S, Scenario};
use crate::tenants::Population;

/// The figures. Shares are from 0 to 1, times in s; "back" times count from the start of the spike.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Largest age of the oldest record, from the spike on, by class.
    pub lag_max_s: [f64; 3],
    /// Time with an age above 1 s, by class.
    pub over_1_s: [f64; 3],
    /// When the age was above 1 s for the last time, by class.
    pub back_s: [f64; 3],
    /// Processed over capacity, while more was offered than capacity.
    pub goodput: f64,
    /// Share of the spike's events that were shed.
    pub shed: f64,
    /// By class.
    pub shed_by_class: [f64; 3],
    /// Of the tenants that stayed calm.
    pub shed_calm: f64,
    /// Of the rogue one.
    pub shed_rogue: f64,
    /// How evenly the tenants' entitlements were met.
    pub jain: f64,
    /// Standard deviation over mean of the limit, in the spike's last 120 s.
    pub limit_cv: f64,
    /// Most events that waited.
    pub backlog_max: f64,
    /// Most consumers.
    pub consumers_max: u32,
}

/// Counts.
#[derive(Debug)]
pub struct Meter {
    summary: Summary,
    offered: Cells,
    admitted: Cells,
    used: f64,
    available: f64,
    /// Events that could be served in the spike.
    capacity: f64,
    spike_s: f64,
    limits: Vec<f64>,
}

/// What the meter sees of a step.
#[derive(Debug)]
pub struct Seen<'a> {
    /// s.
    pub now: f64,
    /// First attempts.
    pub fresh: &'a Cells,
    /// Let in.
    pub admitted: &'a Cells,
    /// First attempts and retries, events.
    pub offered: f64,
    /// Age by class.
    pub lag_s: [f64; 3],
    /// Events/s.
    pub capacity_per_s: f64,
    /// Events.
    pub done: f64,
    /// Events.
    pub backlog: f64,
    /// Events/s.
    pub limit_per_s: Option<f64>,
    /// There now.
    pub consumers: u32,
}

impl Meter {
    /// For so many tenants.
    pub fn new(tenants: usize) -> Self {
        Self {
            summary: Summary::default(),
            offered: vec![[0.0; 3]; tenants],
            admitted: vec![[0.0; 3]; tenants],
            used: 0.0,
            available: 0.0,
            capacity: 0.0,
            spike_s: 0.0,
            limits: Vec::new(),
        }
    }

    /// Counts a step.
    pub fn step(&mut self, scenario: &Scenario, seen: &Seen<'_>) {
        let load = &scenario.load;
        let summary = &mut self.summary;
        if seen.now >= load.spike_start_s {
            for (class, lag_s) in seen.lag_s.into_iter().enumerate() {
                summary.lag_max_s[class] = summary.lag_max_s[class].max(lag_s);
                if lag_s > 1.0 {
                    summary.over_1_s[class] += STEP_S;
                    summary.back_s[class] = seen.now - load.spike_start_s;
                }
            }
        }
        summary.backlog_max = summary.backlog_max.max(seen.backlog);
        summary.consumers_max = summary.consumers_max.max(seen.consumers);
        if !scenario.in_spike(seen.now) {
            return;
        }
        self.capacity += seen.capacity_per_s * STEP_S;
        self.spike_s += STEP_S;
        add(&mut self.offered, seen.fresh);
        add(&mut self.admitted, seen.admitted);
        if seen.offered / STEP_S > seen.capacity_per_s {
            self.available += seen.capacity_per_s * STEP_S;
            self.used += seen.done;
        }
        if seen.now >= load.spike_start_s + load.spike_seconds - 120.0 {
            self.limits.extend(seen.limit_per_s);
        }
    }

    /// The figures.
    pub fn end(mut self, population: &Population) -> Summary {
        let of_class =
            |cells: &Cells, class: usize| cells.iter().map(|cell| cell[class]).sum::<f64>();
        let classes = Class::ALL.map(|class| class as usize);
        let (offered, admitted) = (&self.offered, &self.admitted);
        let by_class = classes.map(|class| (of_class(offered, class), of_class(admitted, class)));
        self.summary.shed_by_class = by_class.map(|(offered, admitted)| shed(offered, admitted));
        let total = by_class.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        self.summary.shed = shed(total.0, total.1);
        let tenant = |cells: &Cells, tenant: usize| cells[tenant].iter().sum::<f64>();
        let sums = |cells: &Cells| {
            let calm = (0..cells.len()).filter(|one| population.calm[*one]);
            calm.map(|one| tenant(cells, one)).sum::<f64>()
        };
        self.summary.shed_calm = shed(sums(offered), sums(admitted));
        let rogue = population.rogue;
        self.summary.shed_rogue = shed(tenant(offered, rogue), tenant(admitted, rogue));
        self.summary.goodput = if self.available > 0.0 { self.used / self.available } else { 1.0 };
        self.summary.jain = self.evenness(population, total.0);
        self.summary.limit_cv = variation(&self.limits);
        self.summary
    }

    /// Jain's index over what tenants got of what they are entitled to: their contract first, and what is
    /// left max-min by contract.
    fn evenness(&self, population: &Population, offered: f64) -> f64 {
        let of =
            |cells: &Cells| -> Vec<f64> { cells.iter().map(|cell| cell.iter().sum()).collect() };
        let (asked, got) = (of(&self.offered), of(&self.admitted));
        let contract =
            population.contract.iter().map(|rate| rate * self.spike_s).collect::<Vec<f64>>();
        let inside: f64 = asked.iter().zip(&contract).map(|(asked, of)| asked.min(*of)).sum();
        let mut beyond: Vec<Demand> = asked
            .iter()
            .zip(&contract)
            .map(|(asked, of)| Demand { demand: (asked - of).max(0.0), weight: *of })
            .collect();
        let alpha = Alpha::of(&mut beyond, (self.capacity.min(offered) - inside).max(0.0));
        let shares = asked.iter().zip(&contract).zip(&got).map(|((asked, contract), got)| {
            let entitled = asked.min(contract + alpha.entitles(*contract));
            got / entitled.max(1e-9)
        });
        jain(shares)
    }
}

fn add(into: &mut Cells, cells: &Cells) {
    for (into, cell) in into.iter_mut().zip(cells) {
        for (into, events) in into.iter_mut().zip(cell) {
            *into += events;
        }
    }
}

fn shed(offered: f64, admitted: f64) -> f64 {
    if offered > 0.0 { 1.0 - admitted / offered } else { 0.0 }
}

fn variation(values: &[f64]) -> f64 {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count;
    if mean > 0.0 { variance.sqrt() / mean } else { 0.0 }
}
