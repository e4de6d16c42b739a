//! What the control loop exports, per partition. The series of a partition go with it.

use prometheus::{CounterVec, Gauge, GaugeVec, IntCounter, IntCounterVec};
use shared::metrics::Registry;
use shared::position::{Class, PartitionId};

/// The gauges of one partition that always have a value: name and meaning.
const ALWAYS: [(&str, &str); 9] = [
    (
        "shock_consumer_capacity_per_s",
        "Measured capacity of the partition's writer, events per second of work.",
    ),
    ("shock_consumer_drain_seconds", "Backlog over capacity: how long what waits will take."),
    (
        "shock_consumer_store_gone",
        "1 while the partition's writer has no capacity: its database fails, or it stands still.",
    ),
    (
        "shock_consumer_control_setpoint_seconds",
        "Where the loop holds its signal; 0 before it limits.",
    ),
    ("shock_consumer_control_error_seconds", "Setpoint less signal; 0 before the loop limits."),
    ("shock_consumer_control_p", "The proportional term of the factor on capacity."),
    ("shock_consumer_control_i", "The integral term of the factor on capacity."),
    ("shock_consumer_control_d", "The derivative term of the factor on capacity."),
    ("shock_consumer_control_u", "The factor on capacity; 0 before the loop limits."),
];

/// Those that say yes (1) or no (0).
const YES_OR_NO: [(&str, &str); 2] = [
    ("shock_consumer_control_saturated", "1 while the factor on capacity stands at a bound."),
    ("shock_consumer_control_binding", "1 while the offered load reaches the limit."),
];

/// What is shown of one partition.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// In the order of the gauges: capacity, drain time, gone, setpoint, error, P, I, D, u.
    pub always: [f64; ALWAYS.len()],
    /// Saturated, binding.
    pub yes_or_no: [bool; YES_OR_NO.len()],
    /// Events/s; none: no limit.
    pub limit_per_s: Option<f64>,
}

/// The families of the control loop.
#[derive(Clone, Debug)]
pub struct LoadMetrics {
    always: [GaugeVec; ALWAYS.len()],
    yes_or_no: [GaugeVec; YES_OR_NO.len()],
    limit: GaugeVec,
    reason: GaugeVec,
    /// The measured dead time.
    pub dead_time: Gauge,
    /// The share a class goes by.
    pub share: GaugeVec,
    /// Time a class has given way.
    pub gave_way: CounterVec,
    /// Words told.
    pub published: IntCounterVec,
    /// Bad numbers.
    pub inputs_replaced: IntCounter,
    /// Words that came too fast to be heard.
    pub unheard: IntCounter,
    /// Tasks that died.
    pub restarts: IntCounterVec,
}

impl LoadMetrics {
    /// Registers the families.
    pub fn new(registry: &Registry) -> Self {
        let partition = &["class", "partition"];
        let gauge = |(name, help): (&str, &str)| registry.gauges_float(name, help, partition);
        let dead_time = registry.gauges_float(
            "shock_consumer_control_dead_time_seconds",
            "From a change to its effect, as measured: the gains follow it.",
            &[],
        );
        Self {
            always: ALWAYS.map(gauge),
            yes_or_no: YES_OR_NO.map(gauge),
            limit: registry.gauges_float(
                "shock_consumer_limit_per_s",
                "The limit that the partition's owner has said, events per second of all replicas \
                 together. Absent: no limit.",
                partition,
            ),
            reason: registry.gauges_float(
                "shock_consumer_limit_reason",
                "1 for why the limit is what it is: open, absorbing, limiting, outage, outage_spent, \
                 floor.",
                &["class", "partition", "reason"],
            ),
            dead_time: dead_time.with_label_values(&[] as &[&str]),
            share: registry.gauges_float(
                "shock_consumer_share",
                "The share of its capacity that a class uses while a higher one of the same database \
                 waits.",
                &["class"],
            ),
            gave_way: registry.counters_float(
                "shock_consumer_gave_way_seconds_total",
                "Time that writers have waited so that a higher class of the same database goes first.",
                &["class"],
            ),
            published: registry.counters(
                "shock_consumer_control_published_total",
                "Words told on the control plane: report (what was measured), limits.",
                &["kind"],
            ),
            inputs_replaced: registry.counter(
                "shock_consumer_control_inputs_replaced_total",
                "Numbers that were negative, infinite or none, and were replaced by the last good one.",
            ),
            unheard: registry.counter(
                "shock_consumer_control_unheard_total",
                "Words of the control plane that this process was too slow to hear.",
            ),
            restarts: registry.counters(
                "shock_consumer_control_restarts_total",
                "Tasks beside the writers (control loop, forgetting of ids, parked records, mirror, sinks) that died \
                 and were started again. Consumption goes on.",
                &["task"],
            ),
        }
    }

    /// Shows a partition.
    pub fn show(&self, id: PartitionId, shown: &Shown) {
        let number = id.partition.0.to_string();
        let labels = &[id.class.name(), number.as_str()];
        for (family, value) in self.always.iter().zip(shown.always) {
            family.with_label_values(labels).set(value);
        }
        for (family, holds) in self.yes_or_no.iter().zip(shown.yes_or_no) {
            family.with_label_values(labels).set(f64::from(u8::from(holds)));
        }
        match shown.limit_per_s {
            Some(limit) => self.limit.with_label_values(labels).set(limit),
            // Where there was none before, there is none to remove.
            None => drop(self.limit.remove_label_values(labels)),
        }
    }

    /// Shows why, instead of why it was before.
    pub fn show_reason(&self, id: PartitionId, before: Option<&str>, reason: &str) {
        let number = id.partition.0.to_string();
        if let Some(before) = before.filter(|before| *before != reason) {
            let _ = self.reason.remove_label_values(&[id.class.name(), number.as_str(), before]);
        }
        self.reason.with_label_values(&[id.class.name(), number.as_str(), reason]).set(1.0);
    }

    /// The partition is not ours any more.
    pub fn remove(&self, id: PartitionId, reason: &str) {
        let number = id.partition.0.to_string();
        let labels = &[id.class.name(), number.as_str()];
        for family in self.always.iter().chain(&self.yes_or_no).chain([&self.limit]) {
            let _ = family.remove_label_values(labels);
        }
        let _ = self.reason.remove_label_values(&[id.class.name(), number.as_str(), reason]);
    }

    /// Nothing is shown: whoever shows begins anew.
    pub fn reset(&self) {
        for family in self.always.iter().chain(&self.yes_or_no).chain([&self.limit, &self.reason]) {
            family.reset();
        }
    }

    /// Shows what the classes go by.
    pub fn show_shares(&self, of: impl Fn(Class) -> f64) {
        for class in [Class::Transactional, Class::Telemetry] {
            self.share.with_label_values(&[class.name()]).set(of(class));
        }
    }
}
