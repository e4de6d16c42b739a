//! What a class is promised under load: the profile and its policy per class.

use crate::gains::Gains;
use crate::level::Class;
use crate::pid::{Form, PidConfig};
use crate::signal::Signal;

/// The least share of capacity that `absorb` lets in. Its budget is no bound that must hold: a burst that
/// overshot it by the dead time is worked off by what is left, and whoever stays inside the contract goes
/// on meanwhile.
const ABSORB_U_MIN: f64 = 0.9;

/// What happens to what capacity does not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// It waits in the log until the budget is used; then the limit holds the wait at the budget.
    Absorb,
    /// The limit holds the wait at the setpoint, always.
    Bound,
    /// As `Bound`, and the limit never exceeds capacity to fill an empty queue.
    Shed,
}

/// A named set of policies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// The default: bursts and outages wait in the log; shedding starts where the budget ends.
    #[default]
    Absorb,
    /// The least lag: more is shed, sooner.
    BoundedLag,
}

/// When a budget counts as used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Budget {
    /// When what waits will take longer.
    #[default]
    Drain,
    /// When it will take longer, and the oldest has waited as long: for a class that others squeeze. Its
    /// capacity is what they leave at the moment, and a squeeze of seconds is no lasting one.
    DrainAndAge,
}

/// What makes a limit while capacity can be measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rule {
    /// The loop around measured capacity.
    #[default]
    Loop,
    /// The paper's own: a share of the load is dropped above 15 s of lag ([`crate::paper`]).
    Paper,
    /// Additive increase, multiplicative decrease on the lag ([`crate::aimd`]).
    Aimd,
}

/// How one class is limited.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// What makes the limit. Other rules than the loop know no setpoint and no budget but their own.
    pub rule: Rule,
    /// What happens to what capacity does not serve.
    pub overflow: Overflow,
    /// Where the loop holds the signal, s: the setpoint of `bound`, the budget of `absorb`. `None`: the
    /// class is never limited.
    pub setpoint_s: Option<f64>,
    /// When `absorb` counts its budget as used.
    pub budget: Budget,
    /// The controlled variable.
    pub signal: Signal,
    /// An outage is absorbed for so long, s.
    pub outage_budget_s: f64,
    /// What is admitted over the last rate while an outage is absorbed.
    pub outage_headroom: f64,
    /// The controller.
    pub pid: PidConfig,
}

impl Profile {
    /// The policy of a class with a topic of its own.
    pub fn policy(self, class: Class) -> Policy {
        let (overflow, setpoint_s) = match (self, class) {
            (_, Class::Control) => (Overflow::Absorb, None),
            (Self::Absorb, Class::Transactional) => (Overflow::Absorb, Some(15.0)),
            (Self::Absorb, Class::Telemetry) => (Overflow::Absorb, Some(60.0)),
            (Self::BoundedLag, Class::Transactional) => (Overflow::Bound, Some(0.4)),
            (Self::BoundedLag, Class::Telemetry) => (Overflow::Bound, Some(3.0)),
        };
        let mut policy = Policy { overflow, setpoint_s, ..Policy::default() };
        if overflow == Overflow::Absorb {
            policy.pid.u_min = ABSORB_U_MIN;
        }
        if class == Class::Telemetry {
            policy.budget = Budget::DrainAndAge;
            // Its capacity is what is left over, and comes a dead time later.
            policy.pid.gains = Gains::from_dead_time(2.0);
        }
        policy
    }
}

impl Policy {
    /// All classes in one topic, at the least lag.
    pub fn shared_topic() -> Self {
        Self { overflow: Overflow::Bound, setpoint_s: Some(0.6), ..Self::default() }
    }

    /// The paper's equation (5), mended: the limit follows the database's p99 by increments.
    pub fn equation_five(target_p99_s: f64) -> Self {
        Self {
            overflow: Overflow::Bound,
            setpoint_s: Some(target_p99_s),
            signal: Signal::DownstreamP99,
            pid: PidConfig { form: Form::Incremental, ..PidConfig::default() },
            ..Self::default()
        }
    }

    /// The controller's settings, with what the overflow asks of them.
    pub fn pid(&self) -> PidConfig {
        match self.overflow {
            Overflow::Absorb | Overflow::Bound => self.pid,
            Overflow::Shed => PidConfig { u_max: self.pid.u_max.min(1.0), ..self.pid },
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            rule: Rule::Loop,
            overflow: Overflow::Absorb,
            setpoint_s: Some(15.0),
            budget: Budget::Drain,
            signal: Signal::Drain,
            outage_budget_s: 1800.0,
            outage_headroom: 1.2,
            pid: PidConfig::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profiles_are_the_documented_ones() {
        let check = |profile: Profile, class, overflow, setpoint_s| {
            let policy = profile.policy(class);
            assert_eq!((policy.overflow, policy.setpoint_s), (overflow, setpoint_s), "{class:?}");
        };
        check(Profile::Absorb, Class::Control, Overflow::Absorb, None);
        check(Profile::Absorb, Class::Transactional, Overflow::Absorb, Some(15.0));
        check(Profile::Absorb, Class::Telemetry, Overflow::Absorb, Some(60.0));
        check(Profile::BoundedLag, Class::Control, Overflow::Absorb, None);
        check(Profile::BoundedLag, Class::Transactional, Overflow::Bound, Some(0.4));
        check(Profile::BoundedLag, Class::Telemetry, Overflow::Bound, Some(3.0));
    }
}
