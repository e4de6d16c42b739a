//! The time, as a parameter: the system's, or one that a test turns by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub i64);

impl Millis {
    /// As RFC 3339 writes it, in UTC.
    pub fn rfc3339(self) -> String {
        jiff::Timestamp::from_millisecond(self.0).unwrap_or_default().to_string()
    }

    /// What such a text says, with any offset from UTC; `None` where it is none.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        text.parse().ok().map(|time: jiff::Timestamp| Self(time.as_millisecond()))
    }

    /// What a date in a header of HTTP says (RFC 9110, 5.6.7, the one form that is still written).
    pub fn parse_http_date(text: &str) -> Option<Self> {
        let time = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
        Some(Self(time.as_millisecond()))
    }
}

/// Where the time of day comes from.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The operating system's clock.
    #[default]
    System,
    /// A clock that stands until a test moves it.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stands at `start`.
    pub fn manual(start: Millis) -> Self {
        Self::Manual(Arc::new(AtomicI64::new(start.0)))
    }

    /// The time now.
    pub fn now(&self) -> Millis {
        match self {
            #[expect(
                clippy::disallowed_methods,
                reason = "the one place that reads the system's time"
            )]
            Self::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
            }
            Self::Manual(now) => Millis(now.load(Ordering::Relaxed)),
        }
    }

    /// Moves a manual clock; the system's clock cannot be moved.
    pub fn advance(&self, by_ms: i64) {
        match self {
            Self::System => debug_assert!(false, "only a manual clock can be advanced"),
            Self::Manual(now) => {
                now.fetch_add(by_ms, Ordering::Relaxed);
            }
        }
    }
}
