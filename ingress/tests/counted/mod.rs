//! What a request allocates, counted: the real ingress over a loopback connection, beside bare hyper
//! (reads the body, answers 202) with the very same request bytes.
//!
//! Counted is every thread but those that say otherwise: the client and whoever waits for the server
//! do. What is left is the one thread that serves, and the log's.

mod allocator;
mod rows;

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use shared::Shutdown;
use shared::log::Log;
use shared::route::Router;

use self::allocator::leave_out_this_thread;
use self::rows::{Row, ingress, rows};

/// How often a request is sent.
pub struct Rounds {
    /// Until pools, buffers and tables have the size that they keep.
    pub warm_up: usize,
    /// What is counted.
    pub counted: usize,
    /// What the log's own thread may allocate a second whether there are requests or not.
    pub idle_per_s: f64,
}

/// Sends every row to the ingress on this log and to bare hyper: a request of ours must not allocate
/// more often. In a process of its own, so that nothing else runs.
#[expect(clippy::print_stdout, reason = "the counts are for whoever runs this test by itself")]
pub fn no_more_than_bare_hyper(rounds: &Rounds, log: impl FnOnce(&Router) -> Log) {
    leave_out_this_thread();
    let directory = tempfile::tempdir().expect("a directory");
    let (ingress, shutdown) = (ingress(directory.path(), log), Shutdown::new());
    let (address, stop) = (ingress.local_addr(), shutdown.clone());
    let serving = std::thread::spawn(move || {
        leave_out_this_thread();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(ingress.serve(stop))
    });
    let bare = bare();
    for row in rows() {
        let times = (rounds.warm_up, rounds.counted);
        let counted = rounds.counted as u64;
        let bare = measure(bare, &row, "202", times);
        let started = Instant::now();
        let ours = measure(address, &row, row.status, times);
        let idle = (started.elapsed().as_secs_f64() * rounds.idle_per_s) as u64;
        let (per_bare, per_ours) = (bare as f64 / counted as f64, ours as f64 / counted as f64);
        println!("{}: ingress {per_ours}, bare hyper {per_bare} allocations per request", row.name);
        assert!(ours <= bare + row.beyond_bare * counted + idle, "{}", row.name);
    }
    shutdown.cancel();
    serving.join().expect("no panic").expect("a clean end");
}

/// Of `counted` requests over a kept-alive connection, after so many to warm up.
fn measure(server: SocketAddr, row: &Row, status: &str, (warm_up, counted): (usize, usize)) -> u64 {
    let mut stream = TcpStream::connect(server).expect("connects");
    stream.set_nodelay(true).expect("a socket");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    let mut answer = vec![0; 64 * 1024];
    let mut ask = |times: usize| {
        for _ in 0..times {
            stream.write_all(&row.request).expect("sent");
            read_answer(&mut stream, &mut answer, status);
        }
    };
    ask(warm_up);
    let before = allocator::allocations();
    ask(counted);
    allocator::allocations() - before
}

fn read_answer(stream: &mut TcpStream, buffer: &mut [u8], status: &str) {
    let mut length = 0;
    loop {
        let read = stream.read(&mut buffer[length..]).expect("an answer in time");
        assert!(read > 0, "the connection stays open");
        length += read;
        let text = String::from_utf8_lossy(&buffer[..length]);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{text}");
        let field = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let expected = field.map_or(0, |value| value.parse().expect("a length"));
        if body.len() >= expected {
            return;
        }
    }
}

/// Bare hyper on a thread of its own, until the process ends.
fn bare() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("an address");
    listener.set_nonblocking(true).expect("a socket");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
            loop {
                let (stream, _) = listener.accept().await.expect("accepts");
                let serving = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(accept));
                tokio::spawn(async move { drop(serving.await) });
            }
        });
    });
    address
}

async fn accept(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await;
    let mut response = Response::new(Full::default());
    *response.status_mut() = hyper::StatusCode::ACCEPTED;
    drop(body);
    Ok(response)
}
