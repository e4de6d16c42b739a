//! The keys of the control loop: defaults, overrides, each fault to the letter, and what reloads.

mod faults;

use ::control::gains::Gains;
use ::control::level::{Level, ShedOrder};
use ::control::mode::Mode;
use ::control::pid::Form;
use ::control::profile::{Overflow, Policy, Profile, Rule};
use ::control::signal::Signal;

use super::*;
use crate::position::Class;

/// What these settings build, on a backend.
fn load(backend: &'static str, settings: &[&str]) -> Result<ControlConfig, ConfigError> {
    let mut all = vec!["kafka.brokers=localhost:9092", "kafka.durability=single"];
    all.extend(settings);
    let sources = Sources { flags: flags(&all), backend: Some(backend), ..Sources::default() };
    let config = Config::load(&sources, Purpose::Topics)?;
    assert_eq!(config.ingress.control, config.consumer.control);
    Ok(config.consumer.control)
}

fn built(settings: &[&str]) -> ControlConfig {
    load("kafka", settings).unwrap_or_else(|error| panic!("{settings:?}: {error}"))
}

fn transactional(settings: &[&str]) -> Policy {
    built(settings).policies[Class::Transactional.index()]
}

fn telemetry(settings: &[&str]) -> Policy {
    built(settings).policies[Class::Telemetry.index()]
}

#[test]
fn without_a_key_it_is_the_default() {
    assert_eq!(built(&[]), ControlConfig::default());
    let embedded = load("embedded", &[]).expect("valid");
    assert_eq!(embedded, ControlConfig::default());
    for mode in Mode::ALL {
        assert_eq!(embedded.modes[mode as usize], mode.effect(), "{}", mode.name());
    }
}

#[test]
fn every_name_has_its_meaning() {
    assert_eq!(built(&["control.enforcement=shadow"]).enforcement, Enforcement::Shadow);
    assert_eq!(built(&["control.enforcement=off"]).enforcement, Enforcement::Off);
    assert_eq!(built(&["control.shed_order=class_first"]).shed_order, ShedOrder::ClassFirst);
    assert_eq!(built(&["breaker.ingress=reject"]).breaker_ingress, BreakerIngress::Reject);
    assert_eq!(transactional(&["control.signal=lag_seconds"]).signal, Signal::LagSeconds);
    for (name, signal) in
        [("downstream_p99", Signal::DownstreamP99), ("ingress_p99", Signal::IngressP99)]
    {
        let signal_set = format!("control.signal={name}");
        let both = ["control.transactional.setpoint_ms=50", "control.telemetry.setpoint_ms=80"];
        let set = [signal_set.as_str(), both[0], both[1]];
        assert_eq!((transactional(&set).signal, telemetry(&set).signal), (signal, signal));
    }
    let bounds = transactional(&["control.u_min=0.1", "control.u_max=2"]).pid;
    assert_eq!((bounds.u_min, bounds.u_max), (0.1, 2.0));
    // A budget may be overshot, a setpoint may not.
    let u_min = |overflow| {
        transactional(&[&format!("control.transactional.overflow={overflow}")]).pid.u_min
    };
    assert_eq!((u_min("absorb"), u_min("bound")), (0.9, 0.05));
    assert_eq!(transactional(&["control.form=incremental"]).pid.form, Form::Incremental);
    assert_eq!(transactional(&["control.rule=paper"]).rule, Rule::Paper);
    assert_eq!(transactional(&["control.rule=aimd"]).rule, Rule::Aimd);
    let whole = built(&["control.unit_per_s=1500.5", "control.retention_share=0.25"]);
    assert_eq!((whole.unit_per_s, whole.retention_share), (1500.5, 0.25));
}

/// The paper's equation (5) is one setting: the same as the policy that `control` has for it.
#[test]
fn equation_five_is_a_setting() {
    let set = [
        "control.signal=downstream_p99",
        "control.form=incremental",
        "control.transactional.overflow=bound",
        "control.transactional.setpoint_ms=50",
        "control.telemetry.setpoint_ms=50",
    ];
    assert_eq!(transactional(&set), Policy::equation_five(0.05));
}

#[test]
fn a_profile_is_where_the_classes_start_from() {
    let check = |settings: &[&str], expected: [(Overflow, Option<f64>); 2]| {
        let found = [transactional(settings), telemetry(settings)];
        let found = found.map(|policy| (policy.overflow, policy.setpoint_s));
        assert_eq!(found, expected, "{settings:?}");
        let control = built(settings).policies[Class::Control.index()];
        assert_eq!(control.setpoint_s, None, "control is never limited");
    };
    use Overflow::{Absorb, Bound, Shed};
    let bounded = "control.profile=bounded-lag";
    check(&[], [(Absorb, Some(15.0)), (Absorb, Some(60.0))]);
    check(&[bounded], [(Bound, Some(0.4)), (Bound, Some(3.0))]);
    // A budget is no setpoint: another overflow brings its own numbers.
    check(&["control.transactional.overflow=bound"], [(Bound, Some(0.4)), (Absorb, Some(60.0))]);
    check(
        &[bounded, "control.telemetry.overflow=absorb"],
        [(Bound, Some(0.4)), (Absorb, Some(60.0))],
    );
    check(
        &["control.telemetry.overflow=shed", "control.telemetry.setpoint_ms=0"],
        [(Absorb, Some(15.0)), (Shed, Some(0.0))],
    );
    check(
        &["control.transactional.setpoint_ms=30000", "control.telemetry.setpoint_ms=1500"],
        [(Absorb, Some(30.0)), (Absorb, Some(1.5))],
    );
    assert_eq!(built(&[bounded]).profile, Profile::BoundedLag);
}

#[test]
fn an_outage_is_absorbed_for_30_minutes_or_a_share_of_the_retention() {
    let check = |settings: &[&str], expected: [f64; 2]| {
        let found = [transactional(settings), telemetry(settings)];
        assert_eq!(found.map(|policy| policy.outage_budget_s), expected, "{settings:?}");
    };
    check(&[], [1800.0, 1800.0]);
    let window = "consumer.dedupe_window_s=60";
    check(&[window, "topics.telemetry.retention_ms=2000000"], [1800.0, 1000.0]);
    check(&[window, "topics.retention_ms=2000000", "control.retention_share=0.25"], [500.0, 500.0]);
    check(&["control.transactional.outage_budget_ms=7200000"], [7200.0, 1800.0]);
    let embedded = load("embedded", &[window, "embedded.retention_ms=2000000"]).expect("valid");
    assert_eq!(embedded.policies.map(|policy| policy.outage_budget_s), [1000.0; 3]);
}

/// The default's gains are those of a fixed 0.5: half and a quarter of them for telemetry.
#[test]
fn gains_are_measured_or_fixed_together() {
    let fixed = built(&["control.kp=0.5"]);
    assert!(fixed.gains_fixed && !built(&[]).gains_fixed);
    assert_eq!(fixed.policies, ControlConfig::default().policies);
    let gains = |policy: Policy| (policy.pid.gains.kp, policy.pid.gains.ki, policy.pid.gains.kd);
    let all = ["control.kp=0.8", "control.ki=0.4", "control.kd=0.1"];
    assert_eq!(gains(transactional(&all)), (0.8, 0.4, 0.1));
    assert_eq!(gains(telemetry(&all)), (0.4, 0.1, 0.1));
    assert_eq!(telemetry(&[]).pid.gains, Gains::from_dead_time(2.0));
}

#[test]
fn modes_are_overridden_member_by_member() {
    let (_directory, file) = written(
        "[mode]\nautomatic = false\nessential_types = [\"checkout.*\"]\n\
         essential_tenants = [\"acme\"]\nwebhook_url = \"https://hooks.example/T0KEN\"\n\
         [mode.aggressive]\nclosed_from_level = 4\nsample_share = 0.25\n\
         [mode.survival]\nclosed_from_level = 5\nlimit_factor = 0.5\n\
         [mode.read-only]\nclosed_from_level = 1\nessential_only = false\n",
    );
    let config = Config::load(&sources(&file), Purpose::Dev).expect("valid").ingress.control;
    assert!(!config.automatic_modes);
    let tenant = TenantId::parse("acme").expect("valid");
    assert_eq!(config.essential.types, ["checkout.*"]);
    assert_eq!(config.essential.tenants, [tenant]);
    let [normal, aggressive, survival, read_only] = config.modes;
    assert_eq!(normal, Mode::Normal.effect());
    assert_eq!((aggressive.closed_from, aggressive.last_level_share), (Some(Level::ALL[4]), 0.25));
    assert_eq!((survival.closed_from, survival.limit_factor), (None, 0.5));
    assert_eq!((read_only.closed_from, read_only.essential_only), (Some(Level::ALL[1]), false));
    let url = config.webhook_url.as_ref().map(WebhookUrl::as_str);
    assert_eq!(url, Some("https://hooks.example/T0KEN"));
    assert!(!format!("{config:?}").contains("T0KEN"), "a webhook's path is often a token");
}

#[test]
fn contracts_inherit_what_they_leave_out() {
    let (_directory, file) = written(
        "[limits]\ncontract_per_s = 10\nceiling_per_s = 100.5\n\
         [[contract]]\ntenant = \"acme\"\ncontract_per_s = 50\nceiling_per_s = 2000\n\
         [[contract]]\ntenant = \"small\"\nceiling_per_s = 20\n",
    );
    let config = Config::load(&sources(&file), Purpose::Dev).expect("valid");
    let of = |name: &str| {
        let tenant = TenantId::parse(name).expect("valid");
        let contract = config.ingress.control.contract(&tenant);
        (contract.contract_per_s, contract.ceiling_per_s)
    };
    assert_eq!(of("acme"), (Some(50.0), Some(2000.0)));
    assert_eq!(of("small"), (Some(10.0), Some(20.0)));
    assert_eq!(of("nobody"), (Some(10.0), Some(100.5)));
    let summary = config.summary();
    for part in [
        "limits (control.enforcement = enforce)",
        "control        never limited",
        "transactional  absorb            15 s           1800 s",
        "every tenant   contract 10/s, ceiling 100.5/s",
        "contracts      2",
        "nothing is essential",
    ] {
        assert!(summary.contains(part), "{part}: {summary}");
    }
}

#[test]
fn explain_tells_what_is_in_effect_without_a_setting() {
    let (_directory, file) = written(
        "[control.telemetry]\noverflow = \"bound\"\n[[contract]]\ntenant = \"acme\"\n\
         ceiling_per_s = 7\n",
    );
    let sources = sources(&file);
    let check = |key: &str, expected: &str| {
        let explained = explain(&sources, key).expect("valid").to_string();
        let first = explained.lines().next().expect("a line");
        assert_eq!(first, expected.replace("FILE", &file.display().to_string()));
    };
    check("control.profile", "control.profile = absorb  (default)");
    check("control.kp", "control.kp is not set: it follows the measured dead time");
    check(
        "control.transactional.setpoint_ms",
        "control.transactional.setpoint_ms is not set: 15000 is in effect, from `control.profile`",
    );
    check(
        "control.telemetry.setpoint_ms",
        "control.telemetry.setpoint_ms is not set: 3000 is in effect, from \
         `control.telemetry.overflow`",
    );
    check("control.telemetry.overflow", "control.telemetry.overflow = bound  (FILE:2)");
    check(
        "control.transactional.overflow",
        "control.transactional.overflow is not set: absorb is in effect, from `control.profile`",
    );
    check(
        "control.transactional.outage_budget_ms",
        "control.transactional.outage_budget_ms is not set: 1800000 is in effect: 1800000, or \
         `control.retention_share` of `embedded.retention_ms` where that is less",
    );
    check("contract[0].ceiling_per_s", "contract[0].ceiling_per_s = 7  (FILE:5)");
    check("limits.ceiling_per_s", "limits.ceiling_per_s is not set");
}

#[test]
fn explain_tells_what_it_can_of_a_file_with_a_fault() {
    let (_directory, file) = written("[control]\nprofile = \"bounded-lag\"\nkp = \"much\"\n");
    let explained = explain(&sources(&file), "control.profile").expect("the key is known");
    assert!(explained.to_string().starts_with("control.profile = bounded-lag  ("), "{explained}");
    let faults = explained.faults.expect("one fault").to_string();
    assert!(faults.contains("control.kp"), "{faults}");
}

#[test]
fn what_limits_load_reloads_while_running() {
    let limits = ["control.", "limits.", "contract[]", "mode.", "breaker."];
    for key in KEYS {
        let path = key.path.replace("[]", "[0]");
        let expected = limits.iter().any(|begin| key.path.starts_with(begin))
            || ["key[]", "certificate[]", "schema", "source."]
                .iter()
                .any(|begin| key.path.starts_with(begin));
        assert_eq!(keys::reloads(&path), expected, "{path}");
    }
}

/// The blocks of TOML on a page.
fn blocks(page: &str) -> Vec<String> {
    let parts = page.split("```toml\n").skip(1);
    let ends = parts.map(|part| part.split("```").next().expect("split yields one").to_owned());
    ends.collect()
}

#[test]
fn the_documented_examples_mean_what_is_said() {
    let build = |text: &str| {
        let (_directory, file) = written(text);
        let config = Config::load(&sources(&file), Purpose::Dev);
        config.unwrap_or_else(|error| panic!("{text}: {error}")).ingress.control
    };
    let pages =
        [include_str!("../../../../docs/CONTROL.md"), include_str!("../../../../docs/LIMITS.md")];
    let [examples, contracts] = pages.map(blocks);
    let [orders, paper] = &examples[..] else { panic!("{examples:?}") };
    let orders = build(orders);
    let [_, transactional, telemetry] = orders.policies;
    assert_eq!((transactional.setpoint_s, transactional.outage_budget_s), (Some(20.0), 3_600.0));
    assert_eq!((telemetry.overflow, telemetry.setpoint_s), (Overflow::Bound, Some(2.0)));
    assert_eq!(orders.essential.types, ["checkout.*"]);
    assert_eq!(build(paper).policies[1], Policy::equation_five(0.05));
    let acme = TenantId::parse("acme").expect("valid");
    for config in [build(&contracts[0]), orders] {
        let contract = config.contract(&acme);
        assert_eq!((contract.contract_per_s, contract.ceiling_per_s), (Some(500.0), Some(2_000.0)));
    }
}

/// What the shipped file has in comments are the defaults, as its head says. Entries and addresses
/// are examples.
#[test]
fn the_shipped_comments_are_the_defaults() {
    let text = include_str!("../../../../config/shock.toml");
    let from = text.find("[control]\n").expect("a table");
    let to = text.find("[kafka]\n").expect("a table");
    let examples = [
        "tenant =",
        "contract_per_s",
        "ceiling_per_s",
        "essential_t",
        "webhook_url",
        "kp =",
        "ki =",
        "kd =",
        "u_min =",
    ];
    let lines = text[from..to].lines().filter_map(|line| {
        let line = line.strip_prefix("# ").filter(|rest| rest.contains(" = ")).unwrap_or(line);
        let skip = line.starts_with("[[") || examples.iter().any(|begin| line.starts_with(begin));
        (!skip).then(|| format!("{line}\n"))
    });
    let text: String = lines.collect();
    let (_directory, file) = written(&text);
    let config = Config::load(&sources(&file), Purpose::Dev).expect("valid");
    assert_eq!(config.ingress.control, ControlConfig::default(), "{text}");
    let set = text.lines().filter(|line| line.contains(" = ") && !line.starts_with('#')).count();
    assert!(set >= 28, "{set}: {text}");
}
