//! A try of a parked record that is on its way when its connection ends, and arrives after its writer
//! has gone on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use consumer::Store;
use consumer::store::PostgresStore;
use shared::config::PostgresConfig;
use shared::{Process, Shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::suite::base::{Base, PIPELINE};
use super::suite::{Bench, FIRST, NOON};

/// In the payload of the record whose try is kept back.
const STRAY: &[u8] = b"stray-1";

/// What a link does with the statement that carries [`STRAY`].
#[derive(Default)]
struct Hold {
    /// Keep the next one back, and hang up on its sender.
    keep: AtomicBool,
    /// Deliver it.
    deliver: Notify,
    /// The server has answered it.
    answered: Notify,
}

async fn link(target: String, hold: Arc<Hold>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&target).await.expect("the server listens");
            tokio::spawn(pass(client, server, Arc::clone(&hold)));
        }
    });
    port
}

async fn pass(client: TcpStream, server: TcpStream, hold: Arc<Hold>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        let mut bytes = [0; 65_536];
        while let Ok(n @ 1..) = from_client.read(&mut bytes).await {
            let carries = bytes[..n].windows(STRAY.len()).any(|some| some == STRAY);
            if carries && hold.keep.swap(false, Ordering::SeqCst) {
                return Some((to_server, bytes[..n].to_vec()));
            }
            if to_server.write_all(&bytes[..n]).await.is_err() {
                return None;
            }
        }
        None
    };
    let down = async {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
    };
    let kept = tokio::select! { kept = up => kept, () = down => None };
    // Whoever sent it hears nothing more.
    drop((from_client, to_client));
    let Some((mut to_server, kept)) = kept else { return };
    hold.deliver.notified().await;
    to_server.write_all(&kept).await.expect("the server is there");
    let answer = from_server.read(&mut [0; 65_536]).await.expect("answers");
    assert!(answer > 0, "the server takes it");
    hold.answered.notify_one();
}

#[tokio::test]
async fn a_try_that_arrives_late_does_nothing() {
    let bench = Bench::new(Base::postgres().await).await;
    bench.base.refuse_type("refuse.me").await;
    let (head, database) = bench.base.url().rsplit_once('/').expect("a URL with a database");
    let (scheme, address) = head.rsplit_once('@').expect("a URL with a user");
    let hold = Arc::new(Hold::default());
    let port = link(address.to_owned(), Arc::clone(&hold)).await;
    let config =
        PostgresConfig { url: format!("{scheme}@127.0.0.1:{port}/{database}"), connections_max: 2 };
    let store = Store::Postgres(PostgresStore::connect(&config, PIPELINE).expect("a valid URL"));
    let (process, shutdown) = (Process::alone(bench.clock.clone()), Shutdown::new());
    let task = tokio::spawn(bench.consumer(store, &process).run(shutdown.clone()));

    bench.append(FIRST, NOON, "acme", r#"{"id":"stray-1","type":"refuse.me"}"#);
    bench.until_drained().await;
    bench.base.allow_type("refuse.me").await;
    hold.keep.store(true, Ordering::SeqCst);
    let due = "update pipeline.parked set next_try_at = 'epoch', tries_left = 3";
    bench.base.sql(due).await;
    let epoch = "select epoch from pipeline.progress where partition = 0";
    bench.until("it is claimed anew", async || bench.count(epoch).await == 2).await;
    bench.events(FIRST, "later", 3);
    bench.until_drained().await;
    let left = "select tries_left::text from pipeline.parked where next_try_at > now()";
    bench.until("the try is over", async || bench.base.texts(left).await == ["2"]).await;

    hold.deliver.notify_one();
    hold.answered.notified().await;
    let rows = bench.base.texts("select id from pipeline.events order by log_offset").await;
    assert_eq!(rows, ["later-0", "later-1", "later-2"]);
    assert_eq!(bench.count("select count(*) from pipeline.parked").await, 1);
    shutdown.cancel();
    task.await.expect("does not panic").expect("stops well");
}
