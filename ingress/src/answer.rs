//! What became of a request's events, as one answer: 202 or one problem where all agree, 207 where
//! they do not.

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use serde::{Serialize, Serializer};

use crate::append::Became;
use crate::desk::Desk;
use crate::event::Checks;
use crate::head::Wishes;
use crate::problem::{Answer, Problem, retry_after};
use crate::reject::{Outcome, Reject, Retry};
use crate::stationery::Stationery;
use crate::tally::Tally;
use crate::violation::{VIOLATIONS_MAX, Violation};

/// The metric label of a 202.
pub(crate) const CODE_ACCEPTED: &str = "accepted";
/// The metric label of a dry run that found nothing.
const CODE_VALID: &str = "valid";
/// The metric label of a 207.
const CODE_MIXED: &str = "mixed";

/// Which preference was honoured (RFC 7240, 3).
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The body of most answers there are.
const ONE_ACCEPTED: &[u8] = br#"{"accepted":1,"duplicate":0}"#;

/// The body of 200, 202 and 207.
#[derive(Default, Serialize)]
struct Summary<'s> {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    #[serde(skip_serializing_if = "is_zero")]
    valid: usize,
    accepted: usize,
    duplicate: usize,
    #[serde(skip_serializing_if = "is_zero")]
    rejected: usize,
    #[serde(skip_serializing_if = "is_zero")]
    retry: usize,
    /// The ids that we gave.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "minted_ids")]
    minted: Option<&'s Desk>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "results")]
    results: Option<(&'s Desk, Wishes)>,
}

/// An id that we gave, and to which event of the request.
#[derive(Debug, Serialize)]
pub(crate) struct Minted<'s> {
    index: usize,
    id: &'s str,
}

#[derive(Default, Serialize)]
struct EventResult<'s> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'s str>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retryable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "<[Violation]>::is_empty")]
    errors: &'s [Violation],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    errors_truncated: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Enters the books: sums first, then adds.
pub(crate) fn settle(tally: &Tally<'_>, became: &[Became]) {
    let (mut accepted, mut duplicate) = (0, 0);
    // Empty where nothing was refused, and so without an allocation.
    let mut refused: Vec<(Outcome, &str, u64)> = Vec::new();
    for one in became {
        match one {
            Became::Accepted(_) => accepted += 1,
            Became::Duplicate => duplicate += 1,
            Became::Valid => {}
            Became::Refused(reject) => {
                let row = reject.row();
                match refused.iter_mut().find(|sum| (sum.0, sum.1) == (row.outcome, row.code)) {
                    Some(sum) => sum.2 += 1,
                    None => refused.push((row.outcome, row.code, 1)),
                }
            }
        }
    }
    tally.enter(Outcome::Accepted, None, accepted);
    tally.enter(Outcome::Duplicate, None, duplicate);
    for (outcome, code, events) in refused {
        tally.enter(outcome, Some(code), events);
    }
}

/// The answer and its code for the metrics.
pub(crate) fn compose(
    stationery: &Stationery,
    desk: &Desk,
    wishes: Wishes,
) -> (Answer, &'static str) {
    let Desk { checks, became, .. } = desk;
    if let Some(reject) = agreed(became) {
        return (problem(reject, checks, became), reject.row().code);
    }
    let mut summary = Summary { dry_run: wishes.dry_run, ..Summary::default() };
    let mut wait_seconds = None;
    for one in became {
        match one {
            Became::Accepted(_) => summary.accepted += 1,
            Became::Valid => summary.valid += 1,
            Became::Duplicate => summary.duplicate += 1,
            Became::Refused(reject) => match reject.row().retry {
                Retry::Never => summary.rejected += 1,
                Retry::AfterSeconds(seconds) => {
                    summary.retry += 1;
                    wait_seconds = wait_seconds.max(Some(seconds));
                }
            },
        }
    }
    let mixed = summary.rejected + summary.retry > 0;
    summary.minted = minted(checks, became).next().map(|_| desk);
    summary.results = (mixed || wishes.positions).then_some((desk, wishes));
    let (status, code) = match (mixed, wishes.dry_run) {
        (true, _) => (StatusCode::MULTI_STATUS, CODE_MIXED),
        (false, false) => (StatusCode::ACCEPTED, CODE_ACCEPTED),
        (false, true) => (StatusCode::OK, CODE_VALID),
    };
    let plain = summary.accepted == 1 && became.len() == 1;
    let body = if plain && summary.minted.is_none() && summary.results.is_none() {
        Bytes::from_static(ONE_ACCEPTED)
    } else {
        stationery.json(&summary)
    };
    let mut answer = stationery.answer(status, body);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(seconds) = wait_seconds {
        headers.insert(RETRY_AFTER, retry_after(seconds));
    }
    if let Some(applied) = wishes.preference_applied() {
        headers.insert(PREFERENCE_APPLIED, HeaderValue::from_static(applied));
    }
    (answer, code)
}

/// The refusal that all events agree on: one code, or all not taken now.
fn agreed(became: &[Became]) -> Option<&Reject> {
    let mut spokesman: Option<&Reject> = None;
    for one in became {
        let Became::Refused(reject) = one else { return None };
        let Some(first) = spokesman else {
            spokesman = Some(reject);
            continue;
        };
        let (ours, theirs) = (first.row(), reject.row());
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        let behind = matches!(reject, Reject::BehindFailed(_)) && ours.retry != Retry::Never;
        let agree = ours.code == theirs.code
            || behind
            || (ours.status == unavailable && theirs.status == unavailable);
        if !agree {
            return None;
        }
    }
    spokesman
}

fn problem(reject: &Reject, checks: &Checks, became: &[Became]) -> Answer {
    let minted = minted(checks, became).collect();
    if became.len() == 1 {
        let mut problem = Problem::new(reject);
        problem.minted = minted;
        return reject.answer_with(&problem);
    }
    let mut errors = Vec::new();
    let mut truncated = false;
    for (index, one) in became.iter().enumerate() {
        let Became::Refused(reject) = one else { continue };
        let (violations, cut) = reject.violations();
        truncated |= cut;
        for violation in violations {
            truncated |= errors.len() == VIOLATIONS_MAX;
            if errors.len() < VIOLATIONS_MAX {
                errors.push(Violation { index: Some(index), ..violation.clone() });
            }
        }
    }
    let mut problem = Problem::new(reject);
    (problem.errors, problem.errors_truncated) = (&errors, truncated);
    problem.minted = minted;
    reject.answer_with(&problem)
}

/// The ids of events that are in the log or may be: whoever retries those needs the same id.
fn minted<'s>(checks: &'s Checks, became: &'s [Became]) -> impl Iterator<Item = Minted<'s>> {
    let kept = |one: &Became| match one {
        Became::Accepted(_) => true,
        Became::Refused(reject) => reject.row().outcome == Outcome::Unknown,
        Became::Valid | Became::Duplicate => false,
    };
    checks.events.iter().zip(became).enumerate().filter_map(move |(index, (entry, one))| {
        let checked = entry.verdict.as_ref().ok().filter(|checked| checked.minted)?;
        kept(one).then(|| Minted { index, id: &checks.text[checked.event_id.clone()] })
    })
}

fn minted_ids<S: Serializer>(desk: &Option<&Desk>, serializer: S) -> Result<S::Ok, S::Error> {
    let ids = desk.iter().flat_map(|desk| minted(&desk.checks, &desk.became));
    serializer.collect_seq(ids)
}

fn results<S: Serializer>(
    desk: &Option<(&Desk, Wishes)>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(desk.iter().flat_map(|(desk, wishes)| {
        let events = desk.checks.events.iter().zip(&desk.became).enumerate();
        events.map(|(index, (entry, one))| {
            let id = entry.id.clone().map(|id| &desk.checks.text[id]);
            result(one, *wishes, EventResult { index, id, ..EventResult::default() })
        })
    }))
}

fn result<'s>(one: &'s Became, wishes: Wishes, result: EventResult<'s>) -> EventResult<'s> {
    match one {
        Became::Accepted(position) if wishes.positions => EventResult {
            status: "accepted",
            class: Some(position.id.class.name()),
            partition: Some(position.id.partition.0),
            offset: Some(position.offset.0),
            ..result
        },
        Became::Accepted(_) => EventResult { status: "accepted", ..result },
        Became::Valid => EventResult { status: "valid", ..result },
        Became::Duplicate => EventResult { status: "duplicate", ..result },
        Became::Refused(reject) => refusal(reject, result),
    }
}

fn refusal<'s>(reject: &'s Reject, result: EventResult<'s>) -> EventResult<'s> {
    let row = reject.row();
    let retryable = row.retry != Retry::Never;
    let (errors, errors_truncated) = reject.violations();
    EventResult {
        status: if retryable { "retry" } else { "rejected" },
        code: Some(row.code),
        retryable: Some(retryable),
        detail: reject.detail(),
        errors,
        errors_truncated,
        ..result
    }
}
