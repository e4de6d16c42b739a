//! S9: a limit split over replicas behind an uneven load balancer.

use control::replica::limit_share;

/// What replicas let in of what is offered, events/s: split evenly, and by demand.
pub fn run(limit_per_s: f64, offered: &[f64]) -> (f64, f64) {
    let even = limit_per_s / offered.len().max(1) as f64;
    let evenly = offered.iter().map(|offered| offered.min(even)).sum();
    let by_demand = offered
        .iter()
        .enumerate()
        .map(|(replica, load)| load.min(limit_share(limit_per_s, offered, replica)))
        .sum();
    (evenly, by_demand)
}

/// Eight replicas: even, one with three times the load, and two of a smaller zone with three times.
pub fn cases(total_per_s: f64) -> [(&'static str, [f64; 8]); 3] {
    let spread = |weights: [f64; 8]| {
        let sum: f64 = weights.iter().sum();
        weights.map(|weight| total_per_s * weight / sum)
    };
    [
        ("even", spread([1.0; 8])),
        ("one replica 3x", spread([3.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])),
        ("two zones, 6 + 2", spread([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 3.0, 3.0])),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_by_demand_lose_nothing_where_even_ones_do() {
        for total in [22_000.0, 96_000.0] {
            for (name, offered) in cases(total) {
                let (evenly, by_demand) = run(20_000.0, &offered);
                assert!((by_demand - 20_000.0).abs() < 1e-6, "{name}: {by_demand}");
                assert!(evenly <= by_demand + 1e-6, "{name}: {evenly}");
            }
        }
        let (_, uneven) = cases(22_000.0)[2];
        assert!((run(20_000.0, &uneven).0 - 16_000.0).abs() < 500.0);
    }
}
