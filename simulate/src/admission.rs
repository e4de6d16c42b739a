//! Who is let in: tokens of a limit, by level and by tenant. Fluid; one bucket's events one by one are in
//! [`crate::requests`].

use control::fair::{Alpha, Demand};
use control::level::{self, Class, Colour, Level, ShedOrder};

use crate::arrivals::Cells;
use crate::scenario::{STEP_S, Shed};

/// What excess telemetry keeps of what is left for excess.
const TELEMETRY_FLOOR: f64 = 0.05;

/// Smoothed demand per tenant and class, events/s, and the contracts.
#[derive(Debug)]
pub struct Demands {
    rates: Cells,
    contract: Vec<f64>,
    classes: [f64; 3],
    scratch: Vec<Demand>,
    excess: Vec<f64>,
}

impl Demands {
    /// Nothing seen yet.
    pub fn new(contract: Vec<f64>, classes: [f64; 3]) -> Self {
        let rates = vec![[0.0; 3]; contract.len()];
        Self { rates, contract, classes, scratch: Vec::new(), excess: Vec::new() }
    }

    /// Learns what was offered in a step.
    pub fn offered(&mut self, cells: &Cells) {
        let weight = control::number::weight(STEP_S, 1.0);
        for (rates, cell) in self.rates.iter_mut().zip(cells) {
            for (rate, events) in rates.iter_mut().zip(cell) {
                *rate += weight * (events / STEP_S - *rate);
            }
        }
    }

    /// The part of a tenant's events that is inside its contract.
    fn green_share(&self, tenant: usize, class: usize) -> f64 {
        let contract = self.contract[tenant] * self.classes[class];
        let rate = self.rates[tenant][class];
        if rate > contract { contract / rate } else { 1.0 }
    }
}

/// Lets `tokens` events of the classes in `of` in, in the order of `shed`; the rest of `into` is left
/// alone. Control always passes.
pub fn admit(
    offered: &Cells,
    of: &[usize],
    tokens: f64,
    shed: Shed,
    demands: &mut Demands,
    into: &mut Cells,
) {
    let total: f64 =
        offered.iter().map(|cell| of.iter().map(|class| cell[*class]).sum::<f64>()).sum();
    if total <= tokens {
        copy(offered, of, 1.0, into);
        return;
    }
    match shed {
        Shed::Uniform => copy(offered, of, tokens / total.max(f64::MIN_POSITIVE), into),
        Shed::Class => by_class(offered, of, tokens, into),
        Shed::Contract => by_contract(offered, of, tokens, demands, into),
    }
}

fn copy(offered: &Cells, of: &[usize], share: f64, into: &mut Cells) {
    for (into, cell) in into.iter_mut().zip(offered) {
        for class in of {
            into[*class] = cell[*class] * share;
        }
    }
}

fn class_total(offered: &Cells, of: &[usize], class: Class) -> f64 {
    let class = class as usize;
    if of.contains(&class) { offered.iter().map(|cell| cell[class]).sum() } else { 0.0 }
}

/// Telemetry gives way first, down to its floor.
fn by_class(offered: &Cells, of: &[usize], tokens: f64, into: &mut Cells) {
    let total = Class::ALL.map(|class| class_total(offered, of, class));
    // All counts as excess, so that only the class decides.
    let levels = [total[0], 0.0, 0.0, total[1], total[2]];
    let admitted = level::split(&levels, tokens, TELEMETRY_FLOOR);
    for class in of {
        let (offered_all, let_in) =
            (total[*class], [admitted[0], admitted[3], admitted[4]][*class]);
        let share = if offered_all > 0.0 { let_in / offered_all } else { 0.0 };
        copy(offered, &[*class], share, into);
    }
}

/// What is beyond its contract gives way first, then telemetry, then transactional; excess is shared
/// max-min among tenants, weighted by contract.
fn by_contract(
    offered: &Cells,
    of: &[usize],
    tokens: f64,
    demands: &mut Demands,
    into: &mut Cells,
) {
    let mut by_level = [0.0; Level::COUNT];
    let level_of =
        |class: Class, colour: Colour| Level::of(class, colour, ShedOrder::ContractFirst).index();
    for class in Class::ALL.into_iter().filter(|class| of.contains(&(*class as usize))) {
        for (tenant, cell) in offered.iter().enumerate() {
            let events = cell[class as usize];
            // Inside its cap; the simulation's control is.
            let green = if class == Class::Control {
                events
            } else {
                events * demands.green_share(tenant, class as usize)
            };
            by_level[level_of(class, Colour::InContract)] += green;
            by_level[level_of(class, Colour::Excess)] += events - green;
        }
    }
    let admitted = level::split(&by_level, tokens, TELEMETRY_FLOOR);
    for class in Class::ALL.into_iter().filter(|class| of.contains(&(*class as usize))) {
        if class == Class::Control {
            copy(offered, &[class as usize], 1.0, into);
            continue;
        }
        let (green, excess) =
            (level_of(class, Colour::InContract), level_of(class, Colour::Excess));
        let share = if by_level[green] > 0.0 { admitted[green] / by_level[green] } else { 0.0 };
        excess_by_tenant(offered, class as usize, by_level[excess], admitted[excess], demands);
        for (tenant, into) in into.iter_mut().enumerate() {
            let events = offered[tenant][class as usize];
            let green = events * demands.green_share(tenant, class as usize);
            into[class as usize] = green * share + demands.excess[tenant];
        }
    }
}

/// Splits what excess may have of a class among the tenants, into `demands.excess`.
fn excess_by_tenant(offered: &Cells, class: usize, total: f64, room: f64, demands: &mut Demands) {
    let beyond = |demands: &Demands, tenant: usize| Demand {
        demand: (demands.rates[tenant][class] - demands.contract[tenant] * demands.classes[class])
            .max(0.0),
        weight: demands.contract[tenant] * demands.classes[class],
    };
    let alpha = if total <= room {
        Alpha::Unlimited
    } else {
        let mut scratch = std::mem::take(&mut demands.scratch);
        scratch.clear();
        scratch.extend((0..offered.len()).map(|tenant| beyond(demands, tenant)));
        let alpha = Alpha::of(&mut scratch, room / STEP_S);
        demands.scratch = scratch;
        alpha
    };
    let mut excess = std::mem::take(&mut demands.excess);
    excess.clear();
    excess.extend((0..offered.len()).map(|tenant| {
        let events = offered[tenant][class];
        let beyond_events = events - events * demands.green_share(tenant, class);
        beyond_events * alpha.keeps(beyond(demands, tenant))
    }));
    let sum: f64 = excess.iter().sum();
    if sum > room {
        let cut = room.max(0.0) / sum;
        excess.iter_mut().for_each(|events| *events *= cut);
    }
    demands.excess = excess;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_beyond_its_contract_gives_way() {
        let mut demands = Demands::new(vec![10_000.0; 2], [0.02, 0.38, 0.60]);
        let offered: Cells = vec![[1.0, 10.0, 10.0], [1.0, 1000.0, 10.0]];
        for _ in 0..200 {
            demands.offered(&offered);
        }
        let mut into = vec![[0.0; 3]; 2];
        admit(&offered, &[0, 1, 2], 300.0, Shed::Contract, &mut demands, &mut into);
        assert!((into[0][1] - 10.0).abs() < 1e-9, "{into:?}");
        let sum: f64 = into.iter().flatten().sum();
        assert!((sum - 300.0).abs() < 1e-6, "{into:?}");
        admit(&offered, &[0, 1, 2], 300.0, Shed::Uniform, &mut demands, &mut into);
        assert!(into[0][1] < 5.0, "{into:?}");
    }
}
