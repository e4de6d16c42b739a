//! What serves: consumers that come after a while, rebalance, stall, and are measured.

use std::collections::VecDeque;

use control::capacity::{Capacity, CapacityConfig, TELEMETRY_SHARE};
use control::paper::{CpuScale, LagScale};
use control::scale::{Load, ScaleConfig, Scaler};
use control::time::{Nanos, SECOND_NS};

use crate::queue::Queue;
use crate::random::Random;
use crate::scenario::{STEP_S, Scale, Scenario, Topology};

/// The consumers of a scenario, with the queues they read.
#[derive(Debug)]
pub struct Consumers {
    ready: u32,
    /// When ordered ones are ready, s, and how many.
    coming: VecDeque<(f64, u32)>,
    rebalances_until: f64,
    /// One, or one per class.
    pub queues: Vec<Queue>,
    /// What the writers measure of themselves.
    measured: Capacity,
    /// The same per consumer.
    unit: Capacity,
    /// Events that were processed and not yet reported: reports are whole numbers.
    unreported: [f64; 2],
    /// What is processed, smoothed.
    processed_per_s: f64,
    scaler: Scaler,
    lag_scale: LagScale,
    cpu_scale: CpuScale,
    asked_at: f64,
}

/// What one step did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Served {
    /// Capacity, events/s.
    pub capacity_per_s: f64,
    /// Events that were processed.
    pub done: f64,
    /// Capacity is gone.
    pub gone: bool,
}

impl Consumers {
    /// At the start of a scenario.
    pub fn new(scenario: &Scenario) -> Self {
        let consumers = &scenario.consumers;
        let queues = match scenario.log.topology {
            Topology::Shared => 1,
            Topology::PerClass => 3,
        };
        let of = |count: u32| {
            let unit_per_s = consumers.unit_per_s * f64::from(count);
            Capacity::new(CapacityConfig { unit_per_s, ..CapacityConfig::default() })
        };
        let config = ScaleConfig {
            consumers_min: consumers.start,
            consumers_max: consumers.max,
            ..ScaleConfig::default()
        };
        Self {
            ready: consumers.start,
            coming: VecDeque::new(),
            rebalances_until: -1.0,
            queues: vec![Queue::default(); queues],
            measured: of(consumers.start),
            unit: of(1),
            unreported: [0.0; 2],
            processed_per_s: 0.0,
            scaler: Scaler::new(config),
            lag_scale: LagScale::default(),
            cpu_scale: CpuScale::default(),
            asked_at: -5.0,
        }
    }

    /// Consumers that are there.
    pub fn ready(&self) -> u32 {
        self.ready
    }

    /// Consumers that are there or on their way.
    pub fn ordered(&self) -> u32 {
        self.ready + self.coming.iter().map(|(_, count)| count).sum::<u32>()
    }

    /// The measured capacity, events/s.
    pub fn measured_per_s(&self) -> f64 {
        self.measured.per_s()
    }

    /// The oldest record's age, s.
    pub fn age(&self, now: f64) -> f64 {
        self.queues.iter().map(|queue| queue.age(now)).fold(0.0, f64::max)
    }

    /// Events that wait.
    pub fn backlog(&self) -> f64 {
        self.queues.iter().map(Queue::backlog).sum()
    }

    /// Serves one step.
    pub fn serve(&mut self, scenario: &Scenario, now: f64, random: &mut Random) -> Served {
        let consumers = &scenario.consumers;
        while self.coming.front().is_some_and(|(at, _)| *at <= now) {
            self.ready += self.coming.pop_front().map_or(0, |(_, count)| count);
            self.rebalances_until = now + consumers.rebalance_s;
        }
        let mut capacity = f64::from(self.ready) * consumers.unit_per_s;
        if now < self.rebalances_until {
            capacity *= consumers.rebalance_share;
        }
        for stall in &scenario.stall {
            if now >= stall.from_s && now < stall.to_s {
                capacity *= stall.share;
            }
        }
        let gone = scenario.outage.iter().any(|outage| outage.holds(now));
        if gone {
            capacity = 0.0;
        }
        let done = self.pop(capacity * STEP_S);
        self.measure(scenario, capacity, done, now, random);
        Served { capacity_per_s: capacity, done, gone }
    }

    /// Control first, then transactional, then telemetry, for which a tenth is kept.
    fn pop(&mut self, room: f64) -> f64 {
        match self.queues.as_mut_slice() {
            [shared] => shared.pop(room),
            [control, transactional, telemetry] => {
                let first = control.pop(room);
                let kept = (TELEMETRY_SHARE * room).min(telemetry.backlog());
                let second = transactional.pop((room - first - kept).max(0.0));
                first + second + telemetry.pop((room - first - second).max(0.0))
            }
            _ => 0.0,
        }
    }

    /// What the writers report of themselves: processed events and busy time, with the noise and the
    /// bias of the scenario.
    fn measure(
        &mut self,
        scenario: &Scenario,
        capacity: f64,
        done: f64,
        now: f64,
        random: &mut Random,
    ) {
        let noise = 1.0 + scenario.control.capacity_noise * random.normal();
        let seen = capacity * scenario.control.capacity_bias * noise.max(0.05);
        let weight = control::number::weight(STEP_S, 1.0);
        self.processed_per_s += weight * (done / STEP_S - self.processed_per_s);
        let at = nanos(now);
        let each = [seen, seen / f64::from(self.ready)];
        let estimates = [&mut self.measured, &mut self.unit];
        for ((estimate, seen), left) in estimates.into_iter().zip(each).zip(&mut self.unreported) {
            *left += if seen > 0.0 { done * seen / capacity.max(1.0) } else { 0.0 };
            let whole = *left as u64;
            if seen > 0.0 && whole > 0 {
                *left -= whole as f64;
                let busy_ns = whole as f64 / seen * SECOND_NS as f64;
                estimate.report(whole, busy_ns as u64, at);
            }
        }
    }

    /// Capacity as the membership announces it one dead time ahead; without a change ahead, what was
    /// reported.
    pub fn announced(&self, scenario: &Scenario, now: f64, reported_per_s: f64) -> f64 {
        let consumers = &scenario.consumers;
        let ahead = now + scenario.control.apply_delay_s;
        let joins = self.coming.iter().filter(|(at, _)| *at <= ahead);
        let joining: u32 = joins.map(|(_, count)| count).sum();
        if joining == 0 && now >= self.rebalances_until + 2.0 {
            return reported_per_s;
        }
        let rebalances = ahead < self.rebalances_until || joining > 0;
        let share = if rebalances { consumers.rebalance_share } else { 1.0 };
        let unit = match now < self.rebalances_until {
            // In a rebalance a consumer measures the rebalance.
            true => self.unit.per_s().max(0.9 * consumers.unit_per_s),
            false => self.unit.per_s(),
        };
        unit * f64::from(self.ready + joining) * share
    }

    /// Orders more consumers, or lets some go.
    pub fn scale(&mut self, scenario: &Scenario, now: f64, offered_per_s: f64, used_share: f64) {
        let (ready, ordered) = (self.ready, self.ordered());
        let wanted = match scenario.consumers.scale {
            Scale::None => ordered,
            Scale::Lag => self.lag_scale.step(self.age(now), ready, ordered, nanos(now)),
            Scale::Cpu => self.cpu_scale.step(used_share, ready, ordered, nanos(now)),
            Scale::Demand if now - self.asked_at < 5.0 => ordered,
            Scale::Demand => {
                self.asked_at = now;
                let load = Load {
                    offered_per_s,
                    backlog: self.backlog(),
                    unit_per_s: scenario.consumers.unit_per_s,
                    processed_per_s: self.processed_per_s,
                    ready,
                    ordered,
                };
                self.scaler.step(&load, nanos(now))
            }
        };
        let wanted = wanted.min(scenario.consumers.max);
        if wanted > ordered {
            self.coming.push_back((now + scenario.consumers.ready_after_s, wanted - ordered));
        } else if wanted < ordered && self.coming.is_empty() {
            self.ready = wanted;
            self.rebalances_until = now + scenario.consumers.rebalance_s;
        }
    }
}

/// Simulated seconds on the loop's scale.
pub fn nanos(now: f64) -> Nanos {
    Nanos(SECOND_NS).plus_seconds(now)
}
