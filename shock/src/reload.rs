//! The thread that keeps a running process's configuration up with its files, and SIGHUP.

use std::sync::mpsc::{self, TrySendError};

use shared::clock::Clock;
use shared::config::reload::{Refused, Reloader, Status};
use shared::config::{Config, Loaded, Purpose, Sources};
use shared::metrics::Registry;
use tokio::signal::unix::{SignalKind, signal};

/// Starts it; it ends with the runtime it is called in. `apply` puts a configuration in effect.
pub fn follow(
    started: Loaded,
    sources: Sources,
    purpose: Purpose,
    registry: &Registry,
    apply: impl FnMut(Config) -> Result<(), Refused> + Send + 'static,
) -> std::io::Result<Status> {
    let reloader = Reloader::new(started, sources, purpose, registry, Clock::System, apply);
    let status = reloader.status();
    let mut hangups = signal(SignalKind::hangup())?;
    // Whoever asks while another one waits gets that one's reload.
    let (ask, asked) = mpsc::sync_channel(1);
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            if matches!(ask.try_send(()), Err(TrySendError::Disconnected(()))) {
                return;
            }
        }
    });
    std::thread::Builder::new().name("config".to_owned()).spawn(move || reloader.run(&asked))?;
    Ok(status)
}
