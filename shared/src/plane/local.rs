//! The control plane within one process.

/// Nothing to keep: words go straight to the listeners.
#[derive(Debug)]
pub(super) struct Local;
