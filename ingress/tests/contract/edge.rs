//! What bounds connections before a request is known, and whom they are counted as.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use shared::config::{IngressConfig, ProxyProtocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use crate::client::{Connection, Post};
use crate::fixture::Fixture;

const EVENT: &str = r#"{"type":"order.placed","id":"1","data":{"n":1}}"#;
const REFUSED: &str = "shock_ingress_connections_refused_total";

/// Everything here comes from a trusted proxy on this machine.
fn behind_a_proxy(config: &mut IngressConfig) {
    config.edge.trusted_networks = vec!["127.0.0.0/8".parse().expect("a network")];
}

/// A connection from another address of this machine.
async fn from(address: [u8; 4], server: &Fixture) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((IpAddr::from(address), 0).into()).expect("an address of the loopback");
    socket.connect(server.address).await.expect("connects")
}

/// Whether the server closes it before it answers.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let read = timeout(Duration::from_secs(5), stream.read(&mut [0; 1])).await;
    matches!(read.expect("a close in time"), Ok(0) | Err(_))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_closed_when_nothing_is_asked_on_it() {
    let idle = Duration::from_millis(700);
    let server = Fixture::start_with(|config| config.edge.idle_timeout = idle);
    for requests in [0, 1, 2] {
        let mut connection = Connection::open(server.address).await;
        let mut started = Instant::now();
        for _ in 0..requests {
            // The pause is shorter each time, so the connection is open for longer than it.
            sleep(idle / 2).await;
            connection.write(&Post::json(EVENT).bytes()).await;
            assert_eq!(connection.answer().await.expect("an answer").status, 202);
            started = Instant::now();
        }
        assert!(connection.answer().await.is_none(), "closed");
        assert!(started.elapsed() >= idle - Duration::from_millis(50), "{:?}", started.elapsed());
    }
    assert_eq!(server.metric("shock_ingress_connections_idle_total"), 3);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_does_not_take_all_connections() {
    let server = Fixture::start_with(|config| {
        config.edge.connections_per_address_max = 2;
        config.head_timeout = Duration::from_secs(5);
    });
    let _open = (from([127, 0, 0, 2], &server).await, from([127, 0, 0, 2], &server).await);
    // Each thread accepts for itself: a third that was accepted before them would be one of the two.
    server.metric_reaches("shock_ingress_connections", 2).await;
    assert!(is_closed(&mut from([127, 0, 0, 2], &server).await).await);
    assert_eq!(Post::json(EVENT).send(&server).await.status, 202);
    server.metric_reaches(REFUSED, 1).await;
    server.shutdown.cancel();
}

/// The header says who the client is; without one, or from elsewhere, nobody is served.
#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_protocol() {
    let server = Fixture::start_with(|config| {
        behind_a_proxy(config);
        config.edge.proxy_protocol = ProxyProtocol::Required;
        config.edge.connections_per_address_max = 1;
    });
    let binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x09\x7f\0\0\x01\0\x01\0\x50";
    let mut open = Vec::new();
    for (header, served) in [
        (&b"PROXY TCP4 192.0.2.1 127.0.0.1 5 80\r\n"[..], true),
        (b"PROXY TCP4 192.0.2.1 127.0.0.1 6 80\r\n", false),
        (b"PROXY TCP6 2001:db8::1 ::1 5 80\r\n", true),
        (binary, true),
        (b"PROXY UNKNOWN\r\n", true),
        (b"", false),
        (b"PROXY TCP9\r\n", false),
    ] {
        let mut connection = Connection::open(server.address).await;
        connection.write(&[header, &Post::json(EVENT).bytes()].concat()).await;
        let answer = connection.answer().await.map(|answer| answer.status);
        assert_eq!(answer, served.then_some(202), "{}", String::from_utf8_lossy(header));
        open.push(connection);
    }
    let mut silent = from([127, 0, 0, 2], &server).await;
    assert!(is_closed(&mut silent).await, "a header that does not come");
    server.metric_reaches(REFUSED, 4).await;
    server.shutdown.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_protocol_from_elsewhere_is_not_believed() {
    let server = Fixture::start_with(|config| {
        config.edge.trusted_networks = vec!["10.0.0.0/8".parse().expect("a network")];
        config.edge.proxy_protocol = ProxyProtocol::Required;
    });
    let mut connection = Connection::open(server.address).await;
    let header = b"PROXY TCP4 192.0.2.1 127.0.0.1 5 80\r\n";
    connection.write(&[&header[..], &Post::json(EVENT).bytes()].concat()).await;
    assert!(connection.answer().await.is_none());
    server.stop().await;
}

/// Behind a proxy the client counts that it names; what the client itself wrote before does not.
#[tokio::test(flavor = "multi_thread")]
async fn forwarded_requests_are_counted_as_their_client_s() {
    let server = Fixture::start_with(|config| {
        behind_a_proxy(config);
        config.edge.connections_per_address_max = 1;
        config.body_timeout = Duration::from_secs(5);
    });
    let post = |chain: &str| Post::json(EVENT).header("x-forwarded-for", chain).bytes();
    let mut first = Connection::open(server.address).await;
    let asking = Post::json(EVENT).header("x-forwarded-for", "192.0.2.1");
    let bytes = asking.header("expect", "100-continue").bytes();
    let (head, body) = bytes.split_at(bytes.len() - EVENT.len());
    first.write(head).await;
    // Whoever is asked for the body has been counted.
    assert_eq!(first.answer().await.expect("an interim answer").status, 100);
    let mut second = Connection::open(server.address).await;
    second.write(&post("198.51.100.7, 192.0.2.1, 127.0.0.9")).await;
    second.answer().await.expect("an answer").problem(503, "overloaded");
    let mut other = Connection::open(server.address).await;
    other.write(&post("192.0.2.1, 198.51.100.7")).await;
    assert_eq!(other.answer().await.expect("an answer").status, 202);
    first.write(body).await;
    assert_eq!(first.answer().await.expect("an answer").status, 202);
    server.stop().await;
}

/// One client's wrong keys say nothing of the others behind its proxy.
#[tokio::test(flavor = "multi_thread")]
async fn failed_logins_behind_a_proxy_are_their_client_s() {
    let server = Fixture::start_with(|config| {
        behind_a_proxy(config);
        config.failed_logins_per_minute = NonZeroU32::MIN;
    });
    let wrong = Post::json(EVENT).header("authorization", "Bearer k1.wrong");
    for (client, status, code) in [
        ("192.0.2.1", 401, "unauthorized"),
        ("192.0.2.1", 429, "too_many_failed_logins"),
        ("::ffff:192.0.2.1", 429, "too_many_failed_logins"),
        ("192.0.2.9, 192.0.2.1, 127.0.0.9", 429, "too_many_failed_logins"),
        ("198.51.100.7", 401, "unauthorized"),
    ] {
        let answer = wrong.clone().header("x-forwarded-for", client).send(&server).await;
        answer.problem(status, code);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_flight_are_bounded() {
    let server = Fixture::start_with(|config| {
        config.edge.requests_max = 1;
        config.body_timeout = Duration::from_secs(5);
    });
    let bytes = Post::json(EVENT).bytes();
    let (begin, end) = bytes.split_at(bytes.len() - 1);
    let mut first = Connection::open(server.address).await;
    first.write(begin).await;
    while server.metric("shock_ingress_inflight_requests") == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    Post::json(EVENT).send(&server).await.problem(503, "overloaded");
    first.write(end).await;
    assert_eq!(first.answer().await.expect("an answer").status, 202);
    assert_eq!(Post::json(EVENT).send(&server).await.status, 202, "there is room again");
    server.stop().await;
}

/// A process of any size is above one byte.
#[tokio::test(flavor = "multi_thread")]
async fn short_memory_refuses_requests_before_their_bodies() {
    let server = Fixture::start_with(|config| config.edge.memory_bytes_max = 100);
    let bytes = Post::json(EVENT).bytes();
    let mut connection = Connection::open(server.address).await;
    connection.write(&bytes[..bytes.len() - EVENT.len()]).await;
    connection.answer().await.expect("an answer").problem(503, "overloaded");
    assert_eq!(server.metric("shock_ingress_memory_shedding"), 1);
    assert!(server.metric("shock_ingress_memory_bytes") > 1 << 20);
    assert_eq!(server.log.records(), []);
    server.stop().await;
}

/// A head that trickles in has its time from its first byte, however often a byte comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_trickling_head_is_408() {
    let server = Fixture::start();
    for before in [0, 1] {
        let mut stream = TcpStream::connect(server.address).await.expect("connects");
        let (reading, mut writing) = stream.split();
        let mut reading = tokio::io::BufReader::new(reading);
        for _ in 0..before {
            writing.write_all(&Post::json(EVENT).bytes()).await.expect("sent");
        }
        let started = Instant::now();
        let trickle = async {
            for byte in b"POST /v1/events HTTP/1.1\r\nhost: a\r\n".iter().cycle() {
                if writing.write_all(&[*byte]).await.is_err() {
                    break;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        let mut answers = String::new();
        tokio::select! {
            () = trickle => {}
            read = reading.read_to_string(&mut answers) => { let _ = read; }
        }
        assert!(answers.contains("HTTP/1.1 408"), "{answers}");
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
    server.stop().await;
}
