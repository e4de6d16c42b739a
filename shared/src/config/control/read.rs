//! From the settings to [`ControlConfig`]: a profile's policies, and what overrides them.

use std::time::Duration;

use control::gains::Gains;
use control::level::{Class as LoopClass, Level, ShedOrder};
use control::mode::{Effect, Mode};
use control::pid::{Form, PidConfig};
use control::profile::{Overflow, Policy, Profile, Rule};
use control::signal::Signal;

use super::super::build::{decimal, integer, name, text, topic_path};
use super::super::relations::OUTAGE_BUDGET_MS;
use super::super::settings::Settings;
use super::super::value::Value;
use super::{BreakerIngress, ControlConfig, Enforcement, Essential, WebhookUrl, contracts};
use crate::position::Class;

/// The part of a tree that limits load.
pub(in super::super) fn control(settings: &mut Settings) -> ControlConfig {
    let profile = match name(settings, "control.profile") {
        "bounded-lag" => Profile::BoundedLag,
        _ => Profile::Absorb,
    };
    let contract = contracts::of_everybody(settings);
    ControlConfig {
        enforcement: match name(settings, "control.enforcement") {
            "shadow" => Enforcement::Shadow,
            "off" => Enforcement::Off,
            _ => Enforcement::Enforce,
        },
        profile,
        policies: Class::ALL.map(|class| policy(settings, profile, class)),
        gains_fixed: decimal(settings, "control.kp").is_some(),
        retention_share: retention_share(settings),
        unit_per_s: given(settings, "control.unit_per_s"),
        shed_order: match name(settings, "control.shed_order") {
            "class_first" => ShedOrder::ClassFirst,
            _ => ShedOrder::ContractFirst,
        },
        contract,
        contracts: contracts::of_tenants(settings, contract),
        automatic_modes: boolean(settings, "mode.automatic").unwrap_or(true),
        modes: Mode::ALL.map(|mode| effect(settings, mode)),
        essential: essential(settings),
        webhook_url: text(settings, "mode.webhook_url").map(WebhookUrl::new),
        breaker_ingress: match name(settings, "breaker.ingress") {
            "reject" => BreakerIngress::Reject,
            _ => BreakerIngress::Absorb,
        },
    }
}

/// What is in effect for a key that nothing sets, for people.
pub(in super::super) fn derived(settings: &mut Settings, path: &str) -> Option<String> {
    if ["control.kp", "control.ki", "control.kd"].contains(&path) {
        let fixed = decimal(settings, "control.kp").is_some();
        let gains = control(settings).policies[Class::Transactional.index()].pid.gains;
        return Some(match (fixed, path) {
            (true, "control.ki") => format!("{} is in effect, from `control.kp`", gains.ki),
            (true, _) => "0 is in effect".to_owned(),
            (false, _) => "it follows the measured dead time".to_owned(),
        });
    }
    let class = limited().find(|class| path.starts_with(&format!("control.{class}.")))?;
    let policy = control(settings).policies[class.index()];
    let overflow = overflow_path(class);
    let from = if settings.value(&overflow).is_some() { &overflow } else { "control.profile" };
    Some(match path.rsplit('.').next()? {
        "overflow" => format!("{} is in effect, from `{from}`", overflow_name(policy.overflow)),
        "setpoint_ms" => {
            format!("{} is in effect, from `{from}`", policy.setpoint_s? * 1_000.0)
        }
        _ => {
            let retention = retention_path(settings, class);
            let milliseconds = policy.outage_budget_s * 1_000.0;
            format!(
                "{milliseconds} is in effect: {OUTAGE_BUDGET_MS}, or `control.retention_share` of \
                 `{retention}` where that is less"
            )
        }
    })
}

/// The classes that can be limited.
pub(super) fn limited() -> impl Iterator<Item = Class> {
    [Class::Transactional, Class::Telemetry].into_iter()
}

/// The key of how long a class's records are kept.
pub(super) fn retention_path(settings: &Settings, class: Class) -> String {
    match name(settings, "backend") {
        "kafka" => topic_path(settings, class, "retention_ms"),
        _ => "embedded.retention_ms".to_owned(),
    }
}

/// How much of a class's retention may be waited through, in milliseconds.
pub(super) fn share_ms(settings: &Settings, class: Class) -> u64 {
    let retention_ms = integer::<u64>(settings, &retention_path(settings, class));
    (retention_ms as f64 * retention_share(settings)) as u64
}

/// Its name in the configuration.
pub(in super::super) fn overflow_name(overflow: Overflow) -> &'static str {
    match overflow {
        Overflow::Absorb => "absorb",
        Overflow::Bound => "bound",
        Overflow::Shed => "shed",
    }
}

fn overflow_path(class: Class) -> String {
    format!("control.{class}.overflow")
}

fn policy(settings: &Settings, profile: Profile, class: Class) -> Policy {
    let of_loop = LoopClass::ALL[class.index()];
    let overflow = match text(settings, &overflow_path(class)).as_deref() {
        Some("absorb") => Some(Overflow::Absorb),
        Some("bound") => Some(Overflow::Bound),
        Some("shed") => Some(Overflow::Shed),
        _ => None,
    };
    // A budget is no setpoint: the numbers are those of the profile that overflows in this way.
    let numbers = match overflow {
        Some(Overflow::Absorb) => Profile::Absorb,
        Some(Overflow::Bound | Overflow::Shed) => Profile::BoundedLag,
        None => profile,
    };
    let start = numbers.policy(of_loop);
    let setpoint_s = seconds(settings, &format!("control.{class}.setpoint_ms"));
    let outage_s = seconds(settings, &format!("control.{class}.outage_budget_ms"));
    let outage_default = Duration::from_millis(OUTAGE_BUDGET_MS.min(share_ms(settings, class)));
    Policy {
        rule: match name(settings, "control.rule") {
            "paper" => Rule::Paper,
            "aimd" => Rule::Aimd,
            _ => Rule::Loop,
        },
        overflow: overflow.unwrap_or(start.overflow),
        setpoint_s: setpoint_s.or(start.setpoint_s),
        signal: signal(settings),
        outage_budget_s: outage_s.unwrap_or(outage_default.as_secs_f64()),
        pid: PidConfig {
            gains: gains(settings, class, start.pid.gains),
            form: match name(settings, "control.form") {
                "incremental" => Form::Incremental,
                _ => Form::Positional,
            },
            u_min: decimal(settings, "control.u_min").unwrap_or(start.pid.u_min),
            u_max: given(settings, "control.u_max"),
            ..start.pid
        },
        ..start
    }
}

fn signal(settings: &Settings) -> Signal {
    match name(settings, "control.signal") {
        "lag_seconds" => Signal::LagSeconds,
        "downstream_p99" => Signal::DownstreamP99,
        "ingress_p99" => Signal::IngressP99,
        _ => Signal::Drain,
    }
}

/// Telemetry's are those of twice the dead time, as without a key: its capacity is what is left over,
/// and comes a dead time later.
fn gains(settings: &Settings, class: Class, measured: Gains) -> Gains {
    let Some(kp) = decimal(settings, "control.kp") else { return measured };
    let ki = decimal(settings, "control.ki").unwrap_or_else(|| ki_of(kp));
    let kd = decimal(settings, "control.kd").unwrap_or(0.0);
    let slower = match class {
        Class::Control | Class::Transactional => 1.0,
        Class::Telemetry => 2.0,
    };
    Gains { kp: kp / slower, ki: ki / (slower * slower), kd, ..measured }
}

/// Ti = 8θ and Kp = 0.5/θ, without θ: the same damping at every Kp.
fn ki_of(kp: f64) -> f64 {
    kp * kp / 4.0
}

fn effect(settings: &Settings, mode: Mode) -> Effect {
    let start = mode.effect();
    let path = |member: &str| format!("mode.{}.{member}", mode.name());
    let closed_from = match settings.value(&path("closed_from_level")) {
        Some(Value::Integer(level)) => {
            Level::ALL.into_iter().find(|known| u64::try_from(known.index()) == Ok(*level))
        }
        _ => start.closed_from,
    };
    Effect {
        closed_from,
        last_level_share: decimal(settings, &path("sample_share"))
            .unwrap_or(start.last_level_share),
        limit_factor: decimal(settings, &path("limit_factor")).unwrap_or(start.limit_factor),
        essential_only: boolean(settings, &path("essential_only")).unwrap_or(start.essential_only),
    }
}

fn essential(settings: &Settings) -> Essential {
    Essential {
        types: match settings.value("mode.essential_types") {
            Some(Value::Patterns(types)) => types.clone(),
            _ => Vec::new(),
        },
        tenants: match settings.value("mode.essential_tenants") {
            Some(Value::Tenants(tenants)) => tenants.clone(),
            _ => Vec::new(),
        },
    }
}

fn retention_share(settings: &Settings) -> f64 {
    given(settings, "control.retention_share")
}

/// A number with a fraction whose key has a default.
fn given(settings: &Settings, path: &str) -> f64 {
    decimal(settings, path).unwrap_or_else(|| unreachable!("the number key {path} has a default"))
}

fn boolean(settings: &Settings, path: &str) -> Option<bool> {
    match settings.value(path) {
        Some(Value::Boolean(yes)) => Some(*yes),
        _ => None,
    }
}

fn seconds(settings: &Settings, path: &str) -> Option<f64> {
    match settings.value(path) {
        Some(Value::Integer(milliseconds)) => {
            Some(Duration::from_millis(*milliseconds).as_secs_f64())
        }
        _ => None,
    }
}
