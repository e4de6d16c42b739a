//! Numbers of the tape beside numbers of a schema: compared exactly, or not at all.
//!
//! A whole number beyond ±2⁵³ beside a float is left to the library, which is asked about the same
//! value: the tape's float, never the text.

use std::cmp::Ordering;

use simd_json::StaticNode;

use super::program::Verdict;

/// Whole numbers up to here are floats without loss.
const EXACT_MAX: i128 = 1 << 53;
/// Below this, a decimal text of at most 15 digits is the only one of its float.
const DIGITS_MAX: f64 = 1e15;
/// Powers of ten up to this one are floats without loss.
const DECIMALS_MAX: u32 = 22;

/// A number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    /// A whole number of 64 bits.
    Whole(i128),
    /// Any other; also a whole one that was written as a float.
    Float(f64),
}

/// What a number is to be a multiple of: `mantissa / 10^decimals`, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Divisor {
    mantissa: i128,
    decimals: u32,
}

impl Number {
    /// A number on the tape.
    #[inline]
    pub fn of(node: StaticNode) -> Option<Self> {
        match node {
            StaticNode::I64(number) => Some(Self::Whole(i128::from(number))),
            StaticNode::U64(number) => Some(Self::Whole(i128::from(number))),
            StaticNode::F64(number) => Some(Self::Float(number)),
            StaticNode::Bool(_) | StaticNode::Null => None,
        }
    }

    /// A number of a schema.
    pub fn of_schema(number: &serde_json::Number) -> Option<Self> {
        match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => Some(Self::Whole(i128::from(whole))),
            (_, Some(whole)) => Some(Self::Whole(i128::from(whole))),
            _ => number.as_f64().map(Self::Float),
        }
    }

    /// How they stand to each other, where that is sure.
    #[inline]
    pub fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Whole(one), Self::Whole(other)) => Some(one.cmp(&other)),
            (Self::Float(one), Self::Float(other)) => one.partial_cmp(&other),
            (Self::Whole(one), Self::Float(other)) => {
                exact(one).and_then(|one| one.partial_cmp(&other))
            }
            (Self::Float(one), Self::Whole(other)) => {
                exact(other).and_then(|other| one.partial_cmp(&other))
            }
        }
    }

    /// Whether they are the same number.
    pub fn equals(self, other: Self) -> Verdict {
        self.compare(other).map_or(Verdict::Unknown, |order| Verdict::sure(order.is_eq()))
    }
}

fn exact(whole: i128) -> Option<f64> {
    (whole.abs() <= EXACT_MAX).then_some(whole as f64)
}

impl Divisor {
    /// Of a number above 0 whose text is short enough to be exact.
    pub fn new(number: Number) -> Option<Self> {
        let (mantissa, decimals) = match number {
            Number::Whole(whole) => (whole, 0),
            Number::Float(float) => decimal(float)?,
        };
        (mantissa > 0 && mantissa <= EXACT_MAX).then_some(Self { mantissa, decimals })
    }

    /// Whether it divides the number.
    pub fn divides(self, number: Number) -> Verdict {
        match number {
            Number::Whole(whole) if whole.abs() <= EXACT_MAX => {
                let scaled = whole.checked_mul(10_i128.pow(self.decimals));
                scaled.map_or(Verdict::Unknown, |scaled| Verdict::sure(scaled % self.mantissa == 0))
            }
            Number::Float(float) => {
                // A float reads as the shortest decimal text that names it. With at most 15 digits
                // that text is unique: if this one names it, it is the one.
                let scale = 10_f64.powi(self.decimals as i32);
                let scaled = (float * scale).round();
                if scaled.abs() < DIGITS_MAX && scaled / scale == float {
                    Verdict::sure(scaled as i128 % self.mantissa == 0)
                } else {
                    Verdict::Unknown
                }
            }
            Number::Whole(_) => Verdict::Unknown,
        }
    }
}

/// The digits of the shortest text of a float, and how many of them are decimals.
fn decimal(float: f64) -> Option<(i128, u32)> {
    let text = float.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mantissa = format!("{whole}{fraction}").parse().ok()?;
    let decimals = u32::try_from(fraction.len()).ok()?;
    (decimals <= DECIMALS_MAX).then_some((mantissa, decimals))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiples_are_decimal() {
        let check = |divisor: f64, number: Number, expected| {
            let divisor = Divisor::new(Number::Float(divisor)).expect("short");
            assert_eq!(divisor.divides(number), expected, "{divisor:?} {number:?}");
        };
        check(0.01, Number::Float(19.99), Verdict::Valid);
        check(0.01, Number::Float(1_070_468.14), Verdict::Valid);
        check(0.01, Number::Float(0.0075), Verdict::Unknown);
        check(0.1, Number::Whole(7), Verdict::Valid);
        check(2.5, Number::Whole(7), Verdict::Invalid);
        check(3.0, Number::Float(9.0), Verdict::Valid);
        check(3.0, Number::Float(-0.0), Verdict::Valid);
        check(3.0, Number::Float(1e300), Verdict::Unknown);
        check(3.0, Number::Whole(i128::from(u64::MAX)), Verdict::Unknown);
        assert_eq!(Divisor::new(Number::Float(1e-30)), None);
        assert_eq!(Divisor::new(Number::Whole(0)), None);
    }

    #[test]
    fn what_is_not_sure_is_not_compared() {
        let check = |one, other, expected| assert_eq!(Number::compare(one, other), expected);
        check(Number::Whole(1), Number::Float(1.0), Some(Ordering::Equal));
        check(Number::Float(-0.0), Number::Whole(0), Some(Ordering::Equal));
        check(Number::Whole(EXACT_MAX + 1), Number::Float(1.0), None);
        check(Number::Float(1e300), Number::Whole(5), Some(Ordering::Greater));
    }
}
