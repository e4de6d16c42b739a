//! Tasks that may die alone: started again, counted, told.

use std::convert::Infallible;
use std::time::Duration;

use prometheus::IntCounter;
use tokio::task::JoinSet;
use tracing::error;

/// Between a death and the next start: what dies at once must not do so in a loop.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Runs a task, and runs it again whenever it panics. It ends with this future.
pub async fn keep<F>(
    name: &'static str,
    restarts: IntCounter,
    mut make: impl FnMut() -> F,
) -> Infallible
where
    F: Future<Output = Infallible> + Send + 'static,
{
    loop {
        // A set, because it takes its task with it when it is dropped.
        let mut task = JoinSet::new();
        task.spawn(make());
        if let Some(Err(error)) = task.join_next().await {
            restarts.inc();
            error!(task = name, %error, "a task died, starting it again");
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use shared::metrics::Registry;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn what_panics_is_started_again_and_ends_with_its_keeper() {
        let restarts = Registry::new().counter("restarts", "Of the test.");
        let (starts, third) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let alive = Arc::new(());
        let make = {
            let (starts, third, alive) = (starts.clone(), third.clone(), alive.clone());
            move || {
                let (starts, third, alive) = (starts.clone(), third.clone(), alive.clone());
                async move {
                    let start = starts.fetch_add(1, Ordering::SeqCst) + 1;
                    assert!(start >= 3, "one of the first two");
                    third.notify_one();
                    std::future::pending::<()>().await;
                    drop(alive);
                    unreachable!("it waits for ever")
                }
            }
        };
        let kept = tokio::spawn(keep("test", restarts.clone(), make));
        third.notified().await;
        assert_eq!((starts.load(Ordering::SeqCst), restarts.get()), (3, 2));
        kept.abort();
        assert!(kept.await.is_err());
        while Arc::strong_count(&alive) > 1 {
            tokio::task::yield_now().await;
        }
    }
}
