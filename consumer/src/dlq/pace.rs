//! In which order, and how fast, redriven rows are tried: the partitions take turns, each in its own
//! log's order.

use std::collections::BTreeMap;

use shared::position::PartitionId;

use crate::store::dlq::{Parked, ParkedKey};

/// The slowest rate, rows/s: one in about a quarter of an hour.
pub const RATE_MIN: f64 = 0.001;

/// The longest wait: a year, so that no sum of times overflows.
const WAIT_MS_MAX: f64 = 366.0 * 86_400_000.0;

/// Each row with its wait in milliseconds. `rows` stand in the log's order; `begun` of them went
/// before, in an earlier part. Without a rate nobody waits.
pub(super) fn paced(
    rows: Vec<Parked>,
    rate_per_s: Option<f64>,
    begun: u64,
) -> Vec<(ParkedKey, i64)> {
    let mut turns: BTreeMap<PartitionId, u64> = BTreeMap::new();
    let mut placed: Vec<_> = rows
        .into_iter()
        .map(|row| {
            let turn = turns.entry(row.position.id).or_default();
            *turn += 1;
            (*turn, row.position, row.key)
        })
        .collect();
    placed.sort_by_key(|(turn, position, _)| (*turn, *position));
    let wait_ms = |place: u64| match rate_per_s {
        // Rounded down to whole milliseconds; the bound is exact.
        Some(rate) => (begun.saturating_add(place) as f64 / rate * 1_000.0).min(WAIT_MS_MAX) as i64,
        None => 0,
    };
    (0..).zip(placed).map(|(place, (_, _, key))| (key, wait_ms(place))).collect()
}

#[cfg(test)]
mod tests {
    use shared::clock::Millis;

    use super::*;
    use crate::dlq::filter::position;
    use crate::store::dlq::State;

    fn rows(places: &[&str]) -> Vec<Parked> {
        let row = |place: &&str| Parked {
            key: ParkedKey { tenant: (*place).to_owned(), digest: Vec::new() },
            position: position(place).expect("a position"),
            record_timestamp: Millis(0),
            reason: String::new(),
            sqlstate: None,
            attempts: 1,
            tries_left: 0,
            epoch: None,
            state: State::Dead,
            at: Millis(0),
            next_try_at: None,
        };
        places.iter().map(row).collect()
    }

    #[test]
    fn partitions_take_turns_and_each_keeps_its_order() {
        let places = ["control/0@5", "control/1@2", "control/1@3", "control/1@9"];
        let check = |rate, begun, expected: [(&str, i64); 4]| {
            let found = paced(rows(&places), rate, begun);
            let found: Vec<_> =
                found.iter().map(|(key, wait)| (key.tenant.as_str(), *wait)).collect();
            assert_eq!(found, expected);
        };
        let [a, b, c, d] = places;
        check(None, 7, [(a, 0), (b, 0), (c, 0), (d, 0)]);
        check(Some(2.0), 0, [(a, 0), (b, 500), (c, 1_000), (d, 1_500)]);
        check(Some(2.0), 4, [(a, 2_000), (b, 2_500), (c, 3_000), (d, 3_500)]);
        let year = 366 * 86_400_000;
        check(Some(1e-300), 1, [(a, year), (b, year), (c, year), (d, year)]);
    }
}
