//! `shock ctl recover` and `shock ctl replay`: row, mirror and log side by side, and moves.

use std::sync::Arc;

use anyhow::{Context, bail};
use consumer::Recovery;
use consumer::bucket::Width;
use consumer::recovery::{Ask, Choice, Condition, Kind, MOVE_PATH, Outcome, RecoveryError};
use consumer::store::SchemaError;
use hyper::Method;
use shared::clock::{Clock, Millis};
use shared::log::{Scanner, kafka};

use super::direct::{Direct, direct};
use super::setting::author;
use super::span;
use super::table::table;
use crate::cli::{AskOptions, RecoverOptions, ReplayOptions, SignedOptions};
use crate::exit::End;
use crate::{admin_client, output, runtime};

/// What is shown of a partition.
const COLUMNS: [&str; 9] =
    ["partition", "epoch", "position", "mirror", "low", "end", "age", "record", "owner"];

/// Looks, or moves what has lost its place.
pub fn recover(options: RecoverOptions) -> anyhow::Result<()> {
    let to = options.to.as_deref().map(choice).transpose()?;
    let ask = ask(Kind::Recover, options.places, to, options.apply, options.signed)?;
    runtime::block_on(run(ask))
}

/// Moves back.
pub fn replay(options: ReplayOptions) -> anyhow::Result<()> {
    let to = match (options.from_offset, options.from_time) {
        (Some(offset), _) => Choice::Offset(offset),
        (None, Some(time)) => Choice::TimeMs(time_ms(&time)?),
        (None, None) => bail!("--from-offset or --from-time"),
    };
    let asked = ask(Kind::Replay, options.places, Some(to), !options.dry_run, options.signed)?;
    runtime::block_on(run(asked))
}

fn ask(
    kind: Kind,
    places: Vec<String>,
    to: Option<Choice>,
    apply: bool,
    signed: SignedOptions,
) -> anyhow::Result<(Ask, AskOptions)> {
    let SignedOptions { beyond_window, why, by, at } = signed;
    let by = if apply { author(by)? } else { String::new() };
    Ok((Ask { kind, places, to, beyond_window, apply, by, why }, at))
}

async fn run((ask, at): (Ask, AskOptions)) -> anyhow::Result<()> {
    let outcomes = match recovery(&at).await? {
        Some(recovery) => recovery.ask(&ask).await.map_err(|error| match error {
            RecoveryError::Request(why) => anyhow::Error::msg(why),
            other => End::Unavailable(other.to_string()).into(),
        })?,
        None => {
            let body = serde_json::to_string(&ask)?;
            let answer = admin_client::send(Method::POST, &at.admin, MOVE_PATH, body).await?;
            serde_json::from_str(&answer).context("an answer of another version")?
        }
    };
    output::text(&report(&outcomes, ask.apply, Clock::System.now()))?;
    match outcomes.iter().any(|one| one.refused.is_some()) {
        true => bail!("not all of it could be done"),
        false => Ok(()),
    }
}

/// On Kafka and PostgreSQL themselves, where the settings name them.
async fn recovery(at: &AskOptions) -> anyhow::Result<Option<Recovery>> {
    let Some(Direct { config, kafka, store }) = direct(at).await? else { return Ok(None) };
    let scanner = kafka::Scanner::connect(&kafka, &config.consumer.pipeline)?;
    let width = Width::of_window(config.consumer.dedupe_window);
    // Which ids are kept is the store's to say: another window here would promise what is not there.
    let told = |error: SchemaError| match error.is_transient() {
        true => End::Unavailable(error.to_string()),
        false => End::Config(error.to_string()),
    };
    store.check().await.map_err(told)?;
    store.compare(width).await.map_err(told)?;
    Ok(Some(Recovery::new(store, Arc::new(Scanner::Kafka(scanner)), config.router, width)))
}

fn choice(text: &str) -> anyhow::Result<Choice> {
    Ok(match text {
        "earliest" => Choice::Earliest,
        "latest" => Choice::Latest,
        "mirror" => Choice::Mirror,
        offset => {
            Choice::Offset(offset.parse().context("--to is earliest, latest, mirror or an offset")?)
        }
    })
}

fn time_ms(text: &str) -> anyhow::Result<i64> {
    if let Some(time) = Millis::parse_rfc3339(text) {
        return Ok(time.0);
    }
    match span::seconds(text) {
        // At most some years in milliseconds: exact.
        Ok(seconds) => Ok(Clock::System.now().0 - (seconds * 1_000.0) as i64),
        Err(_) => bail!("a time is 2026-01-31T12:00:00Z, or 30s, 15m, 2h, 1d ago"),
    }
}

fn report(outcomes: &[Outcome], applied: bool, now: Millis) -> String {
    let mut text = String::new();
    let head = std::iter::once(COLUMNS.map(str::to_owned));
    table(&mut text, head.chain(outcomes.iter().map(|one| row(one, now))));
    let lines: Vec<String> = outcomes.iter().filter_map(|one| line(one, applied)).collect();
    text.push('\n');
    match lines.is_empty() {
        true => text.push_str("every position is in the log: there is nothing to recover\n"),
        false => lines.iter().for_each(|line| text.push_str(&format!("{line}\n"))),
    }
    text
}

fn row(one: &Outcome, now: Millis) -> [String; COLUMNS.len()] {
    let number = |value: Option<i64>| value.map_or_else(|| "-".to_owned(), |it| it.to_string());
    let age = |at: Option<i64>| {
        at.map_or_else(|| "-".to_owned(), |at| span::told((now.0.saturating_sub(at)) as f64 / 1e3))
    };
    [
        one.partition.clone(),
        number(one.epoch),
        number(one.position),
        number(one.mirror),
        one.low.to_string(),
        one.end.to_string(),
        age(one.updated_at_ms),
        age(one.record_timestamp_ms),
        one.owner.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}

/// What is to be said of a partition; nothing of one that is well and was not asked for.
fn line(one: &Outcome, applied: bool) -> Option<String> {
    let Outcome { partition, low, end, .. } = one;
    let why = match one.condition {
        Condition::Fits | Condition::Unclaimed => String::new(),
        Condition::BehindLog => format!(
            "{} records before {low} were deleted from the log before they were applied",
            low - one.position.unwrap_or(*low)
        ),
        Condition::BeyondLog => format!(
            "the log ends at {end}, before the position: the topic was made anew, or has lost records"
        ),
        Condition::Vanished => "its progress row is gone".to_owned(),
    };
    let stands = match (why.is_empty(), one.moved_under) {
        (true, _) => String::new(),
        (false, None) => format!("stands still: {why}. "),
        (false, Some(_)) => format!("stood still: {why}. "),
    };
    let Some(to) = one.to else {
        return match (&one.refused, why.is_empty()) {
            (Some(refused), _) => Some(format!("{partition} {stands}refused: {refused}")),
            (None, true) => None,
            (None, false) => Some(format!(
                "{partition} {stands}Move it with --to earliest, latest, mirror or an offset, and --apply"
            )),
        };
    };
    if let Some(refused) = &one.refused {
        return Some(format!("{partition} {stands}NOT moved to {to}: {refused}"));
    }
    let effect = one.effect.unwrap_or_default();
    let mut parts = Vec::new();
    for (count, what) in [
        (effect.lost, "are LOST: deleted before they were applied"),
        (effect.skipped, "are SKIPPED: in the log, and never applied"),
        (effect.read_again, "are read again: those whose ids are kept have no second effect"),
    ] {
        if count > 0 {
            parts.push(format!("{count} records {what}"));
        }
    }
    if let Some(last) = one.taken_until {
        parts.push(format!(
            "effects of other records stand at offsets up to {last}: a new event that comes to one of \
             them is parked (refused_by_store), until those rows are moved away"
        ));
    }
    if parts.is_empty() {
        parts.push("no record is skipped or read again".to_owned());
    }
    let does = match (one.moved_under, applied) {
        (Some(epoch), _) => format!("Moved to {to} under epoch {epoch}"),
        (None, true) => format!("Stays at {to}"),
        (None, false) => format!("Would be moved to {to}"),
    };
    Some(format!("{partition} {stands}{does}: {}", parts.join("; ")))
}

#[cfg(test)]
mod tests {
    use consumer::recovery::Effect;

    use super::*;

    fn outcome() -> Outcome {
        Outcome {
            partition: "transactional/3".to_owned(),
            condition: Condition::BehindLog,
            epoch: Some(7),
            position: Some(60),
            owner: Some("pod-0".to_owned()),
            updated_at_ms: Some(0),
            record_timestamp_ms: None,
            mirror: Some(58),
            low: 100,
            end: 200,
            to: None,
            effect: None,
            taken_until: None,
            refused: None,
            moved_under: None,
        }
    }

    #[test]
    fn what_stands_still_says_why_and_what_moves_it() {
        let text = report(&[outcome()], false, Millis(90_000));
        assert_eq!(
            text,
            "  partition        epoch  position  mirror  low  end  age     record  owner\n\
             \x20 transactional/3  7      60        58      100  200  1m 30s  -       pod-0\n\
             \ntransactional/3 stands still: 40 records before 100 were deleted from the log before \
             they were applied. Move it with --to earliest, latest, mirror or an offset, and --apply\n"
        );
        let well = Outcome { condition: Condition::Fits, ..outcome() };
        assert!(report(&[well], false, Millis(0)).contains("nothing to recover"));
    }

    #[test]
    fn a_move_says_what_it_costs() {
        let effect = Some(Effect { lost: 40, skipped: 50, read_again: 0 });
        let one = Outcome { to: Some(150), effect, moved_under: Some(8), ..outcome() };
        let said = line(&one, true).expect("it is said");
        assert!(said.contains("Moved to 150 under epoch 8: 40 records are LOST"), "{said}");
        assert!(said.contains("50 records are SKIPPED"), "{said}");
        let refused = Outcome { refused: Some("no".to_owned()), ..one };
        assert!(line(&refused, true).is_some_and(|said| said.contains("NOT moved to 150: no")));
    }

    #[test]
    fn places_and_times() {
        assert_eq!(choice("earliest").ok(), Some(Choice::Earliest));
        assert_eq!(choice("17").ok(), Some(Choice::Offset(17)));
        choice("soon").expect_err("no place");
        assert_eq!(time_ms("1970-01-01T00:00:05Z").ok(), Some(5_000));
        assert!(time_ms("2h").is_ok_and(|at| at < Clock::System.now().0 - 7_199_000));
        time_ms("yesterday").expect_err("no time");
    }
}
