//! What a replica knows of one partition: its owner's words, its own run of the same loop, and what
//! is asked for. Pure over the times that are handed in.

use std::time::{Duration, Instant};

use control::accept::{Accepted, Ignored, LimitMessage, VERSION};
use control::fallback::{self, LIMIT_TTL_S, LOCAL_SETPOINT_SHARE, Source, View};
use control::number::weight;
use control::outage::Flow;
use control::profile::{Budget, Overflow, Policy};
use control::signal::Measured;
use control::tick::{Inputs, Output, PartitionLoop, Reason};
use control::time::Nanos;
use shared::plane::message::{PartitionLimit, PartitionReport};
use shared::position::PartitionId;

/// A report, and a replica, count for so long.
pub(super) const FRESH: Duration = Duration::from_secs(3);
/// Rates are smoothed over so long, s.
const RATE_OVER_S: f64 = 1.0;
/// An owner is replaced now and then: a larger leap of the epoch is none.
const EPOCHS_MAX: u64 = 1_000;
/// More than so many times what arrives, and so much, was not let in.
const ARRIVED_MAX: f64 = 2.0;
const ARRIVED_PLUS_PER_S: f64 = 100.0;
/// Whoever is refused because an owner is gone should not come back before the group has another: the
/// session's time-out, s.
const OWNER_GONE_S: f64 = 10.0;

/// A counter's rate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    count: u64,
    per_s: f64,
}

impl Rate {
    /// Counts up to `count`, `dt_s` after the last time.
    pub fn update(&mut self, count: u64, dt_s: f64) -> f64 {
        let new = count.saturating_sub(std::mem::replace(&mut self.count, count));
        if dt_s > 0.0 {
            self.per_s += weight(dt_s, RATE_OVER_S) * (new as f64 / dt_s - self.per_s);
        }
        self.per_s
    }

    /// Events/s.
    pub const fn per_s(&self) -> f64 {
        self.per_s
    }
}

/// One partition.
#[derive(Debug)]
pub(super) struct Seat {
    /// Which.
    pub id: PartitionId,
    policy: Policy,
    accepted: Accepted,
    leader: Option<(Instant, PartitionLimit)>,
    report: Option<(Instant, PartitionReport)>,
    own: PartitionLoop,
    /// What our own run said last.
    output: Option<Output>,
    /// The owner's limit was in effect at the last step.
    followed: bool,
    begun: Instant,
    /// Asked of this replica.
    pub offered: Rate,
    /// Let in by this replica.
    pub admitted: Rate,
    /// The limit in effect, events/s of all replicas together; none: no limit.
    pub limit_per_s: Option<f64>,
    /// Where it comes from.
    pub source: Source,
    /// It is among the metrics.
    pub shown: bool,
}

/// What a step sees of the others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings {
    /// Asked of all replicas, events/s.
    pub offered_per_s: f64,
    /// Let in by all replicas, events/s.
    pub admitted_per_s: f64,
    /// For how long not even our own words have come back; none: they do.
    pub deaf_s: Option<f64>,
}

impl Seat {
    /// Nothing was heard.
    pub fn new(id: PartitionId, policy: Policy, unit_per_s: f64, now: Instant) -> Self {
        Self {
            id,
            policy,
            accepted: Accepted::default(),
            leader: None,
            report: None,
            own: PartitionLoop::new(local(policy), unit_per_s),
            output: None,
            followed: false,
            begun: now,
            offered: Rate::default(),
            admitted: Rate::default(),
            limit_per_s: None,
            source: Source::Local,
            shown: false,
        }
    }

    /// Another policy; the limit does not jump.
    pub fn reload(&mut self, policy: Policy) {
        self.policy = policy;
        let local = local(policy);
        self.own.reload(local, local.pid.gains);
    }

    /// The owner says a limit. `sent`: when, by our clock.
    pub fn hear_limit(&mut self, limit: &PartitionLimit, sent: Instant) -> Result<(), Ignored> {
        let message = LimitMessage {
            version: VERSION,
            epoch: limit.epoch,
            seq: limit.seq,
            limit_per_s: limit.limit_per_s,
        };
        self.accepted.take(&message, self.admitted.per_s())?;
        self.leader = Some((sent, *limit));
        self.takes_effect((limit.limit_per_s, Source::Leader));
        Ok(())
    }

    /// The owner says what it measures. A former owner's late word is no news.
    pub fn hear_report(&mut self, report: &PartitionReport, sent: Instant) {
        let newer = self.report.is_none_or(|(at, known)| {
            let follows = (0..=EPOCHS_MAX).contains(&report.epoch.wrapping_sub(known.epoch));
            follows || sent.saturating_duration_since(at) > FRESH
        });
        if newer {
            self.report = Some((sent, *report));
        }
    }

    /// Decides which limit is in effect.
    pub fn step(&mut self, see: &Surroundings, at: Nanos, now: Instant) {
        let age_s = |heard: Instant| now.saturating_duration_since(heard).as_secs_f64();
        let leader_age_s = self.leader.map_or(f64::INFINITY, |(sent, _)| age_s(sent));
        let follows = leader_age_s <= LIMIT_TTL_S;
        if !follows {
            self.accepted.expire();
            if std::mem::take(&mut self.followed)
                && let Some(limit) = self.accepted.limit_per_s()
            {
                self.own.take_over(limit);
            }
        }
        self.followed = follows;
        let output = self.own.step(&self.inputs(see, now), at);
        self.output = Some(output);
        if self.unheard(now) {
            return self.takes_effect((None, Source::Local));
        }
        let view = View {
            leader_per_s: self.accepted.limit_per_s(),
            leader_age_s,
            local: see.deaf_s.is_none().then_some(output),
            capacity_per_s: output.capacity_per_s,
            admitted_per_s: see.admitted_per_s,
            silent_s: see.deaf_s.unwrap_or(0.0),
            overflow: self.policy.overflow,
        };
        self.takes_effect(fallback::decide(&view))
    }

    fn takes_effect(&mut self, (limit, source): (Option<f64>, Source)) {
        self.limit_per_s = limit;
        self.source = source;
    }

    /// No consumer has ever said anything of it, and the class absorbs: there is nothing yet to limit
    /// by, and an outage's budget is not used.
    fn unheard(&self, now: Instant) -> bool {
        let since_s = now.saturating_duration_since(self.begun).as_secs_f64();
        self.report.is_none()
            && self.leader.is_none()
            && self.policy.overflow == Overflow::Absorb
            && since_s < self.policy.outage_budget_s
    }

    fn inputs(&self, see: &Surroundings, now: Instant) -> Inputs {
        let fresh = |sent: Instant| now.saturating_duration_since(sent) <= FRESH;
        let (flow, measured, room) = match &self.report {
            Some((sent, report)) => (
                if fresh(*sent) { report.flow } else { Flow::OwnerGone },
                Measured {
                    backlog: report.backlog as f64,
                    capacity_per_s: report.capacity_per_s,
                    age_s: report.age_s,
                    downstream_p99_s: report.downstream_p99_s,
                    ingress_p99_s: 0.0,
                },
                report.room,
            ),
            None => {
                (Flow::OwnerGone, Measured { capacity_per_s: 1.0, ..Measured::default() }, None)
            }
        };
        Inputs {
            flow,
            measured,
            offered_per_s: see.offered_per_s,
            // What the log says arrives bounds what anybody says was let in.
            admitted_per_s: self.report.map_or(see.admitted_per_s, |(_, report)| {
                see.admitted_per_s.min(ARRIVED_MAX * report.arrived_per_s + ARRIVED_PLUS_PER_S)
            }),
            room,
        }
    }

    /// How long whoever is refused should stay away at least, s.
    pub fn behind_s(&self) -> f64 {
        let Some(output) = &self.output else { return 0.0 };
        match output.reason {
            Reason::Floor | Reason::OutageSpent => OWNER_GONE_S,
            Reason::Limiting => (output.terms.signal_s - output.terms.setpoint_s).max(0.0),
            Reason::Open | Reason::Absorbing | Reason::Outage => 0.0,
        }
    }

    /// The wait that the modes count, s.
    pub fn wait_s(&self) -> f64 {
        // While the owner is heard its word counts, which takes more than one bad report to move.
        let leader = self.leader.filter(|_| self.followed).map(|(_, limit)| limit);
        let waits_s = match (leader, self.policy.overflow) {
            (Some(limit), Overflow::Bound | Overflow::Shed) => limit.drain_s,
            (Some(limit), Overflow::Absorb) if limit.reason == Reason::Limiting => {
                limit.signal_s - limit.setpoint_s
            }
            (Some(_), Overflow::Absorb) => 0.0,
            (None, overflow) => {
                self.output.map_or(0.0, |output| control::mode::wait_s(overflow, &output))
            }
        };
        waits_s.min(self.waited_s()).max(0.0)
    }

    /// The most that its records can have waited beyond what they may, s. A class that others squeeze has a
    /// long drain time for as long as the squeeze lasts; what it has really waited is the oldest's age.
    fn waited_s(&self) -> f64 {
        let Some((_, report)) = self.report else { return f64::INFINITY };
        match (self.policy.budget, self.policy.overflow) {
            (Budget::Drain, _) => f64::INFINITY,
            (Budget::DrainAndAge, Overflow::Absorb) => {
                report.age_s - self.policy.setpoint_s.unwrap_or(0.0)
            }
            (Budget::DrainAndAge, Overflow::Bound | Overflow::Shed) => report.age_s,
        }
    }

    /// What its writer can do, as far as it is known, events/s.
    pub fn capacity_per_s(&self) -> f64 {
        self.report.map_or(0.0, |(_, report)| report.capacity_per_s)
    }

    /// Records that wait, as far as it can be known: with a silent owner, what came since as well.
    pub fn backlog(&self, now: Instant) -> f64 {
        self.report.map_or(0.0, |(sent, report)| {
            let since = now.saturating_duration_since(sent);
            let silent_s = if since > FRESH { since.as_secs_f64() } else { 0.0 };
            report.backlog as f64 + report.arrived_per_s * silent_s
        })
    }

    /// What its last report says, while it is fresh.
    pub fn report(&self, now: Instant) -> Option<&PartitionReport> {
        let (sent, report) = self.report.as_ref()?;
        (now.saturating_duration_since(*sent) <= FRESH).then_some(report)
    }

    /// Its owner was heard once, is silent now, and that is not being absorbed.
    pub fn is_stale(&self, now: Instant) -> bool {
        self.report.is_some() && self.report(now).is_none() && !self.absorbs()
    }

    /// Its writer cannot work, and that is not being absorbed.
    pub fn writer_gone(&self, now: Instant) -> bool {
        self.store_is_gone(now) && !self.absorbs()
    }

    /// Its writer says that its database is away.
    pub fn store_is_gone(&self, now: Instant) -> bool {
        self.report(now).is_some_and(|report| report.flow == Flow::StoreGone)
    }

    fn absorbs(&self) -> bool {
        let spent = self.output.is_some_and(|output| output.reason == Reason::OutageSpent);
        self.policy.overflow == Overflow::Absorb && !spent
    }
}

/// The policy of a replica's own run: it sees older reports than the owner, so it aims lower.
fn local(policy: Policy) -> Policy {
    let setpoint_s = policy.setpoint_s.map(|setpoint| setpoint * LOCAL_SETPOINT_SHARE);
    Policy { setpoint_s, ..policy }
}

#[cfg(test)]
mod tests;
