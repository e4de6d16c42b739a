//! How long a receiver asks to be left alone.

use std::time::Duration;

use shared::clock::Millis;

/// Who asks for more is asked again after so long.
pub const MAX: Duration = Duration::from_secs(3_600);

/// The header `Retry-After`: seconds, or a date (RFC 9110, 10.2.3). `None` where it is neither.
pub fn parse(text: &str, now: Millis) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = Millis::parse_http_date(text)?;
            Duration::from_millis(u64::try_from(at.0.saturating_sub(now.0)).unwrap_or_default())
        }
    };
    Some(wait.min(MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_within_an_hour() {
        let now = Millis::parse_rfc3339("2026-03-01T12:00:00Z").expect("a time");
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(parse(text, now), expected.map(Duration::from_secs), "{text}");
        };
        check("0", Some(0));
        check(" 120 ", Some(120));
        check("99999999", Some(3_600));
        check("Sun, 01 Mar 2026 12:00:30 GMT", Some(30));
        check("Sun, 01 Mar 2026 11:00:00 GMT", Some(0));
        check("Fri, 01 Mar 2030 11:00:00 GMT", Some(3_600));
        check("soon", None);
        check("-1", None);
        check("", None);
    }
}
