//! The waits of a worker that cannot go on now, and what no wait would help.

use std::time::Duration;

use shared::log::ReadError;
use tracing::{error, warn};

use super::{End, Halt, Worker};
use crate::failure::{Failure, StoreError};

impl Worker {
    /// Waits where waiting may help, ends where it cannot.
    pub(super) async fn wait_or_halt(&mut self, error: StoreError) -> Result<(), End> {
        match error.failure {
            Failure::Retry | Failure::Lost | Failure::Bucket => {
                if let Some(kept_back) = self.shared.log_limits.retry.admit() {
                    warn!(partition = %self.id, code = error.code, error = %error.message,
                        kept_back, "the database failed, trying again");
                }
            }
            Failure::RetryAlarm => {
                if let Some(kept_back) = self.shared.log_limits.alarm.admit() {
                    error!(partition = %self.id, code = error.code, error = %error.message,
                        kept_back, "the database refuses us, trying again");
                }
            }
            Failure::Data | Failure::Halt => return Err(End::Halted(Halt::Statement(error))),
        }
        self.shared.metrics.retries.inc();
        self.lose_turn();
        let waited = self.wait().await;
        self.turn_goes_on();
        waited
    }

    pub(super) async fn wait_for_log(&mut self, error: ReadError) -> Result<(), End> {
        match error {
            ReadError::Gap { .. } => Err(End::Halted(Halt::Gap(error))),
            ReadError::Revoked => Err(End::Revoked),
            ReadError::Unavailable(_) => {
                if let Some(kept_back) = self.shared.log_limits.unreadable.admit() {
                    warn!(partition = %self.id, %error, kept_back,
                        "the log cannot be read, trying again");
                }
                self.wait().await
            }
        }
    }

    pub(super) async fn wait(&mut self) -> Result<(), End> {
        let wait = self.backoff.next_wait();
        self.pause(wait).await
    }

    pub(super) async fn pause(&mut self, wait: Duration) -> Result<(), End> {
        self.heartbeat.beat();
        self.show_lag();
        // What waits is in nobody's hands: the next record may be marked.
        self.alone = None;
        tokio::select! {
            _ = self.stop.wait_for(|stop| *stop) => Err(End::Stopped),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }
}
