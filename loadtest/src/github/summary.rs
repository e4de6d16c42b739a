//! What one play came to, beside what was expected of it.

use std::fmt;

use anyhow::ensure;

use super::{Plan, Played};
use crate::verify::Findings;

/// The figures of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Distinct delivery ids.
    pub delivered: usize,
    /// Requests, retries included.
    pub requests: usize,
    /// Deliveries answered 202.
    pub accepted: usize,
    /// Deliveries answered 422.
    pub rejected: usize,
    /// Deliveries whose body the `jsonschema` crate alone refuses.
    pub rejected_expected: usize,
    /// 202 answers beyond the first of each delivery.
    pub duplicates: usize,
    /// Rows of the effects table.
    pub effects: usize,
    /// Records in the log.
    pub records: Option<usize>,
    /// Whether every record's value was compared with the body posted.
    pub values_compared: bool,
}

impl Summary {
    /// Adds up a run; every delivery's answer must be what the schema says of its body.
    pub fn of(plan: &Plan, played: &Played, findings: &Findings) -> anyhow::Result<Self> {
        ensure!(
            played.status.len() == plan.deliveries.len(),
            "{} of {} deliveries were answered",
            played.status.len(),
            plan.deliveries.len()
        );
        for (delivery, status) in plan.deliveries.iter().zip(&played.status) {
            let expected = if delivery.valid { 202 } else { 422 };
            ensure!(
                *status == expected,
                "{} {} was answered {status}, the jsonschema crate says {expected}",
                delivery.example.event,
                delivery.id
            );
        }
        let count = |status: u16| played.status.iter().filter(|s| **s == status).count();
        let summary = Self {
            delivered: plan.deliveries.len(),
            requests: played.requests,
            accepted: count(202),
            rejected: count(422),
            rejected_expected: plan.deliveries.iter().filter(|d| !d.valid).count(),
            duplicates: findings.duplicates,
            effects: findings.effects,
            records: findings.records,
            values_compared: findings.values_compared,
        };
        ensure!(
            summary.effects == summary.accepted,
            "{} effects of {} accepted deliveries",
            summary.effects,
            summary.accepted
        );
        Ok(summary)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requests = self.requests;
        writeln!(f, "delivered   {:>7}  in {requests} requests", self.delivered)?;
        writeln!(f, "accepted    {:>7}", self.accepted)?;
        let expected = self.rejected_expected;
        writeln!(f, "rejected    {:>7}  the jsonschema crate alone: {expected}", self.rejected)?;
        writeln!(f, "duplicates  {:>7}", self.duplicates)?;
        writeln!(f, "effects     {:>7}  = distinct accepted deliveries", self.effects)?;
        if let Some(records) = self.records {
            let how = match self.values_compared {
                true => "every value byte for byte as it was posted",
                false => "as many as 202 answers (the embedded log is counted, not read)",
            };
            writeln!(f, "records     {records:>7}  {how}")?;
        }
        Ok(())
    }
}
