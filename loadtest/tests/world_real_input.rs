//! GitHub's real bodies through both backends: every answer is what the schema says, every accepted
//! delivery has one effect, every record is what was posted, and what is refused leaves nothing.

mod fixture;

use loadtest::github;

/// Fewer than the command's ten: the rest is the same again.
const TIMES: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn every_body_is_answered_and_applied_as_it_must() -> anyhow::Result<()> {
    let plan = github::run::plan(&fixture::examples(), &fixture::schemas(), TIMES)?;
    let settings = fixture::with_github();
    fixture::on_both("real-input", &settings, async |run, deployment| {
        let summary = github::run::run(deployment, &plan, 8, &run.ledger).await?;
        println!("{summary}");
        Ok(())
    })
    .await
}
