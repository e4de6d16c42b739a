//! Numbers from outside made harmless: finite, not negative, bounded.

/// More than any rate, backlog or time here can be; keeps products finite.
pub const AMOUNT_MAX: f64 = 1e12;

/// `value` in `[0, AMOUNT_MAX]`; `instead` where it is negative, infinite or no number.
///
/// `instead` is the last good value, so that one bad report moves nothing.
pub fn amount(value: f64, instead: f64) -> f64 {
    if value.is_finite() && value >= 0.0 { value.min(AMOUNT_MAX) } else { instead }
}

/// The weight of a new sample in an average over `smoothing_s`, after `dt_s`: backward Euler.
///
/// `1 - exp(-dt/smoothing)` differs by platform in the last bit; this does not, and never overshoots.
pub fn weight(dt_s: f64, smoothing_s: f64) -> f64 {
    let dt_s = amount(dt_s, 0.0);
    let whole = dt_s + amount(smoothing_s, 0.0);
    if whole > 0.0 { dt_s / whole } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_amount_is_replaced() {
        let check = |value: f64, expected: f64| {
            assert_eq!(amount(value, 7.0).to_bits(), expected.to_bits(), "{value}");
        };
        check(3.0, 3.0);
        check(0.0, 0.0);
        check(-1.0, 7.0);
        check(f64::NAN, 7.0);
        check(f64::INFINITY, 7.0);
        check(f64::MAX, AMOUNT_MAX);
    }

    #[test]
    fn a_weight_is_a_share() {
        for (dt, smoothing) in [(0.0, 1.0), (0.25, 1.0), (1e9, 1.0), (f64::NAN, 1.0), (0.0, 0.0)] {
            assert!((0.0..=1.0).contains(&weight(dt, smoothing)), "{dt} {smoothing}");
        }
        assert_eq!(weight(1.0, 3.0).to_bits(), 0.25_f64.to_bits());
    }
}
