//! Whether PostgreSQL's `jsonb` can hold an event: profile `postgres`.
//!
//! Valid JSON that the store refuses is refused here, with a reason, instead of being parked after a
//! 202. Lone surrogates and numbers beyond a double do not even parse ([`crate::tape`]); what is left
//! is U+0000, and numbers that a double rounds to zero but `numeric` takes literally.

use memchr::{memchr, memmem};

use crate::reject::Reject;
use crate::tape::Item;

/// The most digits behind the decimal point of a `numeric`, and the largest exponent we let through.
const SCALE_MAX: i64 = 16_383;
/// A shorter text cannot spell a number of such a scale unless a double takes it for zero.
const SUSPICIOUS_BYTES: usize = 8 * 1024;

/// Checks one event. Nearly all of them pass without a second look at the text.
pub(crate) fn check(item: Item<'_>, text: &[u8]) -> Result<(), Reject> {
    let escape = memchr(b'\\', text).and_then(|at| memmem::find(&text[at..], b"\\u0000"));
    if escape.is_some() && item.holds_nul() {
        return Err(Reject::NotStorable("a string holds U+0000"));
    }
    let suspicious = item.floats().any(|number| number == 0.0 || text.len() > SUSPICIOUS_BYTES);
    if suspicious && !literals(text).all(fits) {
        return Err(Reject::NotStorable("a number has too many digits or too large an exponent"));
    }
    Ok(())
}

/// The number literals of a valid JSON text.
fn literals(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let (first, after) = rest.split_first()?;
            match first {
                b'"' => rest = behind_string(after),
                b'-' | b'0'..=b'9' => {
                    let part =
                        |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                    let end = rest.iter().position(|byte| !part(byte)).unwrap_or(rest.len());
                    let (literal, after) = rest.split_at(end);
                    rest = after;
                    return Some(literal);
                }
                _ => rest = after,
            }
        }
    })
}

fn behind_string(mut rest: &[u8]) -> &[u8] {
    while let Some((first, after)) = rest.split_first() {
        match first {
            b'"' => return after,
            b'\\' => rest = after.get(1..).unwrap_or_default(),
            _ => rest = after,
        }
    }
    rest
}

fn fits(literal: &[u8]) -> bool {
    let at = literal.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(literal.len());
    let (mantissa, exponent) = literal.split_at(at);
    let point = mantissa.iter().position(|byte| *byte == b'.');
    let fraction_digits = point.map_or(0, |point| (mantissa.len() - point - 1) as i64);
    let exponent = match exponent.get(1..).and_then(|digits| std::str::from_utf8(digits).ok()) {
        None => 0,
        // More digits than an i64 has.
        Some(digits) => digits.parse::<i64>().unwrap_or(i64::MAX),
    };
    exponent.unsigned_abs() <= SCALE_MAX as u64 && fraction_digits - exponent <= SCALE_MAX
}

#[cfg(test)]
mod tests {
    use crate::tape::{JsonBounds, Parser};

    #[test]
    fn what_the_store_takes() {
        let check = |text: &str, expected: bool| {
            let mut parser = Parser::new(JsonBounds { depth_max: 64, members_max: 64 });
            let parsed = parser.parse(text.as_bytes()).expect("parses");
            let verdict = super::check(parsed.root(), text.as_bytes());
            assert_eq!(verdict.is_ok(), expected, "{}", &text[..text.len().min(60)]);
        };
        check(r#"{"a":[0.0,-0,1e-400,1E+5,"1e-99999","\\u0000"]}"#, true);
        check(r#"{"a":"\u0000"}"#, false);
        check(r#"{"\u0000":1}"#, false);
        check(r#"{"a":1e-16383}"#, true);
        check(r#"{"a":1e-16384}"#, false);
        check(r#"{"a":1.5e-16383}"#, false);
        check(r#"{"a":"\"","b":0e99999999999999999999}"#, false);
        check(&format!("[1.{}]", "0".repeat(16_383)), true);
        check(&format!("[1.{}]", "0".repeat(16_384)), false);
    }
}
