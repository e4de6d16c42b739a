//! `shock consumer`: the applying side on Kafka and PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use consumer::bucket::Width;
use consumer::dlq::{self, Dlq};
use consumer::handler::Handled;
use consumer::mirror::Mirror;
use consumer::outbox::Sinks;
use consumer::store::SchemaError;
use consumer::{Consumer, Lookup, Recovery, Store, lookup, recovery};
use shared::config::{Backend, Config, Loaded, Purpose, Sources};
use shared::log::kafka::{Group, KafkaConfig, Producer, TopicPublisher};
use shared::log::{Log, Publisher, Scanner, Subscription, kafka};
use shared::position::Class;
use shared::{Process, Shutdown, admin, plane};

use crate::cli::ConfigOptions;
use crate::exit::End;
use crate::{output, port, process, reload, runtime, settings, signal};

/// How long a start waits for the projections' check; afterwards it goes on and is asked again.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs until a signal.
pub fn run(options: &ConfigOptions, handled: Option<&Handled>) -> anyhow::Result<()> {
    let sources = settings::sources(options);
    let loaded = settings::load_to_follow(&sources, Purpose::Consumer)?;
    runtime::block_on(serve(loaded, sources, handled.cloned()))
}

async fn serve(loaded: Loaded, sources: Sources, handled: Option<Handled>) -> anyhow::Result<()> {
    let config = loaded.config.clone();
    let Backend::Cluster { kafka, .. } = &config.backend else {
        return Err(End::Config(
            "shock consumer needs backend = \"kafka\"; without services, use shock dev".to_owned(),
        )
        .into());
    };
    let store = open(&config).await?.with_sinks(sinks(&config, kafka, handled.is_some())?);
    let shutdown = signal::shutdown()?;
    let process = process::on_kafka(&config.consumer.instance, kafka)?;
    let Process { registry, health, .. } = process.clone();
    let admin = port::admin(config.admin_listen).await?;
    output::announce("admin", &format!("http://{}", admin.local_addr()?))?;

    let parked = Dlq::new(store.clone(), process.clock.clone());
    let scanner = kafka::Scanner::connect(kafka, &config.consumer.pipeline)?;
    let scanner = Arc::new(Scanner::Kafka(scanner));
    let width = Width::of_window(config.consumer.dedupe_window);
    let recovery = Recovery::new(store.clone(), Arc::clone(&scanner), config.router.clone(), width);
    let lookup = Lookup::new(store.clone(), scanner, config.router.clone(), known_sources(&config));
    let group = Group::join(kafka, &config.consumer.pipeline, &config.consumer.instance)?;
    let consumer = Consumer::new(
        &config.consumer,
        store,
        Subscription::Kafka(group),
        config.router.clone(),
        &process,
    );
    let consumer = match &handled {
        Some(handled) => consumer.handled(handled),
        None => consumer,
    };
    let consumer = match config.consumer.dlq_mirror {
        true => consumer.mirrored(mirror(kafka)?),
        false => consumer,
    };
    let replaced = consumer.reload();
    let apply = move |config: Config| {
        replaced.apply(&config.consumer.control);
        Ok(())
    };
    let status = reload::follow(loaded, sources, Purpose::Consumer, &registry, apply)?;
    let routes = admin::routes(Arc::clone(&registry), health)
        .merge(status.routes())
        .merge(lookup::routes(lookup))
        .merge(recovery::routes(recovery))
        .merge(dlq::routes(parked))
        .merge(plane::routes::routes(process.plane.clone(), config.router.clone()));
    // The admin port outlives the drain: its last scrape tells what happened.
    let drained = Shutdown::new();
    let admin = tokio::spawn(admin::serve(admin, routes, drained.clone()));
    let ended = consumer.run(shutdown).await;
    drained.cancel();
    admin.await??;
    Ok(ended?)
}

/// The store with its projections. One that does not work ends the process here: before anything is
/// bound or claimed. A database that is away is waited for later, and asked then.
async fn open(config: &Config) -> anyhow::Result<Store> {
    let wrong = |error: SchemaError| End::Config(error.to_string());
    let store = Store::connect(&config.backend, &config.consumer.pipeline).await.map_err(wrong)?;
    let store = store.with_projections(&config.projections).map_err(wrong)?;
    match tokio::time::timeout(CHECK_TIMEOUT, store.check()).await {
        Ok(Err(error @ SchemaError::Projection(_))) => Err(wrong(error).into()),
        _ => Ok(store),
    }
}

/// Where events go besides the database; with a handler also back into the log.
fn sinks(config: &Config, kafka: &KafkaConfig, handles: bool) -> anyhow::Result<Sinks> {
    let sinks = Sinks::connect(&config.sinks, Some(kafka))?;
    if !handles {
        return Ok(sinks);
    }
    let producer = Producer::start(kafka)?;
    Ok(sinks.with_log(Log::Kafka(producer), config.router.clone()))
}

/// Where parked records are copied to.
fn mirror(kafka: &KafkaConfig) -> anyhow::Result<Mirror> {
    let topic = TopicPublisher::dead_letters(kafka)?;
    let topics = Class::ALL.map(|class| kafka.topic(class));
    Ok(Mirror::new(Publisher::Kafka(topic), topics, env!("CARGO_PKG_VERSION")))
}

/// The sources that a look-up by id tries when none is named.
pub fn known_sources(config: &Config) -> Vec<String> {
    config.ingress.sources.iter().map(|source| source.source.clone()).collect()
}
