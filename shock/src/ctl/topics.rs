//! `shock ctl topics plan|apply`.

use anyhow::bail;
use shared::config::{Backend, Purpose};
use shared::log::kafka::{KafkaConfig, topics};

use crate::cli::{ConfigOptions, TopicsCommand};
use crate::exit::End;
use crate::{output, runtime, settings};

/// Runs the command. `plan` ends with 0 where everything fits, and with an error where something is
/// missing or differs, so that a pipeline can stop on it.
pub fn run(command: &TopicsCommand) -> anyhow::Result<()> {
    let (TopicsCommand::Plan(options) | TopicsCommand::Apply(options)) = command;
    let kafka = kafka(options)?;
    runtime::block_on(async {
        let mut plan = topics::plan(&kafka).await.map_err(unavailable)?;
        output::line(&plan.to_string())?;
        if matches!(command, TopicsCommand::Apply(_)) {
            let applied = topics::apply(&kafka, &plan).await.map_err(unavailable)?;
            for name in &applied.created {
                output::line(&format!("created {name}"))?;
            }
            plan = applied.plan;
        }
        match plan.fits() {
            true => Ok(()),
            false => bail!("the topics are not as configured; what is there is never changed"),
        }
    })
}

fn kafka(options: &ConfigOptions) -> anyhow::Result<KafkaConfig> {
    match settings::load(&settings::sources(options), Purpose::Topics)?.backend {
        Backend::Cluster { kafka, .. } => Ok(kafka),
        Backend::Embedded(_) => {
            bail!(End::Config("the embedded log has no topics; set backend = \"kafka\"".to_owned()))
        }
    }
}

fn unavailable(error: impl std::fmt::Display) -> End {
    End::Unavailable(error.to_string())
}
