//! What a process of the tests does at a point.

use std::fmt::Display;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Signal, getpid, kill_process};
use tracing::{error, warn};

#[cfg(not(debug_assertions))]
compile_error!("failpoints are for tests: no optimised build has them");

/// Where it is said what happens.
pub(crate) const VARIABLE: &str = "FAILPOINTS";

/// The comparison that makes the fence, as the batch statement has it.
const FENCE: &str = "epoch = $3 and next_offset = $4";
/// The same parameters, and no comparison.
const NO_FENCE: &str = "($3 + $4) is not null";

macro_rules! points {
    ($($point:ident: $name:literal,)*) => {
        /// The places, in the order in which a partition's life passes them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Point {
            $(#[doc = concat!("`", $name, "`.")] $point,)*
        }

        impl Point {
            const ALL: &[(Self, &str)] = &[$((Self::$point, $name)),*];
        }
    };
}

points! {
    Claiming: "claiming",
    Claimed: "claimed",
    Started: "started",
    Polled: "polled",
    Marking: "marking",
    Marked: "marked",
    Decoded: "decoded",
    MakingBuckets: "making_buckets",
    MadeBuckets: "made_buckets",
    Sending: "sending",
    Event: "event",
    Committed: "committed",
    Mirrored: "mirrored",
    Picked: "picked",
    Retrying: "retrying",
    Retried: "retried",
    Settled: "settled",
    Forgetting: "forgetting",
    Forgotten: "forgotten",
    Moving: "moving",
    Moved: "moved",
    Unfenced: "unfenced",
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Kill,
    Stop,
    Hang,
    On,
}

/// What happens at one point.
#[derive(Debug)]
struct Rule {
    point: Point,
    key: Option<String>,
    action: Action,
    /// At this time, counted from 1.
    at: u32,
    reached: AtomicU32,
}

/// Does what the variable says of this point.
pub(crate) async fn reach(point: Point, key: &(dyn Display + Sync)) {
    match due(rules(), point, key) {
        Some(Action::Kill) => signal(point, Signal::KILL),
        Some(Action::Stop) => signal(point, Signal::STOP),
        Some(Action::Hang) => {
            warn!(?point, "a failpoint hangs");
            std::future::pending::<()>().await;
        }
        Some(Action::On) | None => {}
    }
}

/// The batch statement; without its fence where the variable says so.
pub(crate) fn fence(sql: &str) -> String {
    if !rules().iter().any(|rule| rule.point == Point::Unfenced) {
        return sql.to_owned();
    }
    assert!(sql.contains(FENCE), "the statement compares otherwise than this knows");
    warn!("the fence is taken out of the batch statement");
    sql.replace(FENCE, NO_FENCE)
}

fn signal(point: Point, signal: Signal) {
    warn!(?point, ?signal, "a failpoint signals");
    kill_process(getpid(), signal).expect("a process may signal itself");
}

fn rules() -> &'static [Rule] {
    static RULES: OnceLock<Vec<Rule>> = OnceLock::new();
    RULES.get_or_init(|| match parse(&std::env::var(VARIABLE).unwrap_or_default()) {
        Ok(rules) => rules,
        Err(why) => {
            // No test may go on without what it wanted to see fail.
            error!("{VARIABLE}: {why}");
            std::process::abort();
        }
    })
}

fn due(rules: &[Rule], point: Point, key: &dyn Display) -> Option<Action> {
    let is_meant = |rule: &&Rule| {
        rule.point == point && rule.key.as_ref().is_none_or(|wanted| *wanted == key.to_string())
    };
    let mut action = None;
    for rule in rules.iter().filter(is_meant) {
        if rule.reached.fetch_add(1, Ordering::Relaxed) + 1 == rule.at {
            action = Some(rule.action);
        }
    }
    action
}

fn parse(text: &str) -> Result<Vec<Rule>, String> {
    text.split(';').filter(|rule| !rule.is_empty()).map(parse_rule).collect()
}

fn parse_rule(text: &str) -> Result<Rule, String> {
    let bad = |why: &str| format!("`{text}`: {why}");
    let (place, action) = text.split_once('=').ok_or_else(|| bad("no ="))?;
    let (name, key) = match place.split_once('[') {
        Some((name, key)) => (name, Some(key.strip_suffix(']').ok_or_else(|| bad("no ]"))?)),
        None => (place, None),
    };
    let (action, at) = match action.split_once('@') {
        Some((action, at)) => (action, at.parse().map_err(|_| bad("no number"))?),
        None => (action, 1),
    };
    let found = Point::ALL.iter().find(|(_, known)| *known == name);
    let (point, _) = found.ok_or_else(|| bad("no such point"))?;
    let action = match (action, point) {
        ("on", Point::Unfenced) => Action::On,
        (_, Point::Unfenced) => return Err(bad("it is only on")),
        ("kill", _) => Action::Kill,
        ("stop", _) => Action::Stop,
        ("hang", _) => Action::Hang,
        _ => return Err(bad("no such action")),
    };
    Ok(Rule { point: *point, key: key.map(str::to_owned), action, at, reached: AtomicU32::new(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_time_of_the_key_that_is_meant() {
        let rules = parse("sending[transactional/1]=kill@2;polled=hang").expect("parses");
        let seen = |point, key: &str| due(&rules, point, &key);
        assert_eq!(seen(Point::Sending, "transactional/1"), None);
        assert_eq!(seen(Point::Sending, "transactional/2"), None);
        assert_eq!(seen(Point::Sending, "transactional/1"), Some(Action::Kill));
        assert_eq!(seen(Point::Sending, "transactional/1"), None, "once");
        assert_eq!(seen(Point::Polled, "x"), Some(Action::Hang));
        assert_eq!(seen(Point::Committed, "x"), None);
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in ["polled", "poled=kill", "polled[x=kill", "polled=die", "polled=kill@x"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("unfenced=kill").is_err() && parse("unfenced=on").is_ok());
        assert!(parse("").expect("nothing").is_empty());
    }

    #[test]
    fn the_batch_statement_has_the_fence_that_can_be_taken_out() {
        assert!(include_str!("../store/postgres/apply.sql").contains(FENCE));
    }
}
