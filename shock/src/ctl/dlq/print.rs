//! Parked rows for people.

use consumer::dlq::{Action, AuditRow, Bytes, Done, Group, Page, Row, Summary, Whole};
use shared::clock::{Clock, Millis};

use crate::ctl::span;
use crate::ctl::table::table;

/// What is shown of a row.
const COLUMNS: [&str; 10] =
    ["place", "tenant", "type", "id", "reason", "sqlstate", "tried", "state", "next try", "parked"];

/// What is shown of a group.
const GROUP_COLUMNS: [&str; 7] = ["rows", "reason", "tenant", "type", "state", "oldest", "newest"];

/// Rows, and how to see more.
pub(super) fn page(page: &Page) -> String {
    if page.rows.is_empty() {
        return "nothing is parked that is meant by it\n".to_owned();
    }
    let now = Clock::System.now();
    let mut text = String::new();
    let rows = page.rows.iter().map(|row| cells(row, now));
    table(&mut text, std::iter::once(COLUMNS.map(str::to_owned)).chain(rows));
    if let Some(next) = &page.next {
        text.push_str(&format!("there may be more: --after {next}\n"));
    }
    text
}

fn cells(row: &Row, now: Millis) -> [String; COLUMNS.len()] {
    [
        row.place.clone(),
        or_dash(Some(&row.tenant)),
        or_dash(row.event_type.as_deref()),
        or_dash(row.id.as_deref()),
        row.reason.clone(),
        or_dash(row.sqlstate.as_deref()),
        row.attempts.to_string(),
        row.state.clone(),
        row.next_try_at_ms.map_or_else(|| "-".to_owned(), |at| until(at, now)),
        ago(row.parked_at_ms, now),
    ]
}

/// Groups and their sum.
pub(super) fn summary(summary: &Summary) -> String {
    let rows: u64 = summary.groups.iter().map(|group| group.count).sum();
    let mut text = groups(&summary.groups);
    text.push_str(&format!("{rows} rows\n"));
    text
}

fn groups(groups: &[Group]) -> String {
    let now = Clock::System.now();
    let row = |group: &Group| {
        [
            group.count.to_string(),
            group.reason.clone(),
            or_dash(Some(&group.tenant)),
            or_dash(group.event_type.as_deref()),
            group.state.clone(),
            ago(group.oldest_ms, now),
            ago(group.newest_ms, now),
        ]
    };
    let mut text = String::new();
    if !groups.is_empty() {
        let head = std::iter::once(GROUP_COLUMNS.map(str::to_owned));
        table(&mut text, head.chain(groups.iter().map(row)));
    }
    text
}

/// A row with all of it.
pub(super) fn whole(rows: &[Whole]) -> String {
    rows.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn one(whole: &Whole) -> String {
    let (row, now) = (&whole.row, Clock::System.now());
    let time = |ms: i64| format!("{} ({})", Millis(ms).rfc3339(), ago(ms, now));
    let mut lines = vec![
        ["place".to_owned(), row.place.clone()],
        ["tenant".to_owned(), or_dash(Some(&row.tenant))],
        ["type".to_owned(), or_dash(row.event_type.as_deref())],
        ["source".to_owned(), or_dash(row.source.as_deref())],
        ["id".to_owned(), or_dash(row.id.as_deref())],
        ["reason".to_owned(), row.reason.clone()],
        ["sqlstate".to_owned(), or_dash(row.sqlstate.as_deref())],
        ["state".to_owned(), row.state.clone()],
        ["tried".to_owned(), format!("{}, {} left", row.attempts, row.tries_left)],
        ["received".to_owned(), time(whole.record_timestamp_ms)],
        ["parked".to_owned(), time(row.parked_at_ms)],
        ["epoch".to_owned(), whole.epoch.map_or_else(|| "-".to_owned(), |it| it.to_string())],
        ["key".to_owned(), bytes(&whole.key)],
        ["headers".to_owned(), whole.headers.to_string()],
    ];
    if let Some(at) = row.next_try_at_ms {
        lines.insert(9, ["next try".to_owned(), until(at, now)]);
    }
    let mut text = String::new();
    table(&mut text, lines.into_iter());
    text.push_str(&bytes(&whole.value));
    text.push('\n');
    text
}

/// What was done by hand.
pub(super) fn audit(rows: &[AuditRow]) -> String {
    let row = |row: &AuditRow| {
        [
            row.id.to_string(),
            Millis(row.at_ms).rfc3339(),
            row.author.clone(),
            row.action.clone(),
            row.affected.to_string(),
            row.filter.to_string(),
            or_dash(row.reason.as_deref()),
        ]
    };
    let mut text = String::new();
    let head = ["number", "at", "by", "action", "rows", "filter", "why"].map(str::to_owned);
    table(&mut text, std::iter::once(head).chain(rows.iter().map(row)));
    text
}

/// What was done, or would be.
pub(super) fn done(done: &Done) -> String {
    let (doing, did) = match done.action {
        Action::Redrive => ("be redriven", "redriven"),
        Action::Drop => ("be dropped", "dropped"),
    };
    let mut text = groups(&done.groups);
    match done.dry_run {
        true => text.push_str(&format!("{} rows would {doing}", done.matched)),
        false => text.push_str(&format!("{} rows were {did}", done.changed)),
    }
    if done.last_try_in_s >= 1.0 {
        text.push_str(&format!(", the last to be tried in {}", span::told(done.last_try_in_s)));
    }
    text.push('\n');
    text
}

/// Adds groups to groups, the largest first.
pub(super) fn merge(sum: &mut Vec<Group>, more: Vec<Group>) {
    for group in more {
        let same = |one: &&mut Group| {
            (&one.reason, &one.tenant, &one.event_type, &one.state)
                == (&group.reason, &group.tenant, &group.event_type, &group.state)
        };
        match sum.iter_mut().find(same) {
            Some(one) => {
                one.count += group.count;
                one.oldest_ms = one.oldest_ms.min(group.oldest_ms);
                one.newest_ms = one.newest_ms.max(group.newest_ms);
            }
            None => sum.push(group),
        }
    }
    sum.sort_by_key(|group| std::cmp::Reverse(group.count));
}

fn ago(at_ms: i64, now: Millis) -> String {
    format!("{} ago", span::told((now.0 - at_ms) as f64 / 1_000.0))
}

fn until(at_ms: i64, now: Millis) -> String {
    match at_ms <= now.0 {
        true => "due".to_owned(),
        false => format!("in {}", span::told((at_ms - now.0) as f64 / 1_000.0)),
    }
}

/// Text of others, on a terminal: what could steer it is shown, not sent.
fn or_dash(text: Option<&str>) -> String {
    match text {
        None | Some("") => "-".to_owned(),
        Some(text) => text.escape_debug().to_string(),
    }
}

fn bytes(bytes: &Bytes) -> String {
    match std::str::from_utf8(&bytes.0) {
        Ok(text) => text
            .chars()
            .map(|one| match one {
                '\n' | '\t' => one.to_string(),
                one if one.is_control() => one.escape_default().to_string(),
                one => one.to_string(),
            })
            .collect(),
        Err(_) => format!("hex {}", hex::encode(&bytes.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(reason: &str, count: u64, oldest_ms: i64, newest_ms: i64) -> Group {
        Group {
            reason: reason.to_owned(),
            tenant: "acme".to_owned(),
            event_type: None,
            state: "parked".to_owned(),
            count,
            oldest_ms,
            newest_ms,
        }
    }

    #[test]
    fn parts_are_summed() {
        let mut sum = vec![group("a", 2, 10, 20)];
        merge(&mut sum, vec![group("a", 3, 5, 15), group("b", 9, 1, 1)]);
        assert_eq!(sum, [group("b", 9, 1, 1), group("a", 5, 5, 20)]);
    }

    #[test]
    fn what_others_wrote_does_not_steer_the_terminal() {
        assert_eq!(or_dash(Some("a\u{1b}[2J")), "a\\u{1b}[2J");
        assert_eq!(bytes(&Bytes(b"{\"a\":\"\x1b\"}\n".to_vec())), "{\"a\":\"\\u{1b}\"}\n");
        assert_eq!(bytes(&Bytes(vec![0xff])), "hex ff");
    }
}
