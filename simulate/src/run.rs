//! One run, read from top to bottom: arrivals, admission, service, measurement, the rule.

use control::level::Class;

use crate::admission::{self, Demands};
use crate::arrivals::{Arrivals, Cells};
use crate::consumers::{Consumers, Served};
use crate::loops::{Limits, Loops, Rates};
use crate::random::Random;
use crate::scenario::{Rule, STEP_S, Scenario, Shed, Topology};
use crate::summary::{Meter, Seen, Summary};
use crate::tenants::Population;
use crate::trace::{Row, Trace};

/// Steps in a row of the trace.
const ROW_STEPS: u32 = 10;
/// A bucket's debt, s of its limit.
const DEBT_S: f64 = 0.2;

/// Runs a scenario.
pub fn run(scenario: &Scenario) -> (Trace, Summary) {
    let population = Population::new(&scenario.tenants, &scenario.load);
    let tenants = population.base.len();
    let mut random = Random::new(scenario.seed);
    let mut arrivals = Arrivals::new(scenario, &population);
    let mut consumers = Consumers::new(scenario);
    let mut loops = Loops::new(scenario);
    let mut gate = Gate::new(scenario, &population);
    let mut meter = Meter::new(tenants);
    let mut rates = Rates::default();
    let mut used_share = 0.0;
    let mut rows = Rows::default();
    let (mut fresh, mut offered) = (Cells::new(), Cells::new());
    let mut admitted = vec![[0.0; 3]; tenants];

    let steps = (scenario.seconds / STEP_S + 0.5) as u32;
    for step in 0..steps {
        let now = f64::from(step) * STEP_S;
        arrivals.fresh(scenario, now, &mut random, &mut fresh);
        offered.clone_from(&fresh);
        arrivals.retries(now, &mut offered);

        let limits = loops.in_effect(scenario, now);
        gate.admit(scenario, &offered, &limits, &mut admitted);
        arrivals.shed(now, &offered, &admitted);

        let (asked, let_in) = (by_class(&offered), by_class(&admitted));
        learn(&mut rates, asked, let_in);
        match consumers.queues.as_mut_slice() {
            [shared] => shared.push(now, let_in.iter().sum()),
            queues => {
                queues.iter_mut().zip(let_in).for_each(|(queue, events)| queue.push(now, events))
            }
        }
        let served = consumers.serve(scenario, now, &mut random);
        let room = served.capacity_per_s * STEP_S;
        used_share = if room > 0.0 { served.done / room } else { used_share };

        loops.step(scenario, now, rates, &consumers, served.gone, &mut random);
        consumers.scale(scenario, now, rates.offered.iter().sum(), used_share);

        let seen = Seen {
            now,
            fresh: &fresh,
            admitted: &admitted,
            offered: asked.iter().sum(),
            lag_s: lags(&consumers, now),
            capacity_per_s: served.capacity_per_s,
            done: served.done,
            backlog: consumers.backlog(),
            limit_per_s: shown(scenario, &limits),
            consumers: consumers.ready(),
        };
        meter.step(scenario, &seen);
        rows.step(&seen, asked, let_in, &served, loops.terms);
    }
    (rows.trace, meter.end(&population))
}

/// The buckets of the limits.
struct Gate {
    demands: Demands,
    tokens: [f64; 3],
}

impl Gate {
    fn new(scenario: &Scenario, population: &Population) -> Self {
        let classes = scenario.load.classes.shares();
        Self { demands: Demands::new(population.contract.clone(), classes), tokens: [0.0; 3] }
    }

    fn admit(&mut self, scenario: &Scenario, offered: &Cells, limits: &Limits, into: &mut Cells) {
        self.demands.offered(offered);
        let keeps = 1.0 - limits.drop_share;
        for (into, cell) in into.iter_mut().zip(offered) {
            *into = cell.map(|events| events * keeps);
        }
        let shed = match scenario.control.rule {
            Rule::Ours => scenario.control.shed,
            Rule::PaperBest => Shed::Class,
            Rule::None | Rule::Static | Rule::Paper | Rule::Aimd => Shed::Uniform,
        };
        let queues: &[(usize, &[usize])] = match scenario.log.topology {
            Topology::Shared => &[(0, &[0, 1, 2])],
            Topology::PerClass => &[(1, &[1]), (2, &[2])],
        };
        for (queue, classes) in queues {
            let Some(limit) = limits.per_s[*queue] else {
                self.tokens[*queue] = 0.0;
                continue;
            };
            let tokens = &mut self.tokens[*queue];
            let depth = (limit * scenario.control.burst_s).max(limit * STEP_S);
            *tokens = (*tokens + limit * STEP_S).min(depth);
            admission::admit(offered, classes, *tokens, shed, &mut self.demands, into);
            let taken: f64 =
                into.iter().map(|cell| classes.iter().map(|class| cell[*class]).sum::<f64>()).sum();
            *tokens = (*tokens - taken).max(-DEBT_S * limit);
        }
    }
}

/// Rows of half a second from steps.
#[derive(Default)]
struct Rows {
    trace: Trace,
    row: Row,
    steps: u32,
}

impl Rows {
    fn step(
        &mut self,
        seen: &Seen<'_>,
        asked: [f64; 3],
        let_in: [f64; 3],
        served: &Served,
        terms: [f64; 4],
    ) {
        let per_s = 1.0 / (f64::from(ROW_STEPS) * STEP_S);
        let row = &mut self.row;
        row.offered_per_s += asked.iter().sum::<f64>() * per_s;
        row.admitted_per_s += let_in.iter().sum::<f64>() * per_s;
        for class in 0..3 {
            row.shed_per_s[class] += (asked[class] - let_in[class]).max(0.0) * per_s;
            row.lag_s[class] = row.lag_s[class].max(seen.lag_s[class]);
        }
        self.steps += 1;
        if self.steps == ROW_STEPS {
            row.at_s = seen.now;
            row.limit_per_s = seen.limit_per_s;
            row.capacity_per_s = served.capacity_per_s;
            row.consumers = seen.consumers;
            row.terms = terms;
            self.trace.rows.push(std::mem::take(row));
            self.steps = 0;
        }
    }
}

fn by_class(cells: &Cells) -> [f64; 3] {
    let mut sums = [0.0; 3];
    for cell in cells {
        for (sum, events) in sums.iter_mut().zip(cell) {
            *sum += events;
        }
    }
    sums
}

fn learn(rates: &mut Rates, asked: [f64; 3], let_in: [f64; 3]) {
    let weight = control::number::weight(STEP_S, 1.0);
    for (rate, events) in rates.offered.iter_mut().zip(asked) {
        *rate += weight * (events / STEP_S - *rate);
    }
    rates.admitted += weight * (let_in.iter().sum::<f64>() / STEP_S - rates.admitted);
}

fn lags(consumers: &Consumers, now: f64) -> [f64; 3] {
    match consumers.queues.as_slice() {
        [control, transactional, telemetry] => {
            [control, transactional, telemetry].map(|queue| queue.age(now))
        }
        _ => [consumers.age(now); 3],
    }
}

/// The limit that a picture shows: of the shared topic, or the transactional one.
fn shown(scenario: &Scenario, limits: &Limits) -> Option<f64> {
    match scenario.log.topology {
        Topology::Shared => limits.per_s[0],
        Topology::PerClass => limits.per_s[Class::Transactional as usize],
    }
}
