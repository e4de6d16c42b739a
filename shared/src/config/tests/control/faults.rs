//! What is wrong with the loop's settings, to the letter.

use super::*;

/// The one line that says what is wrong with these settings.
fn told(settings: &[&str], expected: &str) {
    let error = load("kafka", settings).expect_err(expected).to_string();
    assert_eq!(error, expected, "{settings:?}");
}

/// Each fault: settings that are wrong, and the one line that says so.
#[test]
fn values_and_gains_that_do_not_fit_are_told_to_the_letter() {
    let check = told;
    check(
        &["control.enforcement=on"],
        "--set: control.enforcement: `on` is not one of enforce, shadow, off",
    );
    check(&["control.kp=-0.1"], "--set: control.kp: -0.1 is below the bound of 0");
    check(&["control.kp=fast"], "--set: control.kp: `fast` is not a number");
    check(&["control.kp=nan"], "--set: control.kp: a finite number is needed");
    check(&["mode.automatic=yes"], "--set: mode.automatic: `yes` is neither true nor false");
    check(
        &["control.kp=1.6"],
        "--set: control.kp: 1.6 makes the limit oscillate: from π/2 on with a dead time of 1 s; 0.5 \
         is the default's; leave it out to follow the measured one",
    );
    check(
        &["control.kp=0.5", "control.ki=0.3"],
        "--set: control.ki: 0.3 makes the limit oscillate: at most 0.25, the square of \
         `control.kp`; without it 0.0625 is taken",
    );
    check(
        &["control.kp=0.5", "control.kd=1"],
        "--set: control.kd: 1 makes the limit oscillate: it has to be less than 1",
    );
    check(
        &["control.ki=0.1"],
        "--set: control.ki: has no effect without `control.kp`; gains are fixed together, or follow \
         the measured dead time",
    );
}

#[test]
fn waits_and_contracts_that_do_not_fit_are_told_to_the_letter() {
    let check = told;
    check(
        &["control.u_min=1", "control.u_max=1"],
        "--set: control.u_min: 1 has to be less than `control.u_max`, which is 1",
    );
    check(
        &["control.transactional.overflow=bound", "control.transactional.setpoint_ms=0"],
        "--set: control.transactional.setpoint_ms: 0 cannot be held with `overflow` = `bound`; give a \
         wait, or `overflow = \"shed\"`",
    );
    check(
        &["control.telemetry.outage_budget_ms=302400001"],
        "--set: control.telemetry.outage_budget_ms: 302400001 has to be at most 302400000: \
         `control.retention_share` of `topics.retention_ms`",
    );
    check(
        &["control.transactional.outage_budget_ms=14000"],
        "--set: control.transactional.outage_budget_ms: 14000 has to be at least \
         `control.transactional.setpoint_ms`, which is 15000: an outage would be limited before an \
         overload",
    );
    check(
        &["control.signal=ingress_p99", "control.transactional.setpoint_ms=50"],
        "--set: control.telemetry.setpoint_ms: is missing, and `control.signal` is a p99; give the \
         p99 to hold: a wait's default means nothing to it",
    );
    check(
        &["limits.contract_per_s=10", "limits.ceiling_per_s=9.5"],
        "--set: limits.ceiling_per_s: 9.5 has to be at least `limits.contract_per_s`, which is 10",
    );
    check(
        &["topics.retention_ms=90000000", "control.telemetry.outage_budget_ms=3700000"],
        "--set: topics.retention_ms: 90000000 has to be at least 90100000: \
         `consumer.dedupe_window_s` and the outage budget of 3700 s",
    );
    check(
        &["mode.webhook_url=ftp://T0KEN"],
        "--set: mode.webhook_url: the value is not a URL that begins with https:// or http://",
    );
    check(
        &["mode.survival.closed_from_level=0"],
        "--set: mode.survival.closed_from_level: 0 is below the bound of 1",
    );
    check(
        &["contract.tenant=acme"],
        "--set: contract.tenant: unknown key; entries are written with two brackets: `[[contract]]`",
    );
    // Increments and a p99 have other gains.
    assert!(load("kafka", &["control.form=incremental", "control.kp=20"]).is_ok());
}

#[test]
fn contracts_that_contradict_each_other_name_both_places() {
    let check = |text: &str, line: usize, expected: &str| {
        let (_directory, file) = written(text);
        let error = Config::load(&sources(&file), Purpose::Dev).expect_err(expected);
        let shown = file.display();
        let expected = expected.replace("FILE", &shown.to_string());
        assert_eq!(error.to_string(), format!("{shown}:{line}: {expected}"));
    };
    let acme = "[[contract]]\ntenant = \"acme\"\n";
    check(
        &format!("{acme}contract_per_s = 1\n{acme}contract_per_s = 2\n"),
        5,
        "contract[1].tenant: `acme` has another contract; the first is contract[0].tenant, at FILE:2",
    );
    check(
        &format!("{acme}contract_per_s = 500\nceiling_per_s = 499\n"),
        4,
        "contract[0].ceiling_per_s: 499 has to be at least `contract[0].contract_per_s`, which is 500",
    );
    check(
        &format!("{acme}contract_per_s = 500\n[limits]\nceiling_per_s = 400\n"),
        5,
        "limits.ceiling_per_s: 400 has to be at least `contract[0].contract_per_s`, which is 500",
    );
    check(acme, 1, "contract[0]: says nothing; give `contract_per_s`, `ceiling_per_s` or both");
    check("[[contract]]\nceiling_per_s = 1\n", 1, "contract[0].tenant: is missing");
    check(
        &format!("{acme}contract_per_s = \"500\"\n"),
        3,
        "contract[0].contract_per_s: a number is needed, this is a text; write it without quotes",
    );
    check(
        &format!("{acme}contract_per_s = true\n"),
        3,
        "contract[0].contract_per_s: a number is needed, this is a boolean",
    );
}
