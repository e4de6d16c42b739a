//! Kafka and PostgreSQL themselves, where the settings name them: also while no process runs.

use consumer::Store;
use shared::config::{Backend, Config, Purpose};
use shared::log::kafka::KafkaConfig;

use crate::cli::AskOptions;
use crate::exit::End;
use crate::settings;

/// What is asked instead of an admin port.
pub struct Direct {
    /// All of it.
    pub config: Config,
    /// The log.
    pub kafka: KafkaConfig,
    /// The pipeline's tables.
    pub store: Store,
}

/// `None`: no settings are given, or they are those of the embedded backend, whose store belongs to its
/// process.
pub async fn direct(at: &AskOptions) -> anyhow::Result<Option<Direct>> {
    if at.settings.config.is_empty() && at.settings.set.is_empty() {
        return Ok(None);
    }
    let config = settings::load(&settings::sources(&at.settings), Purpose::Operate)?;
    let Backend::Cluster { kafka, .. } = &config.backend else { return Ok(None) };
    let kafka = kafka.clone();
    let store = Store::connect(&config.backend, &config.consumer.pipeline)
        .await
        .map_err(|error| End::Unavailable(error.to_string()))?;
    Ok(Some(Direct { config, kafka, store }))
}
