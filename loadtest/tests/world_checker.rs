//! The checker itself, on a real database: five ways of falsifying the effects, each on its own copy
//! of a sound run's file, and each named. A checker that always passes would pass everything.

mod fixture;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use loadtest::deployment::Settings;
use loadtest::effects::Effects;
use loadtest::ledger::Ledger;
use loadtest::verify::{History, reconcile};
use shared::Shutdown;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};

const EVENTS: u64 = 200;

/// What is done to the rows, and what has to be said of it; the third and later rows of one partition are taken, so that there is
/// something before and behind.
const FALSIFICATIONS: [(&str, &str, &str); 5] = [
    (
        "one row deleted",
        "delete from events where rowid = (select rowid from events limit 1 offset 2)",
        "answered 202, no effect",
    ),
    (
        "one row twice",
        "insert into events select class, partition, log_offset + 1000000, tenant, source, id, \
         type, subject, time, received_at, applied_at, data, extensions from events \
         limit 1 offset 2",
        "2 effects",
    ),
    (
        "two rows swapped",
        "update events set log_offset = case log_offset when 3 then 1000003 else 3 end \
         where tenant = 'acme' and log_offset in (3, 30); \
         update events set log_offset = 30 where tenant = 'acme' and log_offset = 1000003",
        "took effect before it",
    ),
    (
        "one byte changed",
        "update events set data = replace(data, '4200', '4201') \
         where rowid = (select rowid from events limit 1 offset 2)",
        "the effect's data are not what was sent",
    ),
    (
        "one row under another tenant",
        "update events set tenant = 'mallory' \
         where rowid = (select rowid from events limit 1 offset 2)",
        "an effect that nobody sent: mallory",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_falsification_is_reported() -> anyhow::Result<()> {
    let run = fixture::Run::new("checker")?;
    let dev = run.embedded(&Settings::default()).await?;
    let mut load = run.load(dev.target(), 1_000);
    // One connection: every event is sent after the one before was answered, so order is decided.
    load.connections = 1;
    load.producers.truncate(1);
    load.events_max = Some(EVENTS);
    let accepted = load.run(&Shutdown::new()).await?.all_accepted()?;
    dev.effects().wait_for(accepted, Duration::from_secs(30)).await?;
    dev.stop().await?;

    let sound = run.dir.join("data/effects.sqlite");
    let faults = faults(&run.ledger, &sound).await?;
    ensure!(faults.is_empty(), "a sound run: {faults:?}");
    for (name, sql, expected) in FALSIFICATIONS {
        let copy = run.dir.join("falsified.sqlite");
        std::fs::copy(&sound, &copy).context("copy the effects")?;
        let options = SqliteConnectOptions::new().filename(&copy);
        let mut connection = SqliteConnection::connect_with(&options).await.context(name)?;
        let done = sqlx::raw_sql(sql).execute(&mut connection).await.context(name)?;
        ensure!(done.rows_affected() > 0, "{name}: no row was touched");
        connection.close().await.context(name)?;
        let faults = self::faults(&run.ledger, &copy).await?;
        println!("{name}: {}", faults.join("; "));
        let named = faults.iter().any(|fault| fault.contains(expected));
        ensure!(named, "{name}: the checker does not say {expected:?}, but {faults:?}");
    }
    Ok(())
}

async fn faults(ledger: &Ledger, file: &Path) -> anyhow::Result<Vec<String>> {
    let history = History::of(&Ledger::read(ledger.path())?)?;
    let effects = Effects::Sqlite(file.to_owned()).read().await?;
    Ok(reconcile(&history, None, &effects).faults.iter().map(ToString::to_string).collect())
}
