//! HTTP/2 as an attacker speaks it: each connection is ended or bounded, and others are served.

use std::time::{Duration, Instant};

use crate::client::Post;
use crate::fixture::{Fixture, KEY};
use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, GOAWAY, HEADERS, NOTHING, PING,
    REFUSED_STREAM, RST_STREAM, SETTINGS, Wire, field, fields, frame,
};

const EVENT: &str = r#"{"type":"order.placed","id":"1","data":{"n":1}}"#;
const CONNECTIONS: &str = "shock_ingress_connections";
/// Of HTTP/2's settings: the window that a stream begins with.
const INITIAL_WINDOW_SIZE: u16 = 4;
/// What no flood may bring the server to read: far more than the sockets of both ends hold.
const FLOOD_BYTES_MAX: usize = 64 << 20;
/// Streams of one connection.
const STREAMS_MAX: u32 = 100;

/// Long enough for a head of its own, short enough for a test.
fn server() -> Fixture {
    Fixture::start_with(|config| {
        config.edge.idle_timeout = Duration::from_secs(1);
        config.edge.requests_max = 1_000;
    })
}

fn post() -> Vec<u8> {
    fields(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "test"),
        (":path", "/v1/events"),
        ("authorization", KEY),
        ("content-type", "application/json"),
    ])
}

/// RFC 9110, 9.3.2, and RFC 9113, 8.1: content behind the answer to a HEAD is a protocol error.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_is_answered_without_content() {
    let server = server();
    let mut wire = Wire::open(server.address, &[(INITIAL_WINDOW_SIZE, 1 << 20)]).await;
    let head = fields(&[
        (":method", "HEAD"),
        (":scheme", "http"),
        (":authority", "test"),
        (":path", "/openapi.json"),
    ]);
    wire.write(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &head)).await;
    wire.write(&frame(HEADERS, END_HEADERS, 3, &post())).await;
    wire.write(&frame(DATA, END_STREAM, 3, EVENT.as_bytes())).await;
    let answer = wire.next(&[HEADERS, DATA]).await.expect("an answer");
    assert_eq!((answer.kind, answer.stream, answer.status()), (HEADERS, 1, 200));
    let next = wire.next(&[HEADERS, DATA]).await.expect("another answer");
    assert_eq!((next.kind, next.stream, next.status()), (HEADERS, 3, 202));
    server.stop().await;
}

/// Somebody else's event is taken meanwhile, and in the end no connection is left.
async fn others_are_served_and_it_is_gone(server: Fixture) {
    assert_eq!(Post::json(EVENT).send(&server).await.status, 202);
    let begun = Instant::now();
    while server.metric(CONNECTIONS) > 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "a connection stays");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.stop().await;
}

/// CVE-2023-44487.
#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_reset_at_once_end_the_connection() {
    let server = server();
    let mut wire = Wire::open(server.address, &[]).await;
    let head = post();
    let pairs: Vec<u8> = (0..5_000)
        .flat_map(|number| {
            let stream = 2 * number + 1;
            let opened = frame(HEADERS, END_HEADERS, stream, &head);
            [opened, frame(RST_STREAM, NOTHING, stream, &8_u32.to_be_bytes())].concat()
        })
        .collect();
    wire.write(&pairs).await;
    // Its answer may be lost in a reset of the connection, since it goes on sending.
    if let Some(goaway) = wire.next(&[GOAWAY]).await {
        assert_eq!(goaway.number(4), ENHANCE_YOUR_CALM);
    }
    assert_eq!(server.log.records(), []);
    others_are_served_and_it_is_gone(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_goes_on_and_on_ends_the_connection() {
    let server = server();
    let mut wire = Wire::open(server.address, &[]).await;
    wire.write(&frame(HEADERS, NOTHING, 1, &post())).await;
    let more = frame(CONTINUATION, NOTHING, 1, &field("x", &"a".repeat(16_000)));
    let mut written = 0;
    while wire.write(&more).await {
        written += more.len();
        assert!(written < FLOOD_BYTES_MAX, "it goes on");
    }
    others_are_served_and_it_is_gone(server).await;
}

/// Many small frames, each without a field: they never reach the bound on a head's bytes.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_empty_frames_ends_the_connection() {
    let server = server();
    let mut wire = Wire::open(server.address, &[]).await;
    wire.write(&frame(HEADERS, NOTHING, 1, &post())).await;
    let more = frame(CONTINUATION, NOTHING, 1, &[]).repeat(1_000);
    let mut written = 0;
    while wire.write(&more).await {
        written += more.len();
        assert!(written < FLOOD_BYTES_MAX, "it goes on");
    }
    others_are_served_and_it_is_gone(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_above_the_bound_is_431_and_the_connection_goes_on() {
    let server = server();
    let mut wire = Wire::open(server.address, &[]).await;
    let large = [post(), field("x", &"a".repeat(15_000))].concat();
    wire.write(&frame(HEADERS, END_STREAM, 1, &large)).await;
    wire.write(&frame(CONTINUATION, NOTHING, 1, &field("y", &"a".repeat(15_000)))).await;
    wire.write(&frame(CONTINUATION, END_HEADERS, 1, &field("z", &"a".repeat(15_000)))).await;
    assert_eq!(wire.next(&[HEADERS]).await.expect("an answer").status(), 431);
    wire.write(&frame(HEADERS, END_HEADERS, 3, &post())).await;
    wire.write(&frame(DATA, END_STREAM, 3, EVENT.as_bytes())).await;
    let answer = wire.next(&[HEADERS]).await.expect("an answer");
    assert_eq!((answer.stream, answer.status()), (3, 202));
    others_are_served_and_it_is_gone(server).await;
}

/// One stream more than allowed is refused; the bodies that do not come have their time.
#[tokio::test(flavor = "multi_thread")]
async fn more_streams_than_allowed_are_refused_and_stalled_ones_end() {
    let server = server();
    let mut wire = Wire::open(server.address, &[]).await;
    for number in 0..=STREAMS_MAX {
        wire.write(&frame(HEADERS, END_HEADERS, 2 * number + 1, &post())).await;
    }
    let refused = wire.next(&[RST_STREAM]).await.expect("a refusal");
    assert_eq!((refused.stream, refused.number(0)), (2 * STREAMS_MAX + 1, REFUSED_STREAM));
    for _ in 0..STREAMS_MAX {
        assert_eq!(wire.next(&[HEADERS]).await.expect("an answer").status(), 408);
    }
    let last = 2 * STREAMS_MAX + 3;
    wire.write(&frame(HEADERS, END_HEADERS, last, &post())).await;
    wire.write(&frame(DATA, END_STREAM, last, EVENT.as_bytes())).await;
    let answer = wire.next(&[HEADERS]).await.expect("an answer");
    assert_eq!((answer.stream, answer.status()), (last, 202));
    others_are_served_and_it_is_gone(server).await;
}

/// Questions whose answers nobody reads: the server stops reading, and does not keep the answers.
#[tokio::test(flavor = "multi_thread")]
async fn floods_of_pings_and_settings_are_not_kept() {
    let window = [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &100_u32.to_be_bytes()].concat();
    for flood in [frame(PING, NOTHING, 0, &[7; 8]), frame(SETTINGS, NOTHING, 0, &window)] {
        let server = server();
        let mut wire = Wire::open(server.address, &[]).await;
        let many = flood.repeat(1_000);
        let mut written = 0;
        while wire.write(&many).await {
            written += many.len();
            assert!(written < FLOOD_BYTES_MAX, "it reads on");
        }
        others_are_served_and_it_is_gone(server).await;
        drop(wire);
    }
}

/// A PING now and then keeps nothing open on which nothing is asked.
#[tokio::test(flavor = "multi_thread")]
async fn pings_are_no_requests() {
    let server = server();
    let mut wire = Wire::open(server.address, &[]).await;
    let begun = Instant::now();
    while wire.write(&frame(PING, NOTHING, 0, &[7; 8])).await {
        assert!(begun.elapsed() < Duration::from_secs(15), "it stays open");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    others_are_served_and_it_is_gone(server).await;
}

/// A client that takes no byte of an answer: the connection ends with its idle time.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_takes_does_not_keep_the_connection() {
    let server = server();
    let mut wire = Wire::open(server.address, &[(INITIAL_WINDOW_SIZE, 0)]).await;
    let head = fields(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "test"),
        (":path", "/openapi.json"),
    ]);
    for number in 0..50 {
        wire.write(&frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &head)).await;
    }
    for _ in 0..50 {
        assert_eq!(wire.next(&[HEADERS]).await.expect("an answer").status(), 200);
    }
    assert!(wire.next(&[DATA]).await.is_none(), "there is no window for it");
    others_are_served_and_it_is_gone(server).await;
}
