//! `shock ctl limits show|set|unset|pin|unpin`.

use anyhow::Context;
use serde_json::Value;
use shared::plane::routes::LIVE_PATH;
use shared::plane::wish::Wish;

use super::setting;
use super::table::table;
use crate::cli::{AdminOptions, LimitsCommand};
use crate::{admin_client, output, runtime};

/// What is shown of a partition.
const COLUMNS: [&str; 9] = [
    "partition",
    "limit/s",
    "reason",
    "drain s",
    "capacity/s",
    "offered/s",
    "admitted/s",
    "age s",
    "owner",
];

/// Runs the command.
pub fn run(command: LimitsCommand) -> anyhow::Result<()> {
    runtime::block_on(async {
        match command {
            LimitsCommand::Show(at) => show(&at).await,
            LimitsCommand::Set {
                tenant,
                contract_per_s,
                ceiling_per_s,
                forever,
                setting: options,
            } => {
                let wish = Wish { contract_per_s, ceiling_per_s, ..Wish::default() };
                setting::set(&format!("tenant/{tenant}"), wish, forever, options).await
            }
            LimitsCommand::Unset { tenant, removal } => {
                setting::remove(&format!("tenant/{tenant}"), removal).await
            }
            LimitsCommand::Pin { place, per_s, forever, setting: options } => {
                let wish = Wish { limit_per_s: Some(per_s), ..Wish::default() };
                setting::set(&format!("limit/{place}"), wish, forever, options).await
            }
            LimitsCommand::Unpin { place, removal } => {
                setting::remove(&format!("limit/{place}"), removal).await
            }
        }
    })
}

async fn show(at: &AdminOptions) -> anyhow::Result<()> {
    let told = setting::told(at).await?;
    let live = admin_client::get(&at.admin, LIVE_PATH, &[]).await?;
    let live: Value = serde_json::from_str(&live).context("the live limits are no JSON")?;
    let rows: Vec<[String; COLUMNS.len()]> =
        live["partitions"].as_array().into_iter().flatten().map(row).collect();
    let mut text = String::new();
    match told.is_empty() {
        true => text.push_str("nothing is set by operators\n"),
        false => {
            text.push_str("set by operators\n");
            table(&mut text, told.iter().map(setting::line));
        }
    }
    match rows.is_empty() {
        true => text.push_str("\nno limits are heard\n"),
        false => {
            text.push_str("\nheard of the partitions\n");
            table(&mut text, std::iter::once(COLUMNS.map(str::to_owned)).chain(rows));
        }
    }
    Ok(output::text(&text)?)
}

/// What is not known is a dash; a limit that is absent beside a reason is none.
fn row(row: &Value) -> [String; COLUMNS.len()] {
    let limit = &row["limit"];
    let number = |value: &Value, digits: usize| match value.as_f64() {
        Some(number) => format!("{number:.digits$}"),
        None => "-".to_owned(),
    };
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let place = format!("{}/{}", text(&row["class"]), row["partition"]);
    let limit_per_s = match (limit.is_null(), &limit["limit_per_s"]) {
        (false, Value::Null) => "none".to_owned(),
        (_, value) => number(value, 1),
    };
    [
        place,
        limit_per_s,
        text(&limit["reason"]),
        number(&limit["drain_s"], 2),
        number(&limit["capacity_per_s"], 1),
        number(&row["offered_per_s"], 1),
        number(&row["admitted_per_s"], 1),
        number(&row["limit_age_s"], 1),
        text(&row["owner"]),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_partition_is_a_line() {
        let heard = json!({
            "class": "telemetry", "partition": 7, "owner": "consumer-0", "limit_age_s": 0.26,
            "limit": {"limit_per_s": 950.0, "reason": "limiting", "drain_s": 0.5, "capacity_per_s": 1000.0},
            "offered_per_s": 2000.0, "admitted_per_s": 949.5,
        });
        let open = json!({
            "class": "control", "partition": 0, "owner": "a",
            "limit": {"reason": "open", "drain_s": 0.0, "capacity_per_s": 1.0},
            "offered_per_s": 0.0, "admitted_per_s": 0.0,
        });
        let asked = json!({"class": "control", "partition": 1, "offered_per_s": 1.0, "admitted_per_s": 1.0});
        let mut text = String::new();
        table(&mut text, [&heard, &open, &asked].map(row).into_iter());
        assert_eq!(
            text,
            "  telemetry/7  950.0  limiting  0.50  1000.0  2000.0  949.5  0.3  consumer-0\n\
             \x20 control/0    none   open      0.00  1.0     0.0     0.0    -    a\n\
             \x20 control/1    -      -         -     -       1.0     1.0    -    -\n"
        );
    }
}
