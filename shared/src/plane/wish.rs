//! What an operator asks for, checked: a request's JSON and the subject in its path, to changes.
//!
//! Whatever is set ends by itself, unless it is a limit or a contract and the request says
//! `"forever": true`. A mode always ends.

use control::mode::Mode;
use serde::{Deserialize, Serialize};

use super::message::NUMBER_MAX;
use super::state::{Change, ENTRIES_MAX, Entry, Setting, State, Subject, VERSION};
use crate::admin::author::{Unsigned, reason, signed};
use crate::clock::Millis;
use crate::position::{Class, Partition, PartitionId};
use crate::route::Router;
use crate::tenant::TenantId;

/// How long what is set holds where the request does not say.
pub const FOR_S_DEFAULT: f64 = 900.0;
/// How long a mode may be pinned.
const MODE_FOR_S_MAX: f64 = 86_400.0;
/// How long anything else may be set; who means longer says for ever.
const FOR_S_MAX: f64 = 366.0 * 86_400.0;

/// The body of `PUT`, and, with `by` and `why` alone, of `DELETE`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wish {
    /// The mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// A partition's limit, events/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_per_s: Option<f64>,
    /// A tenant's contract, events/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contract_per_s: Option<f64>,
    /// A tenant's ceiling, events/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ceiling_per_s: Option<f64>,
    /// How long, s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_s: Option<f64>,
    /// Until it is removed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub forever: bool,
    /// Who asks.
    pub by: String,
    /// Why.
    pub why: String,
}

/// What is wrong with it, for the one who asks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WishError {
    /// No such subject here.
    #[error("{0}")]
    Subject(String),
    /// The request.
    #[error("{0}")]
    Request(String),
}

impl From<Unsigned> for WishError {
    fn from(error: Unsigned) -> Self {
        Self::Request(error.to_string())
    }
}

fn bad<T>(why: impl Into<String>) -> Result<T, WishError> {
    Err(WishError::Request(why.into()))
}

/// The subjects that a path names: `mode`, `tenant/T`, `limit/CLASS/N`, or `limit/CLASS` for each
/// partition of the class.
pub(super) fn subjects(path: &str, router: &Router) -> Result<Vec<Subject>, WishError> {
    let none = |why: String| Err(WishError::Subject(why));
    let (kind, rest) = path.split_once('/').unwrap_or((path, ""));
    match kind {
        "mode" if rest.is_empty() => Ok(vec![Subject::Mode]),
        "tenant" => match TenantId::parse(rest) {
            Ok(tenant) => Ok(vec![Subject::Tenant(tenant)]),
            Err(error) => none(format!("tenant {rest:?}: {error}")),
        },
        "limit" => {
            let (class_name, number) =
                rest.split_once('/').map_or((rest, None), |(class, number)| (class, Some(number)));
            let Some(class) = Class::parse(class_name) else {
                let names = Class::ALL.map(Class::name).join(", ");
                return none(format!("no class {class_name:?}; there are {names}"));
            };
            let there = router.partitions(class);
            let partitions = match number.map(str::parse::<u32>) {
                None => 0..there,
                Some(Ok(number)) if number < there => number..number + 1,
                Some(_) => {
                    let number = number.unwrap_or_default();
                    return none(format!(
                        "no partition {number:?} of {class}; there are 0 to {}",
                        there - 1
                    ));
                }
            };
            let subject = |n| Subject::Partition(PartitionId { class, partition: Partition(n) });
            Ok(partitions.map(subject).collect())
        }
        _ => none(format!(
            "nothing can be set for {path:?}; try mode, limit/CLASS, limit/CLASS/PARTITION or tenant/TENANT"
        )),
    }
}

/// The subjects that a path names, to remove what is set for them: also for one that is not there any
/// more, such as a partition of a larger topic.
pub(super) fn removable(
    path: &str,
    router: &Router,
    state: &State,
) -> Result<Vec<Subject>, WishError> {
    let left = || Subject::parse(path).filter(|subject| state.get(subject).is_some());
    subjects(path, router).or_else(|error| left().map(|subject| vec![subject]).ok_or(error))
}

impl Wish {
    /// The changes that set it.
    pub(super) fn set(
        &self,
        subjects: Vec<Subject>,
        state: &State,
        now: Millis,
    ) -> Result<Vec<Change>, WishError> {
        let Some(first) = subjects.first() else { return Ok(Vec::new()) };
        let setting = self.setting(first)?;
        let until_ms = self.until(&setting, now)?;
        let entry = Entry {
            v: VERSION,
            setting,
            until_ms,
            by: signed(&self.by)?,
            why: reason(&self.why)?,
            at_ms: now.0,
        };
        let new = subjects.iter().filter(|subject| state.get(subject).is_none()).count();
        let kept = state.all().filter(|(_, entry)| entry.holds(now)).count();
        if new > 0 && kept + new > ENTRIES_MAX {
            return bad(format!("{kept} entries are set, and at most {ENTRIES_MAX} are kept"));
        }
        let change = |subject| Change { subject, entry: Some(entry.clone()) };
        Ok(subjects.into_iter().map(change).collect())
    }

    /// The changes that remove what is set; none where nothing is.
    pub(super) fn remove(
        &self,
        subjects: Vec<Subject>,
        state: &State,
    ) -> Result<Vec<Change>, WishError> {
        let only_names = Self { by: self.by.clone(), why: self.why.clone(), ..Self::default() };
        if *self != only_names {
            return bad("what removes says by and why, nothing else");
        }
        signed(&self.by)?;
        if !self.why.is_empty() {
            reason(&self.why)?;
        }
        let set = subjects.into_iter().filter(|subject| state.get(subject).is_some());
        Ok(set.map(|subject| Change { subject, entry: None }).collect())
    }

    fn setting(&self, subject: &Subject) -> Result<Setting, WishError> {
        let foreign = |what: &str| bad(format!("{subject} takes {what}, and nothing else"));
        match (subject, &self.mode, self.limit_per_s, self.contract_per_s, self.ceiling_per_s) {
            (Subject::Mode, Some(mode), None, None, None) => match Mode::parse(mode) {
                Some(mode) => Ok(Setting::Mode { mode }),
                None => {
                    let names = Mode::ALL.map(Mode::name).join(", ");
                    bad(format!("no mode {mode:?}; there are {names}"))
                }
            },
            (Subject::Mode, ..) => foreign("mode"),
            (Subject::Partition(_), None, Some(limit_per_s), None, None) => {
                rate("limit_per_s", limit_per_s)?;
                Ok(Setting::Limit { limit_per_s })
            }
            (Subject::Partition(_), ..) => foreign("limit_per_s"),
            (Subject::Tenant(_), None, None, contract_per_s, ceiling_per_s)
                if contract_per_s.is_some() || ceiling_per_s.is_some() =>
            {
                contract_per_s.map_or(Ok(()), |it| rate("contract_per_s", it))?;
                ceiling_per_s.map_or(Ok(()), |it| rate("ceiling_per_s", it))?;
                if contract_per_s
                    .zip(ceiling_per_s)
                    .is_some_and(|(contract, ceiling)| contract > ceiling)
                {
                    return bad("contract_per_s is more than ceiling_per_s");
                }
                Ok(Setting::Tenant { contract_per_s, ceiling_per_s })
            }
            (Subject::Tenant(_), ..) => foreign("contract_per_s, ceiling_per_s or both"),
        }
    }

    /// When it ends.
    fn until(&self, setting: &Setting, now: Millis) -> Result<Option<i64>, WishError> {
        let is_mode = matches!(setting, Setting::Mode { .. });
        match (self.forever, self.for_s) {
            (true, _) if is_mode => bad("a mode is pinned for some time, at most for_s = 86400"),
            (true, Some(_)) => bad("either for_s or forever"),
            (true, None) => Ok(None),
            (false, for_s) => {
                let for_s = for_s.unwrap_or(FOR_S_DEFAULT);
                let most = if is_mode { MODE_FOR_S_MAX } else { FOR_S_MAX };
                if !(for_s > 0.0 && for_s <= most) {
                    return bad(format!("for_s has to be more than 0 and at most {most}"));
                }
                // At most a year in milliseconds: exact.
                Ok(Some(now.0.saturating_add((for_s * 1_000.0).ceil() as i64)))
            }
        }
    }
}

fn rate(name: &str, rate: f64) -> Result<(), WishError> {
    match (0.0..=NUMBER_MAX).contains(&rate) {
        true => Ok(()),
        false => bad(format!("{name} has to be a number from 0 to {NUMBER_MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_000);

    fn router() -> Router {
        Router::new([1, 4, 2], Vec::new())
    }

    fn put(path: &str, body: &str) -> Result<Vec<Change>, String> {
        let subjects = subjects(path, &router()).map_err(|error| error.to_string())?;
        let wish: Wish = serde_json::from_str(body).map_err(|error| error.to_string())?;
        wish.set(subjects, &State::default(), NOW).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_asked_for_is_set() {
        let check = |path: &str, body: &str, count: usize, expected: &str| {
            let body = format!(r#"{{{body},"by":"ops","why":"a test"}}"#);
            let changes = put(path, &body).expect("accepted");
            assert_eq!(changes.len(), count, "{path}");
            for Change { subject, entry } in changes {
                let entry = entry.expect("set");
                assert!(entry.fits(&subject));
                assert_eq!(entry.to_string(), expected);
            }
        };
        let default = "until 1970-01-01T00:15:01Z";
        check("mode", r#""mode":"survival""#, 1, &format!("survival {default}"));
        check("mode", r#""mode":"normal","for_s":0.5"#, 1, "normal until 1970-01-01T00:00:01.5Z");
        let closed = r#""limit_per_s":0,"for_s":9"#;
        check("limit/transactional/3", closed, 1, "0 events/s until 1970-01-01T00:00:10Z");
        let open = r#""limit_per_s":5.5,"forever":true"#;
        check("limit/transactional", open, 4, "5.5 events/s until it is removed");
        let ceiling = format!("contract as configured, ceiling 7 events/s {default}");
        check("tenant/acme", r#""ceiling_per_s":7"#, 1, &ceiling);
    }

    #[test]
    fn what_is_refused_says_why() {
        let check = |path: &str, body: &str, expected: &str| {
            let error = put(path, body).expect_err(body);
            assert!(error.contains(expected), "{error}");
        };
        let signed = |body: &str| format!(r#"{{{body},"by":"ops","why":"a test"}}"#);
        let limit = signed(r#""limit_per_s":5"#);
        check(
            "limit/transactional/4",
            &limit,
            r#"no partition "4" of transactional; there are 0 to 3"#,
        );
        check("limit/transactional/-1", &limit, "no partition");
        check("limit/transactional/1/2", &limit, "no partition");
        check("limit/rush", &limit, "no class");
        check("tenant/a b", &limit, "A-Z");
        check("mode/x", &limit, "nothing can be set");
        check("", &limit, "nothing can be set");
        check("limit/control/0", &signed(r#""limit_per_s":-1"#), "from 0 to 100000000");
        check("limit/control/0", &signed(r#""limit_per_s":1e999"#), "out of range");
        check("limit/control/0", &signed(r#""limit_per_s":1e300"#), "from 0 to 100000000");
        check("limit/control/0", &signed(r#""mode":"normal""#), "takes limit_per_s");
        check("limit/control/0", &signed(r#""limit_per_s":1,"mode":"normal""#), "nothing else");
        check("tenant/acme", &signed(r#""for_s":5"#), "contract_per_s");
        check("tenant/acme", &signed(r#""contract_per_s":-0.5"#), "from 0 to 100000000");
        let above = r#""contract_per_s":5,"ceiling_per_s":4"#;
        check("tenant/acme", &signed(above), "more than ceiling_per_s");
        check("mode", &signed(r#""mode":"calm""#), "no mode");
        check("mode", &signed(r#""mode":"normal","for_s":86401"#), "at most 86400");
        check("mode", &signed(r#""mode":"normal","for_s":0"#), "more than 0");
        check("mode", &signed(r#""mode":"normal","forever":true"#), "for some time");
        check("tenant/acme", &signed(r#""ceiling_per_s":1,"for_s":5,"forever":true"#), "either");
        check("mode", r#"{"mode":"normal","by":"ops"}"#, "why is missing");
        check("mode", r#"{"mode":"normal","by":" ","why":"x"}"#, "by is missing");
        check("mode", r#"{"mode":"normal","by":"ops","why":"a\nb"}"#, "one line");
        check("mode", r#"{"mode":"normal","by":"ops","why":"x","til":5}"#, "unknown field");
    }

    #[test]
    fn only_what_is_set_is_removed() {
        let set = put("limit/transactional/1", r#"{"limit_per_s":1,"by":"a","why":"b"}"#);
        let state = State::default().with(set.expect("accepted").remove(0));
        let all = subjects("limit/transactional", &router()).expect("a class");
        let wish = Wish { by: "ops".to_owned(), ..Wish::default() };
        let removed = wish.remove(all.clone(), &state).expect("accepted");
        assert_eq!(removed.len(), 1);
        assert_eq!(removed[0].subject.to_string(), "limit/transactional/1");
        wish.remove(all.clone(), &State::default()).expect("nothing to do");
        Wish::default().remove(all.clone(), &state).expect_err("nobody asks");
        let more = Wish { limit_per_s: Some(5.0), ..wish };
        more.remove(all, &state).expect_err("what would that mean");
    }

    /// Of a topic that had more partitions, or written by hand.
    #[test]
    fn what_is_set_for_a_partition_that_is_not_there_can_be_removed() {
        let set = put("limit/transactional/1", r#"{"limit_per_s":1,"by":"a","why":"b"}"#);
        let entry = set.expect("accepted").remove(0).entry;
        let subject = Subject::parse("limit/transactional/9").expect("a subject");
        let state = State::default().with(Change { subject: subject.clone(), entry });
        let named = |path: &str| removable(path, &router(), &state);
        assert_eq!(named("limit/transactional/9"), Ok(vec![subject]));
        named("limit/transactional/8").expect_err("nothing is set for it");
        assert_eq!(named("limit/transactional").map(|all| all.len()), Ok(4));
    }
}
