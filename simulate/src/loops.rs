//! The limiting side: reports that come late, a rule every half second, limits that work later, and what
//! a replica does when the controller is away.

use std::collections::VecDeque;

use control::aimd::{Aimd, AimdConfig};
use control::capacity::by_class;
use control::fallback::{self, View};
use control::gains::Gains;
use control::level::Class;
use control::outage::Flow;
use control::paper::ProbabilisticShed;
use control::profile::{self, Overflow, Policy};
use control::signal::Measured;
use control::tick::{Inputs, Output, PERIOD_S, PartitionLoop};

use crate::consumers::{Consumers, nanos};
use crate::random::Random;
use crate::scenario::{Control, Fallback, Profile, Rule, Scenario, Topology};

/// Consumers report so often, s.
const REPORT_S: f64 = 0.25;
/// Offered load is known so late, s.
const OFFERED_DELAY_S: f64 = 0.5;

/// What is in effect.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// By queue, events/s.
    pub per_s: [Option<f64>; 3],
    /// Share of everything that is dropped first.
    pub drop_share: f64,
}

/// What a consumer says.
#[derive(Clone, Copy, Debug)]
struct Report {
    backlog: [f64; 3],
    age_s: [f64; 3],
    capacity_per_s: f64,
    gone: bool,
}

/// Smoothed rates at the ingress, events/s.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// Offered, by class.
    pub offered: [f64; 3],
    /// Let in, all classes.
    pub admitted: f64,
}

#[derive(Debug)]
enum Limiter {
    Open,
    Static(f64),
    /// One loop per queue that has one.
    Ours(Box<[Option<PartitionLoop>; 3]>),
    Paper(ProbabilisticShed),
    PaperBest(ProbabilisticShed, Box<PartitionLoop>),
    Aimd(Aimd),
}

/// The limiting side of a run.
#[derive(Debug)]
pub struct Loops {
    limiter: Limiter,
    shared: bool,
    reports: VecDeque<(f64, Report)>,
    reported_at: f64,
    seen: Report,
    rates: VecDeque<(f64, Rates)>,
    way: VecDeque<(f64, Limits)>,
    in_effect: Limits,
    received_at: f64,
    next_at: f64,
    dead: bool,
    /// What the replica's own loop said last.
    local: Option<(PartitionLoop, Option<Output>)>,
    capacity_per_s: f64,
    /// The terms of the first loop.
    pub terms: [f64; 4],
}

impl Loops {
    /// At the start of a scenario.
    pub fn new(scenario: &Scenario) -> Self {
        let unit = scenario.consumers.unit_per_s * f64::from(scenario.consumers.start);
        let control = &scenario.control;
        let limiter = match control.rule {
            Rule::None => Limiter::Open,
            Rule::Static => Limiter::Static(control.static_per_s.unwrap_or(0.9 * unit)),
            Rule::Ours => Limiter::Ours(Box::new(ours(scenario, unit))),
            Rule::Paper => Limiter::Paper(ProbabilisticShed::default()),
            Rule::PaperBest => {
                let policy = Policy { setpoint_s: Some(15.0), ..Policy::shared_topic() };
                let pid = Box::new(PartitionLoop::new(policy, unit));
                Limiter::PaperBest(ProbabilisticShed::default(), pid)
            }
            Rule::Aimd => Limiter::Aimd(Aimd::new(AimdConfig::of(unit))),
        };
        let seen = Report { backlog: [0.0; 3], age_s: [0.0; 3], capacity_per_s: unit, gone: false };
        Self {
            limiter,
            shared: scenario.log.topology == Topology::Shared,
            reports: VecDeque::new(),
            reported_at: 0.0,
            seen,
            rates: VecDeque::from([(0.0, Rates::default())]),
            way: VecDeque::new(),
            in_effect: Limits::default(),
            received_at: 0.0,
            next_at: 0.0,
            dead: false,
            local: None,
            capacity_per_s: unit,
            terms: [0.0; 4],
        }
    }

    /// The limits at `now`.
    pub fn in_effect(&mut self, scenario: &Scenario, now: f64) -> Limits {
        while self.way.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, limits)) = self.way.pop_front() {
                self.in_effect = limits;
                self.received_at = now;
            }
        }
        let Some(dead) = scenario.control.dead else { return self.in_effect };
        if now < dead.from_s {
            return self.in_effect;
        }
        let silent_s = now - self.received_at;
        let view = View {
            leader_per_s: self.in_effect.per_s[0],
            leader_age_s: silent_s,
            local: self.local.as_ref().and_then(|(_, output)| *output),
            capacity_per_s: self.capacity_per_s,
            admitted_per_s: self.rates.back().map_or(0.0, |(_, rates)| rates.admitted),
            silent_s,
            overflow: Overflow::Bound,
        };
        let limit = match scenario.control.fallback {
            Fallback::Hold => self.in_effect.per_s[0],
            Fallback::Open if silent_s > fallback::LIMIT_TTL_S => None,
            Fallback::Open => self.in_effect.per_s[0],
            Fallback::Lease => fallback::decide(&View { local: None, ..view }).0,
            Fallback::Local => fallback::decide(&view).0,
        };
        Limits { per_s: [limit, None, None], ..self.in_effect }
    }

    /// The end of a step: reports leave and arrive, and every half second the rule is asked.
    pub fn step(
        &mut self,
        scenario: &Scenario,
        now: f64,
        rates: Rates,
        consumers: &Consumers,
        gone: bool,
        random: &mut Random,
    ) {
        self.rates.push_back((now, rates));
        while self.rates.get(1).is_some_and(|(at, _)| *at <= now - OFFERED_DELAY_S) {
            self.rates.pop_front();
        }
        self.report(scenario, now, consumers, gone, random);
        if now + 1e-9 < self.next_at {
            return;
        }
        self.next_at += PERIOD_S;
        while self.reports.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, report)) = self.reports.pop_front() {
                self.seen = report;
            }
        }
        let mut seen = self.seen;
        if scenario.control.announced && scenario.control.rule == Rule::Ours {
            seen.capacity_per_s = consumers.announced(scenario, now, seen.capacity_per_s);
        }
        self.capacity_per_s = seen.capacity_per_s;
        let known = self.rates.front().map_or(rates, |(_, rates)| *rates);
        let dead = scenario.control.dead.is_some_and(|dead| dead.holds(now));
        if dead {
            self.local(scenario, &seen, &known, now);
        } else {
            if self.dead {
                self.come_back();
            }
            let limits = self.decide(&seen, &known, now);
            self.way.push_back((now + scenario.control.apply_delay_s, limits));
        }
        self.dead = dead;
    }

    fn report(
        &mut self,
        scenario: &Scenario,
        now: f64,
        consumers: &Consumers,
        gone: bool,
        random: &mut Random,
    ) {
        if now - self.reported_at < REPORT_S - 1e-9 {
            return;
        }
        self.reported_at = now;
        if random.unit() < scenario.control.report_loss {
            return;
        }
        let mut report = Report {
            backlog: [0.0; 3],
            age_s: [0.0; 3],
            capacity_per_s: consumers.measured_per_s(),
            gone,
        };
        for (at, queue) in consumers.queues.iter().enumerate() {
            report.backlog[at] = queue.backlog();
            report.age_s[at] = queue.age(now);
        }
        let control = &scenario.control;
        let at = now + control.report_delay_s + control.report_jitter_s * random.unit();
        self.reports.push_back((at, report));
    }

    fn decide(&mut self, seen: &Report, known: &Rates, now: f64) -> Limits {
        let offered: f64 = known.offered.iter().sum();
        let (age_s, capacity) = (seen.age_s[0], seen.capacity_per_s);
        let all = |limit: Option<f64>| Limits { per_s: [limit, None, None], drop_share: 0.0 };
        match &mut self.limiter {
            Limiter::Open => Limits::default(),
            Limiter::Static(limit) => all(Some(*limit)),
            Limiter::Paper(shed) => {
                Limits { drop_share: shed.step(age_s, offered, capacity), ..Limits::default() }
            }
            Limiter::PaperBest(shed, pid) => {
                // Its equation (4): what waits over what is consumed.
                shed.step(seen.backlog[0] / capacity.max(1.0), offered, capacity);
                let output =
                    pid.step(&inputs(seen, 0, capacity, offered, known.admitted), nanos(now));
                all(if shed.is_active() { output.limit_per_s } else { None })
            }
            Limiter::Aimd(aimd) => all(Some(aimd.step(age_s, offered, nanos(now)))),
            Limiter::Ours(loops) => {
                let mut limits = Limits::default();
                if self.shared {
                    let inputs = inputs(seen, 0, capacity, offered, known.admitted);
                    let output = loops[0].as_mut().map(|tick| tick.step(&inputs, nanos(now)));
                    limits.per_s[0] = output.and_then(|output| output.limit_per_s);
                    self.terms = output.map_or([0.0; 4], terms);
                    return limits;
                }
                // Telemetry has what transactional leaves, so transactional is asked first.
                for class in [Class::Transactional as usize, Class::Telemetry as usize] {
                    let Some(tick) = &mut loops[class] else { continue };
                    let transactional = limits.per_s[Class::Transactional as usize];
                    let share = by_class(capacity, known.offered, transactional)[class];
                    let offered = known.offered[class];
                    let output =
                        tick.step(&inputs(seen, class, share, offered, offered), nanos(now));
                    limits.per_s[class] = output.limit_per_s;
                    if class == Class::Transactional as usize {
                        self.terms = terms(output);
                    }
                }
                limits
            }
        }
    }

    /// The replica's own run of the loop, on what is reported; it goes on from the last limit.
    fn local(&mut self, scenario: &Scenario, seen: &Report, known: &Rates, now: f64) {
        let last = self.in_effect.per_s[0];
        let capacity = self.capacity_per_s;
        let (tick, output) = self.local.get_or_insert_with(|| {
            let mut policy = policy(scenario);
            policy.setpoint_s = policy.setpoint_s.map(|one| one * fallback::LOCAL_SETPOINT_SHARE);
            let mut tick = PartitionLoop::new(policy, capacity);
            if let Some(last) = last {
                tick.take_over(last);
            }
            (tick, None)
        });
        let offered = known.offered.iter().sum();
        *output = Some(tick.step(&inputs(seen, 0, capacity, offered, known.admitted), nanos(now)));
    }

    /// The controller is back, and goes on from what is in effect.
    fn come_back(&mut self) {
        let local = self.local.take().and_then(|(_, output)| output);
        let last = local.map_or(self.in_effect.per_s[0], |output| output.limit_per_s);
        if let (Limiter::Ours(loops), Some(last)) = (&mut self.limiter, last) {
            loops.iter_mut().flatten().for_each(|tick| tick.take_over(last));
        }
    }
}

fn inputs(seen: &Report, queue: usize, capacity: f64, offered: f64, admitted: f64) -> Inputs {
    Inputs {
        flow: if seen.gone { Flow::StoreGone } else { Flow::Running },
        measured: Measured {
            backlog: seen.backlog[queue],
            capacity_per_s: capacity,
            age_s: seen.age_s[queue],
            ..Measured::default()
        },
        offered_per_s: offered,
        admitted_per_s: admitted,
        room: None,
    }
}

fn terms(output: Output) -> [f64; 4] {
    [output.terms.p, output.terms.i, output.terms.d, output.terms.u]
}

/// The policy of one shared topic.
fn policy(scenario: &Scenario) -> Policy {
    let control = &scenario.control;
    let policy = match control.profile {
        Profile::BoundedLag => {
            Policy { setpoint_s: Some(control.setpoint_s), ..Policy::shared_topic() }
        }
        Profile::Absorb => profile::Profile::Absorb.policy(Class::Transactional),
    };
    tuned(scenario, policy, 1.0)
}

/// The policy with the scenario's gains; `slower` is how much longer this class's dead time is.
fn tuned(scenario: &Scenario, mut policy: Policy, slower: f64) -> Policy {
    let dead_time_s = scenario.control.dead_time_s.unwrap_or(1.0);
    let made = Gains::from_dead_time(dead_time_s * slower);
    let Control { kp, ki, kd, .. } = scenario.control;
    policy.pid.gains = Gains { kp: kp.unwrap_or(made.kp), ki: ki.unwrap_or(made.ki), kd, ..made };
    if !scenario.control.integral {
        policy.pid.gains.ki = 0.0;
    }
    policy
}

fn ours(scenario: &Scenario, unit: f64) -> [Option<PartitionLoop>; 3] {
    if scenario.log.topology == Topology::Shared {
        return [Some(PartitionLoop::new(policy(scenario), unit)), None, None];
    }
    let profile = match scenario.control.profile {
        Profile::Absorb => profile::Profile::Absorb,
        Profile::BoundedLag => profile::Profile::BoundedLag,
    };
    let of = |class: Class, slower: f64| {
        PartitionLoop::new(tuned(scenario, profile.policy(class), slower), unit)
    };
    let telemetry = !scenario.control.absorb_telemetry;
    [None, Some(of(Class::Transactional, 1.0)), telemetry.then(|| of(Class::Telemetry, 2.0))]
}
