//! Looks at the consumers four times a second while a load runs: how far each class is behind.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared::Shutdown;
use shared::position::Class;
use tokio::time::{Instant, MissedTickBehavior};

use crate::admin;
use crate::bench::exposition::samples;

/// Between two looks.
const EVERY: Duration = Duration::from_millis(250);
const LAG: &str = "shock_consumer_lag_seconds";
const APPLIED: &str = "shock_consumer_applied_total";

/// The consumers' admin ports; a restart changes one.
#[derive(Clone, Debug)]
pub struct Watched(Arc<Mutex<Vec<SocketAddr>>>);

impl Watched {
    /// These.
    pub fn new(admins: Vec<SocketAddr>) -> Self {
        Self(Arc::new(Mutex::new(admins)))
    }

    /// As they are now.
    pub fn admins(&self) -> Vec<SocketAddr> {
        self.locked().clone()
    }

    fn locked(&self) -> MutexGuard<'_, Vec<SocketAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Consumer `index` is at another port now.
    pub fn moved(&self, index: usize, to: SocketAddr) {
        self.locked()[index] = to;
    }
}

/// What one look saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// Seconds since the load began.
    pub at_s: f64,
    /// The oldest record of any partition, s, by class.
    pub lag_s: [f64; 3],
    /// Effects so far, by class.
    pub applied: [f64; 3],
    /// How many consumers answered.
    pub answered: usize,
}

/// Looks until `stop`. A consumer that does not answer is left out of that look: it may be dead.
pub async fn watch(watched: Watched, stop: Shutdown) -> Vec<Look> {
    let started = Instant::now();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looks = Vec::new();
    while !stop.is_cancelled() {
        ticks.tick().await;
        let mut look = Look { at_s: started.elapsed().as_secs_f64(), ..Look::default() };
        for admin in watched.admins() {
            if let Ok((200, text)) = admin::get(admin, "/metrics").await {
                look.add(&text);
            }
        }
        looks.push(look);
    }
    looks
}

impl Look {
    fn add(&mut self, text: &str) {
        self.answered += 1;
        for class in Class::ALL {
            let of = |name| {
                samples(text, name).filter(move |one| one.label("class") == Some(class.name()))
            };
            let index = class.index();
            self.lag_s[index] = of(LAG).map(|one| one.value).fold(self.lag_s[index], f64::max);
            self.applied[index] += of(APPLIED).map(|one| one.value).sum::<f64>();
        }
    }
}

/// The most that a class was behind, s.
pub fn most_s(looks: &[Look], class: Class) -> f64 {
    looks.iter().map(|look| look.lag_s[class.index()]).fold(0.0, f64::max)
}

/// How long a class was more than `bound_s` behind, s.
pub fn above_s(looks: &[Look], class: Class, bound_s: f64) -> f64 {
    let pairs = looks.windows(2);
    let above = pairs.filter(|pair| pair[0].lag_s[class.index()] > bound_s);
    above.map(|pair| pair[1].at_s - pair[0].at_s).fold(0.0, |sum, seconds| sum + seconds)
}

/// From when on, s, a class stays within `bound_s`; infinite where it does not in the end.
pub fn within_from_s(looks: &[Look], class: Class, bound_s: f64) -> f64 {
    let within = looks.iter().rev().take_while(|look| look.lag_s[class.index()] < bound_s);
    within.last().map_or(f64::INFINITY, |look| look.at_s)
}

/// Effects a second between two moments, s, over these classes.
pub fn applied_per_s(looks: &[Look], classes: &[Class], from_s: f64, to_s: f64) -> f64 {
    let at = |moment: f64| looks.iter().find(|look| look.at_s >= moment).or(looks.last());
    let (Some(first), Some(last)) = (at(from_s), at(to_s)) else { return 0.0 };
    let applied = |look: &Look| classes.iter().map(|c| look.applied[c.index()]).sum::<f64>();
    let seconds = last.at_s - first.at_s;
    if seconds > 0.0 { (applied(last) - applied(first)) / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_add_up() {
        let mut look = Look::default();
        look.add(
            "shock_consumer_lag_seconds{class=\"telemetry\",partition=\"0\"} 2\n\
             shock_consumer_lag_seconds{class=\"telemetry\",partition=\"1\"} 0.5\n\
             shock_consumer_applied_total{class=\"transactional\"} 10\n",
        );
        look.add("shock_consumer_applied_total{class=\"transactional\"} 5\n");
        let at = |at_s, more| {
            let mut look = Look { at_s, ..look };
            look.applied[1] += more;
            look
        };
        let looks = [at(0.0, 0.0), at(1.0, 4.0), at(3.0, 20.0)];
        assert_eq!(most_s(&looks, Class::Telemetry), 2.0);
        assert_eq!(above_s(&looks, Class::Telemetry, 1.0), 3.0);
        assert_eq!(above_s(&looks, Class::Transactional, 1.0), 0.0);
        assert_eq!(within_from_s(&looks, Class::Telemetry, 3.0), 0.0);
        assert_eq!(within_from_s(&looks, Class::Telemetry, 1.0), f64::INFINITY);
        assert_eq!(applied_per_s(&looks, &[Class::Transactional], 1.0, 3.0), 8.0);
    }
}
