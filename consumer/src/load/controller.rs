//! The owner's loops: one [`PartitionLoop`] for each partition that is ours, every 500 ms.
//!
//! It has no state that matters beyond its own life: what was said last is kept at the gauges, so that one
//! that begins anew goes on from there. While it is dead no limits come, and every ingress replica runs
//! the same function on the reports.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::dead_time::DeadTime;
use control::gains::Gains;
use control::number::amount;
use control::outage::Flow;
use control::profile::{Overflow, Policy};
use control::shard::telemetry_share;
use control::signal::Measured;
use control::tick::{Inputs, Output, PERIOD_S, PartitionLoop, Reason};
use control::time::Nanos;
use shared::plane::Plane;
use shared::plane::message::{Limits, Live, PartitionLimit};
use shared::position::{Class, PartitionId};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::MissedTickBehavior;

use super::gauge::{Gauge, Reading};
use super::heard::{Asked, Heard, give_way};
use super::metrics::Shown;
use super::unit_per_s;
use crate::worker::Shared;

/// The dead time that gains are made for until it is measured, s.
const DEAD_TIME_S: f64 = 1.0;
/// Telemetry's capacity is what other classes leave, and is known a dead time later.
const TELEMETRY_SLOWER: f64 = 2.0;
/// Gains follow a dead time that has moved by this share: each change holds the limit for a step.
const RETUNE_SHARE: f64 = 0.2;
/// After an outage of so long, s, a limit that is always there rises slowly: a database that comes back
/// has lost its caches, and one that has merely paused has not.
const SLEW_AFTER_S: f64 = 10.0;
/// A partition of which no owner has said anything for so long had none: an outage.
const OWNERLESS_AFTER: Duration = Duration::from_secs(3);
/// An owner that holds to so much more than configured, s, excuses what an outage has left.
const RAISED_S: f64 = 1.0;
/// Where nothing is known of a limit, at least this share of the expected rate is let in at once: what
/// ingress replicas hold on to when nobody speaks. Less would shed before an idle database.
const SAFE_SHARE: f64 = 0.5;
/// Control should not wait longer, s; nothing limits it, so nothing else says so.
const CONTROL_OBJECTIVE_S: f64 = 0.2;
/// Under `absorb` a class may wait for its whole budget, but what is below it gives way from one and a half
/// times this on, s: a dead time later, transactional has not waited for a second for its sake.
const ABSORB_OBJECTIVE_S: f64 = 0.25;

/// Controls for as long as the process lives.
pub async fn run(shared: Arc<Shared>, plane: Plane) -> Infallible {
    let mut words = plane.listen();
    let mut tick = tokio::time::interval(Duration::from_secs_f64(PERIOD_S));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut controller = Controller::new(shared, plane);
    loop {
        tokio::select! {
            word = words.recv() => match word {
                Ok(word) => controller.hear(&word),
                Err(RecvError::Lagged(lost)) => controller.shared.metrics.load.unheard.inc_by(lost),
                // We hold the plane, so it speaks for as long as we listen.
                Err(RecvError::Closed) => std::future::pending().await,
            },
            _ = tick.tick() => controller.step(),
        }
    }
}

struct Controller {
    shared: Arc<Shared>,
    plane: Plane,
    heard: Heard,
    dead_time: DeadTime,
    loops: BTreeMap<PartitionId, Owned>,
}

/// One partition's.
struct Owned {
    epoch: u64,
    tick: PartitionLoop,
    /// An outage came before us, and what it has left for us is not known yet.
    left_behind: bool,
    /// Since when it has no capacity.
    gone_since: Option<Nanos>,
    policy: Policy,
    /// The dead time that its gains are made for; `None`: they are the policy's own.
    tuned_for_s: Option<f64>,
    inputs_replaced: u64,
    /// The reason that is shown.
    reason: &'static str,
}

impl Controller {
    fn new(shared: Arc<Shared>, plane: Plane) -> Self {
        // Of one that died: what it has shown nobody would take away.
        shared.metrics.load.reset();
        Self {
            shared,
            plane,
            heard: Heard::default(),
            dead_time: DeadTime::new(DEAD_TIME_S, PERIOD_S),
            loops: BTreeMap::new(),
        }
    }

    fn hear(&mut self, word: &shared::plane::Heard) {
        self.heard.hear(word, self.plane.name());
    }

    fn step(&mut self) {
        let (now, time) = (self.shared.load.gauges.now(), self.shared.clock.now());
        let gauges = self.shared.load.gauges.all();
        let ours: BTreeMap<PartitionId, (Arc<Gauge>, Reading)> = gauges
            .into_iter()
            .filter_map(|gauge| gauge.read(now, time).map(|reading| (reading.id, (gauge, reading))))
            .collect();
        self.heard.forget(Instant::now());
        self.give_up(&ours);
        self.measure_dead_time(ours.values().map(|(_, reading)| reading));

        let mut shares = self.heard.shares(Instant::now());
        let mut limits = Vec::with_capacity(ours.len());
        for (gauge, reading) in ours.values() {
            let limit = self.limit(gauge, reading, now);
            // Our own at once, without the way round.
            give_way(&mut shares, reading.id.class, limit.lower_classes_share);
            limits.push(limit);
        }
        self.shared.load.shares.set(shares);
        self.shared.metrics.load.show_shares(|class| self.shared.load.shares.of(class));
        if !limits.is_empty() {
            self.plane.publish(Live::Limits(Limits { partitions: limits }));
            self.shared.metrics.load.published.with_label_values(&["limits"]).inc();
        }
    }

    /// Ends the loops of partitions that are not ours any more.
    fn give_up(&mut self, ours: &BTreeMap<PartitionId, (Arc<Gauge>, Reading)>) {
        let metrics = &self.shared.metrics.load;
        self.loops.retain(|id, owned| {
            let kept = ours.contains_key(id);
            if !kept {
                metrics.remove(*id, owned.reason);
            }
            kept
        });
    }

    fn measure_dead_time<'r>(&mut self, readings: impl Iterator<Item = &'r Reading>) {
        if let Some(after_s) = self.heard.applied_after_s() {
            self.dead_time.limit_applied(after_s);
        }
        let busy = readings.filter(|one| one.flow == Flow::Running && one.backlog > 0);
        if let Some(age_s) = busy.map(|one| one.measured_ago_s).reduce(f64::max) {
            self.dead_time.report_used(age_s);
        }
        self.shared.metrics.load.dead_time.set(self.dead_time.seconds());
    }

    /// A limit's way: the loop goes on or begins, its gains follow the dead time, one step, and the words.
    fn limit(&mut self, gauge: &Gauge, reading: &Reading, now: Nanos) -> PartitionLimit {
        let id = reading.id;
        let (policy, gains_fixed) = {
            let control = self.shared.control.borrow();
            (control.policies[id.class.index()], control.gains_fixed)
        };
        let asked = self.heard.asked(id);
        let mut owned = match self.loops.remove(&id).filter(|one| one.epoch == reading.epoch) {
            Some(owned) => owned,
            None => self.begin(gauge, reading, &policy, asked),
        };
        owned.follow(&policy, gains_fixed, id.class, self.dead_time.seconds());
        owned.come_back(reading, gauge.said().limit_per_s.flatten(), now);
        if owned.left_behind {
            owned.tick.outage_ends();
            owned.left_behind = !reading.begun;
        }
        let inputs = inputs(reading, asked, self.heard.ingress_p99_s());
        let output = owned.tick.step(&inputs, now);
        let replaced = output.inputs_replaced.saturating_sub(owned.inputs_replaced);
        self.shared.metrics.load.inputs_replaced.inc_by(replaced);
        owned.inputs_replaced = output.inputs_replaced;
        self.show(reading, &output, &mut owned);
        self.loops.insert(id, owned);
        let seq = gauge.say(output.limit_per_s);
        words(reading, &inputs.measured, &output, &policy, seq)
    }

    /// A new owner goes on at the limit that is in effect: the one that a controller before us has said, or
    /// that the owner before us has. Where none is known and the class is never let go without one, it
    /// rises from what is let in.
    fn begin(
        &self,
        gauge: &Gauge,
        reading: &Reading,
        policy: &Policy,
        asked: Option<Asked>,
    ) -> Owned {
        let unit_per_s = unit_per_s(&self.shared.config);
        let mut tick = PartitionLoop::new(*policy, unit_per_s);
        let before = self.heard.before(reading.id, reading.epoch, Instant::now());
        let said = gauge.said().limit_per_s;
        match said.or(before.map(|before| before.limit_per_s)) {
            Some(Some(limit)) => tick.take_over(limit),
            Some(None) => {}
            None if policy.setpoint_s.is_some() && policy.overflow != Overflow::Absorb => {
                let admitted_per_s = asked.map_or(reading.arrived_per_s, |one| one.admitted_per_s);
                tick.slew_from(admitted_per_s.max(SAFE_SHARE * unit_per_s));
            }
            None => {}
        }
        let excused = before.is_none_or(|before| {
            let setpoint_s = policy.setpoint_s.unwrap_or(f64::INFINITY);
            before.ago >= OWNERLESS_AFTER || before.setpoint_s >= setpoint_s + RAISED_S
        });
        Owned {
            epoch: reading.epoch,
            tick,
            // A controller that died has left the gauge as it was, and no partition without an owner.
            left_behind: excused && said.is_none(),
            gone_since: None,
            policy: *policy,
            tuned_for_s: None,
            inputs_replaced: 0,
            reason: "",
        }
    }

    fn show(&self, reading: &Reading, output: &Output, owned: &mut Owned) {
        let terms = &output.terms;
        let gone = f64::from(u8::from(reading.flow != Flow::Running));
        let shown = Shown {
            always: [
                reading.capacity_per_s,
                output.drain_s,
                gone,
                terms.setpoint_s,
                terms.error_s,
                terms.p,
                terms.i,
                terms.d,
                terms.u,
            ],
            yes_or_no: [terms.saturated, terms.binding],
            limit_per_s: output.limit_per_s,
        };
        let metrics = &self.shared.metrics.load;
        metrics.show(reading.id, &shown);
        let before = Some(owned.reason).filter(|reason| !reason.is_empty());
        owned.reason = output.reason.name();
        metrics.show_reason(reading.id, before, owned.reason);
    }
}

impl Owned {
    /// Notices an outage and its end.
    fn come_back(&mut self, reading: &Reading, last_per_s: Option<f64>, now: Nanos) {
        if reading.flow != Flow::Running {
            self.gone_since.get_or_insert(now);
            return;
        }
        let gone_s = self.gone_since.take().map_or(0.0, |since| now.seconds_since(since));
        if let Some(limit) = last_per_s.filter(|_| self.bounds() && gone_s >= SLEW_AFTER_S) {
            self.tick.slew_from(limit);
        }
    }

    fn bounds(&self) -> bool {
        self.policy.overflow != Overflow::Absorb
    }

    /// Takes another policy where there is one; gains that are nobody's follow the dead time.
    fn follow(&mut self, policy: &Policy, gains_fixed: bool, class: Class, dead_time_s: f64) {
        let tuned_for_s = match (gains_fixed, self.tuned_for_s.unwrap_or(DEAD_TIME_S)) {
            (true, _) => None,
            (false, for_s) if (dead_time_s - for_s).abs() <= RETUNE_SHARE * for_s => {
                self.tuned_for_s
            }
            (false, _) => Some(dead_time_s),
        };
        if *policy != self.policy || tuned_for_s != self.tuned_for_s {
            let made = |for_s: f64| Gains::from_dead_time(for_s * slower(class));
            self.tick.reload(*policy, tuned_for_s.map_or(policy.pid.gains, made));
            (self.policy, self.tuned_for_s) = (*policy, tuned_for_s);
        }
    }
}

fn slower(class: Class) -> f64 {
    if class == Class::Telemetry { TELEMETRY_SLOWER } else { 1.0 }
}

fn inputs(reading: &Reading, asked: Option<Asked>, ingress_p99_s: f64) -> Inputs {
    // Where no replica is heard, what arrives is all that is known.
    let arrived_per_s = reading.arrived_per_s;
    let asked =
        asked.unwrap_or(Asked { offered_per_s: arrived_per_s, admitted_per_s: arrived_per_s });
    Inputs {
        flow: reading.flow,
        measured: Measured {
            backlog: reading.backlog as f64,
            capacity_per_s: reading.capacity_per_s,
            age_s: reading.age_s,
            downstream_p99_s: reading.downstream_p99_s,
            ingress_p99_s,
        },
        offered_per_s: asked.offered_per_s,
        // What the log says arrives bounds what anybody says was let in.
        admitted_per_s: asked.admitted_per_s.min(2.0 * arrived_per_s + 100.0),
        room: None,
    }
}

/// What share of their capacity the classes below may use while this partition waits. One without
/// capacity does not wait for them.
fn lower_classes_share(reading: &Reading, output: &Output, policy: &Policy) -> f64 {
    if reading.flow != Flow::Running {
        return 1.0;
    }
    let objective_s = match (reading.id.class, policy.overflow) {
        (Class::Control, _) => CONTROL_OBJECTIVE_S,
        (Class::Transactional, Overflow::Absorb) => ABSORB_OBJECTIVE_S,
        (Class::Transactional, _) => policy.setpoint_s.unwrap_or(ABSORB_OBJECTIVE_S),
        (Class::Telemetry, _) => return 1.0,
    };
    telemetry_share(output.drain_s, objective_s)
}

fn words(
    reading: &Reading,
    measured: &Measured,
    output: &Output,
    policy: &Policy,
    seq: u64,
) -> PartitionLimit {
    let terms = &output.terms;
    let (signal_s, setpoint_s) = match output.reason {
        // The loop stands still: its terms are those of another time.
        Reason::Open | Reason::Absorbing => {
            let setpoint_s = policy.setpoint_s.map_or(0.0, |setpoint| setpoint + output.excused_s);
            (policy.signal.of(measured), setpoint_s)
        }
        _ => (terms.signal_s, terms.setpoint_s),
    };
    // A number that is none would make the whole word unreadable.
    let number = |value: f64| if value.is_finite() { value } else { 0.0 };
    PartitionLimit {
        place: reading.id.into(),
        epoch: reading.epoch,
        seq,
        limit_per_s: output.limit_per_s.map(|limit| amount(limit, 0.0)),
        reason: output.reason,
        signal_s: number(signal_s),
        setpoint_s: number(setpoint_s),
        drain_s: number(output.drain_s),
        capacity_per_s: number(output.capacity_per_s),
        p: number(terms.p),
        i: number(terms.i),
        d: number(terms.d),
        u: number(terms.u),
        lower_classes_share: lower_classes_share(reading, output, policy),
    }
}

#[cfg(test)]
mod tests;
