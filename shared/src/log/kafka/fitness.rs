//! Whether the topics carry the log: asked in the background from the start on until they do once.
//!
//! Kafka that is away at the start is waited for; a topic that does not fit is said so at once, and
//! looked at again, since an operator may mend it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;

use super::{KafkaConfig, KafkaError, topics};
use crate::Shutdown;

/// The pause between two looks.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// What is known of the topics.
#[derive(Debug)]
pub(super) struct Fitness {
    fit: AtomicBool,
    /// `None` before the first look.
    last: watch::Sender<Option<Result<(), KafkaError>>>,
}

impl Fitness {
    /// Begins to look, on a thread of its own that ends when the topics fit or `stop` is cancelled.
    pub(super) fn watch(config: &KafkaConfig, stop: Shutdown) -> Result<Arc<Self>, KafkaError> {
        let fitness =
            Arc::new(Self { fit: AtomicBool::new(false), last: watch::Sender::new(None) });
        let (watched, config) = (Arc::clone(&fitness), config.clone());
        thread::Builder::new()
            .name("kafka-topics".to_owned())
            .spawn(move || watched.run(&config, &stop))
            .map_err(|error| KafkaError::Unavailable(error.to_string()))?;
        Ok(fitness)
    }

    /// Topics that have been seen to fit.
    #[cfg(test)]
    pub(super) fn proven() -> Arc<Self> {
        Arc::new(Self { fit: AtomicBool::new(true), last: watch::Sender::new(Some(Ok(()))) })
    }

    fn run(&self, config: &KafkaConfig, stop: &Shutdown) {
        while !stop.is_cancelled() {
            let verdict = topics::check(config);
            if verdict.is_ok() {
                self.fit.store(true, Ordering::Release);
            }
            let news = self.last.borrow().as_ref() != Some(&verdict);
            match &verdict {
                Ok(()) => tracing::info!("kafka topics fit"),
                Err(error) if news => tracing::warn!(%error, "kafka is not usable yet"),
                Err(_) => {}
            }
            self.last.send_replace(Some(verdict));
            if self.is_fit() {
                return;
            }
            thread::park_timeout(RETRY_INTERVAL);
        }
    }

    /// Whether the topics have fitted once. One atomic load: it stands before every append.
    pub(super) fn is_fit(&self) -> bool {
        self.fit.load(Ordering::Acquire)
    }

    /// Why they do not.
    pub(super) fn state(&self) -> Result<(), String> {
        if self.is_fit() {
            return Ok(());
        }
        match &*self.last.borrow() {
            None => Err("kafka has not been reached yet".to_owned()),
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(error.to_string()),
        }
    }

    /// The first verdict, waited for at most `patience`; `None` where there is none by then.
    pub(super) async fn first(&self, patience: Duration) -> Option<Result<(), KafkaError>> {
        let mut last = self.last.subscribe();
        let verdict = tokio::time::timeout(patience, last.wait_for(Option::is_some)).await;
        verdict.ok()?.ok()?.clone()
    }
}
