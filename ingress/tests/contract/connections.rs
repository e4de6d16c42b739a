//! Connections: slow, silent, pipelined, too many, HTTP/2, and drained without a reset.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{Connection, Post};
use crate::fixture::{Fixture, KEY};

/// More than the body's bound.
const LARGE: usize = 2 << 20;
const RESTING: &str = "shock_ingress_connections_resting";
const EVENT: &str = r#"{"type":"order.placed","id":"1","data":{"n":1}}"#;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_shows_no_whole_head_is_closed() {
    let server = Fixture::start();
    for beginning in ["PRI * HT", "POST /v1/events HTTP/1.1\r\nhost: te"] {
        let started = Instant::now();
        let mut connection = Connection::open(server.address).await;
        connection.write(beginning.as_bytes()).await;
        let answer = connection.answer().await;
        assert!(answer.is_none_or(|answer| answer.status == 408), "{beginning:?}");
        assert!(started.elapsed() < Duration::from_secs(5), "{beginning:?}");
    }
    server.stop().await;
}

/// Whoever asks first learns of a wrong key before sending the body, and is told to go on otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn expect_100_continue() {
    let server = Fixture::start();
    let post = Post::json(EVENT).header("expect", "100-continue");
    let bytes = post.bytes();
    let (head, body) = bytes.split_at(bytes.len() - EVENT.len());
    let mut connection = Connection::open(server.address).await;
    connection.write(head).await;
    assert_eq!(connection.answer().await.expect("an interim answer").status, 100);
    connection.write(body).await;
    assert_eq!(connection.answer().await.expect("an answer").status, 202);
    let bytes = post.header("authorization", "Bearer k1.wrong").bytes();
    let mut connection = Connection::open(server.address).await;
    connection.write(&bytes[..bytes.len() - EVENT.len()]).await;
    connection.answer().await.expect("an answer").problem(401, "unauthorized");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_body_is_408() {
    let server = Fixture::start();
    let bytes = Post::json(EVENT).bytes();
    let mut connection = Connection::open(server.address).await;
    connection.write(&bytes[..bytes.len() - 1]).await;
    connection.answer().await.expect("an answer").problem(408, "body_timeout");
    assert_eq!(server.log.records(), []);
    server.stop().await;
}

/// A body may take its whole time only at a pace: whoever sends a byte now and then is told early,
/// and whoever keeps the pace is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_has_a_pace() {
    let server = Fixture::start_with(|config| {
        config.body_timeout = Duration::from_secs(30);
        config.edge.body_bytes_per_s_min = 1_024;
    });
    let started = Instant::now();
    let trickled = async |piece: usize, whole: usize| {
        let body = [EVENT.as_bytes(), &vec![b' '; whole - EVENT.len()]].concat();
        let bytes = Post::json(body).bytes();
        let (head, body) = bytes.split_at(bytes.len() - whole);
        let mut connection = Connection::open(server.address).await;
        connection.write(head).await;
        for piece in body.chunks(piece) {
            if started.elapsed() > Duration::from_secs(8) {
                break;
            }
            connection.write(piece).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        (connection.answer().await.expect("an answer"), started.elapsed())
    };
    // 1,000 bytes of 6,000 in the first seconds, and 70 times 300 bytes in seven.
    let ((slow, slow_after), (steady, _)) =
        tokio::join!(trickled(10, 6_000), trickled(300, 21_000));
    slow.problem(408, "body_timeout");
    assert!(slow_after < Duration::from_secs(15), "long before the body's whole time");
    assert_eq!(steady.status, 202);
    assert_eq!(server.log.records().len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_in_chunks_is_bounded_as_it_comes() {
    let server = Fixture::start();
    let head = Post::json("").without("content-length");
    let head = String::from_utf8(head.bytes()).expect("text");
    let head = head.replace("content-length: 0", "transfer-encoding: chunked");
    let mut connection = Connection::open(server.address).await;
    let chunk = format!("{:x}\r\n{EVENT}\r\n0\r\n\r\n", EVENT.len());
    connection.write(format!("{head}{chunk}").as_bytes()).await;
    assert_eq!(connection.answer().await.expect("an answer").status, 202);
    let large = format!("{head}200000\r\n{}\r\n0\r\n\r\n", " ".repeat(2 << 20));
    connection.write(large.as_bytes()).await;
    connection.answer().await.expect("an answer").problem(413, "body_too_large");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let server = Fixture::start();
    let mut connection = Connection::open(server.address).await;
    let good = |n: i32| Post::json(EVENT.replace("\"1\"", &format!("\"{n}\""))).bytes();
    connection.write(&[good(1), Post::json("{").bytes(), good(2)].concat()).await;
    for status in [202, 400, 202] {
        assert_eq!(connection.answer().await.expect("an answer").status, status);
    }
    assert_eq!(server.log.records().len(), 2);
    server.stop().await;
}

/// What follows an answered request, half a head or nonsense, neither delays nor loses the answer.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_does_not_wait_for_what_follows() {
    let server = Fixture::start_with(|config| config.head_timeout = Duration::from_secs(60));
    let good = Post::json(EVENT).bytes();
    for follows in [&b"POST /v1/ev"[..], b"nonsense\r\n\r\n"] {
        let mut connection = Connection::open(server.address).await;
        connection.write(&[&good, follows].concat()).await;
        assert_eq!(connection.answer().await.expect("an answer").status, 202);
    }
    server.shutdown.cancel();
}

/// Whoever says at once that nothing more will come still gets the answer: the event is in the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_its_half_is_answered() {
    let server = Fixture::start();
    for _ in 0..5 {
        let mut connection = Connection::open(server.address).await;
        connection.write(&Post::json(EVENT).bytes()).await;
        connection.close_sending().await;
        assert_eq!(connection.answer().await.expect("an answer").status, 202);
        assert!(connection.answer().await.is_none(), "closed");
    }
    server.stop().await;
}

/// RFC 9110, 7.4: nobody vouches for what is asked for under https.
#[tokio::test(flavor = "multi_thread")]
async fn an_https_target_needs_tls() {
    let server = Fixture::start();
    for (scheme, status) in [("http", 202), ("https", 400)] {
        let bytes = Post::json(EVENT).to(&format!("{scheme}://test/v1/events")).bytes();
        let mut connection = Connection::open(server.address).await;
        connection.write(&bytes).await;
        assert_eq!(connection.answer().await.expect("an answer").status, status, "{scheme}");
    }
    server.stop().await;
}

/// hyper is let go after a second of silence; what comes then is served as if it had stayed.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_rested_goes_on() {
    let server = Fixture::start();
    let mut connection = Connection::open(server.address).await;
    let good = Post::json(EVENT).bytes();
    let (begin, end) = good.split_at(20);
    for _ in 0..2 {
        connection.write(&good).await;
        assert_eq!(connection.answer().await.expect("an answer").status, 202);
        server.metric_reaches(RESTING, 1).await;
        connection.write(begin).await;
        while server.metric(RESTING) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        connection.write(&[end, &Post::json("{").bytes()].concat()).await;
        for status in [202, 400] {
            assert_eq!(connection.answer().await.expect("an answer").status, status);
        }
        server.metric_reaches(RESTING, 1).await;
    }
    // Half a head has its deadline whoever reads it.
    connection.write(begin).await;
    connection.answer().await.expect("an answer").problem(408, "head_timeout");
    assert!(connection.answer().await.is_none(), "closed");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_head_is_answered() {
    let server = Fixture::start();
    let large = format!("POST /v1/events HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(100_000));
    for (head, status) in [
        ("nonsense\r\n\r\n", 400),
        ("POST /v1/events HTTP/1.1\r\ncontent-length: +5\r\n\r\nabcde", 400),
        ("POST /v1/events HTTP/1.1\r\nhost : a\r\n\r\n", 400),
        (large.as_str(), 431),
    ] {
        let mut connection = Connection::open(server.address).await;
        connection.write(head.as_bytes()).await;
        assert_eq!(connection.answer().await.expect("an answer").status, status);
        assert!(connection.answer().await.is_none(), "closed");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_without_tls_by_prior_knowledge() {
    let server = Fixture::start();
    let stream = TcpStream::connect(server.address).await.expect("connects");
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    for (key, status) in [(KEY, 202), ("Bearer k1.wrong", 401)] {
        let request = http::Request::post("http://test/v1/events")
            .header("authorization", key)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from_static(EVENT.as_bytes())))
            .expect("a valid request");
        let answer = sender.send_request(request).await.expect("an answer");
        assert_eq!(answer.status(), status);
        answer.into_body().collect().await.expect("a body");
    }
    assert_eq!(server.only_record().value, EVENT);
    drop(sender);
    connection.await.expect("no panic").expect("a clean end");
    server.stop().await;
}

/// 2 MiB in pieces; counts what of it was sent.
struct Pieces(Arc<AtomicUsize>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        const PIECE: &[u8] = &[b' '; 16 << 10];
        match self.0.fetch_add(PIECE.len(), Ordering::Relaxed) {
            0..LARGE => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(PIECE))))),
            _ => Poll::Ready(None),
        }
    }
}

/// curl loses the answer where the stream is reset behind it, so a refused body is read to its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_body_is_not_reset_over_http2() {
    refused_over_http2(Fixture::start(), 413).await;
    // Before the pipeline as well: a process of any size is above one byte.
    refused_over_http2(Fixture::start_with(|config| config.edge.memory_bytes_max = 100), 503).await;
}

async fn refused_over_http2(server: Fixture, status: u16) {
    let stream = TcpStream::connect(server.address).await.expect("connects");
    stream.set_nodelay(true).expect("an open connection");
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let sent = Arc::new(AtomicUsize::new(0));
    let request = http::Request::post("http://test/v1/events")
        .header("authorization", KEY)
        .header("content-type", "application/json")
        .body(Pieces(Arc::clone(&sent)))
        .expect("a valid request");
    let answer = sender.send_request(request).await.expect("an answer");
    assert_eq!(answer.status(), status);
    assert!(sent.load(Ordering::Relaxed) >= LARGE);
    drop((answer, sender));
    connection.await.expect("no panic").expect("a clean end");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_the_bound_are_closed_at_once() {
    let server = Fixture::start_with(|config| {
        config.connections_max = 1;
        config.head_timeout = Duration::from_secs(5);
    });
    let mut first = Connection::open(server.address).await;
    first.write(&Post::json(EVENT).bytes()).await;
    assert_eq!(first.answer().await.expect("an answer").status, 202);
    let mut second = Connection::open(server.address).await;
    assert!(second.answer().await.is_none());
    assert_eq!(server.metric("shock_ingress_connections_refused_total"), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_answers_everybody_and_resets_nobody() {
    let server = Fixture::start();
    let mut open = Vec::new();
    for n in 0..40 {
        let mut connection = Connection::open(server.address).await;
        let bytes = Post::json(EVENT.replace("\"1\"", &format!("\"{n}\""))).bytes();
        connection.write(&bytes).await;
        open.push(connection);
    }
    server.shutdown.cancel();
    for mut connection in open {
        assert_eq!(connection.answer().await.expect("an answer").status, 202);
        assert!(connection.answer().await.is_none(), "closed");
    }
    let (health, log) = (server.health.clone(), server.log.clone());
    server.stop().await;
    assert_eq!((health.ready(), log.records().len()), (Err("draining".to_owned()), 40));
}

/// Senders that know of no other replica come back at once, for as long as we accept.
#[tokio::test(flavor = "multi_thread")]
async fn senders_that_never_pause_leave_time_to_finish() {
    let server = Fixture::start_with(|config| config.drain_timeout = Duration::from_secs(2));
    let address = server.address;
    let sending = tokio::spawn(async move {
        while let Ok(stream) = TcpStream::connect(address).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
            drop(stream);
        }
    });
    server.shutdown.cancel();
    let started = Instant::now();
    server.stop().await;
    assert!(started.elapsed() < Duration::from_millis(1800), "{:?}", started.elapsed());
    sending.await.expect("no panic");
}

/// Whoever asks and asks and takes no answer would keep a connection for ever.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_no_answers_is_closed() {
    let server = Fixture::start();
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    let asking = "GET /v1/events HTTP/1.1\r\nhost: a\r\n\r\n".repeat(1000);
    let full = Duration::from_millis(300);
    while let Ok(Ok(())) = timeout(full, stream.write_all(asking.as_bytes())).await {}
    let gone = async {
        while server.metric("shock_ingress_connections") > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), gone).await.expect("closed in time");
    server.stop().await;
}
