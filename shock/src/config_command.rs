//! `shock config …`: check, explain, document.

use std::path::Path;
use std::time::Duration;

use consumer::store::{SchemaError, SqliteStore, Store};
use shared::config::{Backend, Config, Purpose, explain, reference_markdown};

use crate::cli::ConfigCommand;
use crate::exit::End;
use crate::{output, port, runtime, settings};

/// Runs the command.
pub fn run(command: ConfigCommand) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Check(options) => {
            let config = settings::load(&settings::sources(&options), Purpose::Check)?;
            ingress::check(&config.ingress).map_err(|error| port::ingress(&error))?;
            output::text(&config.summary())?;
            projections(&config)?;
        }
        ConfigCommand::Explain { key, settings: options } => {
            let explanation = explain(&settings::sources(&options), &key)
                .map_err(|error| End::Config(error.to_string()))?;
            output::line(&explanation.to_string())?;
            if let Some(faults) = explanation.faults {
                return Err(End::Config(faults.to_string()).into());
            }
        }
        ConfigCommand::Reference => output::text(&reference_markdown())?,
    }
    Ok(())
}

/// How long the database may take to try the projections.
const TRY_TIMEOUT: Duration = Duration::from_secs(30);

/// SQLite's name for a database without a file.
const MEMORY: &str = ":memory:";

/// Tries the projections: on the database where it answers, and for the embedded backend on a scratch
/// one. Where it does not answer, that is said: the consumer tries them again at its start.
fn projections(config: &Config) -> anyhow::Result<()> {
    if config.projections.entries.is_empty() {
        return Ok(());
    }
    let tried = runtime::block_on(async {
        match tokio::time::timeout(TRY_TIMEOUT, tried(config)).await {
            Ok(tried) => Ok(tried),
            Err(_) => Ok(Err(SchemaError::Address("the database does not answer".to_owned()))),
        }
    })?;
    let count = config.projections.entries.len();
    match tried {
        Ok(()) => Ok(output::line(&format!("\nprojections: {count} tried on their samples"))?),
        Err(error @ SchemaError::Projection(_)) => Err(End::Config(error.to_string()).into()),
        Err(error) => Ok(output::line(&format!("\nprojections: {count} not tried: {error}"))?),
    }
}

async fn tried(config: &Config) -> Result<(), SchemaError> {
    match &config.backend {
        Backend::Cluster { .. } => {
            let store = Store::connect(&config.backend, &config.consumer.pipeline).await?;
            store.with_projections(&config.projections)?.check().await
        }
        Backend::Embedded(_) => {
            let scratch = SqliteStore::open(Path::new(MEMORY), &config.consumer.pipeline).await?;
            let store = Store::Sqlite(scratch).with_projections(&config.projections)?;
            store.migrate().await?;
            store.check().await
        }
    }
}
