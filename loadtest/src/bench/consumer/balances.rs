//! What the example's balances projection costs: transfers over skewed accounts, beside the same transfers
//! without a projection in the same rounds.

use std::path::Path;

use anyhow::{Context, ensure};
use shared::position::Class;

use super::feed::{Feed, Kind};
use super::scene::{Ran, Scene};
use crate::bench::report::{Direction, Report};
use crate::deployment::Settings;
use crate::services::Services;

/// Transfers of one run, over all partitions.
const TRANSFERS: u64 = 40_000;
const PARTITIONS: [u32; 2] = [1, 4];
const PER_S: f64 = 25_000.0;

/// Measures one partition, and several in one process.
pub async fn measure(
    dir: &Path,
    services: &Services,
    rounds: u32,
    report: &mut Report,
) -> anyhow::Result<()> {
    let file = dir.join("balances.toml");
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples/projections");
    std::fs::write(&file, configuration(&examples)).context("its configuration")?;
    for partitions in PARTITIONS {
        let mut plain =
            Scene::new(dir, &format!("transfers-{partitions}"), services, partitions, &[]).await?;
        let settings = Settings { files: vec![file.clone()], ..Settings::default() };
        let name = format!("balances-{partitions}");
        let mut balanced = Scene::of(dir, &name, services, partitions, settings).await?;
        let (mut per_s, mut ratios) = (Vec::new(), Vec::new());
        // The first round makes the accounts, and is not counted.
        for round in 0..=rounds {
            let without = ran(&mut plain).await?;
            let with = ran(&mut balanced).await?;
            if round > 0 {
                per_s.push(with.per_s);
                ratios.push(with.per_s / without.per_s);
            }
        }
        add_up(&mut balanced, u64::from(rounds + 1) * TRANSFERS).await?;
        let reach = Some((Direction::AtLeast, PER_S));
        let name = format!("balances of skewed accounts, {partitions} partitions");
        report.note_rounds(name.clone(), per_s, "events/s", reach);
        report.note_rounds(format!("{name} / without"), ratios, "×", None);
        plain.cluster.stop().await?;
        balanced.cluster.stop().await?;
    }
    Ok(())
}

async fn ran(scene: &mut Scene) -> anyhow::Result<Ran> {
    let each = TRANSFERS / u64::from(scene.partitions());
    scene.feed(Class::Transactional, each, |feed| Feed { kind: Kind::Transfer, ..feed }).await?;
    scene.apply().await
}

/// Each transfer counts once: what one account gives another one gets.
async fn add_up(scene: &mut Scene, transfers: u64) -> anyhow::Result<()> {
    let sql = "select sum(balance)::bigint, sum(entries)::bigint from projections.balances";
    let found: (i64, i64) =
        sqlx::query_as(sql).fetch_one(&mut scene.connection).await.context(sql)?;
    let expected = (0, 2 * transfers as i64);
    ensure!(found == expected, "balance and entries are {found:?}, and not {expected:?}");
    Ok(())
}

fn configuration(examples: &Path) -> String {
    let examples = examples.display();
    format!(
        r#"
[[projection]]
name = "balances"
types = ["account.transfer"]
sample = ['{{"type":"account.transfer","data":{{"from":"a-1","to":"a-2","amount":1250}}}}']

[projection.sql]
postgres_file = "{examples}/balances.postgres.sql"

[projection.ddl]
postgres = ["{examples}/balances.postgres.ddl.sql"]
"#
    )
}
