//! Commits whose answer is lost: the row tells afterwards what became of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use consumer::Store;
use consumer::handler::Handled;
use consumer::store::PostgresStore;
use shared::config::PostgresConfig;
use shared::{Process, Shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::EVENTS;
use super::suite::base::{Base, PIPELINE};
use super::suite::handlers::{self, ledger};
use super::suite::{Bench, FIRST, Running};

/// What a link loses next.
#[derive(Default)]
struct Loses {
    /// An answer.
    answer: AtomicBool,
    /// Its client, as soon as a commit is sent.
    commit: AtomicBool,
}

/// Passes bytes to the server and back; when told to, loses something and hangs up.
async fn link(target: String, loses: Arc<Loses>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&target).await.expect("the server listens");
            let loses = Arc::clone(&loses);
            tokio::spawn(async move {
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let up = async {
                    let mut bytes = [0; 65_536];
                    while let Ok(n @ 1..) = from_client.read(&mut bytes).await {
                        if to_server.write_all(&bytes[..n]).await.is_err() {
                            return;
                        }
                        let commits = bytes[..n].windows(7).any(|word| word == b"commit\0");
                        if commits && loses.commit.swap(false, Ordering::SeqCst) {
                            return;
                        }
                    }
                };
                let down = async {
                    let mut bytes = [0; 65_536];
                    while let Ok(n @ 1..) = from_server.read(&mut bytes).await {
                        // A pool's ping is answered by six bytes: not what we wait for.
                        if n > 6 && loses.answer.swap(false, Ordering::SeqCst) {
                            return;
                        }
                        if to_client.write_all(&bytes[..n]).await.is_err() {
                            return;
                        }
                    }
                };
                tokio::select! { () = up => {}, () = down => {} }
            });
        }
    });
    port
}

/// A consumer whose one connection goes through a link.
async fn start(bench: &Bench) -> (Running, Arc<Loses>) {
    let (head, database) = bench.base.url().rsplit_once('/').expect("a URL with a database");
    let (scheme, address) = head.rsplit_once('@').expect("a URL with a user");
    let loses = Arc::<Loses>::default();
    let port = link(address.to_owned(), Arc::clone(&loses)).await;
    let config =
        PostgresConfig { url: format!("{scheme}@127.0.0.1:{port}/{database}"), connections_max: 1 };
    let store = Store::Postgres(PostgresStore::connect(&config, PIPELINE).expect("a valid URL"));
    let process = Process::alone(bench.clock.clone());
    let consumer = bench.consumer(store, &process);
    (Running::of(consumer, process, Shutdown::new()), loses)
}

async fn until_recognised(bench: &Bench, running: &Running) {
    bench
        .until("the commit is recognised", async || {
            running.metric("shock_consumer_unknown_commits_total") == 1
        })
        .await;
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_recognised() {
    let bench = Bench::new(Base::postgres().await).await;
    let (running, loses) = start(&bench).await;
    // The first batch prepares the statement: afterwards a batch is one question and one answer.
    bench.events(FIRST, "before", 3);
    bench.until_drained().await;
    loses.answer.store(true, Ordering::SeqCst);
    bench.events(FIRST, "after", 3);
    bench.until_drained().await;
    until_recognised(&bench, &running).await;
    bench.events(FIRST, "later", 3);
    bench.until_drained().await;
    assert_eq!(bench.count(EVENTS).await, 9);
    running.stop().await;
}

/// The server takes its time for a commit whose sender is gone. The batch is sent again meanwhile, finds
/// the fence closed without the handler being asked, and the row says that it is committed: what the
/// first one has changed in memory is in the database.
#[tokio::test]
async fn a_handlers_state_has_what_a_commit_did_whose_answer_is_lost() {
    let bench = handlers::with_handler(Base::postgres().await, Handled::by(ledger::Ledger)).await;
    let slow = "create function ledger.slow() returns trigger language plpgsql as \
          $$ begin perform pg_sleep(1); return null; end $$; \
        create constraint trigger slow after insert on ledger.entries deferrable initially deferred \
          for each row when (new.position = 1) execute function ledger.slow()";
    bench.base.sql(slow).await;
    let (running, loses) = start(&bench).await;
    handlers::deposit(&bench, "before", "a", 10);
    bench.until_drained().await;
    loses.commit.store(true, Ordering::SeqCst);
    handlers::deposit(&bench, "after", "a", 5);
    bench.until_drained().await;
    until_recognised(&bench, &running).await;
    handlers::deposit(&bench, "later", "a", 7);
    bench.until_drained().await;
    handlers::adds_up(&bench, "nobody", "after the lost answer").await;
    running.stop().await;
}
