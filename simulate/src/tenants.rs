//! Who offers how much: rates and contracts per tenant.

use crate::scenario::{Load, Tenants};
use crate::series;

/// Rates and contracts, events/s.
#[derive(Clone, Debug)]
pub struct Population {
    /// Before and after the spike.
    pub base: Vec<f64>,
    /// In the spike.
    pub spike: Vec<f64>,
    /// Contracted.
    pub contract: Vec<f64>,
    /// Stays calm in the spike.
    pub calm: Vec<bool>,
    /// Goes rogue.
    pub rogue: usize,
}

impl Population {
    /// Of a scenario.
    pub fn new(tenants: &Tenants, load: &Load) -> Self {
        let count = tenants.count;
        let weights: Vec<f64> =
            (1..=count).map(|rank| series::exp(-tenants.zipf * series::ln(rank as f64))).collect();
        let sum: f64 = weights.iter().sum();
        let base: Vec<f64> = weights.iter().map(|weight| load.base_per_s * weight / sum).collect();
        // A middling one; of few tenants the last.
        let rogue = 49.min(count - 1);
        let calm: Vec<bool> = (0..count)
            .map(|tenant| {
                let hash = (tenant as u64).wrapping_mul(2_654_435_761) % (1 << 32);
                ((hash % 10) as f64) < 10.0 * tenants.calm_share && tenant != rogue
            })
            .collect();
        let total = load.base_per_s * load.spike_factor;
        let rogue_rate = tenants.rogue_share * total;
        let of = |wanted: bool| {
            let chosen = (0..count).filter(|tenant| calm[*tenant] == wanted && *tenant != rogue);
            chosen.map(|tenant| base[tenant]).sum::<f64>()
        };
        let (calm_sum, loud_sum) = (tenants.calm_factor * of(true), of(false));
        let loud_rate = (total - rogue_rate - calm_sum).max(0.0);
        let spike = (0..count)
            .map(|tenant| match (tenant == rogue, calm[tenant]) {
                (true, _) => rogue_rate,
                (false, true) => tenants.calm_factor * base[tenant],
                (false, false) => base[tenant] / loud_sum.max(f64::MIN_POSITIVE) * loud_rate,
            })
            .collect();
        let contract = base
            .iter()
            .map(|base| (tenants.contract_factor * base).max(tenants.contract_min_per_s))
            .collect();
        Self { base, spike, contract, calm, rogue }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_sum_up_and_the_rogue_one_has_its_share() {
        let (tenants, load) = (Tenants::default(), Load::default());
        let all = Population::new(&tenants, &load);
        assert!((all.base.iter().sum::<f64>() - 8_000.0).abs() < 1e-6);
        assert!((all.spike.iter().sum::<f64>() - 96_000.0).abs() < 1e-6);
        assert!((all.spike[all.rogue] - 33_600.0).abs() < 1e-6);
        assert!(all.calm.iter().filter(|calm| **calm).count() > 500);
        let one = Population::new(&Tenants { count: 1, ..tenants }, &load);
        assert_eq!((one.base.len(), one.rogue), (1, 0));
    }
}
