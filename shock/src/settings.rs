//! From the command line to a checked configuration.

use shared::config::{Config, Loaded, Purpose, Sources};

use crate::cli::ConfigOptions;
use crate::exit::End;

/// What the options and the environment say, not yet read.
pub fn sources(options: &ConfigOptions) -> Sources {
    Sources {
        files: options.config.clone(),
        env: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        flags: options.set.clone(),
        ..Sources::default()
    }
}

/// Reads and checks everything; the error lists all faults.
pub fn load(sources: &Sources, purpose: Purpose) -> anyhow::Result<Config> {
    Config::load(sources, purpose).map_err(|error| End::Config(error.to_string()).into())
}

/// The same, for a process that follows its files.
pub fn load_to_follow(sources: &Sources, purpose: Purpose) -> anyhow::Result<Loaded> {
    let (loaded, _) = Config::load_with_files(sources, purpose);
    loaded.map_err(|error| End::Config(error.to_string()).into())
}
