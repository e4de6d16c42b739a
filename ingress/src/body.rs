//! Reading a body: into a pooled buffer, inside its bounds, within its time.

use std::cell::Cell;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::time::{Instant, sleep_until};

use crate::budget::Reserved;
use crate::pool::Reusable;
use crate::reject::{Bound, Reject};

/// A body's pace is looked at so often, and not in its first seconds: connections start slowly.
const PACE_LOOK: Duration = Duration::from_secs(1);
const PACE_GRACE: Duration = Duration::from_secs(5);
/// What of a refused body is read and thrown away, so that the answer is not lost in a reset.
const DISCARD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// And for how long.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(1);

/// A body, or what it inflates to.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Reusable for Buffer {
    fn reset(&mut self) {
        self.bytes.clear();
    }

    fn bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

/// What a body may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyBounds {
    /// In bytes, on the wire.
    pub bytes_max: usize,
    /// From now to the last byte.
    pub time_max: Duration,
    /// The least bytes of a second on average; 0 = any.
    pub bytes_per_s_min: u64,
}

impl BodyBounds {
    /// Waits until the time is over, or until what has come is too little for it.
    async fn run_out(self, received: &Cell<usize>) {
        let started = Instant::now();
        let end = started + self.time_max;
        while !self.is_over(started.elapsed(), received.get()) {
            sleep_until(end.min(Instant::now() + PACE_LOOK)).await;
        }
    }

    /// Whether so much is too little after so long.
    fn is_over(self, elapsed: Duration, received: usize) -> bool {
        let paced = elapsed.saturating_sub(PACE_GRACE).as_secs() * self.bytes_per_s_min;
        elapsed >= self.time_max || (received as u64) < paced
    }
}

/// Reads the whole body.
pub(crate) async fn read(
    incoming: &mut Incoming,
    bounds: BodyBounds,
    reserved: &mut Reserved<'_>,
    into: &mut Vec<u8>,
) -> Result<(), Reject> {
    let received = Cell::new(0);
    let whole = async {
        while let Some(frame) = incoming.frame().await {
            let Ok(frame) = frame else { return Err(Reject::BodyIncomplete) };
            // Trailers say nothing to us.
            let Ok(data) = frame.into_data() else { continue };
            let length = into.len() + data.len();
            if length > bounds.bytes_max {
                return Err(too_large(bounds.bytes_max, None));
            }
            reserved.cover(length).map_err(|_| Reject::Overloaded)?;
            into.extend_from_slice(&data);
            received.set(length);
        }
        Ok(())
    };
    // A timer costs: most bodies are there with their head.
    tokio::select! {
        biased;
        read = whole => read,
        () = bounds.run_out(&received) => Err(Reject::BodyTimeout),
    }
}

/// The body is larger than it may be.
pub(crate) const fn too_large(limit: usize, observed: Option<usize>) -> Reject {
    Reject::Body(Bound { name: "body_bytes_max", limit, observed })
}

/// Reads what is left of a refused body, within bounds.
pub(crate) async fn discard(incoming: &mut Incoming) {
    let mut bytes = 0;
    let rest = async {
        while !incoming.is_end_stream() && bytes <= DISCARD_BYTES_MAX {
            match incoming.frame().await {
                Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, bytes::Bytes::len),
                Some(Err(_)) | None => return,
            }
        }
    };
    // Whoever is slower than that gets the answer and a closed connection.
    let _ = tokio::time::timeout(DISCARD_TIME_MAX, rest).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_a_time_and_a_pace() {
        let check = |bytes_per_s_min, elapsed_ms, received, expected| {
            let time_max = Duration::from_secs(30);
            let bounds = BodyBounds { bytes_max: 1 << 20, time_max, bytes_per_s_min };
            let elapsed = Duration::from_millis(elapsed_ms);
            assert_eq!(bounds.is_over(elapsed, received), expected, "{received} in {elapsed:?}");
        };
        check(1024, 0, 0, false);
        check(1024, 5_999, 0, false);
        check(1024, 6_000, 1023, true);
        check(1024, 6_000, 1024, false);
        check(1024, 29_999, 24 * 1024 - 1, true);
        check(1024, 29_999, 24 * 1024, false);
        check(1024, 30_000, 1 << 20, true);
        check(0, 29_999, 0, false);
        check(0, 30_000, 1 << 20, true);
    }
}
