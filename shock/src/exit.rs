//! Exit codes, as in sysexits.h: a supervisor can tell a wrong configuration (do not restart) from a
//! service that is away (restart later).

use std::process::ExitCode;

/// EX_CONFIG: the configuration is wrong; restarting will not help.
const CONFIG: u8 = 78;
/// EX_UNAVAILABLE: something else is away or does not fit yet.
const UNAVAILABLE: u8 = 69;

/// An end that has its own exit code.
#[derive(Debug, thiserror::Error)]
pub enum End {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(String),
    /// A service or directory that is needed cannot be had.
    #[error("{0}")]
    Unavailable(String),
}

/// Prints the error for a person and gives the exit code for the supervisor.
#[expect(clippy::print_stderr, reason = "the last word of a command goes to the terminal")]
pub fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("shock: {error:#}");
    match error.downcast_ref::<End>() {
        Some(End::Config(_)) => ExitCode::from(CONFIG),
        Some(End::Unavailable(_)) => ExitCode::from(UNAVAILABLE),
        None => ExitCode::FAILURE,
    }
}
