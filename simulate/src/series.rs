//! Exponential and logarithm from basic operations only: the platform's differ in the last bit.

/// e^x to about 15 digits, by e^x = 2^k · e^r with |r| ≤ ln 2 / 2 and the series for e^r.
pub fn exp(x: f64) -> f64 {
    if x < -700.0 {
        return 0.0;
    }
    let x = x.min(700.0);
    let k = (x / std::f64::consts::LN_2 + if x < 0.0 { -0.5 } else { 0.5 }) as i32;
    let r = x - f64::from(k) * std::f64::consts::LN_2;
    let mut sum = 1.0;
    for n in (1..=16).rev() {
        sum = 1.0 + sum * r / f64::from(n);
    }
    // 2^k, built from its bits: k is within the normal exponents.
    let power = f64::from_bits(u64::from((k + 1023).unsigned_abs()) << 52);
    sum * power
}

/// Natural logarithm of a positive, normal number, by the series of atanh.
pub fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let exponent = i32::try_from((bits >> 52) & 0x7ff).unwrap_or(0) - 1023;
    // In [1, 2).
    let mantissa = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | (1023 << 52));
    let z = (mantissa - 1.0) / (mantissa + 1.0);
    let mut sum = 0.0;
    for n in (0..24).rev() {
        sum = sum * z * z + 1.0 / f64::from(2 * n + 1);
    }
    2.0 * z * sum + f64::from(exponent) * std::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_agree_with_the_platform_s_to_twelve_digits() {
        for step in -200..=200 {
            let x = f64::from(step) * 0.31;
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-12, "exp {x}");
        }
        for step in 1..1000 {
            let x = f64::from(step) * 0.37;
            assert!((ln(x) - x.ln()).abs() < 1e-12, "ln {x}");
        }
        assert_eq!(exp(-1e9).to_bits(), 0.0_f64.to_bits());
    }
}
