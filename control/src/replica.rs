//! What of a limit, and of a contract, is one replica's.

use crate::number::amount;

/// This part of a limit is spread evenly, so that a replica that sees its first event can serve it.
const EVEN_SHARE: f64 = 0.1;

/// Splits a limit: 10 % evenly, 90 % by reported demand. The shares sum up to the limit at most; an
/// equal split would lose 10 to 20 % where a load balancer is uneven.
pub fn limit_share(limit_per_s: f64, demands: &[f64], replica: usize) -> f64 {
    let limit_per_s = amount(limit_per_s, 0.0);
    let Some(own) = demands.get(replica) else { return 0.0 };
    let even = 1.0 / demands.len() as f64;
    let total: f64 = demands.iter().map(|demand| amount(*demand, 0.0)).sum();
    let by_demand = if total > 0.0 { amount(*own, 0.0) / total } else { even };
    limit_per_s * (EVEN_SHARE * even + (1.0 - EVEN_SHARE) * by_demand)
}

/// A replica's share of a contract: max(contract / N, contract × its part of the tenant's demand).
///
/// For a short time this can let in more than the contract; the other way round somebody inside the
/// contract would be shed, which is the promise that must hold.
pub fn contract_share(
    contract_per_s: f64,
    own_demand: f64,
    all_demand: f64,
    replicas: usize,
) -> f64 {
    let contract_per_s = amount(contract_per_s, 0.0);
    let even = 1.0 / replicas.max(1) as f64;
    let all_demand = amount(all_demand, 0.0);
    let own = if all_demand > 0.0 { amount(own_demand, 0.0) / all_demand } else { 0.0 };
    contract_per_s * even.max(own.min(1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn demand_decides_and_everybody_has_a_little() {
        let demands = [300.0, 100.0, 0.0, 0.0];
        let share = |replica| limit_share(1000.0, &demands, replica);
        assert!((share(0) - 700.0).abs() < 1e-9);
        assert!((share(2) - 25.0).abs() < 1e-9);
        assert!(share(4).abs() < 1e-9, "a replica that is not in the list has no share");
        assert!((limit_share(1000.0, &[0.0; 4], 1) - 250.0).abs() < 1e-9);
        assert!(limit_share(f64::NAN, &demands, 0).abs() < 1e-9);
    }

    #[test]
    fn a_contract_is_never_cut_below_its_holder_s_part() {
        assert!((contract_share(100.0, 90.0, 100.0, 4) - 90.0).abs() < 1e-9);
        assert!((contract_share(100.0, 1.0, 100.0, 4) - 25.0).abs() < 1e-9);
        assert!((contract_share(100.0, f64::NAN, 0.0, 0) - 100.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn the_shares_never_exceed_the_limit(
            limit in 0.0..1e9_f64,
            demands in proptest::collection::vec(any::<f64>(), 1..40),
        ) {
            let sum: f64 = (0..demands.len()).map(|at| limit_share(limit, &demands, at)).sum();
            prop_assert!(sum <= limit * (1.0 + 1e-12) + 1e-9, "{sum} of {limit}");
        }
    }
}
