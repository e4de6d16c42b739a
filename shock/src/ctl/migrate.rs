//! `shock ctl migrate`: brings the database's tables to this version, and makes those of projections.

use consumer::handler::Handled;
use consumer::store::{SchemaError, Store};
use shared::config::Purpose;

use crate::cli::ConfigOptions;
use crate::exit::End;
use crate::{output, runtime, settings};

/// Runs the command. Needs a role that may make tables; the consumer's own role need not.
pub fn run(options: &ConfigOptions, handled: Option<&Handled>) -> anyhow::Result<()> {
    let config = settings::load(&settings::sources(options), Purpose::Operate)?;
    runtime::block_on(async {
        let store = Store::connect(&config.backend, &config.consumer.pipeline)
            .await
            .map_err(|error| End::Unavailable(error.to_string()))?;
        let told = |error: SchemaError| match error {
            SchemaError::Projection(_) => End::Config(error.to_string()),
            _ => End::Unavailable(error.to_string()),
        };
        let store = store.with_projections(&config.projections).map_err(told)?;
        store.migrate().await.map_err(told)?;
        if let Some(handled) = handled {
            store.make_tables(handled).await.map_err(told)?;
        }
        let pipeline = &config.consumer.pipeline;
        Ok(output::line(&format!("the tables of pipeline {pipeline} are at this version"))?)
    })
}
