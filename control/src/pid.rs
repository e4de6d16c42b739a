//! The controller: u = 1 + P + I + D around the feed-forward of measured capacity, and how its integral
//! is kept from winding up.

use crate::gains::Gains;
use crate::number::{amount, weight};

/// Shorter and longer steps than these, seconds, count as such: a jump of the clock moves little.
pub const STEP_S_BOUNDS: (f64, f64) = (0.1, 2.0);
/// A limit is in use from this share of it on.
const BINDING_SHARE: f64 = 0.95;

/// How the terms become a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// u = 1 + Kp·e + I + D.
    #[default]
    Positional,
    /// The paper's equation (5), mended: the limit is changed by the *increments* of the terms (as
    /// printed, its sums would be summed twice), the step's length counts, u is bounded and the sum
    /// stops at the bound. There is no feed-forward: u multiplies the unit rate.
    Incremental,
}

/// Bounds and times of the controller.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PidConfig {
    /// Gains.
    pub gains: Gains,
    /// How the terms become a limit.
    pub form: Form,
    /// u never goes below.
    pub u_min: f64,
    /// u never goes above.
    pub u_max: f64,
    /// The integral's bound, both ways.
    pub integral_max: f64,
    /// Back-calculation time Tt, s.
    pub tracking_s: f64,
    /// A limit that is not in use forgets its integral over this time, s.
    pub forgetting_s: f64,
}

impl Default for PidConfig {
    fn default() -> Self {
        Self {
            gains: Gains::default(),
            form: Form::Positional,
            u_min: 0.05,
            u_max: 1.5,
            integral_max: 0.5,
            tracking_s: 4.0,
            forgetting_s: 10.0,
        }
    }
}

/// What one step sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The controlled variable, s.
    pub signal_s: f64,
    /// Where it should be, s.
    pub setpoint_s: f64,
    /// Offered load over capacity; tells whether the limit is in use.
    pub load: f64,
    /// Seconds since the last step.
    pub dt_s: f64,
}

/// Every term of one step, for whoever asks why.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Terms {
    /// The controlled variable, s.
    pub signal_s: f64,
    /// Where it should be, s.
    pub setpoint_s: f64,
    /// `setpoint - signal`, s.
    pub error_s: f64,
    /// The feed-forward: 1, or in the incremental form the last u.
    pub feed_forward: f64,
    /// Kp·e.
    pub p: f64,
    /// The integral's part.
    pub i: f64,
    /// The derivative's part.
    pub d: f64,
    /// The sum, before its bounds.
    pub u_unbounded: f64,
    /// The factor on capacity.
    pub u: f64,
    /// u stands at a bound.
    pub saturated: bool,
    /// The offered load reaches the limit.
    pub binding: bool,
}

/// The controller's state.
#[derive(Clone, Debug)]
pub struct Pid {
    config: PidConfig,
    integral: f64,
    derivative: f64,
    last_signal_s: Option<f64>,
    last_error_s: Option<f64>,
    u: f64,
    /// The factor in effect before this controller took over.
    takes_over: Option<f64>,
}

impl Pid {
    /// Starts at u = 1.
    pub fn new(config: PidConfig) -> Self {
        let gains = config.gains.sane(Gains::default());
        let config = PidConfig { gains, ..config };
        Self {
            config,
            integral: 0.0,
            derivative: 0.0,
            last_signal_s: None,
            last_error_s: None,
            u: 1.0,
            takes_over: None,
        }
    }

    /// The next step gives this factor, whatever it sees: a new owner, or other gains, do not make the
    /// limit jump. The integral carries the difference, and comes back inside its bound over `tracking_s`.
    pub fn take_over(&mut self, u: f64) {
        self.takes_over = Some(amount(u, 1.0).clamp(self.config.u_min, self.config.u_max));
    }

    /// Forgets what it saw and keeps its settings.
    pub fn restart(&mut self) {
        *self = Self::new(self.config);
    }

    /// Takes other settings without a jump of the limit.
    pub fn reconfigure(&mut self, config: PidConfig) {
        let gains = config.gains.sane(self.config.gains);
        self.config = PidConfig { gains, ..config };
        if self.last_error_s.is_some() {
            self.take_over(self.u);
        }
    }

    /// Takes other gains without a jump of the limit.
    pub fn retune(&mut self, gains: Gains) {
        if gains.sane(self.config.gains) != self.config.gains {
            self.reconfigure(PidConfig { gains, ..self.config });
        }
    }

    /// One step.
    pub fn step(&mut self, sample: &Sample) -> Terms {
        let (shortest, longest) = STEP_S_BOUNDS;
        let dt_s = amount(sample.dt_s, shortest).clamp(shortest, longest);
        let signal_s = amount(sample.signal_s, self.last_signal_s.unwrap_or(0.0));
        let setpoint_s = amount(sample.setpoint_s, 0.0);
        let error_s = setpoint_s - signal_s;
        let slope = self.last_signal_s.map_or(0.0, |last| (signal_s - last) / dt_s);
        self.last_signal_s = Some(signal_s);
        let mut terms = Terms { signal_s, setpoint_s, error_s, ..Terms::default() };
        match self.config.form {
            Form::Positional => self.positional(&mut terms, slope, amount(sample.load, 1.0), dt_s),
            Form::Incremental => {
                self.incremental(&mut terms, slope, amount(sample.load, 1.0), dt_s)
            }
        }
        self.last_error_s = Some(error_s);
        self.u = terms.u;
        terms
    }

    fn positional(&mut self, terms: &mut Terms, slope: f64, load: f64, dt_s: f64) {
        let gains = self.config.gains;
        terms.feed_forward = 1.0;
        terms.p = gains.kp * terms.error_s;
        terms.d = self.filtered(-gains.kd * slope, dt_s);
        if let Some(u) = self.takes_over.take() {
            self.integral = u - 1.0 - terms.p - terms.d;
        }
        terms.i = self.integral;
        self.bound(terms, 1.0 + terms.p + terms.i + terms.d, load);
        let pushes_out = (terms.u_unbounded > self.config.u_max && terms.error_s > 0.0)
            || (terms.u_unbounded < self.config.u_min && terms.error_s < 0.0);
        let before = self.integral;
        if (terms.binding || terms.error_s < 0.0) && !pushes_out {
            self.integral += gains.ki * terms.error_s * dt_s;
        }
        self.integral += (terms.u - terms.u_unbounded) * dt_s / self.config.tracking_s;
        if !terms.binding && terms.error_s > 0.0 {
            self.integral *= 1.0 - (dt_s / self.config.forgetting_s).min(1.0);
        }
        self.integral = self.inside(before, dt_s);
    }

    fn incremental(&mut self, terms: &mut Terms, slope: f64, load: f64, dt_s: f64) {
        let gains = self.config.gains;
        let last = self.takes_over.take().unwrap_or(self.u);
        terms.feed_forward = last;
        terms.p = gains.kp * (terms.error_s - self.last_error_s.unwrap_or(terms.error_s));
        terms.i = gains.ki * terms.error_s * dt_s;
        let before = self.derivative;
        terms.d = self.filtered(-gains.kd * slope, dt_s) - before;
        self.bound(terms, last + terms.p + terms.i + terms.d, load);
        if !terms.binding && terms.u > last {
            // A limit that nobody reaches has no reason to grow.
            terms.u = last;
        }
    }

    /// Low-pass for the derivative; without one, a single odd report would swing the limit.
    fn filtered(&mut self, derivative: f64, dt_s: f64) -> f64 {
        let gains = self.config.gains;
        if gains.kd > 0.0 {
            let over_s = gains.kd / gains.kp.max(f64::MIN_POSITIVE) / gains.filter_n;
            self.derivative += weight(dt_s, over_s) * (derivative - self.derivative);
        } else {
            self.derivative = 0.0;
        }
        self.derivative
    }

    fn bound(&self, terms: &mut Terms, u: f64, load: f64) {
        terms.u_unbounded = u;
        terms.u = u.clamp(self.config.u_min, self.config.u_max);
        terms.saturated = terms.u.to_bits() != u.to_bits();
        terms.binding = load >= BINDING_SHARE * terms.u;
    }

    /// The integral within its bound. What a take-over put outside comes back, and never goes further.
    fn inside(&self, before: f64, dt_s: f64) -> f64 {
        let most = self.config.integral_max;
        let back = (dt_s / self.config.tracking_s).min(1.0);
        if before > most {
            self.integral.min(before - (before - most) * back)
        } else if before < -most {
            self.integral.max(before + (-most - before) * back)
        } else {
            self.integral.clamp(-most, most)
        }
    }
}

#[cfg(test)]
mod tests;
