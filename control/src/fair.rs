//! Weighted max-min among tenants, as an admission share per tenant (CSFQ, Stoica et al. 1998): only
//! one number, alpha, is needed to treat all of them alike.

use crate::number::{AMOUNT_MAX, amount};

/// How much each tenant may have for each unit of its weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Alpha {
    /// Everybody gets what it asks for.
    Unlimited,
    /// Events/s per unit of weight.
    PerWeight(f64),
}

/// One tenant's demand and weight, events/s each; the weight is its contract.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand {
    /// What it asks for.
    pub demand: f64,
    /// Its weight; 0 gets nothing while there is not enough.
    pub weight: f64,
}

impl Demand {
    /// A weight of 0 stands last, whatever it asks for.
    fn per_weight(&self) -> f64 {
        if self.weight > 0.0 { self.demand / self.weight } else { f64::INFINITY }
    }
}

impl Alpha {
    /// Sum of min(demand, alpha·weight) = capacity. Sorts `demands` by demand per weight; O(n log n),
    /// ten times a second.
    pub fn of(demands: &mut [Demand], capacity: f64) -> Self {
        let mut room = amount(capacity, 0.0);
        let mut weights = 0.0;
        let mut total = 0.0;
        for one in demands.iter_mut() {
            *one = Demand { demand: amount(one.demand, 0.0), weight: amount(one.weight, 0.0) };
            weights += one.weight;
            total += one.demand;
        }
        if total <= room {
            return Self::Unlimited;
        }
        demands.sort_unstable_by(|a, b| a.per_weight().total_cmp(&b.per_weight()));
        for one in demands.iter() {
            if one.weight <= 0.0 && one.demand > 0.0 {
                // Everybody with a weight was served; those without get nothing.
                return Self::PerWeight(AMOUNT_MAX);
            }
            if one.demand * weights > room * one.weight {
                return Self::PerWeight((room / weights).max(0.0));
            }
            room -= one.demand;
            weights -= one.weight;
        }
        // Everybody was served: what was missing is rounding.
        Self::Unlimited
    }

    /// What a tenant may have, events/s.
    pub fn entitles(self, weight: f64) -> f64 {
        match self {
            Self::Unlimited => f64::INFINITY,
            Self::PerWeight(alpha) => alpha * amount(weight, 0.0),
        }
    }

    /// The share of a tenant's events to let in, in `[0, 1]`.
    pub fn keeps(self, tenant: Demand) -> f64 {
        let entitled = self.entitles(tenant.weight);
        let demand = amount(tenant.demand, 0.0);
        if demand <= entitled { 1.0 } else { (entitled / demand).clamp(0.0, 1.0) }
    }
}

/// Jain's index of how evenly entitlements are met: 1 is even.
pub fn jain(shares: impl IntoIterator<Item = f64>) -> f64 {
    let add = |(count, sum, squares): (f64, f64, f64), share: f64| {
        (count + 1.0, sum + share, squares + share * share)
    };
    let (count, sum, squares) = shares.into_iter().fold((0.0, 0.0, 0.0), add);
    if squares > 0.0 { sum * sum / (count * squares) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(demands: &[(f64, f64)], capacity: f64) -> Alpha {
        let mut demands: Vec<Demand> =
            demands.iter().map(|&(demand, weight)| Demand { demand, weight }).collect();
        Alpha::of(&mut demands, capacity)
    }

    #[test]
    fn the_greedy_one_gets_what_the_others_leave() {
        assert_eq!(of(&[(10.0, 1.0), (20.0, 1.0)], 30.0), Alpha::Unlimited);
        assert_eq!(of(&[(10.0, 1.0), (20.0, 1.0), (900.0, 1.0)], 100.0), Alpha::PerWeight(70.0));
        assert_eq!(of(&[(900.0, 1.0), (900.0, 3.0)], 100.0), Alpha::PerWeight(25.0));
        // Without a weight there is nothing while there is not enough, and those with one lose nothing.
        let alpha = of(&[(900.0, 0.0), (50.0, 1.0)], 100.0);
        let keeps = |demand, weight| alpha.keeps(Demand { demand, weight });
        assert_eq!((keeps(900.0, 0.0), keeps(50.0, 1.0)), (0.0, 1.0));
    }

    #[test]
    fn evenness_is_one_for_equals() {
        assert!((jain([0.5, 0.5, 0.5]) - 1.0).abs() < 1e-12);
        assert!((jain([1.0, 0.0, 0.0, 0.0]) - 0.25).abs() < 1e-12);
        assert!((jain([]) - 1.0).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn capacity_is_used_and_never_exceeded(
            demands in proptest::collection::vec((0.0..1000.0_f64, 0.1..10.0_f64), 1..50),
            capacity in 0.0..20_000.0_f64,
        ) {
            let alpha = of(&demands, capacity);
            let asked: f64 = demands.iter().map(|(demand, _)| demand).sum();
            let given: f64 = demands
                .iter()
                .map(|&(demand, weight)| demand * alpha.keeps(Demand { demand, weight }))
                .sum();
            prop_assert!((given - asked.min(capacity)).abs() < 1e-6 * capacity.max(1.0), "{given}");
        }

        #[test]
        fn whatever_is_asked_a_share_is_a_share(
            demands in proptest::collection::vec((any::<f64>(), any::<f64>()), 0..20),
            capacity in any::<f64>(),
        ) {
            let alpha = of(&demands, capacity);
            for (demand, weight) in demands {
                let share = alpha.keeps(Demand { demand, weight });
                prop_assert!((0.0..=1.0).contains(&share), "{share}");
            }
        }
    }
}
