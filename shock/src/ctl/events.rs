//! `shock ctl events find|tail`: asks a running process, or Kafka and PostgreSQL themselves.

use std::sync::Arc;

use anyhow::Context;
use consumer::Lookup;
use consumer::lookup::{self, LookupError};
use shared::log::{Scanner, kafka};
use shared::tenant::TenantId;

use super::direct::{Direct, direct};
use crate::cli::{AskOptions, EventsCommand};
use crate::consumer::known_sources;
use crate::exit::End;
use crate::{admin_client, output, runtime};

/// Runs the command; prints JSON.
pub fn run(command: EventsCommand) -> anyhow::Result<()> {
    let text = runtime::block_on(async {
        match command {
            EventsCommand::Find { tenant, id, source, at } => {
                let tenant = TenantId::parse(&tenant).context("TENANT")?;
                find(tenant, &id, source.as_deref(), &at).await
            }
            EventsCommand::Tail { count, at } => tail(count, &at).await,
        }
    })?;
    Ok(output::line(&text)?)
}

async fn find(
    tenant: TenantId,
    id: &str,
    source: Option<&str>,
    at: &AskOptions,
) -> anyhow::Result<String> {
    let Some(lookup) = open(at).await? else {
        let mut query = vec![("tenant", tenant.as_str()), ("id", id)];
        query.extend(source.map(|source| ("source", source)));
        return admin_client::get(&at.admin, lookup::FIND_PATH, &query).await;
    };
    let fate = lookup.find(tenant, source, id).await.map_err(unavailable)?;
    Ok(serde_json::to_string(&fate)?)
}

async fn tail(count: u16, at: &AskOptions) -> anyhow::Result<String> {
    let Some(lookup) = open(at).await? else {
        return admin_client::get(&at.admin, lookup::TAIL_PATH, &[("n", &count.to_string())]).await;
    };
    let events = lookup.tail(count).await.map_err(unavailable)?;
    Ok(serde_json::to_string(&lookup::TailEvent::list(events))?)
}

/// The look-up on Kafka and PostgreSQL, where the settings name them.
async fn open(at: &AskOptions) -> anyhow::Result<Option<Lookup>> {
    let Some(Direct { config, kafka, store }) = direct(at).await? else { return Ok(None) };
    let scanner = kafka::Scanner::connect(&kafka, &config.consumer.pipeline)?;
    let sources = known_sources(&config);
    Ok(Some(Lookup::new(store, Arc::new(Scanner::Kafka(scanner)), config.router, sources)))
}

fn unavailable(error: LookupError) -> End {
    End::Unavailable(error.to_string())
}
