//! The fault matrix of the consumer in miniature: each case with processes, topics and a database of its
//! own. `loadtest faults --long` runs the same at length; docs/FAULTS.md has the table. The case without
//! the fence is not among them: whether it meets the moment that the fence is for is a race.

mod fixture;

use loadtest::faults::{Case, Place, Scale};
use loadtest::verify::Findings;

/// One at a time: some cases stop the services that the others use.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn findings(case: Case) -> anyhow::Result<Findings> {
    let _alone = ALONE.lock().await;
    let run = fixture::Run::new(&format!("faults-{case:?}"))?;
    let place = Place { dir: &run.dir, services: &fixture::services()?, scale: Scale::SHORT };
    case.run(place).await
}

macro_rules! cases {
    ($($name:ident: $case:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() -> anyhow::Result<()> {
                println!("{}", findings(Case::$case).await?);
                Ok(())
            }
        )*
    };
}

cases! {
    killed_around_each_step: Kills,
    a_record_that_kills_is_found: Deaths,
    asleep_for_longer_than_a_session: Zombies,
    members_come_and_go: Storms,
    the_broker_is_killed: Broker,
    the_database_is_killed_in_mid_commit: Postgres,
    the_database_is_an_older_copy: Copies,
    repeats_that_are_hard_to_know: Repeats,
    neighbours_go_on: Neighbours,
}
