//! The runtime of everything that is not the ingress: admin port, consumer, control commands.

use std::future::Future;

/// Runs to the end on a multi-thread runtime. The ingress has its own current-thread runtimes.
pub fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}
