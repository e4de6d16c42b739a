//! `shock consumer`: the applying side on Kafka and PostgreSQL.

use std::sync::Arc;

use consumer::{Consumer, Lookup, Store, lookup};
use shared::clock::Clock;
use shared::config::{Backend, Config, Purpose};
use shared::log::kafka::Group;
use shared::log::{Scanner, Subscription, kafka};
use shared::{Process, Shutdown, admin};

use crate::cli::ConfigOptions;
use crate::exit::End;
use crate::{output, port, runtime, settings, signal};

/// Runs until a signal.
pub fn run(options: &ConfigOptions) -> anyhow::Result<()> {
    let config = settings::load(&settings::sources(options), Purpose::Consumer)?;
    runtime::block_on(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let Backend::Cluster { kafka, .. } = &config.backend else {
        return Err(End::Config(
            "shock consumer needs backend = \"kafka\"; without services, use shock dev".to_owned(),
        )
        .into());
    };
    let shutdown = signal::shutdown()?;
    let process = Process::alone(Clock::System);
    let Process { registry, health, .. } = process.clone();
    let admin = port::admin(config.admin_listen).await?;
    output::announce("admin", &format!("http://{}", admin.local_addr()?))?;

    let store = Store::connect(&config.backend, &config.consumer.pipeline)
        .await
        .map_err(|error| End::Config(error.to_string()))?;
    let scanner = kafka::Scanner::connect(kafka)?;
    let lookup = Lookup::new(
        store.clone(),
        Scanner::Kafka(scanner),
        config.router.clone(),
        known_sources(&config),
    );
    let routes = admin::routes(Arc::clone(&registry), health.clone()).merge(lookup::routes(lookup));
    // The admin port outlives the drain: its last scrape tells what happened.
    let drained = Shutdown::new();
    let admin = tokio::spawn(admin::serve(admin, routes, drained.clone()));

    let group = Group::join(kafka, &config.consumer.pipeline, &config.consumer.instance)?;
    let consumer = Consumer::new(
        &config.consumer,
        store,
        Subscription::Kafka(group),
        config.router.clone(),
        &process,
    );
    let ended = consumer.run(shutdown).await;
    drained.cancel();
    admin.await??;
    Ok(ended?)
}

/// The sources that a look-up by id tries when none is named.
pub fn known_sources(config: &Config) -> Vec<String> {
    config.ingress.sources.iter().map(|source| source.source.clone()).collect()
}
