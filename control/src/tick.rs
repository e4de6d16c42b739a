//! A limit's way, read from top to bottom: one partition, one class, one step every 500 ms.
//!
//! The owner of the partition runs it; so does every replica on the last reports when the owner is
//! silent, and so does the simulation. The function is the same, and so are its answers.

use crate::aimd::{Aimd, AimdConfig};
use crate::gains::Gains;
use crate::number::{AMOUNT_MAX, amount};
use crate::outage::{Flow, Outage, OutageBudget};
use crate::paper::ProbabilisticShed;
use crate::pid::{Form, Pid, STEP_S_BOUNDS, Sample, Terms};
use crate::profile::{Budget, Overflow, Policy, Rule};
use crate::signal::Measured;
use crate::time::Nanos;

/// The nominal period, s.
pub const PERIOD_S: f64 = 0.5;
/// `absorb` opens its limit again below this share of the budget.
const OPEN_BELOW: f64 = 0.8;
/// After a restart or a breaker the limit doubles at most every 10 s: ln 2 / 10 per second.
const SLEW_PER_S: f64 = 0.069_3;
/// And grows by at least this share of capacity per second, so that it leaves zero.
const SLEW_FLOOR_PER_S: f64 = 0.04;

/// What one step sees. Whatever is no finite, non-negative number is replaced by the last good value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Inputs {
    /// Whether capacity can be measured.
    pub flow: Flow,
    /// What the signals are made of. The capacity may be announced (members times rate) where the
    /// membership is about to change.
    pub measured: Measured,
    /// First attempts, shed ones included, events/s.
    pub offered_per_s: f64,
    /// What was let in, events/s.
    pub admitted_per_s: f64,
    /// How many more events the log may hold for this class before it reaches its share of the
    /// retention; `None`: not known.
    pub room: Option<f64>,
}

/// Why the limit is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The class has no limit.
    Open,
    /// A burst is being absorbed: the wait is inside its budget.
    Absorbing,
    /// The loop holds the signal at its setpoint.
    Limiting,
    /// Capacity is gone, and the log takes it.
    Outage,
    /// Capacity is gone, and the outage's budget is used.
    OutageSpent,
    /// Capacity is gone, and the profile keeps no more than a floor.
    Floor,
}

impl Reason {
    const ALL: [Self; 6] =
        [Self::Open, Self::Absorbing, Self::Limiting, Self::Outage, Self::OutageSpent, Self::Floor];

    /// Its name in messages and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Absorbing => "absorbing",
            Self::Limiting => "limiting",
            Self::Outage => "outage",
            Self::OutageSpent => "outage_spent",
            Self::Floor => "floor",
        }
    }

    /// The reason of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

/// What one step says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Output {
    /// Events/s; `None`: no limit.
    pub limit_per_s: Option<f64>,
    /// Why.
    pub reason: Reason,
    /// Every term, in an outage those of the last step before it.
    pub terms: Terms,
    /// Backlog over capacity, s.
    pub drain_s: f64,
    /// By how much the setpoint is raised for what an outage has left, s.
    pub excused_s: f64,
    /// Capacity that the limit is made of, events/s.
    pub capacity_per_s: f64,
    /// How many of the inputs were replaced, since the start.
    pub inputs_replaced: u64,
    /// The limit is held back after a restart or a breaker.
    pub slewing: bool,
}

/// The state of one partition's loop for one class.
#[derive(Clone, Debug)]
pub struct PartitionLoop {
    policy: Policy,
    unit_per_s: f64,
    pid: Pid,
    /// Another rule in its place, to compare with.
    other: Option<Other>,
    outage: Outage,
    last: Inputs,
    last_at: Option<Nanos>,
    terms: Terms,
    /// `absorb` has met its budget and limits.
    engaged: bool,
    /// The limit in effect before this owner, until the first step.
    takes_over_per_s: Option<f64>,
    slew_from_per_s: Option<f64>,
    inputs_replaced: u64,
}

/// Rules that know lag and load, and nothing of a setpoint.
#[derive(Clone, Debug)]
enum Other {
    Paper(ProbabilisticShed),
    Aimd(Aimd),
}

impl Other {
    fn of(rule: Rule, unit_per_s: f64) -> Option<Self> {
        match rule {
            Rule::Loop => None,
            Rule::Paper => Some(Self::Paper(ProbabilisticShed::default())),
            Rule::Aimd => Some(Self::Aimd(Aimd::new(AimdConfig::of(unit_per_s)))),
        }
    }

    fn step(&mut self, inputs: &Inputs, now: Nanos) -> (Option<f64>, Reason) {
        let (age_s, offered_per_s) = (inputs.measured.age_s, inputs.offered_per_s);
        let limit_per_s = match self {
            Self::Paper(shed) => {
                let dropped = shed.step(age_s, offered_per_s, inputs.measured.capacity_per_s);
                shed.is_active().then_some(offered_per_s * (1.0 - dropped))
            }
            Self::Aimd(aimd) => Some(aimd.step(age_s, offered_per_s, now)),
        };
        (limit_per_s, if limit_per_s.is_some() { Reason::Limiting } else { Reason::Open })
    }
}

impl PartitionLoop {
    /// A loop that has seen nothing. `unit_per_s` is what the partition is expected to do.
    pub fn new(policy: Policy, unit_per_s: f64) -> Self {
        let unit_per_s = amount(unit_per_s, 1.0).max(1.0);
        let measured = Measured { capacity_per_s: unit_per_s, ..Measured::default() };
        Self {
            policy,
            unit_per_s,
            pid: Pid::new(policy.pid()),
            other: Other::of(policy.rule, unit_per_s),
            outage: Outage::default(),
            last: Inputs { measured, ..Inputs::default() },
            last_at: None,
            terms: Terms::default(),
            engaged: policy.overflow != Overflow::Absorb,
            takes_over_per_s: None,
            slew_from_per_s: None,
            inputs_replaced: 0,
        }
    }

    /// A new owner goes on at the limit that is in effect.
    pub fn take_over(&mut self, limit_per_s: f64) {
        self.takes_over_per_s = Some(amount(limit_per_s, self.unit_per_s));
        self.engaged = true;
    }

    /// After a restart or a breaker the limit rises from here, at most twofold in 10 s.
    pub fn slew_from(&mut self, limit_per_s: f64) {
        self.slew_from_per_s = Some(amount(limit_per_s, 0.0));
    }

    /// Until now there was no owner: what waits at the next step is what an outage has left.
    pub const fn outage_ends(&mut self) {
        self.outage.ends();
    }

    /// Takes another policy and other gains; the limit does not jump.
    pub fn reload(&mut self, policy: Policy, gains: Gains) {
        if policy.pid() != self.policy.pid() {
            self.pid.reconfigure(policy.pid());
        }
        if policy.overflow != self.policy.overflow && policy.overflow != Overflow::Absorb {
            self.engaged = true;
        }
        if policy.rule != self.policy.rule {
            self.other = Other::of(policy.rule, self.unit_per_s);
        }
        self.policy = policy;
        self.pid.retune(gains);
    }

    /// One step.
    pub fn step(&mut self, inputs: &Inputs, now: Nanos) -> Output {
        let inputs = self.sane(inputs);
        let dt_s = self.last_at.map_or(PERIOD_S, |at| now.seconds_since(at));
        self.last_at = Some(now);
        let (limit_per_s, reason) = match (inputs.flow, self.policy.setpoint_s) {
            (Flow::Running, None) => {
                self.outage.running(inputs.admitted_per_s, inputs.measured.drain_s(), dt_s);
                (None, Reason::Open)
            }
            (Flow::Running, Some(setpoint_s)) => match &mut self.other {
                Some(other) => {
                    let drain_s = inputs.measured.drain_s();
                    self.outage.running(inputs.admitted_per_s, drain_s, dt_s);
                    other.step(&inputs, now)
                }
                None => self.running(&inputs, setpoint_s, dt_s),
            },
            (Flow::StoreGone | Flow::OwnerGone, None) => (None, Reason::Outage),
            (Flow::StoreGone | Flow::OwnerGone, Some(_)) => self.gone(&inputs, dt_s),
        };
        let limit_per_s = self.slewed(limit_per_s, &inputs, dt_s);
        Output {
            limit_per_s,
            reason,
            terms: self.terms,
            drain_s: inputs.measured.drain_s(),
            excused_s: match self.policy.overflow {
                Overflow::Absorb => self.outage.inherited_s(),
                Overflow::Bound | Overflow::Shed => 0.0,
            },
            capacity_per_s: inputs.measured.capacity_per_s,
            inputs_replaced: self.inputs_replaced,
            slewing: self.slew_from_per_s.is_some(),
        }
    }

    fn running(&mut self, inputs: &Inputs, setpoint_s: f64, dt_s: f64) -> (Option<f64>, Reason) {
        let measured = &inputs.measured;
        let drain_s = measured.drain_s();
        let left_s = match self.policy.budget {
            Budget::Drain => drain_s,
            Budget::DrainAndAge => drain_s.max(measured.age_s),
        };
        self.outage.running(inputs.admitted_per_s, left_s, dt_s);
        let scale_per_s = match self.policy.pid.form {
            Form::Positional => measured.capacity_per_s,
            Form::Incremental => self.unit_per_s,
        };
        if let Some(limit_per_s) = self.takes_over_per_s.take() {
            self.pid.take_over(limit_per_s / scale_per_s.max(1.0));
        }
        let mut setpoint_s = amount(setpoint_s, 0.0);
        if self.policy.overflow == Overflow::Absorb {
            // A log that would be full before the time is up ends the budget sooner.
            let full_s = inputs.room.map_or(f64::INFINITY, |room| {
                (measured.backlog + amount(room, 0.0)) / measured.capacity_per_s.max(1.0)
            });
            setpoint_s = (setpoint_s + self.outage.inherited_s()).min(full_s);
        }
        let signal_s = self.policy.signal.of(measured);
        let wait_s = match self.policy.budget {
            Budget::Drain => signal_s,
            Budget::DrainAndAge => signal_s.min(self.outage.waited_s(measured.age_s)),
        };
        if !self.engages(wait_s, setpoint_s, inputs) {
            let reason = if drain_s > 1.0 { Reason::Absorbing } else { Reason::Open };
            return (None, reason);
        }
        let load = inputs.offered_per_s / scale_per_s.max(1.0);
        self.terms = self.pid.step(&Sample { signal_s, setpoint_s, load, dt_s });
        (Some(self.terms.u * scale_per_s), Reason::Limiting)
    }

    /// `absorb` limits from its budget on, and lets go when the wait is clearly inside it again.
    fn engages(&mut self, wait_s: f64, setpoint_s: f64, inputs: &Inputs) -> bool {
        if self.policy.overflow == Overflow::Absorb {
            let enters = !self.engaged && wait_s >= setpoint_s;
            if enters {
                self.pid.restart();
            }
            let calm = inputs.offered_per_s < inputs.measured.capacity_per_s;
            let leaves = wait_s < OPEN_BELOW * setpoint_s || (calm && wait_s < setpoint_s);
            self.engaged = enters || (self.engaged && !leaves);
        }
        self.engaged
    }

    fn gone(&mut self, inputs: &Inputs, dt_s: f64) -> (Option<f64>, Reason) {
        let before_per_s = inputs.measured.capacity_per_s;
        if self.policy.overflow != Overflow::Absorb {
            return (Some(self.policy.pid.u_min * self.unit_per_s), Reason::Floor);
        }
        let budget = OutageBudget {
            seconds: self.policy.outage_budget_s,
            headroom: self.policy.outage_headroom,
        };
        let allowed =
            self.outage.gone(dt_s.min(STEP_S_BOUNDS.1), before_per_s, inputs.room, budget);
        let reason = if allowed.spent { Reason::OutageSpent } else { Reason::Outage };
        (Some(allowed.limit_per_s), reason)
    }

    fn slewed(&mut self, limit: Option<f64>, inputs: &Inputs, dt_s: f64) -> Option<f64> {
        let Some(from_per_s) = self.slew_from_per_s else { return limit };
        let dt_s = amount(dt_s, 0.0).min(STEP_S_BOUNDS.1);
        let floor = SLEW_FLOOR_PER_S * inputs.measured.capacity_per_s;
        let most = from_per_s + (from_per_s * SLEW_PER_S).max(floor) * dt_s;
        let reached = match limit {
            Some(limit) => limit <= most,
            None => inputs.offered_per_s <= most,
        };
        self.slew_from_per_s = if reached { None } else { Some(most) };
        if reached { limit } else { Some(most) }
    }

    fn sane(&mut self, inputs: &Inputs) -> Inputs {
        let mut replaced = 0;
        let mut sane = |value: f64, last: f64| {
            let amount = amount(value, last);
            replaced += u64::from(!(value.is_finite() && value >= 0.0));
            amount
        };
        let (new, last) = (&inputs.measured, &self.last.measured);
        let measured = Measured {
            backlog: sane(new.backlog, last.backlog),
            // While capacity is gone, what is said of it says nothing.
            capacity_per_s: match inputs.flow {
                Flow::Running => sane(new.capacity_per_s, last.capacity_per_s),
                Flow::StoreGone | Flow::OwnerGone => last.capacity_per_s,
            }
            .max(1.0),
            age_s: sane(new.age_s, last.age_s),
            downstream_p99_s: sane(new.downstream_p99_s, last.downstream_p99_s),
            ingress_p99_s: sane(new.ingress_p99_s, last.ingress_p99_s),
        };
        let sane = Inputs {
            flow: inputs.flow,
            measured,
            offered_per_s: sane(inputs.offered_per_s, self.last.offered_per_s),
            admitted_per_s: sane(inputs.admitted_per_s, self.last.admitted_per_s),
            room: inputs.room.map(|room| sane(room, self.last.room.unwrap_or(AMOUNT_MAX))),
        };
        self.inputs_replaced += replaced;
        self.last = sane;
        sane
    }
}

#[cfg(test)]
mod tests;
