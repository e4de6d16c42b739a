//! Raw bytes into a connection. Never two answers to one framed request; whatever is in the log was
//! answered, or counted as unknown; the books balance; everything in flight ends.

use crate::answers::answers;
use crate::framing::frame;
use crate::server::server;

/// HTTP/2 begins like this; its answers are not ours to read.
const HTTP2: &[u8] = b"PRI ";

/// The properties.
pub fn check(input: &[u8]) {
    let server = server();
    let framed = frame(input);
    let before = server.settled_books();
    let speaks_http2 = input.starts_with(HTTP2);
    let read = if speaks_http2 {
        server.exchange(input, &[]);
        Vec::new()
    } else {
        server.exchange(input, &framed.whole)
    };
    let books = server.settled_books();
    assert_eq!(books.received, books.outcomes, "the books do not balance: {books:?}");
    assert!(
        (books.accepted..=books.accepted + books.unknown).contains(&books.records),
        "records that were not answered: {books:?}"
    );
    if speaks_http2 {
        return;
    }
    let all = answers(&read, &framed.whole);
    let owed_max = framed.whole.len() + usize::from(framed.open);
    assert!(all.len() <= owed_max, "{} answers to {framed:?}: {all:?}", all.len());
    let good = all.iter().any(|answer| matches!(answer.status, 202 | 207));
    let accepted = books.accepted - before.accepted;
    assert!(accepted == 0 || good, "{accepted} events were accepted and nobody was told: {all:?}");
}
