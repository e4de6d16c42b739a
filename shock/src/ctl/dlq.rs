//! `shock ctl dlq list|show|redrive|drop|audit`.

mod desk;
mod print;

use anyhow::Context;
use consumer::dlq::{Action, Ask, Done, Filter, Page, Summary};
use shared::clock::{Clock, Millis};

use self::desk::Desk;
use super::{setting, span};
use crate::cli::{DlqActOptions, DlqCommand, DlqFilterOptions};
use crate::{output, runtime};

/// Runs the command.
pub fn run(command: DlqCommand) -> anyhow::Result<()> {
    let text = runtime::block_on(async {
        match command {
            DlqCommand::List { filter, summary: true, after, json, at, .. } => {
                let desk = Desk::of(&at).await?;
                let told = summary(&desk, filter_of(filter)?, after).await?;
                told_as(json, &told, print::summary)
            }
            DlqCommand::List { filter, count, after, json, at, .. } => {
                let desk = Desk::of(&at).await?;
                let page = page(&desk, &filter_of(filter)?, after, count).await?;
                told_as(json, &page, print::page)
            }
            DlqCommand::Show { place, json, at } => {
                let rows = Desk::of(&at).await?.show(&place).await?;
                told_as(json, &rows, |rows| print::whole(rows))
            }
            DlqCommand::Redrive { rate_per_s, options } => {
                act(Action::Redrive, rate_per_s, options).await
            }
            DlqCommand::Drop(options) => act(Action::Drop, None, options).await,
            DlqCommand::Audit { count, before, json, at } => {
                let rows = Desk::of(&at).await?.audit(before, count).await?;
                told_as(json, &rows, |rows| print::audit(rows))
            }
        }
    })?;
    Ok(output::text(&text)?)
}

fn told_as<T: serde::Serialize>(
    json: bool,
    told: &T,
    print: impl FnOnce(&T) -> String,
) -> anyhow::Result<String> {
    match json {
        true => Ok(format!("{}\n", serde_json::to_string(told)?)),
        false => Ok(print(told)),
    }
}

/// As many rows as are asked for: a walk that found few in its time goes on.
async fn page(
    desk: &Desk,
    filter: &Filter,
    mut after: Option<String>,
    count: u16,
) -> anyhow::Result<Page> {
    let mut rows = Vec::new();
    loop {
        let left = count - u16::try_from(rows.len()).unwrap_or(count);
        let page = desk.list(filter, after.as_deref(), left).await?;
        rows.extend(page.rows);
        if page.next.is_none() || rows.len() >= usize::from(count) {
            return Ok(Page { rows, next: page.next });
        }
        after = page.next;
    }
}

/// All there is.
async fn summary(
    desk: &Desk,
    filter: Filter,
    mut after: Option<String>,
) -> anyhow::Result<Summary> {
    let mut groups = Vec::new();
    loop {
        let part = desk.summary(&filter, after.as_deref()).await?;
        print::merge(&mut groups, part.groups);
        if part.next.is_none() {
            return Ok(Summary { groups, next: None });
        }
        after = part.next;
    }
}

/// Part by part, until it is done.
async fn act(
    action: Action,
    rate_per_s: Option<f64>,
    options: DlqActOptions,
) -> anyhow::Result<String> {
    let desk = Desk::of(&options.at).await?;
    let by = match options.dry_run {
        true => String::new(),
        false => setting::author(options.by)?,
    };
    let mut ask = Ask {
        filter: filter_of(options.filter)?,
        all: options.all,
        dry_run: options.dry_run,
        rate_per_s,
        after: None,
        begun: 0,
        by,
        why: options.why.unwrap_or_default(),
    };
    let mut done: Option<Done> = None;
    loop {
        let part = desk.act(action, &ask).await?;
        ask.begun += part.matched;
        ask.after.clone_from(&part.next);
        let sum = match done {
            None => part,
            Some(mut sum) => {
                sum.matched += part.matched;
                sum.changed += part.changed;
                sum.last_try_in_s = sum.last_try_in_s.max(part.last_try_in_s);
                sum.next = part.next;
                print::merge(&mut sum.groups, part.groups);
                sum
            }
        };
        if sum.next.is_none() {
            return told_as(options.json, &sum, print::done);
        }
        done = Some(sum);
    }
}

fn filter_of(options: DlqFilterOptions) -> anyhow::Result<Filter> {
    let now = Clock::System.now();
    let moment = |text: Option<String>| text.map(|text| moment(&text, now)).transpose();
    Ok(Filter {
        place: options.place,
        tenant: options.tenant,
        event_type: options.event_type,
        id: options.id,
        reason: options.reason,
        sqlstate: options.sqlstate,
        state: options.state,
        parked_from: moment(options.since)?,
        parked_to: moment(options.until)?,
    })
}

/// `2h` is two hours ago.
fn moment(text: &str, now: Millis) -> anyhow::Result<String> {
    if let Ok(ago_s) = span::seconds(text) {
        return Ok(Millis(now.0.saturating_sub((ago_s * 1_000.0) as i64)).rfc3339());
    }
    Millis::parse_rfc3339(text)
        .map(Millis::rfc3339)
        .with_context(|| format!("{text:?} is no time: 2h (ago), or an RFC 3339 moment"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let now = Millis(7_200_000);
        assert_eq!(moment("2h", now).expect("ago"), "1970-01-01T00:00:00Z");
        assert_eq!(
            moment("1970-01-01T01:00:00+01:00", now).expect("a moment"),
            "1970-01-01T00:00:00Z"
        );
        moment("yesterday", now).expect_err("no moment");
    }
}
