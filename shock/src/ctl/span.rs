//! Times as people write them: `90s`, `15m`, `1h`, `2d`.

const UNITS: [(char, f64); 4] = [('s', 1.0), ('m', 60.0), ('h', 3_600.0), ('d', 86_400.0)];

/// The seconds of such a time.
pub fn seconds(text: &str) -> Result<f64, String> {
    let unit = UNITS.iter().find(|(letter, _)| text.ends_with(*letter));
    let number = unit.and_then(|(letter, each)| {
        let number: u32 = text.strip_suffix(*letter)?.parse().ok()?;
        Some(f64::from(number) * each)
    });
    number.filter(|seconds| *seconds > 0.0).ok_or_else(|| "a time is 30s, 15m, 1h or 2d".to_owned())
}

/// A time for people: its two largest units.
pub fn told(seconds: f64) -> String {
    // Never more than there is, and never below 0: the cast saturates.
    let seconds = seconds as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, expected) in [("30s", 30.0), ("15m", 900.0), ("1h", 3_600.0), ("2d", 172_800.0)]
        {
            assert_eq!(seconds(text), Ok(expected));
        }
        for text in ["", "s", "0s", "-1s", "1.5h", "15", "15 m", "1w", "9999999999d"] {
            seconds(text).expect_err(text);
        }
        for (seconds, expected) in [
            (0.9, "0s"),
            (3_599.9, "59m 59s"),
            (-3.0, "0s"),
            (59.0, "59s"),
            (900.0, "15m 0s"),
            (3_660.0, "1h 1m"),
            (90_000.0, "1d 1h"),
        ] {
            assert_eq!(told(seconds), expected);
        }
    }
}
