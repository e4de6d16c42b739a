//! Signals: the first SIGTERM or SIGINT drains, the second ends the process at once.

use shared::Shutdown;
use tokio::signal::unix::{SignalKind, signal};

/// The exit code of a process that was told twice: 128 + SIGINT.
const TOLD_TWICE: i32 = 130;

/// A token that is cancelled by the first signal. Call it inside a runtime.
pub fn shutdown() -> std::io::Result<Shutdown> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = Shutdown::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        let mut told = false;
        loop {
            tokio::select! {
                Some(()) = terminate.recv() => {}
                Some(()) = interrupt.recv() => {}
                else => return,
            }
            if told {
                tracing::warn!("told twice, ending without a drain");
                std::process::exit(TOLD_TWICE);
            }
            told = true;
            tracing::info!("draining; a second signal ends at once");
            cancelled.cancel();
        }
    });
    Ok(token)
}
