//! A scenario: what is offered, what consumers can do, which rule limits. As TOML, and checked.

mod choices;

use serde::Deserialize;

pub use choices::{Fallback, Profile, Rule, Scale, Shed, Topology};

/// A step, s.
pub const STEP_S: f64 = 0.05;
/// The longest simulated time, s: a day would be a gigabyte of trace.
const SECONDS_MAX: f64 = 7200.0;
/// More tenants change no answer, only the time it takes.
const TENANTS_MAX: usize = 20_000;

/// What is wrong with a scenario.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The text is no TOML, a key is unknown, or a value has the wrong type; with its place.
    #[error("{0}")]
    Text(#[from] toml_edit::de::Error),
    /// A value is out of its bounds.
    #[error("{key} is {value}: {wanted}")]
    Value {
        /// Which.
        key: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        wanted: &'static str,
    },
}

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }
        impl Default for $name {
            fn default() -> Self { Self { $($field: $default,)* } }
        }
    };
}

section! {
    /// A scenario.
    Scenario {
        /// What it is called.
        name: String = "scenario".to_owned(),
        /// Decides the arrivals and the noise.
        seed: u64 = 7,
        /// How long it lasts, s.
        seconds: f64 = 900.0,
        /// What is offered.
        load: Load = Load::default(),
        /// Who offers it.
        tenants: Tenants = Tenants::default(),
        /// What serves it.
        consumers: Consumers = Consumers::default(),
        /// What lies between.
        log: Log = Log::default(),
        /// What limits it.
        control: Control = Control::default(),
        /// Times in which capacity is smaller.
        stall: Vec<Stall> = Vec::new(),
        /// Times in which capacity is gone, and the breaker says so.
        outage: Vec<Span> = Vec::new(),
    }
}

section! {
    /// What is offered.
    Load {
        /// Events/s before and after the spike.
        base_per_s: f64 = 8_000.0,
        /// Times the base, in the spike.
        spike_factor: f64 = 12.0,
        /// When it begins, s.
        spike_start_s: f64 = 120.0,
        /// How long it lasts, s.
        spike_seconds: f64 = 300.0,
        /// The spike is on and off for so long each, s; 0: on throughout.
        square_s: f64 = 0.0,
        /// Share of the shed events that come again after 2 to 4 s.
        retry_share: f64 = 0.0,
        /// Shares of the classes.
        classes: Classes = Classes::default(),
        /// In the spike; absent: the same.
        spike_classes: Option<Classes> = None,
    }
}

section! {
    /// Shares of the classes; they sum up to 1.
    Classes {
        /// Control.
        control: f64 = 0.02,
        /// Transactional.
        transactional: f64 = 0.38,
        /// Telemetry.
        telemetry: f64 = 0.60,
    }
}

section! {
    /// Who offers it: a few large ones and many small ones, one of which goes rogue in the spike.
    Tenants {
        /// How many.
        count: usize = 1_000,
        /// The n-th largest has 1/n to this power.
        zipf: f64 = 1.2,
        /// Share of the tenants that stay calm in the spike.
        calm_share: f64 = 0.6,
        /// What the calm ones offer in the spike, times their base.
        calm_factor: f64 = 1.2,
        /// What one small tenant takes of the whole spike.
        rogue_share: f64 = 0.35,
        /// A contract, times the tenant's base.
        contract_factor: f64 = 2.0,
        /// The smallest contract, events/s.
        contract_min_per_s: f64 = 3.0,
    }
}

section! {
    /// What serves it.
    Consumers {
        /// At the start.
        start: u32 = 1,
        /// At most.
        max: u32 = 6,
        /// What one does, events/s.
        unit_per_s: f64 = 20_000.0,
        /// From its order to its first event, s.
        ready_after_s: f64 = 30.0,
        /// A rebalance takes so long, s...
        rebalance_s: f64 = 3.0,
        /// ...and leaves this share of capacity.
        rebalance_share: f64 = 0.7,
        /// By what they are scaled.
        scale: Scale = Scale::Demand,
    }
}

section! {
    /// What lies between.
    Log {
        /// One topic or one per class.
        topology: Topology = Topology::Shared,
    }
}

section! {
    /// What limits it.
    Control {
        /// The rule.
        rule: Rule = Rule::Ours,
        /// The profile of the rule `ours`.
        profile: Profile = Profile::BoundedLag,
        /// Where lag is held with one topic, s.
        setpoint_s: f64 = 0.6,
        /// Telemetry is never limited.
        absorb_telemetry: bool = false,
        /// Who gives way first.
        shed: Shed = Shed::Contract,
        /// Members that are about to come or go are known one dead time ahead.
        announced: bool = true,
        /// The rule `static`, events/s; absent: nine tenths of what the first consumers do.
        static_per_s: Option<f64> = None,
        /// The dead time that gains are made for, s; absent: 1.
        dead_time_s: Option<f64> = None,
        /// Proportional gain, 1/s; absent: from the dead time.
        kp: Option<f64> = None,
        /// Integral gain, 1/s²; absent: from the dead time.
        ki: Option<f64> = None,
        /// Derivative gain on the measurement.
        kd: f64 = 0.0,
        /// The integral acts; false leaves feed-forward and P.
        integral: bool = true,
        /// From its computation to its effect, s.
        apply_delay_s: f64 = 0.5,
        /// From a measurement to its use, s.
        report_delay_s: f64 = 0.25,
        /// So much later at most, at random, s.
        report_jitter_s: f64 = 0.0,
        /// Share of the reports that are lost.
        report_loss: f64 = 0.0,
        /// Noise of the measured capacity, as a share.
        capacity_noise: f64 = 0.05,
        /// Measured over true capacity.
        capacity_bias: f64 = 1.0,
        /// Depth of the buckets, s.
        burst_s: f64 = 0.1,
        /// The controller is away.
        dead: Option<Span> = None,
        /// What a replica does then.
        fallback: Fallback = Fallback::Local,
    }
}

/// A time in which capacity is smaller.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stall {
    /// From, s.
    pub from_s: f64,
    /// To, s.
    pub to_s: f64,
    /// The share of capacity that is left.
    pub share: f64,
}

/// A time.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// From, s.
    pub from_s: f64,
    /// To, s.
    pub to_s: f64,
}

impl Scenario {
    /// Reads and checks a scenario.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let scenario: Self = toml_edit::de::from_str(text)?;
        scenario.check()?;
        Ok(scenario)
    }

    /// Is the spike on?
    pub fn in_spike(&self, now: f64) -> bool {
        let load = &self.load;
        now >= load.spike_start_s && now < load.spike_start_s + load.spike_seconds
    }

    fn check(&self) -> Result<(), Fault> {
        let positive = "a number above 0, at most 1e9";
        let share = "a share from 0 to 1";
        let time = "a number of seconds from 0 to 7200";
        let (load, tenants, consumers) = (&self.load, &self.tenants, &self.consumers);
        let control = &self.control;
        let seconds = "a number of seconds from 10 to 7200";
        within("seconds", self.seconds, 10.0, SECONDS_MAX, seconds)?;
        for (key, value) in [
            ("load.base_per_s", load.base_per_s),
            ("load.spike_factor", load.spike_factor),
            ("tenants.calm_factor", tenants.calm_factor),
            ("tenants.contract_factor", tenants.contract_factor),
            ("tenants.contract_min_per_s", tenants.contract_min_per_s),
            ("consumers.unit_per_s", consumers.unit_per_s),
            ("control.setpoint_s", control.setpoint_s),
            ("control.dead_time_s", control.dead_time_s.unwrap_or(1.0)),
            ("control.static_per_s", control.static_per_s.unwrap_or(1.0)),
            ("control.capacity_bias", control.capacity_bias),
            ("control.burst_s", control.burst_s),
        ] {
            within(key, value, f64::MIN_POSITIVE, 1e9, positive)?;
        }
        for (key, value) in [
            ("load.retry_share", load.retry_share),
            ("tenants.calm_share", tenants.calm_share),
            ("tenants.rogue_share", tenants.rogue_share),
            ("consumers.rebalance_share", consumers.rebalance_share),
            ("control.report_loss", control.report_loss),
            ("control.capacity_noise", control.capacity_noise),
        ] {
            within(key, value, 0.0, 1.0, share)?;
        }
        for (key, value) in [
            ("load.spike_start_s", load.spike_start_s),
            ("load.spike_seconds", load.spike_seconds),
            ("load.square_s", load.square_s),
            ("consumers.ready_after_s", consumers.ready_after_s),
            ("consumers.rebalance_s", consumers.rebalance_s),
            ("control.apply_delay_s", control.apply_delay_s),
            ("control.report_delay_s", control.report_delay_s),
            ("control.report_jitter_s", control.report_jitter_s),
        ] {
            within(key, value, 0.0, SECONDS_MAX, time)?;
        }
        for (key, value) in [
            ("control.kp", control.kp.unwrap_or(0.0)),
            ("control.ki", control.ki.unwrap_or(0.0)),
            ("control.kd", control.kd),
        ] {
            within(key, value, 0.0, 100.0, "a number from 0 to 100")?;
        }
        within("tenants.zipf", tenants.zipf, 0.0, 5.0, "a number from 0 to 5")?;
        within("tenants.count", tenants.count as f64, 1.0, TENANTS_MAX as f64, "from 1 to 20000")?;
        let (start, max) = (f64::from(consumers.start), f64::from(consumers.max));
        within("consumers.start", start, 1.0, 10_000.0, "from 1 to 10000")?;
        within("consumers.max", max, start, 10_000.0, "from consumers.start to 10000")?;
        classes("load.classes", &load.classes)?;
        load.spike_classes.as_ref().map_or(Ok(()), |all| classes("load.spike_classes", all))?;
        for stall in &self.stall {
            within("stall.share", stall.share, 0.0, 1.0, share)?;
            span("stall.to_s", stall.from_s, stall.to_s)?;
        }
        for outage in &self.outage {
            span("outage.to_s", outage.from_s, outage.to_s)?;
        }
        control.dead.map_or(Ok(()), |dead| span("control.dead.to_s", dead.from_s, dead.to_s))?;
        crate::compare::check(self)
    }
}

impl Classes {
    /// By [`control::level::Class`]'s order.
    pub fn shares(&self) -> [f64; 3] {
        [self.control, self.transactional, self.telemetry]
    }
}

impl Span {
    /// Is it in there?
    pub fn holds(&self, now: f64) -> bool {
        now >= self.from_s && now < self.to_s
    }
}

fn within(
    key: &'static str,
    value: f64,
    least: f64,
    most: f64,
    wanted: &'static str,
) -> Result<(), Fault> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Fault::Value { key, value: value.to_string(), wanted })
}

fn span(key: &'static str, from_s: f64, to_s: f64) -> Result<(), Fault> {
    within(key, from_s, 0.0, SECONDS_MAX, "after a from_s of 0 to 7200")?;
    within(key, to_s, from_s, SECONDS_MAX, "from from_s to 7200")
}

fn classes(key: &'static str, classes: &Classes) -> Result<(), Fault> {
    let shares = classes.shares();
    let sum: f64 = shares.iter().sum();
    if shares.iter().all(|share| *share >= 0.0) && (sum - 1.0).abs() < 1e-6 {
        return Ok(());
    }
    Err(Fault::Value { key, value: format!("{sum} in sum"), wanted: "shares that sum up to 1" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_scenario_is_told_what_is_wrong_and_where() {
        let check = |text: &str, part: &str| {
            let fault = Scenario::parse(text).expect_err(text).to_string();
            assert!(fault.contains(part), "{text}: {fault}");
        };
        check("seconds = \"long\"", "line 1");
        check("[load]\nbase = 5", "unknown field `base`, expected one of `base_per_s`");
        check("[load]\n\nbase = 5", "line 3");
        check("[control]\nrule = \"magic\"", "unknown variant `magic`");
        check("[load]\nbase_per_s = 0", "load.base_per_s is 0: a number above 0");
        check("[load]\nbase_per_s = nan", "load.base_per_s is NaN");
        check("[load]\nbase_per_s = inf", "load.base_per_s is inf");
        check("seconds = 1e9", "seconds is 1000000000");
        check("[load.classes]\ncontrol = 0.5", "load.classes is 1.48 in sum");
        check("[consumers]\nstart = 9", "consumers.max is 6: from consumers.start");
        check("[tenants]\ncount = 0", "tenants.count is 0");
        check("[[stall]]\nfrom_s = 9\nto_s = 3\nshare = 1", "stall.to_s is 3");
        check("[[stall]]\nfrom_s = 9\nshare = 1", "missing field `to_s`");
        check("= 3", "line 1");
    }

    #[test]
    fn nothing_said_is_the_spike_of_twelve() {
        let scenario = Scenario::parse("").expect("all has defaults");
        assert!(scenario.in_spike(120.0) && !scenario.in_spike(420.0));
    }
}
