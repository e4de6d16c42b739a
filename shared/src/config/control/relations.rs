//! How the loop's settings have to fit together: gains that ring, bounds that cross, and waits that
//! outlast the log.

use control::pid::{Form, PidConfig};
use control::profile::{Overflow, Policy};
use control::signal::Signal;

use super::super::build::decimal;
use super::super::relations::{advised, relation};
use super::super::settings::Settings;
use super::super::value::{Value, Wrong};
use super::ControlConfig;
use super::read::{limited, overflow_name, retention_path, share_ms};
use crate::position::Class;

/// From here on the loop rings with a dead time of 1 s: π/2.
const KP_RINGS: f64 = std::f64::consts::FRAC_PI_2;

/// Checks all relations of the loop's keys.
pub(in super::super) fn check(settings: &mut Settings, config: &ControlConfig) {
    let PidConfig { u_min, u_max, .. } = config.policies[Class::Transactional.index()].pid;
    relation(settings, &["control.u_min", "control.u_max"], u_min < u_max, || {
        format!("{u_min} has to be less than `control.u_max`, which is {u_max}")
    });
    gains(settings, &config.policies[Class::Transactional.index()]);
    for class in limited() {
        waits(settings, class, &config.policies[class.index()]);
    }
}

fn gains(settings: &mut Settings, policy: &Policy) {
    let (kp_path, ki_path, kd_path) = ("control.kp", "control.ki", "control.kd");
    let Some(kp) = decimal(settings, kp_path) else {
        for path in [ki_path, kd_path] {
            advised(settings, &[path, kp_path], decimal(settings, path).is_none(), || Wrong {
                message: format!("has no effect without `{kp_path}`"),
                hint: Some("gains are fixed together, or follow the measured dead time".to_owned()),
            });
        }
        return;
    };
    // What follows is about a wait that the limit itself builds up. A p99 has another plant, and
    // increments have other gains.
    let waits = matches!(policy.signal, Signal::Drain | Signal::LagSeconds);
    if !waits || policy.pid.form == Form::Incremental {
        return;
    }
    advised(settings, &[kp_path], kp < KP_RINGS, || Wrong {
        message: format!("{kp} makes the limit oscillate: from π/2 on with a dead time of 1 s"),
        hint: Some("0.5 is the default's; leave it out to follow the measured one".to_owned()),
    });
    let ki = policy.pid.gains.ki;
    let most = kp * kp;
    advised(settings, &[ki_path, kp_path], ki <= most, || Wrong {
        message: format!(
            "{ki} makes the limit oscillate: at most {most}, the square of `{kp_path}`"
        ),
        hint: Some(format!("without it {} is taken", most / 4.0)),
    });
    let kd = policy.pid.gains.kd;
    relation(settings, &[kd_path], kd < 1.0, || {
        format!("{kd} makes the limit oscillate: it has to be less than 1")
    });
}

fn waits(settings: &mut Settings, class: Class, policy: &Policy) {
    let path = |member: &str| format!("control.{class}.{member}");
    let (setpoint, budget, overflow) =
        (path("setpoint_ms"), path("outage_budget_ms"), path("overflow"));
    let retention = retention_path(settings, class);
    let (share, share_path) = (share_ms(settings, class), "control.retention_share");
    let name = overflow_name(policy.overflow);
    for path in [&setpoint, &budget] {
        let wait = milliseconds(settings, path).unwrap_or(0);
        relation(settings, &[path, &retention, share_path], wait <= share, || {
            format!("{wait} has to be at most {share}: `{share_path}` of `{retention}`")
        });
    }
    let typed = milliseconds(settings, &setpoint);
    let zero = typed == Some(0) && policy.overflow != Overflow::Shed;
    advised(settings, &[&setpoint, &overflow], !zero, || Wrong {
        message: format!("0 cannot be held with `overflow` = `{name}`"),
        hint: Some("give a wait, or `overflow = \"shed\"`".to_owned()),
    });
    let wait = policy.setpoint_s.unwrap_or(0.0);
    let holds = policy.overflow != Overflow::Absorb || wait <= policy.outage_budget_s;
    relation(settings, &[&budget, &setpoint, &retention, share_path], holds, || {
        format!(
            "{} has to be at least `{setpoint}`, which is {}: an outage would be limited before an \
             overload",
            policy.outage_budget_s * 1_000.0,
            wait * 1_000.0,
        )
    });
    let latency = matches!(policy.signal, Signal::DownstreamP99 | Signal::IngressP99);
    advised(settings, &[&setpoint, "control.signal"], !latency || typed.is_some(), || Wrong {
        message: "is missing, and `control.signal` is a p99".to_owned(),
        hint: Some("give the p99 to hold: a wait's default means nothing to it".to_owned()),
    });
}

fn milliseconds(settings: &Settings, path: &str) -> Option<u64> {
    match settings.value(path) {
        Some(Value::Integer(milliseconds)) => Some(*milliseconds),
        _ => None,
    }
}
