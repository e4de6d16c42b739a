//! The controller's properties: what it must never do, whatever it sees.

use proptest::prelude::*;

use super::*;

const PERIOD_S: f64 = 0.5;

fn sample(signal_s: f64, load: f64) -> Sample {
    Sample { signal_s, setpoint_s: 0.6, load, dt_s: PERIOD_S }
}

/// The plant in the loop's own units, dL/dt = u - 1, with a dead time of `dead` steps; returns the
/// drain times.
fn loop_on_plant(pid: &mut Pid, load: f64, dead: usize, steps: usize, start_s: f64) -> Vec<f64> {
    let mut way = std::collections::VecDeque::from(vec![1.0; dead]);
    let mut drain_s = start_s;
    let mut seen = Vec::new();
    for _ in 0..steps {
        way.push_back(pid.step(&sample(drain_s, load)).u);
        let u = way.pop_front().expect("pushed");
        drain_s = (drain_s + (u.min(load) - 1.0) * PERIOD_S).max(0.0);
        seen.push(drain_s);
    }
    seen
}

#[test]
fn the_signal_settles_at_the_setpoint() {
    for start_s in [0.0, 5.0, 60.0] {
        let seen = loop_on_plant(&mut Pid::new(PidConfig::default()), 5.0, 2, 600, start_s);
        let last = seen.last().expect("steps");
        assert!((last - 0.6).abs() < 0.01, "from {start_s}: {last}");
    }
}

#[test]
fn a_pause_of_hours_changes_no_answer() {
    // An idle limit must not wind the integral up.
    let after = |idle_steps| {
        let mut pid = Pid::new(PidConfig::default());
        loop_on_plant(&mut pid, 0.3, 2, idle_steps, 0.0);
        loop_on_plant(&mut pid, 5.0, 2, 100, 0.0)
    };
    let (short, long) = (after(120), after(72_000));
    for (short, long) in short.iter().zip(&long) {
        assert!((short - long).abs() < 1e-6, "{short} {long}");
    }
}

#[test]
fn a_new_owner_and_new_gains_move_the_limit_less_than_a_hundredth() {
    for (u, signal_s) in [(0.05, 0.0), (0.3, 0.6), (1.0, 3.0), (1.5, 20.0), (0.9, 0.5)] {
        let mut pid = Pid::new(PidConfig::default());
        pid.take_over(u);
        let first = pid.step(&sample(signal_s, 5.0)).u;
        assert!((first - u).abs() < 0.01 * u, "{u}: {first}");
    }
    let mut pid = Pid::new(PidConfig::default());
    loop_on_plant(&mut pid, 5.0, 2, 40, 0.0);
    let before = pid.u;
    pid.retune(Gains::from_dead_time(2.5));
    let signal_s = pid.last_signal_s.expect("stepped");
    let after = pid.step(&sample(signal_s, 5.0)).u;
    assert!((before - after).abs() < 0.01 * before, "{before} {after}");
}

#[test]
fn it_rings_only_beyond_half_pi_over_the_dead_time() {
    // θ here: one step of zero-order hold on average half a step, and `dead` whole ones.
    let swing = |kp: f64| {
        let gains = Gains { kp, ki: 0.0, ..Gains::default() };
        let wide = PidConfig { gains, u_min: 0.0, u_max: 1e9, ..PidConfig::default() };
        let mut pid = Pid::new(wide);
        // Near the setpoint, so that the empty queue does not clip the swing at once.
        let config = Sample { setpoint_s: 50.0, ..sample(50.1, 1e9) };
        let mut way = std::collections::VecDeque::from(vec![1.0; 2]);
        let mut drain_s = 50.1;
        let mut late: f64 = 0.0;
        for step in 0..200 {
            way.push_back(pid.step(&Sample { signal_s: drain_s, ..config }).u);
            drain_s += (way.pop_front().expect("pushed") - 1.0) * PERIOD_S;
            if step >= 180 {
                late = late.max((drain_s - 50.0).abs());
            }
        }
        late
    };
    let edge = std::f64::consts::FRAC_PI_2 / (2.5 * PERIOD_S);
    assert!(swing(0.8 * edge) < 0.02, "{}", swing(0.8 * edge));
    assert!(swing(1.2 * edge) > 0.5, "{}", swing(1.2 * edge));
}

#[test]
fn the_derivative_acts_on_the_measurement_and_against_its_movement() {
    let gains = Gains { kd: 0.5, ki: 0.0, ..Gains::default() };
    let mut pid = Pid::new(PidConfig { gains, ..PidConfig::default() });
    pid.step(&sample(1.0, 5.0));
    assert!(pid.step(&sample(2.0, 5.0)).d < 0.0);
    // A moved setpoint gives no kick.
    let mut pid = Pid::new(PidConfig { gains, ..PidConfig::default() });
    pid.step(&sample(1.0, 5.0));
    let moved = pid.step(&Sample { setpoint_s: 15.0, ..sample(1.0, 5.0) });
    assert_eq!(moved.d.abs().to_bits(), 0.0_f64.to_bits());
}

#[test]
fn the_step_length_counts() {
    let integral = |dt_s: f64, steps: usize| {
        let mut pid = Pid::new(PidConfig::default());
        for _ in 0..steps {
            pid.step(&Sample { dt_s, ..sample(0.8, 5.0) });
        }
        pid.integral
    };
    assert!((integral(0.5, 4) - integral(0.25, 8)).abs() < 1e-12);
}

#[test]
fn equation_five_mended_settles_and_stops_at_its_bounds() {
    // Target p99 minus actual p99; a database whose p99 grows with what is let through.
    let gains = Gains { kp: 0.2, ki: 0.4, kd: 0.0, filter_n: 5.0 };
    let mut pid = Pid::new(PidConfig { gains, form: Form::Incremental, ..PidConfig::default() });
    let mut u = 1.0;
    for _ in 0..400 {
        u = pid.step(&sample(0.75 * u, 5.0)).u;
    }
    assert!((0.75 * u - 0.6).abs() < 0.01, "{u}");
    for _ in 0..10_000 {
        u = pid.step(&sample(50.0, 5.0)).u;
    }
    assert_eq!(u.to_bits(), 0.05_f64.to_bits());
    for step in 0..20 {
        u = pid.step(&sample(0.0, 5.0)).u;
        assert!(step < 15 || u > 1.0, "wound up: {u} after {step}");
    }
}

fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        -10.0..100.0_f64,
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY)
    ]
}

proptest! {
    #[test]
    fn whatever_comes_the_factor_stays_in_its_bounds(
        steps in proptest::collection::vec((any_number(), any_number(), any_number(), any_number()), 1..60),
        incremental in any::<bool>(),
        kd in 0.0..2.0_f64,
    ) {
        let form = if incremental { Form::Incremental } else { Form::Positional };
        let gains = Gains { kd, ..Gains::default() };
        let mut pid = Pid::new(PidConfig { gains, form, ..PidConfig::default() });
        for (signal_s, setpoint_s, load, dt_s) in steps {
            let u = pid.step(&Sample { signal_s, setpoint_s, load, dt_s }).u;
            prop_assert!((0.05..=1.5).contains(&u), "{u}");
        }
        // And it works again.
        let seen = loop_on_plant(&mut Pid { config: PidConfig::default(), ..pid }, 5.0, 2, 2000, 0.0);
        prop_assert!((seen.last().expect("steps") - 0.6).abs() < 0.05);
    }

    #[test]
    fn a_longer_wait_never_raises_the_factor(
        history in proptest::collection::vec((0.0..20.0_f64, 0.0..6.0_f64), 0..40),
        signal_s in 0.0..50.0_f64,
        more_s in 0.0..50.0_f64,
        load in 0.0..6.0_f64,
    ) {
        let mut pid = Pid::new(PidConfig::default());
        for (signal_s, load) in history {
            pid.step(&sample(signal_s, load));
        }
        let u = pid.clone().step(&sample(signal_s, load)).u;
        let longer = pid.step(&sample(signal_s + more_s, load)).u;
        prop_assert!(longer <= u + 1e-12, "{longer} {u}");
    }
}
