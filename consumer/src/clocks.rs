//! Whether this process's clock agrees with the database's.
//!
//! What a record's timestamp means depends on the clock of whoever judges it: a consumer that is a year
//! ahead would park every record as implausible, and parked is final. So it applies nothing until the
//! clocks agree; the log keeps what waits.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::clock::Clock;
use shared::skew::{INTERVAL, Reading, TRIES};

use crate::failure::StoreError;
use crate::store::Store;
use crate::store::postgres::STATEMENT_TIMEOUT;
use crate::worker::Shared;

/// Between two looks at what is known.
const PAUSE: Duration = Duration::from_secs(1);

/// Compares the clocks once. A database that shares our clock changes nothing.
pub(crate) async fn compare(shared: &Shared) -> Result<(), StoreError> {
    if let Some(reading) = ask(&shared.store, &shared.clock).await? {
        shared.skew.read(reading);
    }
    Ok(())
}

/// Compares them for as long as the process lives.
pub(crate) async fn watch(shared: Arc<Shared>) -> Infallible {
    let mut compared = Instant::now();
    loop {
        tokio::time::sleep(PAUSE).await;
        // While they disagree work stands still: it goes on soon after they agree.
        if !shared.skew.agrees() || compared.elapsed() >= INTERVAL {
            match tokio::time::timeout(STATEMENT_TIMEOUT, compare(&shared)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "the database does not tell its time"),
                Err(_) => tracing::debug!("the database does not tell its time"),
            }
            compared = Instant::now();
        }
    }
}

async fn ask(store: &Store, clock: &Clock) -> Result<Option<Reading>, StoreError> {
    let mut best = None;
    for _ in 0..TRIES {
        let asked = clock.now();
        let Some(theirs) = store.time().await? else { return Ok(None) };
        let reading = Reading::of(asked, theirs, clock.now());
        best = reading.map(|reading| reading.better(best)).or(best);
    }
    Ok(best)
}
