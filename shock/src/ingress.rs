//! `shock ingress`: the HTTP side on Kafka.

use std::sync::Arc;

use ingress::Ingress;
use shared::clock::Clock;
use shared::config::{Backend, Config, Purpose};
use shared::health::Health;
use shared::log::Log;
use shared::log::kafka::Producer;
use shared::metrics::Registry;
use shared::{Shutdown, admin};

use crate::cli::ConfigOptions;
use crate::exit::End;
use crate::{output, port, runtime, settings, signal};

/// Runs until a signal.
pub fn run(options: &ConfigOptions) -> anyhow::Result<()> {
    let config = settings::load(&settings::sources(options), Purpose::Ingress)?;
    runtime::block_on(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let Backend::Cluster { kafka, .. } = &config.backend else {
        return Err(End::Config(
            "shock ingress needs backend = \"kafka\"; without services, use shock dev".to_owned(),
        )
        .into());
    };
    let producer = Producer::start(kafka).map_err(|error| End::Config(error.to_string()))?;
    producer.check_topics().await.map_err(|error| End::Config(error.to_string()))?;

    let shutdown = signal::shutdown()?;
    let registry = Arc::new(Registry::new());
    let health = Health::new(Clock::System);
    let ingress = Ingress::bind(
        &config.ingress,
        config.router.clone(),
        Log::Kafka(producer),
        health.clone(),
        &registry,
        Clock::System,
    )
    .map_err(|error| port::ingress(&error))?;
    let admin = port::admin(config.admin_listen).await?;
    output::announce("ingress", &format!("http://{}", ingress.local_addr()))?;
    output::announce("admin", &format!("http://{}", admin.local_addr()?))?;

    // The admin port outlives the drain: its last scrape tells what happened.
    let drained = Shutdown::new();
    let routes = admin::routes(Arc::clone(&registry), health);
    let admin = tokio::spawn(admin::serve(admin, routes, drained.clone()));
    ingress.serve(shutdown).await?;
    drained.cancel();
    admin.await??;
    Ok(())
}
