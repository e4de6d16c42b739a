//! The log as the simulation sees it: first in, first out, in cohorts of one step.

use std::collections::VecDeque;

/// Less than this is rounding, not an event.
const NOTHING: f64 = 1e-9;

/// A queue of (arrival, events), with events as fluid.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    cohorts: VecDeque<(f64, f64)>,
    backlog: f64,
}

impl Queue {
    /// Adds what arrived at `at`, s.
    pub fn push(&mut self, at: f64, events: f64) {
        if events > 0.0 {
            self.cohorts.push_back((at, events));
            self.backlog += events;
        }
    }

    /// Takes up to `events` from the front; returns how many there were.
    pub fn pop(&mut self, mut events: f64) -> f64 {
        let mut done = 0.0;
        while events > NOTHING {
            let Some((_, left)) = self.cohorts.front_mut() else { break };
            let taken = left.min(events);
            *left -= taken;
            events -= taken;
            done += taken;
            if *left <= NOTHING {
                self.cohorts.pop_front();
            }
        }
        self.backlog = if self.cohorts.is_empty() { 0.0 } else { (self.backlog - done).max(0.0) };
        done
    }

    /// Events that wait.
    pub fn backlog(&self) -> f64 {
        self.backlog
    }

    /// How long the oldest has waited, s.
    pub fn age(&self, now: f64) -> f64 {
        self.cohorts.front().map_or(0.0, |(at, _)| now - at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first_and_its_age_is_the_lag() {
        let mut queue = Queue::default();
        queue.push(1.0, 10.0);
        queue.push(2.0, 10.0);
        assert!((queue.age(5.0) - 4.0).abs() < 1e-12);
        assert!((queue.pop(15.0) - 15.0).abs() < 1e-12);
        assert!((queue.age(5.0) - 3.0).abs() < 1e-12);
        assert!((queue.pop(15.0) - 5.0).abs() < 1e-12);
        assert!(queue.backlog().abs() < 1e-12 && queue.age(9.0).abs() < 1e-12);
    }
}
