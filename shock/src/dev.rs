//! `shock dev`: everything in one process, without a service.
//!
//! Start: lock the directory → tables, projections tried → the log, at or behind no stored position →
//! consumer → ingress. Stop, the other way round: the ingress drains and flushes, then the consumer finishes its
//! batches, then the log closes. Killed at any moment, the next start goes on where the log and the
//! database are.

mod key;

use std::collections::BTreeMap;
use std::sync::Arc;

use consumer::bucket::Width;
use consumer::dlq::{self, Dlq};
use consumer::handler::Handled;
use consumer::outbox::Sinks;
use consumer::store::SchemaError;
use consumer::{Consumer, Lookup, Recovery, Store, lookup, recovery};
use ingress::Ingress;
use shared::clock::Clock;
use shared::config::reload::{Refused, Status};
use shared::config::{Backend, Config, EmbeddedConfig, Loaded, Purpose, Sources};
use shared::log::embedded::{DataDirectory, EmbeddedLog};
use shared::log::{Log, Scanner, Subscription};
use shared::metrics::Registry;
use shared::{Process, Shutdown, admin, plane};
use tokio::net::TcpListener;

use self::key::DevelopmentKey;
use crate::cli::DevOptions;
use crate::consumer::known_sources;
use crate::exit::End;
use crate::{output, port, process, reload, runtime, settings, signal};

/// Runs until a signal.
pub fn run(options: &DevOptions, handled: Option<&Handled>) -> anyhow::Result<()> {
    let mut sources = settings::sources(&options.settings);
    sources.backend = Some("embedded");
    sources.data_dir.clone_from(&options.data_dir);
    for (key, value) in [("ingress.listen", options.listen), ("admin.listen", options.admin_listen)]
    {
        sources.flags.extend(value.map(|address| format!("{key}={address}")));
    }
    let loaded = settings::load_to_follow(&sources, Purpose::Dev)?;
    runtime::block_on(serve(loaded, sources, handled.cloned()))
}

async fn serve(loaded: Loaded, sources: Sources, handled: Option<Handled>) -> anyhow::Result<()> {
    let mut config = loaded.config.clone();
    let Backend::Embedded(embedded) = config.backend.clone() else {
        return Err(End::Config("shock dev runs on the embedded log".to_owned()).into());
    };
    let directory = DataDirectory::lock(&embedded.data_dir)
        .map_err(|error| End::Unavailable(error.to_string()))?;
    let key = DevelopmentKey::of(&embedded.data_dir)
        .map_err(|error| End::Unavailable(format!("{error:#}")))?;
    config.ingress.keys.push(key.config());

    let shutdown = signal::shutdown()?;
    let process = process::in_directory(&embedded.data_dir)?;
    let Process { registry, health, .. } = process.clone();
    let (store, log) = open(&config, &embedded, directory, handled.as_ref()).await?;
    let admin = port::admin(config.admin_listen).await?;
    let ingress =
        Ingress::bind(&config.ingress, config.router.clone(), Log::Embedded(log.clone()), &process)
            .map_err(|error| port::ingress(&error))?;
    let consumer = Consumer::new(
        &config.consumer,
        store.clone(),
        Subscription::Embedded(log.subscribe()),
        config.router.clone(),
        &process,
    );
    let consumer = match &handled {
        Some(handled) => consumer.handled(handled),
        None => consumer,
    };
    let status = follow(loaded, sources, (&ingress, &consumer), &key, &registry)?;
    let parked = Dlq::new(store.clone(), process.clock.clone());
    let scanner = Arc::new(Scanner::Embedded(log));
    let width = Width::of_window(config.consumer.dedupe_window);
    let recovery = Recovery::new(store.clone(), Arc::clone(&scanner), config.router.clone(), width);
    let lookup = Lookup::new(store.clone(), scanner, config.router.clone(), known_sources(&config));
    welcome(&config, &key, &ingress, &admin)?;

    // The admin port outlives the drain: its last scrape tells what happened.
    let (ingested, drained) = (Shutdown::new(), Shutdown::new());
    let routes = admin::routes(Arc::clone(&registry), health)
        .merge(status.routes())
        .merge(lookup::routes(lookup))
        .merge(recovery::routes(recovery))
        .merge(dlq::routes(parked))
        .merge(plane::routes::routes(process.plane.clone(), config.router.clone()));
    let admin = tokio::spawn(admin::serve(admin, routes, drained.clone()));
    let applying = tokio::spawn({
        let (ingested, shutdown) = (ingested.clone(), shutdown.clone());
        async move {
            let ended = consumer.run(ingested).await;
            // Before it was told to: a failure. The ingress drains, and the process says why.
            shutdown.cancel();
            ended
        }
    });
    let served = ingress.serve(shutdown).await;
    ingested.cancel();
    let applied = applying.await?;
    drained.cancel();
    admin.await??;
    // SQLite then folds its write-ahead log into the one file that is left.
    store.close().await;
    served?;
    Ok(applied?)
}

/// The development key stands in no file: every configuration gets it anew.
fn follow(
    loaded: Loaded,
    sources: Sources,
    (ingress, consumer): (&Ingress, &Consumer),
    key: &DevelopmentKey,
    registry: &Registry,
) -> std::io::Result<Status> {
    let (replaced, limits, own_key) = (ingress.reload(), consumer.reload(), key.config());
    let apply = move |mut config: Config| {
        config.ingress.keys.push(own_key.clone());
        replaced.apply(&config.ingress).map_err(|error| Refused(error.to_string()))?;
        limits.apply(&config.consumer.control);
        Ok(())
    };
    reload::follow(loaded, sources, Purpose::Dev, registry, apply)
}

async fn open(
    config: &Config,
    embedded: &EmbeddedConfig,
    directory: DataDirectory,
    handled: Option<&Handled>,
) -> anyhow::Result<(Store, EmbeddedLog)> {
    let unavailable = |error: String| End::Unavailable(error);
    let store = Store::connect(&config.backend, &config.consumer.pipeline)
        .await
        .map_err(|error| unavailable(error.to_string()))?;
    let told = |error: SchemaError| match error {
        SchemaError::Projection(_) => End::Config(error.to_string()),
        _ => End::Unavailable(error.to_string()),
    };
    let store = store.with_projections(&config.projections).map_err(told)?;
    store.migrate().await.map_err(told)?;
    if let Some(handled) = handled {
        store.make_tables(handled).await.map_err(told)?;
    }
    store.check().await.map_err(told)?;
    let positions: BTreeMap<_, _> = store
        .positions()
        .await
        .map_err(|error| unavailable(error.to_string()))?
        .into_iter()
        .map(|progress| (progress.id, progress.stored.next))
        .collect();
    let ids = config.router.ids().collect();
    let log = EmbeddedLog::open(directory, embedded, ids, &positions, Clock::System)
        .map_err(|error| unavailable(error.to_string()))?;
    let sinks =
        Sinks::connect(&config.sinks, None).map_err(|error| unavailable(error.to_string()))?;
    let sinks = match handled {
        Some(_) => sinks.with_log(Log::Embedded(log.clone()), config.router.clone()),
        None => sinks,
    };
    Ok((store.with_sinks(sinks), log))
}

fn welcome(
    config: &Config,
    key: &DevelopmentKey,
    ingress: &Ingress,
    admin: &TcpListener,
) -> anyhow::Result<()> {
    let Backend::Embedded(embedded) = &config.backend else { return Ok(()) };
    let url = ingress.url();
    output::announce("data", &embedded.data_dir.display().to_string())?;
    output::announce("ingress", &url)?;
    output::announce("admin", &format!("http://{}", admin.local_addr()?))?;
    output::announce("key", key.presented())?;
    output::announce(
        "try",
        &format!(
            "curl -i {url}/v1/events -H 'Authorization: Bearer {}' \
             -H 'Content-Type: application/json' \
             -d '{{\"type\":\"order.paid\",\"data\":{{\"amount\":42}}}}'",
            key.presented()
        ),
    )?;
    output::announce(
        "then",
        &format!("shock ctl events tail --admin http://{}", admin.local_addr()?),
    )?;
    Ok(())
}
