//! The whole run: start, play, wait, reconcile, and the two requests that must leave nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use serde_json::json;

use super::{Delivery, Example, Expectation, Plan, Played, Player, Summary, read_examples, sign};
use crate::admin;
use crate::canonical;
use crate::client::{Connection, Reply};
use crate::deployment::{Deployment, GITHUB_SECRET, GITHUB_SOURCE};
use crate::ledger::Ledger;

/// From the last answer to the last effect.
const EFFECTS_DEADLINE: Duration = Duration::from_secs(120);

/// Chooses which deliveries are retried when; printed, so that a run can be repeated.
pub const SEED: u64 = 0x5170_cafe;

/// Reads the bodies and what the schema says of each.
pub fn plan(examples: &Path, schemas: &Path, times: usize) -> anyhow::Result<Arc<Plan>> {
    let mut expectation = Expectation::read(schemas)?;
    let examples = read_examples(examples)?
        .into_iter()
        .map(|example| {
            let valid = expectation.accepts(&example.event, &example.value)?;
            Ok((Arc::new(example), valid))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Arc::new(Plan::new(&examples, times, SEED)))
}

/// GitHub, posting to this deployment.
pub fn player(deployment: &Deployment, ledger: &Arc<Ledger>) -> Player {
    Player {
        target: deployment.target(),
        secret: GITHUB_SECRET.to_owned(),
        source: GITHUB_SOURCE.to_owned(),
        ledger: Arc::clone(ledger),
    }
}

/// Plays the plan to a deployment that is up, and checks everything afterwards.
pub async fn run(
    deployment: &Deployment,
    plan: &Arc<Plan>,
    connections: usize,
    ledger: &Arc<Ledger>,
) -> anyhow::Result<Summary> {
    let player = player(deployment, ledger);
    let played = player.play(plan, connections).await?;
    let refused = refused(deployment, &player, plan).await?;
    let summary = settle(deployment, plan, &played, ledger).await?;
    for delivery in refused {
        let identity = delivery.posted(&player.source).identity;
        let found = admin::find(deployment.admin()?, &identity).await?;
        let nowhere = found["fate"] == "unknown" && found["complete"] == true;
        ensure!(nowhere, "a refused delivery left a trace: {found}");
    }
    Ok(summary)
}

/// Waits until every accepted delivery has its effect, then reconciles.
pub async fn settle(
    deployment: &Deployment,
    plan: &Plan,
    played: &Played,
    ledger: &Ledger,
) -> anyhow::Result<Summary> {
    let accepted = played.status.iter().filter(|status| **status == 202).count();
    deployment.effects().wait_for(accepted as u64, EFFECTS_DEADLINE).await?;
    let findings = deployment.reconcile(ledger).await?.clean()?;
    Summary::of(plan, played, &findings)
}

/// A wrong signature is 401, an unknown event type 422; the ledger notes both as refused.
async fn refused(
    deployment: &Deployment,
    player: &Player,
    plan: &Plan,
) -> anyhow::Result<[Delivery; 2]> {
    let mut connection = Connection::new(deployment.target());
    let valid = plan.deliveries.iter().find(|delivery| delivery.valid);
    let valid = valid.context("the schema accepts at least one body")?;
    let forged = Delivery::new(Arc::clone(&valid.example), true);
    let signature = sign("not the secret", &forged.example.body)?;
    let reply = player.post(&mut connection, &forged, &signature).await?;
    expect(reply, 401, "a wrong signature")?;

    let value = json!({"repository": {"owner": {"login": "acme"}}});
    let body = Bytes::from(value.to_string());
    let example = Example {
        event: "no_such_event".to_owned(),
        value_digest: canonical::of_bytes(&body),
        data_digest: canonical::of_value(&value),
        body,
        value,
        tenant: "acme".to_owned(),
    };
    let unknown = Delivery::new(Arc::new(example), false);
    let signature = sign(&player.secret, &unknown.example.body)?;
    let reply = player.post(&mut connection, &unknown, &signature).await?;
    expect(reply, 422, "an unknown event type")?;
    Ok([forged, unknown])
}

fn expect(reply: Reply, status: u16, what: &str) -> anyhow::Result<()> {
    let answer = reply.answer().context(what.to_owned())?;
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    ensure!(answer.status().as_u16() == status, "{what} was answered {} {text}", answer.status());
    Ok(())
}
