//! `shock ctl mode show|set|clear`.

use shared::plane::wish::Wish;

use super::setting;
use crate::cli::ModeCommand;
use crate::{output, runtime};

/// Its subject.
const SUBJECT: &str = "mode";

/// Runs the command.
pub fn run(command: ModeCommand) -> anyhow::Result<()> {
    runtime::block_on(async {
        match command {
            ModeCommand::Show(at) => {
                let told = setting::told(&at).await?;
                let pinned = told.iter().find(|entry| entry.subject == SUBJECT);
                let text = pinned.map_or_else(
                    || "no mode is pinned: the rules decide".to_owned(),
                    |entry| setting::line(entry)[1..].join("  "),
                );
                Ok(output::line(&text)?)
            }
            ModeCommand::Set { mode, setting: options } => {
                let wish = Wish { mode: Some(mode), ..Wish::default() };
                setting::set(SUBJECT, wish, false, options).await
            }
            ModeCommand::Clear(options) => setting::remove(SUBJECT, options).await,
        }
    })
}
