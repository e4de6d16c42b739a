//! `shock ingress`: the HTTP side on Kafka.

use std::sync::Arc;

use ingress::Ingress;
use shared::config::reload::Refused;
use shared::config::{Backend, Config, Insecure, Loaded, Purpose, Sources};
use shared::log::Log;
use shared::log::kafka::{ClockProbe, Producer, ProducerMetrics};
use shared::skew::{Other, Skew};
use shared::{Process, Shutdown, admin, plane};

use crate::cli::IngressOptions;
use crate::exit::End;
use crate::{output, port, process, reload, runtime, settings, signal};

/// Runs until a signal.
pub fn run(options: &IngressOptions) -> anyhow::Result<()> {
    let mut sources = settings::sources(&options.settings);
    sources.insecure = match options.insecure {
        0 => Insecure::No,
        1 => Insecure::OnLoopback,
        _ => Insecure::Anywhere,
    };
    let loaded = settings::load_to_follow(&sources, Purpose::Ingress)?;
    runtime::block_on(serve(loaded, sources))
}

async fn serve(loaded: Loaded, sources: Sources) -> anyhow::Result<()> {
    let config = loaded.config.clone();
    let Backend::Cluster { kafka, .. } = &config.backend else {
        return Err(End::Config(
            "shock ingress needs backend = \"kafka\"; without services, use shock dev".to_owned(),
        )
        .into());
    };
    if config.ingress.insecure {
        let listen = config.ingress.listen;
        tracing::warn!(%listen, "INSECURE: whoever reaches this address may post for any tenant");
    }
    let producer = Producer::start(kafka).map_err(|error| End::Config(error.to_string()))?;
    producer.check_topics().await.map_err(|error| End::Config(error.to_string()))?;

    let shutdown = signal::shutdown()?;
    let process = process::on_kafka(&process::replica("ingress")?, kafka)?;
    let Process { registry, health, .. } = process.clone();
    producer.observe(ProducerMetrics::new(&registry));
    let skew = Skew::new(Other::Kafka, config.ingress.clock_skew_max, &registry, &health);
    ClockProbe::start(kafka, skew, &health, shutdown.clone())?;
    let ingress =
        Ingress::bind(&config.ingress, config.router.clone(), Log::Kafka(producer), &process)
            .map_err(|error| port::ingress(&error))?;
    let replaced = ingress.reload();
    let apply = move |config: Config| {
        replaced.apply(&config.ingress).map_err(|error| Refused(error.to_string()))
    };
    let status = reload::follow(loaded, sources, Purpose::Ingress, &registry, apply)?;
    let admin = port::admin(config.admin_listen).await?;
    output::announce("ingress", &ingress.url())?;
    output::announce("admin", &format!("http://{}", admin.local_addr()?))?;

    // The admin port outlives the drain: its last scrape tells what happened.
    let drained = Shutdown::new();
    let control = plane::routes::routes(process.plane.clone(), config.router.clone());
    let routes = admin::routes(Arc::clone(&registry), health).merge(status.routes()).merge(control);
    let admin = tokio::spawn(admin::serve(admin, routes, drained.clone()));
    ingress.serve(shutdown).await?;
    drained.cancel();
    admin.await??;
    Ok(())
}
