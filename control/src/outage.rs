//! An outage is not an overload: capacity that is gone is not a capacity of zero to be limited to.
//!
//! While it lasts, the class goes on at up to the rate it had, until the budget is used; then at the
//! rate that what is left in the log allows. What it leaves behind is not held against the producers
//! afterwards: the loop's setpoint is raised by it and comes down as it drains.

use crate::number::{amount, weight};

/// Over how long the last rate is the highest seen, s.
const PEAK_OVER_S: f64 = 60.0;
/// Less than this is drained, s.
const DRAINED_S: f64 = 1.0;

/// Whether there is a capacity to be measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// The writer works.
    #[default]
    Running,
    /// The writer's breaker is open, or the database fails.
    StoreGone,
    /// The owner is dead, silent, or being replaced.
    OwnerGone,
}

/// An outage's state.
#[derive(Clone, Debug, Default)]
pub struct Outage {
    /// Capacity is gone.
    gone: bool,
    /// How much of the budget is used, s. It comes back when what was left behind is drained, so that
    /// many short outages are one long one.
    used_s: f64,
    /// The highest admitted rate lately; stands still in an outage.
    peak_per_s: f64,
    /// The wait that outages have left behind, s.
    inherited_s: f64,
    /// For how long capacity is back, s.
    back_s: f64,
}

/// What an outage allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allowed {
    /// The limit, events/s.
    pub limit_per_s: f64,
    /// The budget is used up.
    pub spent: bool,
}

impl Outage {
    /// Learns the admitted rate while capacity is there, and what wait an outage that just ended has left
    /// behind.
    pub fn running(&mut self, admitted_per_s: f64, wait_s: f64, dt_s: f64) {
        let fallen = self.peak_per_s * (1.0 - weight(dt_s, PEAK_OVER_S));
        self.peak_per_s = amount(admitted_per_s, 0.0).max(fallen);
        self.back_s += amount(dt_s, 0.0);
        if std::mem::take(&mut self.gone) {
            (self.inherited_s, self.back_s) = (wait_s, 0.0);
        }
        self.inherited_s = self.inherited_s.min(amount(wait_s, 0.0));
        if self.is_drained() {
            self.used_s = 0.0;
        }
    }

    /// Capacity was gone until now, under an owner that is not there to tell.
    pub const fn ends(&mut self) {
        self.gone = true;
    }

    /// For how long a record that is so old has waited for its class, s: what was there before capacity
    /// came back waits since then.
    pub fn waited_s(&self, age_s: f64) -> f64 {
        if self.is_drained() { age_s } else { age_s.min(self.back_s) }
    }

    fn is_drained(&self) -> bool {
        self.inherited_s < DRAINED_S
    }

    /// What is allowed while capacity is gone: what was admitted before with its headroom, and never
    /// less than what could be served before.
    pub fn gone(
        &mut self,
        dt_s: f64,
        before_per_s: f64,
        room: Option<f64>,
        budget: OutageBudget,
    ) -> Allowed {
        self.gone = true;
        self.used_s += amount(dt_s, 0.0);
        let held_per_s = (self.peak_per_s * budget.headroom).max(before_per_s);
        let spent = self.used_s >= budget.seconds;
        // What is left must last for as long again. Without a known room, half of what was.
        let rest_per_s =
            room.map_or(held_per_s / 2.0, |room| amount(room, 0.0) / budget.seconds.max(1.0));
        // A log that is full before its time ends the absorbing, too.
        let full = room.is_some_and(|room| room <= 0.0);
        let limit_per_s = if spent || full { held_per_s.min(rest_per_s) } else { held_per_s };
        Allowed { limit_per_s, spent: spent || full }
    }

    /// By how much the setpoint is raised, s.
    pub const fn inherited_s(&self) -> f64 {
        self.inherited_s
    }
}

/// What an outage may use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutageBudget {
    /// For how long, s.
    pub seconds: f64,
    /// Over the last rate.
    pub headroom: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: OutageBudget = OutageBudget { seconds: 1800.0, headroom: 1.2 };

    #[test]
    fn it_goes_on_at_the_last_rate_until_the_budget_is_used() {
        let mut outage = Outage::default();
        for _ in 0..100 {
            outage.running(8000.0, 0.0, 0.5);
        }
        let mut last = 100.0;
        let mut at = |seconds: f64, room| {
            let dt_s = seconds - std::mem::replace(&mut last, seconds);
            outage.gone(dt_s, 5000.0, room, BUDGET)
        };
        assert_eq!(at(100.0, Some(1e9)), Allowed { limit_per_s: 9600.0, spent: false });
        assert_eq!(at(1899.0, Some(1e9)), Allowed { limit_per_s: 9600.0, spent: false });
        assert_eq!(at(1900.0, Some(1.8e6)), Allowed { limit_per_s: 1000.0, spent: true });
        assert_eq!(at(2500.0, Some(0.0)), Allowed { limit_per_s: 0.0, spent: true });
        assert_eq!(at(2500.0, Some(1e12)), Allowed { limit_per_s: 9600.0, spent: true });
    }

    #[test]
    fn a_quiet_class_may_still_use_what_could_be_served() {
        let mut outage = Outage::default();
        outage.running(10.0, 0.0, 0.5);
        let allowed = outage.gone(0.5, 5000.0, None, BUDGET);
        assert_eq!(allowed.limit_per_s.to_bits(), 5000.0_f64.to_bits());
    }

    #[test]
    fn what_it_leaves_behind_is_excused_until_it_is_drained() {
        let mut outage = Outage::default();
        outage.running(8000.0, 0.2, 0.5);
        assert!(outage.inherited_s().abs() < f64::EPSILON);
        outage.gone(0.5, 20_000.0, None, BUDGET);
        outage.running(8000.0, 48.0, 0.5);
        assert!((outage.inherited_s() - 48.0).abs() < 1e-9);
        outage.running(8000.0, 20.0, 0.5);
        outage.running(8000.0, 30.0, 0.5);
        assert!((outage.inherited_s() - 20.0).abs() < 1e-9, "an overload is not excused");
        outage.running(8000.0, 0.0, 0.5);
        assert!(outage.inherited_s().abs() < 1e-9);
    }

    #[test]
    fn what_came_before_its_end_has_waited_since_then() {
        let mut outage = Outage::default();
        outage.running(8000.0, 0.2, 0.5);
        let waited_s = |outage: &Outage, age_s: f64| outage.waited_s(age_s).round() as u32;
        assert_eq!(waited_s(&outage, 70.0), 70);
        outage.ends();
        outage.running(8000.0, 60.0, 0.5);
        assert_eq!(waited_s(&outage, 70.0), 0);
        outage.running(8000.0, 60.0, 20.0);
        assert_eq!((waited_s(&outage, 90.0), waited_s(&outage, 5.0)), (20, 5));
        outage.running(8000.0, 0.1, 0.5);
        assert_eq!(waited_s(&outage, 70.0), 70, "nothing is left of it");
    }

    #[test]
    fn many_short_outages_use_the_budget_of_one() {
        let mut outage = Outage::default();
        outage.running(8000.0, 0.0, 0.5);
        for _ in 0..29 {
            outage.gone(60.0, 5000.0, None, BUDGET);
            outage.running(8000.0, 40.0, 0.5);
        }
        assert!(!outage.gone(59.0, 5000.0, None, BUDGET).spent);
        assert!(outage.gone(1.0, 5000.0, None, BUDGET).spent);
        outage.running(8000.0, 0.5, 0.5);
        assert!(!outage.gone(60.0, 5000.0, None, BUDGET).spent, "drained, it is whole again");
    }
}
