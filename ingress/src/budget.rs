//! The bytes of bodies that the process holds at one time: admission before reading, by reservation.
//!
//! At the bound the request is refused with 503 at once; nothing waits for room.

use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus::IntGauge;

/// The process's budget, shared by its threads.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes: AtomicUsize,
    bytes_max: usize,
    gauge: IntGauge,
}

/// Bytes reserved by one request; given back on drop.
#[derive(Debug)]
pub(crate) struct Reserved<'b> {
    budget: &'b Budget,
    bytes: usize,
}

/// The budget is used up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exhausted;

impl Budget {
    /// A budget of so many bytes.
    pub const fn new(bytes_max: usize, gauge: IntGauge) -> Self {
        Self { bytes: AtomicUsize::new(0), bytes_max, gauge }
    }

    /// Reserves for a body of known or, with 0, of unknown length.
    pub fn reserve(&self, bytes: usize) -> Result<Reserved<'_>, Exhausted> {
        let mut reserved = Reserved { budget: self, bytes: 0 };
        reserved.grow(bytes)?;
        Ok(reserved)
    }
}

impl Reserved<'_> {
    /// Reserves more: a body without a length, or one that inflates.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let before = self.budget.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        self.budget.gauge.add(i64::try_from(bytes).unwrap_or(i64::MAX));
        // On failure the reservation keeps what it took until it is dropped, which is at once.
        if before + bytes <= self.budget.bytes_max { Ok(()) } else { Err(Exhausted) }
    }

    /// Makes sure that at least so many bytes are reserved in all.
    pub fn cover(&mut self, bytes: usize) -> Result<(), Exhausted> {
        if bytes <= self.bytes { Ok(()) } else { self.grow(bytes - self.bytes) }
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.budget.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.budget.gauge.sub(i64::try_from(self.bytes).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_are_bounded_and_come_back() {
        let gauge = IntGauge::new("g", "g").expect("a valid name");
        let budget = Budget::new(100, gauge.clone());
        let mut first = budget.reserve(60).expect("fits");
        assert_eq!(budget.reserve(41).map(|_| ()), Err(Exhausted));
        first.cover(100).expect("fits to the byte");
        assert_eq!((first.grow(1), gauge.get()), (Err(Exhausted), 101));
        drop(first);
        assert_eq!(gauge.get(), 0);
    }
}
