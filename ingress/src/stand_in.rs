//! Profile `rfc8259`: what simd-json refuses although the grammar has it, replaced on its copy.
//!
//! Two things are valid JSON text and yet no Unicode string or no double: a lone surrogate, and a
//! number beyond a double's range. Each gives way to a stand-in of its own length, so that every byte
//! of the tape's text still stands where it stands in the body. Only the copy is changed: the record
//! has the bytes as they were sent, and schemas judge the stand-in.

/// Stands for a lone surrogate: a noncharacter, which CloudEvents' strings exclude as well.
const NONCHARACTER: &[u8; 6] = br"\ufdd0";

/// Puts the stand-ins into a valid JSON text.
pub(crate) fn put(text: &mut [u8]) {
    let mut at = 0;
    while at < text.len() {
        at = match text[at] {
            b'"' => string(text, at + 1),
            b'-' | b'0'..=b'9' => number(text, at),
            _ => at + 1,
        };
    }
}

/// From behind the opening quote to behind the closing one.
fn string(text: &mut [u8], mut at: usize) -> usize {
    loop {
        at = match text.get(at..) {
            None | Some([]) => return text.len(),
            Some([b'"', ..]) => return at + 1,
            Some([b'\\', b'u', ..]) => match (unit(text, at), unit(text, at + 6)) {
                (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => at + 12,
                (Some(0xd800..=0xdfff), _) => {
                    text[at..at + 6].copy_from_slice(NONCHARACTER);
                    at + 6
                }
                (Some(_) | None, _) => at + 2,
            },
            Some([b'\\', ..]) => at + 2,
            Some(_) => at + 1,
        };
    }
}

/// The UTF-16 code unit that an escape at this place spells.
fn unit(text: &[u8], at: usize) -> Option<u16> {
    let digits = text.get(at..at + 6)?.strip_prefix(br"\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// To behind the number.
fn number(text: &mut [u8], start: usize) -> usize {
    let part = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
    let length = text[start..].iter().position(|byte| !part(byte)).unwrap_or(text.len() - start);
    let literal = &mut text[start..start + length];
    let parsed = std::str::from_utf8(literal).ok().and_then(|text| text.parse::<f64>().ok());
    if parsed.is_some_and(f64::is_infinite) {
        saturate(literal);
    }
    start + length
}

/// A number out of range becomes 9e307 with its sign: larger than whatever a schema compares it with.
fn saturate(literal: &mut [u8]) {
    let magnitude = match literal {
        [b'-', magnitude @ ..] => magnitude,
        magnitude => magnitude,
    };
    // The shortest out of range, 9e308, has five bytes.
    let Some(zeros) = magnitude.len().checked_sub(5) else { return };
    let (mantissa, exponent) = magnitude.split_at_mut(1 + zeros);
    mantissa.fill(b'0');
    mantissa[0] = b'9';
    match mantissa {
        [_, point, _, ..] => {
            *point = b'.';
            exponent.copy_from_slice(b"e307");
        }
        [_, _] => exponent.copy_from_slice(b"e306"),
        _ => exponent.copy_from_slice(b"e307"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stand_ins_are_as_long_as_what_they_stand_for() {
        let check = |text: &str, expected: &str| {
            let mut found = text.as_bytes().to_vec();
            put(&mut found);
            assert_eq!(String::from_utf8_lossy(&found), expected);
            assert_eq!(found.len(), text.len());
        };
        check(r#"["\ud800","x\uDFFFy"]"#, r#"["\ufdd0","x\ufdd0y"]"#);
        check(
            r#"["\ud83d\ude00","\ud83d\ud83d\ude00"]"#,
            r#"["\ud83d\ude00","\ufdd0\ud83d\ude00"]"#,
        );
        check(
            r#"["\ud800\u0041","\\ud800","\"\ud800"]"#,
            r#"["\ufdd0\u0041","\\ud800","\"\ufdd0"]"#,
        );
        check(r#"{"\udc00":"1e999"}"#, r#"{"\ufdd0":"1e999"}"#);
        check("[1e400,-1E+400,9e308,1e308]", "[9e307,-90e306,9e307,1e308]");
        check("-10e400", "-90e306");
        check("123123e100000", "9.0000000e307");
        check("[1,-0,0e999999999999,1e-999]", "[1,-0,0e999999999999,1e-999]");
    }

    #[test]
    fn a_saturated_number_is_huge_and_finite_at_every_length() {
        for length in 309..400 {
            let mut text = "7".repeat(length).into_bytes();
            put(&mut text);
            let number: f64 = std::str::from_utf8(&text).expect("ASCII").parse().expect("a number");
            assert!(number.is_finite() && number > 8e307, "{number}");
        }
    }
}
